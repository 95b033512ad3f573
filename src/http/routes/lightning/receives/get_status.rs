//! `GET /lightning/receives/{identifier}`: how far a receive is.

use axum::extract::State;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path};
use crate::http::schema::error::{BadRequestError, NeedsWallet, NotFoundError};
use crate::http::schema::lightning_receive::LightningReceiveInfo;

/// Get a Lightning receive
///
/// The identifier is the payment hash, the invoice, or once the receive is settled its preimage.
#[utoipa::path(get, path = "/lightning/receives/{identifier}", operation_id = "get_receive_status", tag = "lightning",
    params(("identifier" = String, Path, description = "Payment hash, invoice or preimage")), responses(
    (status = 200, description = "The receive", body = LightningReceiveInfo),
    (status = 400, description = "The identifier cannot be read", body = BadRequestError),
    (status = 404, description = "There is no such receive, or it ended without payment", body = NotFoundError),
    NeedsWallet,
))]
pub(super) async fn get_receive_status(
    State(app): State<App>,
    Path(identifier): Path<String>,
) -> Result<Json<LightningReceiveInfo>, ApiError> {
    let receive = app.wallet()?.receive_info(&identifier).await?;
    Ok(Json(receive.into()))
}
