//! Single transactions: their content, their place in the chain, and what spends them.

use axum::Json;
use axum::extract::{Path, State};
use bitcoin::consensus::{encode::serialize_hex, serialize};
use bitcoin::hashes::{Hash, sha256d};
use bitcoin::{MerkleBlock, OutPoint, Transaction, Txid};
use serde::Serialize;

use super::json::{Outspend, Status, Tx};
use super::{Refusal, parse};
use crate::chain::Chain;
use crate::chain::view::View;

fn unknown() -> Refusal {
    Refusal::not_found("Transaction")
}

/// The result of `make` for the transaction in a path.
fn of_tx<T>(
    chain: &Chain,
    txid: &str,
    make: impl FnOnce(&View, &Transaction) -> T,
) -> Result<T, Refusal> {
    let txid: Txid = parse(txid, "hex string")?;
    let view = chain.read();
    let tx = view.tx(&txid).ok_or_else(unknown)?;
    Ok(make(&view, tx))
}

pub(super) async fn info(
    State(chain): State<Chain>,
    Path(txid): Path<String>,
) -> Result<Json<Tx>, Refusal> {
    let txid = parse(&txid, "hex string")?;
    Tx::of(&chain.read(), &txid).map(Json).ok_or_else(unknown)
}

pub(super) async fn status(
    State(chain): State<Chain>,
    Path(txid): Path<String>,
) -> Result<Json<Status>, Refusal> {
    let txid = parse(&txid, "hex string")?;
    Status::of(&chain.read(), &txid)
        .map(Json)
        .ok_or_else(unknown)
}

pub(super) async fn raw(
    State(chain): State<Chain>,
    Path(txid): Path<String>,
) -> Result<Vec<u8>, Refusal> {
    of_tx(&chain, &txid, |_, tx| serialize(tx))
}

pub(super) async fn hex(
    State(chain): State<Chain>,
    Path(txid): Path<String>,
) -> Result<String, Refusal> {
    of_tx(&chain, &txid, |_, tx| serialize_hex(tx))
}

pub(super) async fn outspend(
    State(chain): State<Chain>,
    Path((txid, vout)): Path<(String, String)>,
) -> Result<Json<Outspend>, Refusal> {
    let vout: u32 = parse(&vout, "output index")?;
    of_tx(&chain, &txid, |view, tx| {
        Json(Outspend::of(
            view,
            &OutPoint {
                txid: tx.compute_txid(),
                vout,
            },
        ))
    })
}

pub(super) async fn outspends(
    State(chain): State<Chain>,
    Path(txid): Path<String>,
) -> Result<Json<Vec<Outspend>>, Refusal> {
    of_tx(&chain, &txid, |view, tx| {
        let txid = tx.compute_txid();
        let outpoints = (0..)
            .take(tx.output.len())
            .map(|vout| OutPoint { txid, vout });
        Json(
            outpoints
                .map(|outpoint| Outspend::of(view, &outpoint))
                .collect(),
        )
    })
}

#[derive(Serialize)]
pub(super) struct MerkleProof {
    block_height: u32,
    merkle: Vec<String>,
    pos: usize,
}

pub(super) async fn merkle_proof(
    State(chain): State<Chain>,
    Path(txid): Path<String>,
) -> Result<Json<MerkleProof>, Refusal> {
    let txid: Txid = parse(&txid, "hex string")?;
    let view = chain.read();
    let (_, block_height, pos) = view.ledger.tx(&txid).ok_or_else(unconfirmed)?;
    let block = &view.ledger.at(block_height).ok_or_else(unconfirmed)?.block;
    let leaves = block
        .txdata
        .iter()
        .map(|tx| tx.compute_txid().to_raw_hash())
        .collect();
    let merkle = branch(leaves, pos)
        .iter()
        .map(ToString::to_string)
        .collect();
    Ok(Json(MerkleProof {
        block_height,
        merkle,
        pos,
    }))
}

/// The hashes that lead from a leaf to the root of a Merkle tree, from below.
fn branch(mut row: Vec<sha256d::Hash>, mut position: usize) -> Vec<sha256d::Hash> {
    let mut siblings = Vec::new();
    while row.len() > 1 {
        let last = row.len() - 1;
        siblings.push(row[(position ^ 1).min(last)]);
        let pair = |two: &[sha256d::Hash]| {
            let right = two.get(1).unwrap_or(&two[0]);
            sha256d::Hash::hash(&[two[0].to_byte_array(), right.to_byte_array()].concat())
        };
        row = row.chunks(2).map(pair).collect();
        position /= 2;
    }
    siblings
}

pub(super) async fn merkle_block(
    State(chain): State<Chain>,
    Path(txid): Path<String>,
) -> Result<String, Refusal> {
    let txid: Txid = parse(&txid, "hex string")?;
    let view = chain.read();
    let (_, height, _) = view.ledger.tx(&txid).ok_or_else(unconfirmed)?;
    let block = &view.ledger.at(height).ok_or_else(unconfirmed)?.block;
    Ok(serialize_hex(&MerkleBlock::from_block_with_predicate(
        block,
        |other| *other == txid,
    )))
}

fn unconfirmed() -> Refusal {
    Refusal::not_found("Transaction in a block")
}
