//! `POST /wallet/bip321`: a `bitcoin:` URI that offers every way to pay the wallet.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{AmountSat, Json, Query, detached};
use crate::http::schema::error::{
    BadRequestError, ConflictError, NeedsWallet, ServiceUnavailableError,
};
use crate::wallet::{PaymentUri, PaymentUriRequest};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Bip321UriQuery {
    /// Writes the URI in upper case, for a smaller QR code. Refused if the label or message has lower-case letters.
    uppercase: Option<bool>,
}

#[derive(Deserialize, ToSchema)]
pub(super) struct Bip321UriRequest {
    /// The amount, in satoshis. With it the URI offers a BOLT11 invoice; the Ark server's fee is deducted from what that brings.
    amount_sat: Option<AmountSat>,
    /// Who asks for the payment, at most 1000 characters.
    label: Option<String>,
    /// What the payment is for, at most 1000 characters.
    message: Option<String>,
    /// Whether the URI offers an on-chain address too.
    onchain: Option<bool>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Bip321UriResponse {
    /// The new Ark address in the URI.
    #[serde(skip_serializing_if = "Option::is_none")]
    ark: Option<String>,
    /// The BOLT11 invoice in the URI.
    #[serde(skip_serializing_if = "Option::is_none")]
    bolt11: Option<String>,
    /// The new on-chain address in the URI.
    #[serde(skip_serializing_if = "Option::is_none")]
    onchain: Option<String>,
    /// The URI.
    bip321: String,
}

/// Build a BIP 321 payment URI
///
/// One `bitcoin:` URI that offers a new Ark address, with an amount a new invoice, and if asked for a new on-chain address. A wallet that
/// scans it takes the way that it supports. The destinations are also answered by themselves, in lower case.
#[utoipa::path(post, path = "/wallet/bip321", operation_id = "bip321_uri", tag = "wallet", params(Bip321UriQuery),
    request_body = Bip321UriRequest, responses(
    (status = 200, description = "The URI and its destinations", body = Bip321UriResponse),
    (status = 400, description = "The amount is out of bounds, or the label or message does not fit", body = BadRequestError),
    (status = 409, description = "The Ark server refused the invoice, or its fee is above the ceiling", body = ConflictError),
    (status = 503, description = "The Ark server is unreachable", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn bip321_uri(
    State(app): State<App>,
    Query(query): Query<Bip321UriQuery>,
    Json(request): Json<Bip321UriRequest>,
) -> Result<Json<Bip321UriResponse>, ApiError> {
    let wallet = app.wallet()?;
    let request = PaymentUriRequest {
        amount: request.amount_sat.map(AmountSat::check).transpose()?,
        onchain: request.onchain.unwrap_or(false),
        label: request.label,
        message: request.message,
        uppercase: query.uppercase.unwrap_or(false),
    };
    let made = detached(async move { wallet.payment_uri(request).await }).await?;
    Ok(Json(made.into()))
}

impl From<PaymentUri> for Bip321UriResponse {
    fn from(made: PaymentUri) -> Self {
        Self {
            ark: Some(made.ark),
            bolt11: made.bolt11,
            onchain: made.onchain,
            bip321: made.uri,
        }
    }
}
