//! `POST /message/sign`: sign a message with the key of an address.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::Json;
use crate::http::schema::error::{BadRequestError, NeedsWallet};

#[derive(Deserialize, ToSchema)]
pub(super) struct SignMessageRequest {
    /// The message; its UTF-8 bytes are signed.
    message: String,
    /// An Ark address of this wallet, whose key signs.
    address: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct SignedMessage {
    /// The BIP-340 signature over the SHA-256 hash of `bark/message` and the message, 128 hex characters.
    signature: String,
}

/// Sign a message
///
/// Proves to others that the owner of the address wrote the message. Each call gives another signature.
#[utoipa::path(post, path = "/message/sign", operation_id = "sign_message", tag = "message", request_body = SignMessageRequest, responses(
    (status = 200, description = "The signature", body = SignedMessage),
    (status = 400, description = "The address is invalid, or not one of this wallet", body = BadRequestError),
    NeedsWallet,
))]
pub(super) async fn sign_message(
    State(app): State<App>,
    Json(request): Json<SignMessageRequest>,
) -> Result<Json<SignedMessage>, ApiError> {
    let wallet = app.wallet()?;
    let signature = wallet
        .sign_message(&request.message, &request.address)
        .await?;
    Ok(Json(SignedMessage {
        signature: signature.to_string(),
    }))
}
