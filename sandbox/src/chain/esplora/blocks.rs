//! Blocks: the tip, the newest ones, and single blocks by hash.

use axum::Json;
use axum::extract::{Path, State};
use bitcoin::consensus::{encode::serialize_hex, serialize};
use bitcoin::{BlockHash, Txid};
use serde::Serialize;

use super::json::{Block, Tx};
use super::{Refusal, parse};
use crate::chain::Chain;
use crate::chain::view::View;

/// Blocks in a list.
const BLOCKS_PER_PAGE: u32 = 10;
/// Transactions in a list.
const TXS_PER_PAGE: usize = 25;

pub(super) async fn tip_height(State(chain): State<Chain>) -> String {
    chain.read().ledger.height().to_string()
}

pub(super) async fn tip_hash(State(chain): State<Chain>) -> String {
    chain.read().ledger.tip().hash.to_string()
}

pub(super) async fn hash_at(
    State(chain): State<Chain>,
    Path(height): Path<String>,
) -> Result<String, Refusal> {
    let height = parse(&height, "height")?;
    let at = chain.read().ledger.tip_at(height);
    at.map(|at| at.hash.to_string())
        .ok_or_else(|| Refusal::not_found("Block"))
}

pub(super) async fn newest(State(chain): State<Chain>) -> Json<Vec<Block>> {
    let view = chain.read();
    Json(page(&view, view.ledger.height()))
}

/// From above the tip the list starts at the tip, so it is never empty.
pub(super) async fn down_from(
    State(chain): State<Chain>,
    Path(start): Path<String>,
) -> Result<Json<Vec<Block>>, Refusal> {
    let start: u32 = parse(&start, "height")?;
    let view = chain.read();
    Ok(Json(page(&view, start.min(view.ledger.height()))))
}

fn page(view: &View, top: u32) -> Vec<Block> {
    let bottom = (top + 1).saturating_sub(BLOCKS_PER_PAGE);
    (bottom..=top)
        .rev()
        .filter_map(|height| Block::at(view, height))
        .collect()
}

/// The height of the block in a path.
fn find(view: &View, hash: &str) -> Result<u32, Refusal> {
    let hash: BlockHash = parse(hash, "block hash")?;
    view.ledger
        .height_of(&hash)
        .ok_or_else(|| Refusal::not_found("Block"))
}

/// The result of `make` for the block in a path.
fn of_block<T>(
    chain: &Chain,
    hash: &str,
    make: impl FnOnce(&View, &bitcoin::Block) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let view = chain.read();
    let at = view
        .ledger
        .at(find(&view, hash)?)
        .ok_or_else(|| Refusal::not_found("Block"))?;
    make(&view, &at.block)
}

pub(super) async fn info(
    State(chain): State<Chain>,
    Path(hash): Path<String>,
) -> Result<Json<Block>, Refusal> {
    let view = chain.read();
    Block::at(&view, find(&view, &hash)?)
        .map(Json)
        .ok_or_else(|| Refusal::not_found("Block"))
}

#[derive(Serialize)]
pub(super) struct BlockStatus {
    in_best_chain: bool,
    height: Option<u32>,
    next_best: Option<BlockHash>,
}

pub(super) async fn status(
    State(chain): State<Chain>,
    Path(hash): Path<String>,
) -> Result<Json<BlockStatus>, Refusal> {
    let hash = parse(&hash, "block hash")?;
    let view = chain.read();
    let height = view.ledger.height_of(&hash);
    let next = height.and_then(|height| view.ledger.tip_at(height + 1));
    Ok(Json(BlockStatus {
        in_best_chain: height.is_some(),
        height,
        next_best: next.map(|tip| tip.hash),
    }))
}

pub(super) async fn header(
    State(chain): State<Chain>,
    Path(hash): Path<String>,
) -> Result<String, Refusal> {
    of_block(&chain, &hash, |_, block| Ok(serialize_hex(&block.header)))
}

pub(super) async fn raw(
    State(chain): State<Chain>,
    Path(hash): Path<String>,
) -> Result<Vec<u8>, Refusal> {
    of_block(&chain, &hash, |_, block| Ok(serialize(block)))
}

pub(super) async fn txids(
    State(chain): State<Chain>,
    Path(hash): Path<String>,
) -> Result<Json<Vec<Txid>>, Refusal> {
    of_block(&chain, &hash, |_, block| {
        Ok(Json(
            block
                .txdata
                .iter()
                .map(bitcoin::Transaction::compute_txid)
                .collect(),
        ))
    })
}

pub(super) async fn txid(
    State(chain): State<Chain>,
    Path((hash, index)): Path<(String, String)>,
) -> Result<String, Refusal> {
    let index: usize = parse(&index, "index")?;
    of_block(&chain, &hash, |_, block| {
        let tx = block
            .txdata
            .get(index)
            .ok_or_else(|| Refusal::not_found("Transaction"))?;
        Ok(tx.compute_txid().to_string())
    })
}

pub(super) async fn first_txs(
    State(chain): State<Chain>,
    Path(hash): Path<String>,
) -> Result<Json<Vec<Tx>>, Refusal> {
    txs_from(&chain, &hash, 0)
}

pub(super) async fn txs(
    State(chain): State<Chain>,
    Path((hash, start)): Path<(String, String)>,
) -> Result<Json<Vec<Tx>>, Refusal> {
    let start: usize = parse(&start, "start index")?;
    if !start.is_multiple_of(TXS_PER_PAGE) {
        return Err(Refusal::bad_request("start index must be a multiple of 25"));
    }
    txs_from(&chain, &hash, start)
}

fn txs_from(chain: &Chain, hash: &str, start: usize) -> Result<Json<Vec<Tx>>, Refusal> {
    of_block(chain, hash, |view, block| {
        if start >= block.txdata.len() {
            return Err(Refusal::not_found("start index"));
        }
        let page = block.txdata.iter().skip(start).take(TXS_PER_PAGE);
        Ok(Json(
            page.filter_map(|tx| Tx::of(view, &tx.compute_txid()))
                .collect(),
        ))
    })
}
