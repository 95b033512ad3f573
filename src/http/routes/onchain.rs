//! `onchain`: the wallet's coins on the chain. Reads show the last synced state and never wait for a sync.

use axum::extract::State;
use bitcoin::{Amount, Txid};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{AmountSat, Json, detached, payable};
use crate::http::schema::error::{BadRequestError, NeedsWallet, ServiceUnavailableError};
use crate::http::schema::transaction::TransactionInfo;
use crate::wallet;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(onchain_balance))
        .routes(routes!(onchain_address))
        .routes(routes!(onchain_utxos))
        .routes(routes!(onchain_transactions))
        .routes(routes!(onchain_send))
        .routes(routes!(onchain_send_many))
        .routes(routes!(onchain_drain))
        .routes(routes!(onchain_sync))
}

/// The on-chain balance by certainty, in satoshis.
#[derive(Serialize, ToSchema)]
struct OnchainBalance {
    /// All of it.
    total_sat: u64,
    /// What can be spent now: `confirmed_sat` and `trusted_pending_sat`.
    trusted_spendable_sat: u64,
    /// Mined, but too young to spend.
    immature_sat: u64,
    /// Unconfirmed change of our own.
    trusted_pending_sat: u64,
    /// Unconfirmed and sent by others.
    untrusted_pending_sat: u64,
    /// In a block.
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
async fn onchain_balance(State(app): State<App>) -> Result<Json<OnchainBalance>, ApiError> {
    Ok(Json(app.wallet()?.onchain_balance().into()))
}

#[derive(Serialize, ToSchema)]
struct Address {
    /// A bitcoin address that was not given out before.
    address: String,
}

/// Generate on-chain address
#[utoipa::path(post, path = "/onchain/addresses/next", operation_id = "onchain_address", tag = "onchain", responses(
    (status = 200, description = "A fresh address", body = Address),
    NeedsWallet,
))]
async fn onchain_address(State(app): State<App>) -> Result<Json<Address>, ApiError> {
    let address = app.wallet()?.next_onchain_address().await?;
    Ok(Json(Address {
        address: address.to_string(),
    }))
}

/// A coin.
#[derive(Serialize, ToSchema)]
struct UtxoInfo {
    /// Where it is, `txid:vout`.
    outpoint: String,
    /// What it is worth, in satoshis.
    amount_sat: u64,
    /// The height of its block; null while unconfirmed.
    confirmation_height: Option<u32>,
}

/// List on-chain UTXOs
#[utoipa::path(get, path = "/onchain/utxos", operation_id = "onchain_utxos", tag = "onchain", responses(
    (status = 200, description = "The coins", body = [UtxoInfo]),
    NeedsWallet,
))]
async fn onchain_utxos(State(app): State<App>) -> Result<Json<Vec<UtxoInfo>>, ApiError> {
    let utxos = app.wallet()?.onchain_utxos();
    let shown = utxos.into_iter().map(|utxo| UtxoInfo {
        outpoint: utxo.outpoint.to_string(),
        amount_sat: utxo.amount.to_sat(),
        confirmation_height: utxo.confirmation_height.map(Into::into),
    });
    Ok(Json(shown.collect()))
}

/// A transaction that moved our coins.
#[derive(Serialize, ToSchema)]
struct WalletTxInfo {
    #[serde(flatten)]
    transaction: TransactionInfo,
    /// What it paid to the miner, in satoshis; missing when not all it spends is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    onchain_fee_sat: Option<u64>,
    /// What it brought us, negative when it cost us, in satoshis.
    balance_change_sat: i64,
    /// Its block; null while unconfirmed.
    confirmation: Option<BlockRef>,
    /// Whether it only pays the fee of its parent.
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
async fn onchain_transactions(State(app): State<App>) -> Result<Json<Vec<WalletTxInfo>>, ApiError> {
    Ok(Json(
        app.wallet()?
            .onchain_transactions()
            .into_iter()
            .map(Into::into)
            .collect(),
    ))
}

#[derive(Deserialize, ToSchema)]
struct OnchainSendRequest {
    /// A bitcoin address.
    destination: String,
    /// How much it gets, in satoshis; the fee comes on top.
    amount_sat: AmountSat,
}

#[derive(Serialize, ToSchema)]
struct Send {
    /// The transaction that pays.
    txid: String,
}

impl From<Txid> for Send {
    fn from(txid: Txid) -> Self {
        Self {
            txid: txid.to_string(),
        }
    }
}

/// Send on-chain payment
///
/// Pays from the on-chain wallet. The transaction is stored before it is broadcast and handed out again until it confirms.
#[utoipa::path(post, path = "/onchain/send", operation_id = "onchain_send", tag = "onchain", request_body = OnchainSendRequest, responses(
    (status = 200, description = "The payment is on its way", body = Send),
    (status = 400, description = "The address or the amount is not right, or there is too little", body = BadRequestError),
    (status = 503, description = "The chain is out of reach", body = ServiceUnavailableError),
    NeedsWallet,
))]
async fn onchain_send(
    State(app): State<App>,
    Json(request): Json<OnchainSendRequest>,
) -> Result<Json<Send>, ApiError> {
    let wallet = app.wallet()?;
    let amount = request.amount_sat.check()?;
    let txid =
        detached(async move { wallet.onchain_send(&request.destination, amount).await }).await?;
    Ok(Json(txid.into()))
}

