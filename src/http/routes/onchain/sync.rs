//! `POST /onchain/sync`: bring the on-chain wallet up to date.

use axum::extract::State;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::detached;
use crate::http::schema::error::{NeedsWallet, ServiceUnavailableError};

/// Sync on-chain wallet
#[utoipa::path(post, path = "/onchain/sync", operation_id = "onchain_sync", tag = "onchain", responses(
    (status = 200, description = "The on-chain wallet is up to date"),
    (status = 503, description = "The chain is unreachable", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn onchain_sync(State(app): State<App>) -> Result<(), ApiError> {
    let wallet = app.wallet()?;
    detached(async move { wallet.sync_onchain().await }).await
}
