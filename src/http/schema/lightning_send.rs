//! Lightning payments.

use ark_lib::lightning::{Invoice, PaymentHash};
use axum::http::StatusCode;
use bitcoin::Amount;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::error::ApiError;
use crate::http::extract::Json;
use crate::wallet::{Payment, PaymentOutcome, PaymentState, PaymentTerms};

/// The terms of a request to pay over Lightning.
pub(in crate::http) fn payment_terms(
    retry_for_secs: Option<u64>,
    max_fee_sat: Option<u64>,
) -> PaymentTerms {
    PaymentTerms {
        // The server caps it.
        retry_for: retry_for_secs.map(|secs| u32::try_from(secs).unwrap_or(u32::MAX)),
        max_fee: max_fee_sat.map(Amount::from_sat),
    }
}

/// The answer to a request to pay over Lightning.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct LightningPayResponse {
    /// What happened, for a human reader.
    message: &'static str,
    /// The payment hash of the invoice, hex.
    payment_hash: String,
    /// The id of its movement in the history.
    movement_id: u32,
    /// How far it is, as in `GET /lightning/sends/{identifier}`.
    state: &'static str,
    /// The preimage, hex, which proves the payment; missing until it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    preimage: Option<String>,
}

/// What a request is told whose payment goes on by itself.
pub(in crate::http) const CONTINUES: &str = "Payment accepted; it continues in the background: do not repeat it, unless with the \
    Idempotency-Key that it had. Its movement in GET /api/v1/history shows how it ends";

/// 200 when the server pays or has paid, 202 when the payment continues in the background; and what happened.
pub(in crate::http) fn payment_status(outcome: &PaymentOutcome) -> (StatusCode, &'static str) {
    if outcome.state == PaymentState::Paid {
        (StatusCode::OK, "Payment sent successfully")
    } else if outcome.begun {
        (StatusCode::OK, "Payment under way")
    } else {
        (StatusCode::ACCEPTED, CONTINUES)
    }
}

/// The answer to a request to pay.
pub(in crate::http) fn payment_answer(
    outcome: &PaymentOutcome,
) -> (StatusCode, Json<LightningPayResponse>) {
    let (status, message) = payment_status(outcome);
    let response = LightningPayResponse {
        message,
        payment_hash: outcome.payment_hash.to_string(),
        movement_id: outcome.movement.0,
        state: outcome.state.name(),
        preimage: outcome.preimage.map(|preimage| preimage.to_string()),
    };
    (status, Json(response))
}

/// How a Lightning payment stands.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct LightningSendInfo {
    /// The payment hash, hex.
    payment_hash: String,
    /// `unknown`, `inputs-locked`, `htlc-received`, `payment-initiated`, `revocable-htlcs`, `revocation-stuck` or `paid`.
    state: &'static str,
    /// The invoice, if this wallet ever began to pay it.
    invoice: Option<String>,
    /// The preimage, hex, which proves the payment.
    preimage: Option<String>,
    /// The id of the last payment's movement in the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    movement_id: Option<u32>,
    /// `pending`, `paid` or `failed`; missing if this wallet never began to pay it.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    /// Why the last payment failed, or why its present step is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl LightningSendInfo {
    pub(in crate::http) fn new(hash: PaymentHash, payment: Option<Payment>) -> LightningSendInfo {
        let Some(payment) = payment else {
            return LightningSendInfo {
                payment_hash: hash.to_string(),
                state: PaymentState::Failed.name(),
                invoice: None,
                preimage: None,
                movement_id: None,
                outcome: None,
                error: None,
            };
        };
        LightningSendInfo {
            payment_hash: hash.to_string(),
            state: payment.state.name(),
            invoice: Some(payment.invoice.to_string()),
            preimage: payment.preimage.map(|preimage| preimage.to_string()),
            movement_id: payment.movement.map(|movement| movement.0),
            outcome: Some(match payment.state {
                PaymentState::Paid => "paid",
                PaymentState::Failed => "failed",
                _ => "pending",
            }),
            error: payment.error,
        }
    }
}

/// Reads a payment hash or an invoice.
pub(in crate::http) fn parse_payment_id(identifier: &str) -> Result<PaymentHash, ApiError> {
    identifier
        .parse::<PaymentHash>()
        .or_else(|_| {
            identifier
                .parse::<Invoice>()
                .map(|invoice| invoice.payment_hash())
        })
        .map_err(|_| {
            ApiError::bad_request(
                "invalid_payment_id",
                "Name a payment by its payment hash, 64 hex characters, or by its invoice.",
            )
        })
}
