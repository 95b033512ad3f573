//! Somebody else who takes VTXOs on chain: the owner of another branch, or anybody who knows the transactions.

use std::sync::Arc;

use anyhow::{Context, ensure};
use ark_lib::vtxo::Full;
use ark_lib::{ProtocolEncoding, ServerVtxo, VtxoId};
use axum::extract::{Path, State};
use axum::routing::post;
use axum::{Json, Router};
use bitcoin::{Transaction, Txid};
use serde::{Deserialize, Serialize};

use super::Runs;
use super::control::Failure;
use super::state::Ark;
use crate::coin_wallet::CoinWallet;

/// Routes for `runs`. The stranger pays with `coins`.
pub fn router(runs: Arc<Runs>, coins: Arc<CoinWallet>) -> Router {
    Router::new()
        .route("/vtxo/{id}/publish", post(publish))
        .with_state(Stranger { runs, coins })
}

#[derive(Clone)]
struct Stranger {
    runs: Arc<Runs>,
    coins: Arc<CoinWallet>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Request {
    /// Most transactions to publish; all of them if absent.
    steps: Option<usize>,
    /// Mine a block after each one. Without that, the first one stays in the mempool, and no more is published.
    mine: bool,
}

impl Default for Request {
    fn default() -> Request {
        Request {
            steps: None,
            mine: true,
        }
    }
}

#[derive(Debug, Serialize)]
struct Published {
    /// What was published now, in the order of the path.
    txids: Vec<Txid>,
    /// Whether the VTXO itself is in the chain now.
    complete: bool,
}

/// Publishes the path of a VTXO, from the first transaction that is not in the chain.
async fn publish(
    State(stranger): State<Stranger>,
    Path(id): Path<String>,
    request: Option<Json<Request>>,
) -> Result<Json<Published>, Failure> {
    let id: VtxoId = id.parse().map_err(Failure::caller)?;
    let Json(request) = request.unwrap_or_default();
    let ark = stranger.runs.current();
    let body = ark.store.body(id)?;
    let (body, _) = body.ok_or(Failure::NotFound)?;
    let path = ark.signed_path(&body).map_err(Failure::caller)?;
    let published = ark.publish_path(path, &stranger.coins, &request).await?;
    Ok(Json(published))
}

impl Ark {
    /// The signed transactions from the anchor of a VTXO to the VTXO.
    fn signed_path(&self, body: &[u8]) -> anyhow::Result<Vec<Transaction>> {
        let vtxo = ServerVtxo::<Full>::deserialize(body)
            .context("the server does not know the path of this output")?;
        let mut path = Vec::new();
        for item in vtxo.transactions() {
            let txid = item.tx.compute_txid();
            let tx = self.store.signed_tx(txid)?.unwrap_or(item.tx);
            let is_signed = tx.input.iter().all(|input| !input.witness.is_empty());
            ensure!(is_signed, "the server has no signed form of {txid}");
            path.push(tx);
        }
        Ok(path)
    }

    async fn publish_path(
        &self,
        path: Vec<Transaction>,
        coins: &CoinWallet,
        request: &Request,
    ) -> anyhow::Result<Published> {
        let mut txids = Vec::new();
        let most = request.steps.unwrap_or(usize::MAX);
        for tx in path {
            let txid = tx.compute_txid();
            let known = self.chain.tx(txid).await?;
            if known.as_ref().is_some_and(|known| known.block.is_some()) {
                continue;
            }
            let incomplete = |txids| Published {
                txids,
                complete: false,
            };
            if txids.len() == most {
                return Ok(incomplete(txids));
            }
            if known.is_none() {
                let rate = self.chain.fee_rates().await?.fast;
                coins.submit_with_child(tx, rate).await??;
                txids.push(txid);
            }
            if !request.mine {
                return Ok(incomplete(txids));
            }
            self.chain.mine(1).await?;
        }
        Ok(Published {
            txids,
            complete: true,
        })
    }
}