#[derive(Deserialize, ToSchema)]
struct OnchainSendManyRequest {
    /// Whom to pay how much: `address:amount`, the amount with its unit, e.g. `bc1q…:25000 sat` or `bc1q…:0.001 BTC`.
    destinations: Vec<String>,
    /// Accepted for the sake of older clients; payments are always broadcast at once.
    #[expect(dead_code, reason = "only its type is checked")]
    immediate: Option<bool>,
}

/// Send to many on-chain addresses
///
/// One transaction that pays all of them, its outputs in the given order. The fee comes on top.
#[utoipa::path(post, path = "/onchain/send-many", operation_id = "onchain_send_many", tag = "onchain", request_body = OnchainSendManyRequest, responses(
    (status = 200, description = "The payment is on its way", body = Send),
    (status = 400, description = "A destination is not right, there are none or too many, or there is too little", body = BadRequestError),
    NeedsWallet,
))]
async fn onchain_send_many(
    State(app): State<App>,
    Json(request): Json<OnchainSendManyRequest>,
) -> Result<Json<Send>, ApiError> {
    let wallet = app.wallet()?;
    let payees = request.destinations.iter().map(|text| payee(text));
    let payees = payees.collect::<Result<Vec<_>, ApiError>>()?;
    let txid = detached(async move { wallet.onchain_send_many(&payees).await }).await?;
    Ok(Json(txid.into()))
}

/// Reads `address:amount`, where the amount carries its unit: bare digits could be meant in satoshis or in bitcoin.
fn payee(text: &str) -> Result<(String, Amount), ApiError> {
    let (address, amount) = text.split_once(':').ok_or_else(|| {
        let message = format!("A destination has the form address:amount, which {text:?} has not");
        ApiError::bad_request("invalid_destination", message)
    })?;
    let amount = amount.trim().parse::<Amount>().map_err(|error| {
        let message = format!("{amount:?} is no amount with its unit, like \"25000 sat\": {error}");
        ApiError::bad_request("invalid_amount", message)
    })?;
    Ok((address.trim().to_owned(), payable(amount)?))
}

#[derive(Deserialize, ToSchema)]
struct OnchainDrainRequest {
    /// A bitcoin address.
    destination: String,
}

/// Drain on-chain wallet
///
/// Sends all coins that are worth their fee to one address; the fee comes out of them.
#[utoipa::path(post, path = "/onchain/drain", operation_id = "onchain_drain", tag = "onchain", request_body = OnchainDrainRequest, responses(
    (status = 200, description = "The payment is on its way", body = Send),
    (status = 400, description = "The address is not right, or there is nothing to send", body = BadRequestError),
    NeedsWallet,
))]
async fn onchain_drain(
    State(app): State<App>,
    Json(request): Json<OnchainDrainRequest>,
) -> Result<Json<Send>, ApiError> {
    let wallet = app.wallet()?;
    let txid = detached(async move { wallet.onchain_drain(&request.destination).await }).await?;
    Ok(Json(txid.into()))
}

/// Sync on-chain wallet
#[utoipa::path(post, path = "/onchain/sync", operation_id = "onchain_sync", tag = "onchain", responses(
    (status = 200, description = "The on-chain wallet is up to date"),
    (status = 503, description = "The chain is out of reach", body = ServiceUnavailableError),
    NeedsWallet,
))]
async fn onchain_sync(State(app): State<App>) -> Result<(), ApiError> {
    let wallet = app.wallet()?;
    detached(async move { wallet.sync_onchain().await }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payees_carry_an_amount_with_its_unit() {
        let sats = |text| payee(text).map(|(address, amount)| (address, amount.to_sat()));
        for text in [
            "a:25000 sat",
            "a:25000sat",
            "a: 0.00025 BTC ",
            "a:0.25 mBTC",
        ] {
            assert_eq!(sats(text).unwrap(), ("a".to_owned(), 25_000), "{text}");
        }
        for (text, code) in [
            ("", "invalid_destination"),
            ("a", "invalid_destination"),
            ("a:", "invalid_amount"),
            ("a:25000", "invalid_amount"),
            ("a:25000 pounds", "invalid_amount"),
            ("a:-1 sat", "invalid_amount"),
            ("a:0.5 sat", "invalid_amount"),
            ("a:0 sat", "invalid_amount"),
            ("a:21000001 BTC", "invalid_amount"),
            ("a:1e400 BTC", "invalid_amount"),
        ] {
            assert_eq!(sats(text).unwrap_err().code(), code, "{text}");
        }
    }
}
