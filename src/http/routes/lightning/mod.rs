//! `lightning`: payments over the Lightning Network.

mod receives;

use utoipa_axum::router::OpenApiRouter;

use crate::http::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().merge(receives::routes())
}
