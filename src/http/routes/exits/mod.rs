//! Unilateral exits.

mod claim_all;
mod claim_vtxos;
mod fee;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(claim_all::exit_claim_all))
        .routes(routes!(claim_vtxos::exit_claim_vtxos))
        .routes(routes!(fee::emergency_exit_fee))
}
