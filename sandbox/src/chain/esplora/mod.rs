//! The chain as an Esplora server: the HTTP API that wallets read it by and broadcast through.
//!
//! Answers follow the API description of Blockstream's Esplora, as far as the Rust client and people with a terminal use
//! it. Every answer is taken from one state of the chain.

mod blocks;
mod broadcast;
mod json;
mod mempool;
mod scripts;
#[cfg(test)]
mod tests;
mod txs;

use std::str::FromStr;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::Chain;

/// The routes, to be mounted at the base of the API.
pub fn router(chain: Chain) -> Router {
    let by_script = Router::new()
        .route("/", get(scripts::stats))
        .route("/txs", get(scripts::first_page))
        .route("/txs/chain", get(scripts::first_chain_page))
        .route("/txs/chain/{last}", get(scripts::next_chain_page))
        .route("/txs/mempool", get(scripts::mempool_page))
        .route("/utxo", get(scripts::utxos));
    Router::new()
        .route("/blocks/tip/height", get(blocks::tip_height))
        .route("/blocks/tip/hash", get(blocks::tip_hash))
        .route("/blocks", get(blocks::newest))
        .route("/blocks/{start}", get(blocks::down_from))
        .route("/block-height/{height}", get(blocks::hash_at))
        .route("/block/{hash}", get(blocks::info))
        .route("/block/{hash}/status", get(blocks::status))
        .route("/block/{hash}/header", get(blocks::header))
        .route("/block/{hash}/raw", get(blocks::raw))
        .route("/block/{hash}/txids", get(blocks::txids))
        .route("/block/{hash}/txid/{index}", get(blocks::txid))
        .route("/block/{hash}/txs", get(blocks::first_txs))
        .route("/block/{hash}/txs/{start}", get(blocks::txs))
        .route("/tx", post(broadcast::tx))
        .route("/txs/package", post(broadcast::package))
        .route("/tx/{txid}", get(txs::info))
        .route("/tx/{txid}/status", get(txs::status))
        .route("/tx/{txid}/raw", get(txs::raw))
        .route("/tx/{txid}/hex", get(txs::hex))
        .route("/tx/{txid}/outspend/{vout}", get(txs::outspend))
        .route("/tx/{txid}/outspends", get(txs::outspends))
        .route("/tx/{txid}/merkle-proof", get(txs::merkle_proof))
        .route("/tx/{txid}/merkleblock-proof", get(txs::merkle_block))
        .route("/mempool", get(mempool::stats))
        .route("/mempool/txids", get(mempool::txids))
        .route("/mempool/recent", get(mempool::recent))
        .route("/fee-estimates", get(mempool::fee_estimates))
        .nest("/scripthash/{script}", by_script.clone())
        .nest("/address/{script}", by_script)
        .layer(from_fn_with_state(chain.clone(), refreshed))
        .with_state(chain)
}

/// Refreshes the chain from its node before each request, so that no answer is outdated.
async fn refreshed(
    State(chain): State<Chain>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    if let Err(error) = chain.refresh().await {
        tracing::warn!(error = format!("{error:#}"), "could not ask the node");
        let message = "the node does not answer".into();
        return Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, message));
    }
    Ok(next.run(request).await)
}

/// An answer that is not a success: a status and a line of text.
#[derive(Debug)]
struct Refusal(StatusCode, String);

impl Refusal {
    fn not_found(what: &str) -> Refusal {
        Refusal(StatusCode::NOT_FOUND, format!("{what} not found"))
    }

    fn bad_request(message: impl Into<String>) -> Refusal {
        Refusal(StatusCode::BAD_REQUEST, message.into())
    }
}

impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Refusal {
        tracing::error!(error = format!("{error:#}"), "the chain failed");

        Refusal(StatusCode::INTERNAL_SERVER_ERROR, "the chain failed".into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

/// Parses a part of the path.
fn parse<T: FromStr>(text: &str, what: &str) -> Result<T, Refusal> {
    text.parse()
        .map_err(|_| Refusal::bad_request(format!("Invalid {what}")))
}
