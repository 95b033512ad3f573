//! Paying somebody.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{AmountSat, Json, detached};
use crate::http::schema::error::{
    BadRequestError, ConflictError, NeedsWallet, ServiceUnavailableError,
};
use crate::wallet;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(send))
}

#[derive(Deserialize, ToSchema)]
struct SendRequest {
    /// Whom to pay: an Ark address.
    destination: String,
    /// How much, in satoshis; needed where the destination does not say it.
    amount_sat: Option<AmountSat>,
    /// A word to the payee, where the destination takes one.
    comment: Option<String>,
    /// Seconds for which the server keeps trying a Lightning payment.
    retry_for_secs: Option<u64>,
}

#[derive(Serialize, ToSchema)]
struct SendResponse {
    /// What happened, for people.
    message: String,
    /// The payment's entry in the history.
    movement_id: u32,
}

/// Send a payment
///
/// Waits until the payment is done. If that takes too long the answer is 202: the payment is stored and goes on by itself, and must not be repeated;
/// its movement shows how it ends.
#[utoipa::path(post, path = "/wallet/send", operation_id = "send", tag = "wallet", request_body = SendRequest, responses(
    (status = 200, description = "The payment was sent", body = SendResponse),
    (status = 202, description = "The payment goes on by itself", body = SendResponse),
    (status = 400, description = "The destination or the amount is not right, or there is too little", body = BadRequestError),
    (status = 409, description = "The Ark server refused", body = ConflictError),
    (status = 503, description = "The Ark server is out of reach; nothing was paid", body = ServiceUnavailableError),
    NeedsWallet,
))]
async fn send(
    State(app): State<App>,
    Json(request): Json<SendRequest>,
) -> Result<(StatusCode, Json<SendResponse>), ApiError> {
    let wallet = app.wallet()?;
    let request = wallet::SendRequest {
        amount: request.amount_sat.map(AmountSat::check).transpose()?,
        destination: request.destination,
        comment: request.comment,
        retry_for_secs: request.retry_for_secs,
    };
    let outcome = detached(async move { wallet.send(request).await }).await?;
    let (status, message) = if outcome.finished {
        (StatusCode::OK, "Payment sent successfully")
    } else {
        (
            StatusCode::ACCEPTED,
            "Payment accepted; it goes on by itself and must not be repeated",
        )
    };
    Ok((
        status,
        Json(SendResponse {
            message: message.to_owned(),
            movement_id: outcome.movement.0,
        }),
    ))
}
