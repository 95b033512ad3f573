//! `onchain`: the on-chain wallet. Reads show the state of the last sync and never wait for one.

mod address;
mod balance;
mod drain;
mod send;
mod send_many;
mod sync;
mod transactions;
mod utxos;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(balance::onchain_balance))
        .routes(routes!(address::onchain_address))
        .routes(routes!(utxos::onchain_utxos))
        .routes(routes!(transactions::onchain_transactions))
        .routes(routes!(send::onchain_send))
        .routes(routes!(send_many::onchain_send_many))
        .routes(routes!(drain::onchain_drain))
        .routes(routes!(sync::onchain_sync))
}
