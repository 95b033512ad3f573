//! `GET /wallet/balance`: the off-chain balance.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::Json;
use crate::http::schema::aliases::BalanceAliases;
use crate::http::schema::error::NeedsWallet;
use crate::wallet;

/// The off-chain balance, in satoshis. The parts are disjoint; their sum is everything the wallet owns off chain.
#[derive(Serialize, ToSchema)]
pub(super) struct Balance {
    /// Can be spent now.
    spendable_sat: u64,
    /// VTXOs that have expired or exceed the maximum exit depth; a refresh makes them spendable.
    needs_refresh_sat: u64,
    /// Locked by outgoing Lightning payments in progress.
    pending_lightning_send_sat: u64,
    /// Incoming Lightning payments that are being claimed.
    claimable_lightning_receive_sat: u64,
    /// Locked by rounds in progress.
    pending_in_round_sat: u64,
    /// Boards that wait for confirmations.
    pending_board_sat: u64,
    /// Locked by Ark payments in progress.
    pending_arkoor_send_sat: u64,
    /// Locked by offboards in progress.
    pending_offboard_sat: u64,
    /// VTXOs of unilateral exits in progress.
    pending_exit_sat: u64,
    #[serde(flatten)]
    aliases: BalanceAliases,
}

impl From<wallet::Balance> for Balance {
    fn from(balance: wallet::Balance) -> Self {
        Self {
            spendable_sat: balance.spendable.to_sat(),
            needs_refresh_sat: balance.needs_refresh.to_sat(),
            pending_lightning_send_sat: balance.pending_lightning_send.to_sat(),
            claimable_lightning_receive_sat: balance.claimable_lightning_receive.to_sat(),
            pending_in_round_sat: balance.pending_in_round.to_sat(),
            pending_board_sat: balance.pending_board.to_sat(),
            pending_arkoor_send_sat: balance.pending_arkoor_send.to_sat(),
            pending_offboard_sat: balance.pending_offboard.to_sat(),
            pending_exit_sat: balance.pending_exit.to_sat(),
            aliases: (&balance).into(),
        }
    }
}

/// Get wallet balance
#[utoipa::path(get, path = "/wallet/balance", operation_id = "balance", tag = "wallet", responses(
    (status = 200, description = "The balance", body = Balance),
    NeedsWallet,
))]
pub(super) async fn balance(State(app): State<App>) -> Result<Json<Balance>, ApiError> {
    Ok(Json(app.wallet()?.balance().into()))
}
