//! `POST /lightning/receives/invoice`: an invoice that pays the wallet.

use std::time::Duration;

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{AmountSat, Json, detached};
use crate::http::schema::error::{
    BadRequestError, ConflictError, NeedsWallet, ServiceUnavailableError,
};
use crate::http::schema::idempotency_key::IdempotencyKey;
use crate::http::schema::lightning_receive::{InvoiceInfo, no_description_hash};
use crate::wallet;

#[derive(Deserialize, ToSchema)]
pub(super) struct LightningInvoiceRequest {
    /// What the payer pays, in satoshis; the Ark server's fee is deducted from it.
    amount_sat: AmountSat,
    /// The description in the invoice, at most 639 bytes.
    description: Option<String>,
    /// A token of the Ark server, which it accepts as proof when the payment is claimed.
    token: Option<String>,
    /// How many seconds the wallet accepts a payment. The Ark server's invoices have an expiry of their own; the sooner one counts.
    expiry_secs: Option<u32>,
    /// Your own name for the invoice, at most 256 characters, which the receive shows again.
    external_id: Option<String>,
    /// Not supported: the Ark server only takes a description.
    description_hash: Option<String>,
}

/// Create a Lightning invoice
///
/// The payment is claimed as soon as it arrives, also after a restart.
#[utoipa::path(post, path = "/lightning/receives/invoice", operation_id = "generate_invoice", tag = "lightning",
    request_body = LightningInvoiceRequest, params(IdempotencyKey), responses(
    (status = 200, description = "The invoice", body = InvoiceInfo),
    (status = 400, description = "The amount is out of bounds, or the description is too long", body = BadRequestError),
    (status = 409, description = "The Ark server refused the request, or its fee is above the ceiling", body = ConflictError),
    (status = 503, description = "The Ark server is unreachable", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn generate_invoice(
    State(app): State<App>,
    Json(request): Json<LightningInvoiceRequest>,
) -> Result<Json<InvoiceInfo>, ApiError> {
    no_description_hash(request.description_hash.as_deref())?;
    let wallet = app.wallet()?;
    let request = wallet::InvoiceRequest {
        amount: request.amount_sat.check()?,
        description: request.description,
        token: request.token,
        expiry: request.expiry_secs.map(u64::from).map(Duration::from_secs),
        external_id: request.external_id,
        destination: None,
    };
    let invoice = detached(async move { wallet.create_invoice(request).await }).await?;
    Ok(Json(InvoiceInfo { invoice }))
}
