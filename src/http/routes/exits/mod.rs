//! `exits`: VTXOs are put on chain without the Ark server, and claimed.

mod cancel;
mod claim_all;
mod claim_vtxos;
mod fee;
mod progress;
mod start_all;
mod start_vtxos;
mod status_all;
mod status_deprecated;
mod status_finished;
mod status_live;
mod status_vtxo;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::App;

#[expect(deprecated, reason = "deprecated routes are served and declared too")]
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(status_all::get_all_exit_status))
        .routes(routes!(status_live::get_live_exit_status))
        .routes(routes!(status_finished::get_finished_exits))
        .routes(routes!(status_vtxo::get_exit_status_by_vtxo_id))
        .routes(routes!(status_deprecated::get_all_exit_status_deprecated))
        .routes(routes!(
            status_deprecated::get_exit_status_by_vtxo_id_deprecated
        ))
        .routes(routes!(start_all::exit_start_all))
        .routes(routes!(start_vtxos::exit_start_vtxos))
        .routes(routes!(progress::exit_progress))
        .routes(routes!(cancel::exit_cancel))
        .routes(routes!(claim_all::exit_claim_all))
        .routes(routes!(claim_vtxos::exit_claim_vtxos))
        .routes(routes!(fee::emergency_exit_fee))
}
