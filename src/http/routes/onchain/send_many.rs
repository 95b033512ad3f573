//! `POST /onchain/send-many`: pay several addresses with one transaction.

use axum::extract::State;
use bitcoin::Amount;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, detached, payable};
use crate::http::schema::error::{BadRequestError, ConflictError, NeedsWallet};
use crate::http::schema::idempotency_key::IdempotencyKey;
use crate::http::schema::transaction::OnchainPayment;

#[derive(Deserialize, ToSchema)]
pub(super) struct OnchainSendManyRequest {
    /// The payees as `address:amount`, the amount with its unit, e.g. `bc1q…:25000 sat` or `bc1q…:0.001 BTC`.
    destinations: Vec<String>,
    /// Accepted for compatibility with older clients and ignored; the transaction is always broadcast at once.
    #[expect(dead_code, reason = "only its type is checked")]
    immediate: Option<bool>,
}

/// Send to many on-chain addresses
///
/// Pays all destinations with one transaction, whose outputs have the given order. The fee comes on top.
#[utoipa::path(post, path = "/onchain/send-many", operation_id = "onchain_send_many", tag = "onchain", request_body = OnchainSendManyRequest, params(IdempotencyKey), responses(
    (status = 200, description = "The transaction was broadcast", body = OnchainPayment),
    (status = 400, description = "A destination is invalid, there are none or too many, or the balance is too low", body = BadRequestError),
    (status = 409, description = "The same request is being carried out", body = ConflictError),
    NeedsWallet,
))]
pub(super) async fn onchain_send_many(
    State(app): State<App>,
    Json(request): Json<OnchainSendManyRequest>,
) -> Result<Json<OnchainPayment>, ApiError> {
    let wallet = app.wallet()?;
    let payees = request.destinations.iter().map(|text| payee(text));
    let payees = payees.collect::<Result<Vec<_>, ApiError>>()?;
    let txid = detached(async move { wallet.onchain_send_many(&payees).await }).await?;
    Ok(Json(txid.into()))
}

/// Reads `address:amount`, where the amount carries its unit: bare digits could be meant in satoshis or in bitcoin.
fn payee(text: &str) -> Result<(String, Amount), ApiError> {
    let (address, amount) = text.split_once(':').ok_or_else(|| {
        let message = format!("{text:?} does not have the form address:amount with a unit, such as \"{text}:25000 sat\"");
        ApiError::bad_request("invalid_destination", message)
    })?;
    let amount = amount.trim().parse::<Amount>().map_err(|error| {
        let message =
            format!("{amount:?} is not an amount with a unit, such as \"25000 sat\": {error}");
        ApiError::bad_request("invalid_amount", message)
    })?;
    Ok((address.trim().to_owned(), payable(amount)?))
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
