//! `GET /lightning/sends/{identifier}`: how a Lightning payment stands.

use axum::extract::State;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path};
use crate::http::schema::error::{BadRequestError, NeedsWallet};
use crate::http::schema::lightning_send::{LightningSendInfo, parse_payment_id};

/// Get the status of a Lightning payment
///
/// The state is `unknown` for an invoice that this wallet never paid, and for one whose payment failed: it can be paid.
#[utoipa::path(get, path = "/lightning/sends/{identifier}", operation_id = "get_send_status", tag = "lightning",
    params(("identifier" = String, Path, description = "The payment hash or the invoice")), responses(
    (status = 200, description = "How the payment stands", body = LightningSendInfo),
    (status = 400, description = "The identifier is neither a payment hash nor an invoice", body = BadRequestError),
    NeedsWallet,
))]
pub(super) async fn get_send_status(
    State(app): State<App>,
    Path(identifier): Path<String>,
) -> Result<Json<LightningSendInfo>, ApiError> {
    let wallet = app.wallet()?;
    let hash = parse_payment_id(&identifier)?;
    let payment = wallet.payment(hash).await?;
    Ok(Json(LightningSendInfo::new(hash, payment)))
}
