//! `GET /onchain/balance`: the on-chain balance of the last sync.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::Json;
use crate::http::schema::error::NeedsWallet;
use crate::wallet;

/// The on-chain balance by certainty, in satoshis.
#[derive(Serialize, ToSchema)]
pub(super) struct OnchainBalance {
    /// The sum of all parts.
    total_sat: u64,
    /// What can be spent now: `confirmed_sat` and `trusted_pending_sat`.
    trusted_spendable_sat: u64,
    /// Coinbase outputs that are not mature yet.
    immature_sat: u64,
    /// Unconfirmed change from transactions of this wallet.
    trusted_pending_sat: u64,
    /// Unconfirmed and sent by others.
    untrusted_pending_sat: u64,
    /// Confirmed in a block.
    confirmed_sat: u64,
}

impl From<wallet::OnchainBalance> for OnchainBalance {
    fn from(balance: wallet::OnchainBalance) -> Self {
        Self {
            total_sat: balance.total().to_sat(),
            trusted_spendable_sat: balance.trusted_spendable().to_sat(),
            immature_sat: balance.immature.to_sat(),
            trusted_pending_sat: balance.trusted_pending.to_sat(),
            untrusted_pending_sat: balance.untrusted_pending.to_sat(),
            confirmed_sat: balance.confirmed.to_sat(),
        }
    }
}

/// Get on-chain balance
#[utoipa::path(get, path = "/onchain/balance", operation_id = "onchain_balance", tag = "onchain", responses(
    (status = 200, description = "The on-chain balance", body = OnchainBalance),
    NeedsWallet,
))]
pub(super) async fn onchain_balance(
    State(app): State<App>,
) -> Result<Json<OnchainBalance>, ApiError> {
    Ok(Json(app.wallet()?.onchain_balance().into()))
}
