//! `wallet`: the wallet itself and its off-chain money.

mod address;
mod ark_info;
mod balance;
mod bip321;
mod connected;
mod create;
mod delete;
mod exists;
mod get_vtxo;
mod get_vtxo_encoded;
mod history;
pub(in crate::http) mod import_vtxo;
mod list_vtxos;
mod mnemonic;
mod movements;
mod next_round;
mod offboard_all;
mod offboard_vtxos;
mod peek_address;
mod recover_round;
mod refresh_all;
mod refresh_counterparty;
mod refresh_delegated;
mod refresh_vtxos;
mod rounds;
mod send;
mod send_onchain;
mod sync;
mod sync_mailbox;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::App;

#[expect(deprecated, reason = "deprecated routes are served and declared too")]
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(exists::wallet_exists))
        .routes(routes!(mnemonic::mnemonic))
        .routes(routes!(connected::connected))
        .routes(routes!(ark_info::ark_info))
        .routes(routes!(create::create_wallet))
        .routes(routes!(create::create_wallet_deprecated))
        .routes(routes!(delete::wallet_delete))
        .routes(routes!(address::address))
        .routes(routes!(peek_address::peek_address))
        .routes(routes!(bip321::bip321_uri))
        .routes(routes!(balance::balance))
        .routes(routes!(list_vtxos::vtxos))
        .routes(routes!(get_vtxo::get_vtxo))
        .routes(routes!(get_vtxo_encoded::get_vtxo_encoded))
        .routes(routes!(import_vtxo::import_vtxo))
        .routes(routes!(history::history))
        .routes(routes!(movements::movements))
        .routes(routes!(send::send))
        .routes(routes!(next_round::next_round))
        .routes(routes!(rounds::pending_rounds))
        .routes(routes!(recover_round::recover_round))
        .routes(routes!(refresh_vtxos::refresh_vtxos))
        .routes(routes!(refresh_delegated::refresh_delegated))
        .routes(routes!(refresh_all::refresh_all))
        .routes(routes!(refresh_counterparty::refresh_counterparty))
        .routes(routes!(offboard_vtxos::offboard_vtxos))
        .routes(routes!(offboard_all::offboard_all))
        .routes(routes!(send_onchain::send_onchain))
        .routes(routes!(sync::sync))
        .routes(routes!(sync_mailbox::sync_mailbox))
}
