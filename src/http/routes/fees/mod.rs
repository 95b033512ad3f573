//! `fees`: the cost of an operation before it is started.

mod board;
mod lightning_receive;
mod lightning_send;
mod offboard;
mod offboard_all;
mod onchain;
mod send_onchain;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(onchain::onchain_fee_rates))
        .routes(routes!(board::board_fee))
        .routes(routes!(send_onchain::send_onchain_fee))
        .routes(routes!(offboard_all::offboard_all_fee))
        .routes(routes!(offboard::offboard_fee))
        .routes(routes!(lightning_send::lightning_send_fee))
        .routes(routes!(lightning_receive::lightning_receive_fee))
}
