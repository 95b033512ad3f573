//! `DELETE /lightning/receives/{identifier}`: withdraw an invoice.

use axum::extract::State;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Path, detached};
use crate::http::schema::error::{BadRequestError, ConflictError, NeedsWallet, NotFoundError};

/// Cancel a Lightning receive
///
/// Only while no payment has arrived. To cancel it again changes nothing.
#[utoipa::path(delete, path = "/lightning/receives/{identifier}", operation_id = "cancel_receive", tag = "lightning",
    params(("identifier" = String, Path, description = "Payment hash or invoice")), responses(
    (status = 200, description = "The invoice is canceled"),
    (status = 400, description = "The identifier cannot be read", body = BadRequestError),
    (status = 404, description = "There is no such receive", body = NotFoundError),
    (status = 409, description = "A payment has arrived, or the receive has ended", body = ConflictError),
    NeedsWallet,
))]
pub(super) async fn cancel_receive(
    State(app): State<App>,
    Path(identifier): Path<String>,
) -> Result<(), ApiError> {
    let wallet = app.wallet()?;
    detached(async move { wallet.cancel_invoice(&identifier).await }).await
}
