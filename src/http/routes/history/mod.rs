//! `history`: the movements, and the user's notes on them.

mod list;
mod update_metadata;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::list))
        .routes(routes!(update_metadata::update_metadata))
}
