//! `POST /exits/progress`: move all exits as far as they can go now.

use axum::extract::State;
use bitcoin::FeeRate;
use bitcoin_ext::BlockHeight;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, detached};
use crate::http::schema::error::{BadRequestError, NeedsWallet, ServiceUnavailableError};
use crate::http::schema::exit::{ExitError, ExitProgressStatus};
use crate::wallet;

/// The highest fee rate that a request may ask for, in sat/kvB.
const MAX_FEE_RATE: u64 = 10_000_000;

#[derive(Deserialize, ToSchema)]
pub(super) struct ExitProgressRequest {
    /// Wait, for up to 20 seconds, until nothing more can be done before the next block.
    wait: Option<bool>,
    /// The fee rate of the exits under way from now on, in sat/kvB. Without it, that of the next block, below the configured ceiling.
    fee_rate: Option<u64>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ExitProgressResponse {
    /// The exits that are not claimed yet.
    exits: Vec<ExitProgressStatus>,
    /// Whether all of them can be claimed, or are being claimed.
    done: bool,
    /// The height from which on all of them can be claimed; null until it is known.
    claimable_height: Option<u32>,
    /// Always missing: each exit has its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ExitError>,
}

impl From<wallet::ExitProgress> for ExitProgressResponse {
    fn from(progress: wallet::ExitProgress) -> Self {
        Self {
            exits: progress.exits.into_iter().map(Into::into).collect(),
            done: progress.done,
            claimable_height: progress.claimable_height.map(BlockHeight::to_u32),
            error: None,
        }
    }
}

/// Progress exits
///
/// Syncs the on-chain wallet, and lets every exit take the steps that it can take now: broadcast its next transaction, or pay more for
/// it. The daemon does so at each block by itself, unless it is configured to sync only on request.
#[utoipa::path(post, path = "/exits/progress", operation_id = "exit_progress", tag = "exits", request_body = ExitProgressRequest, responses(
    (status = 200, description = "How far the exits are", body = ExitProgressResponse),
    (status = 400, description = "The fee rate is invalid", body = BadRequestError),
    (status = 503, description = "The chain is unreachable", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn exit_progress(
    State(app): State<App>,
    Json(request): Json<ExitProgressRequest>,
) -> Result<Json<ExitProgressResponse>, ApiError> {
    let wallet = app.wallet()?;
    let fee_rate = request.fee_rate.map(fee_rate).transpose()?;
    let wait = request.wait.unwrap_or(false);
    let progress = detached(async move { wallet.progress_exits(wait, fee_rate).await }).await?;
    Ok(Json(progress.into()))
}

fn fee_rate(sat_per_kvb: u64) -> Result<FeeRate, ApiError> {
    match sat_per_kvb {
        1..=MAX_FEE_RATE => Ok(FeeRate::from_sat_per_kwu(sat_per_kvb.div_ceil(4))),
        _ => Err(ApiError::bad_request(
            "invalid_fee_rate",
            "The fee rate must be at least 1 and at most 10,000,000 sat/kvB",
        )),
    }
}
