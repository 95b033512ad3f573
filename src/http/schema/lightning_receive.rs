//! Lightning receives.

use ark_lib::VtxoId;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::vtxo::WalletVtxoInfo;
use crate::http::error::ApiError;
use crate::wallet::ReceiveInfo;

/// An invoice.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct InvoiceInfo {
    /// The BOLT11 invoice.
    pub(in crate::http) invoice: String,
}

/// How far a Lightning receive is.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct LightningReceiveInfo {
    /// The payment hash.
    payment_hash: String,
    /// How far it is.
    #[schema(value_type = LightningReceiveState)]
    state: &'static str,
    /// The BOLT11 invoice.
    invoice: String,
    /// The preimage, once the receive is settled; before that it is secret.
    #[schema(required)]
    payment_preimage: Option<String>,
    /// What the payer pays, in satoshis.
    amount_sat: u64,
    /// The HTLC VTXOs that are being claimed.
    #[schema(value_type = Vec<String>)]
    htlc_vtxo_ids: Vec<VtxoId>,
    /// When it was settled.
    settled_at: Option<DateTime<Utc>>,
    /// Deprecated; always null.
    preimage_revealed_at: Option<DateTime<Utc>>,
    /// Deprecated; `settled_at`.
    finished_at: Option<DateTime<Utc>>,
    /// Deprecated; always empty.
    #[schema(value_type = Vec<WalletVtxoInfo>)]
    htlc_vtxos: Vec<()>,
    /// From when on no payment is accepted.
    expires_at: Option<DateTime<Utc>>,
    /// The name that you gave it.
    external_id: Option<String>,
}

/// How far a Lightning receive is.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
#[allow(dead_code)]
enum LightningReceiveState {
    AwaitingPayment,
    HtlcsReady,
    PreimageRevealed,
    Delivering,
    Settled,
}

impl From<ReceiveInfo> for LightningReceiveInfo {
    fn from(receive: ReceiveInfo) -> Self {
        Self {
            payment_hash: receive.hash.to_string(),
            state: receive.phase.name(),
            invoice: receive.bolt11,
            payment_preimage: receive.preimage.map(|preimage| preimage.to_string()),
            amount_sat: receive.amount.to_sat(),
            htlc_vtxo_ids: receive.htlcs,
            settled_at: receive.settled_at,
            preimage_revealed_at: None,
            finished_at: receive.settled_at,
            htlc_vtxos: Vec::new(),
            expires_at: receive.expires_at,
            external_id: receive.external_id,
        }
    }
}

/// Refuses a hash in the place of a description.
///
/// # Errors
/// `description_hash_not_supported`.
pub(in crate::http) fn no_description_hash(hash: Option<&str>) -> Result<(), ApiError> {
    match hash {
        None => Ok(()),
        Some(_) => Err(ApiError::bad_request(
            "description_hash_not_supported",
            "The Ark server issues the invoice, and takes only a description of up to 639 bytes. Leave description_hash out, and put a short description or a link into description.",
        )),
    }
}
