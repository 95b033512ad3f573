//! `message`: signatures of messages with the keys of addresses.

mod sign;
mod verify;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(sign::sign_message))
        .routes(routes!(verify::verify_message))
}
