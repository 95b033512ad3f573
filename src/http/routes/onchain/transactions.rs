//! `GET /onchain/transactions`: the on-chain transactions of the last sync.

use axum::extract::State;
use bitcoin::Amount;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::Json;
use crate::http::schema::error::NeedsWallet;
use crate::http::schema::transaction::TransactionInfo;
use crate::wallet;

/// A transaction that spends from or pays to the on-chain wallet.
#[derive(Serialize, ToSchema)]
pub(super) struct WalletTxInfo {
    #[serde(flatten)]
    transaction: TransactionInfo,
    /// Its miner fee, in satoshis; missing when not all of its inputs are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    onchain_fee_sat: Option<u64>,
    /// Its effect on the on-chain balance, in satoshis; negative when it spends.
    balance_change_sat: i64,
    /// Its block; null while unconfirmed.
    confirmation: Option<BlockRef>,
    /// Whether it is a child that pays for its parent (CPFP).
    is_cpfp: bool,
}

/// A block.
#[derive(Serialize, ToSchema)]
struct BlockRef {
    height: u32,
    hash: String,
}

impl From<wallet::OnchainTransaction> for WalletTxInfo {
    fn from(found: wallet::OnchainTransaction) -> Self {
        Self {
            transaction: (&*found.transaction).into(),
            onchain_fee_sat: found.fee.map(Amount::to_sat),
            balance_change_sat: found.balance_change.to_sat(),
            confirmation: found.confirmation.map(|block| BlockRef {
                height: block.height.into(),
                hash: block.hash.to_string(),
            }),
            is_cpfp: found.is_cpfp(),
        }
    }
}

/// List on-chain transactions
///
/// Oldest first, unconfirmed ones last.
#[utoipa::path(get, path = "/onchain/transactions", operation_id = "onchain_transactions", tag = "onchain", responses(
    (status = 200, description = "The transactions", body = [WalletTxInfo]),
    NeedsWallet,
))]
pub(super) async fn onchain_transactions(
    State(app): State<App>,
) -> Result<Json<Vec<WalletTxInfo>>, ApiError> {
    Ok(Json(
        app.wallet()?
            .onchain_transactions()
            .into_iter()
            .map(Into::into)
            .collect(),
    ))
}
