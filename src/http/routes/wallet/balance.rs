//! The balance off chain.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::Json;
use crate::http::schema::aliases::BalanceAliases;
use crate::http::schema::error::NeedsWallet;
use crate::wallet;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(balance))
}

/// The balance off chain, in satoshis. The parts are disjoint; together they are all that the wallet owns off chain.
#[derive(Serialize, ToSchema)]
struct Balance {
    /// Can be spent now.
    spendable_sat: u64,
    /// Expired, or too deep to be spent; a refresh makes it spendable.
    needs_refresh_sat: u64,
    /// Held by Lightning payments under way.
    pending_lightning_send_sat: u64,
    /// Lightning receipts that are being claimed.
    claimable_lightning_receive_sat: u64,
    /// Held by rounds under way.
    pending_in_round_sat: u64,
    /// Boards that wait for confirmations.
    pending_board_sat: u64,
    /// Held by Ark payments under way.
    pending_arkoor_send_sat: u64,
    /// Held by offboards under way.
    pending_offboard_sat: u64,
    /// On its way on chain.
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
async fn balance(State(app): State<App>) -> Result<Json<Balance>, ApiError> {
    Ok(Json(app.wallet()?.balance().into()))
}
