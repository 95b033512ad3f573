//! `POST /message/verify`: check who signed a message. Needs no wallet.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::error::ApiError;
use crate::http::extract::Json;
use crate::http::schema::error::{Always, BadRequestError, UnprocessableEntityError};
use crate::wallet;

/// Exactly one of `pubkey` and `address` is set.
#[derive(Deserialize, ToSchema)]
pub(super) struct VerifyMessageRequest {
    /// The message.
    message: String,
    /// The signature, 128 hex characters.
    signature: String,
    /// The public key of the signer, 66 hex characters.
    pubkey: Option<String>,
    /// The Ark address of the signer, of any wallet.
    address: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct MessageVerification {
    /// Whether the owner of the key or address has signed this message.
    valid: bool,
}

/// Verify a signed message
///
/// Works without a wallet, and for the signatures of any wallet.
#[utoipa::path(post, path = "/message/verify", operation_id = "verify_message", tag = "message", request_body = VerifyMessageRequest, responses(
    (status = 200, description = "Whether the signature is valid", body = MessageVerification),
    (status = 400, description = "The signature, key or address is invalid, or not exactly one of key and address is set", body = BadRequestError),
    (status = 422, description = "The body has the wrong shape", body = UnprocessableEntityError),
    Always,
))]
pub(super) async fn verify_message(
    Json(request): Json<VerifyMessageRequest>,
) -> Result<Json<MessageVerification>, ApiError> {
    let (pubkey, address) = (request.pubkey.as_deref(), request.address.as_deref());
    let valid = wallet::verify_message(&request.message, &request.signature, pubkey, address)?;
    Ok(Json(MessageVerification { valid }))
}
