//! `lightning`: payments over the Lightning Network.

mod get_send_status;
mod pay;
mod receives;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(pay::pay))
        .routes(routes!(get_send_status::get_send_status))
        .merge(receives::routes())
}
