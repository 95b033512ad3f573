//! `boards`: on-chain bitcoin becomes VTXOs.

mod board_all;
mod board_amount;
mod pending;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(board_amount::board_amount))
        .routes(routes!(board_all::board_all))
        .routes(routes!(pending::get_pending_boards))
}
