//! `POST /wallet/sync`: sync the off-chain wallet now.

use axum::extract::State;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::detached;
use crate::http::schema::error::NeedsWallet;

/// Sync wallet
///
/// Fetches incoming payments and advances operations in progress. Parts that fail are logged and retried in the background.
#[utoipa::path(post, path = "/wallet/sync", operation_id = "sync", tag = "wallet", responses(
    (status = 200, description = "Every part was attempted"),
    NeedsWallet,
))]
pub(super) async fn sync(State(app): State<App>) -> Result<(), ApiError> {
    let wallet = app.wallet()?;
    detached(async move {
        wallet.sync().await;
        Ok(())
    })
    .await
}
