//! `POST /wallet/offboard/all`: move every VTXO on chain.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Object, detached};
use crate::http::schema::error::{
    BadRequestError, ConflictError, NeedsWallet, ServiceUnavailableError,
};
use crate::http::schema::idempotency_key::IdempotencyKey;
use crate::http::schema::offboard::{OffboardResult, offboard_answer};

#[derive(Default, Deserialize, ToSchema)]
struct OffboardAllRequest {
    /// A bitcoin address; without it, a new address of the on-chain wallet.
    address: Option<String>,
}

/// Offboard all VTXOs
///
/// Moves all spendable VTXOs on chain; the fee is deducted from them. The body is optional. Answers 202 and 504 as for specific VTXOs.
#[utoipa::path(post, path = "/wallet/offboard/all", operation_id = "offboard_all", tag = "wallet", request_body = Option<OffboardAllRequest>, params(IdempotencyKey), responses(
    (status = 200, description = "The transaction was broadcast", body = OffboardResult),
    (status = 202, description = "The transaction is signed; it is broadcast in the background", body = OffboardResult),
    (status = 400, description = "The address is invalid, or there is nothing or too little to offboard", body = BadRequestError),
    (status = 409, description = "A VTXO cannot be offboarded now, or the Ark server refused the request", body = ConflictError),
    (status = 503, description = "The Ark server or the chain is unreachable; nothing was paid", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn offboard_all(
    State(app): State<App>,
    body: Bytes,
) -> Result<(StatusCode, Json<OffboardResult>), ApiError> {
    let wallet = app.wallet()?;
    let request: OffboardAllRequest = if body.is_empty() {
        OffboardAllRequest::default()
    } else {
        let Object(request) = serde_json::from_slice(&body)
            .map_err(|error| ApiError::bad_request("malformed_body", error.to_string()))?;
        request
    };
    let outcome =
        detached(async move { wallet.offboard_all(request.address.as_deref()).await }).await?;
    Ok(offboard_answer(outcome))
}
