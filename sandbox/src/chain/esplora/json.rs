//! The JSON shapes of the API, and how the chain fills them.

use bitcoin::{Address, BlockHash, Network, OutPoint, Transaction, TxOut, Txid};
use hex_conservative::DisplayHex;
use serde::Serialize;

use crate::chain::Tip;
use crate::chain::view::View;

#[derive(Serialize)]
pub(super) struct Block {
    id: BlockHash,
    height: u32,
    version: i32,
    timestamp: u32,
    tx_count: usize,
    size: usize,
    weight: u64,
    merkle_root: bitcoin::TxMerkleNode,
    previousblockhash: Option<BlockHash>,
    mediantime: u32,
    nonce: u32,
    bits: u32,
    difficulty: f64,
}

impl Block {
    /// The block at a height; `None` above the tip.
    pub(super) fn at(view: &View, height: u32) -> Option<Block> {
        let at = view.ledger.at(height)?;
        let header = &at.block.header;
        Some(Block {
            id: at.hash,
            height,
            version: header.version.to_consensus(),
            timestamp: header.time,
            tx_count: at.block.txdata.len(),
            size: at.block.total_size(),
            weight: at.block.weight().to_wu(),
            merkle_root: header.merkle_root,
            previousblockhash: (height > 0).then_some(header.prev_blockhash),
            mediantime: view.ledger.median_time(height),
            nonce: header.nonce,
            bits: header.bits.to_consensus(),
            difficulty: header.difficulty_float(),
        })
    }
}

#[derive(Serialize, Clone, Copy)]
pub(super) struct Status {
    confirmed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_height: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_hash: Option<BlockHash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_time: Option<u32>,
}

impl Status {
    /// That of a transaction in this block, or in the mempool.
    pub(super) fn new(view: &View, block: Option<Tip>) -> Status {
        let block_time = block
            .and_then(|tip| view.ledger.at(tip.height))
            .map(|at| at.block.header.time);
        Status {
            confirmed: block.is_some(),
            block_height: block.map(|tip| tip.height),
            block_hash: block.map(|tip| tip.hash),
            block_time,
        }
    }

    /// That of a transaction, if chain or mempool hold it.
    pub(super) fn of(view: &View, txid: &Txid) -> Option<Status> {
        if view.mempool.contains(txid) {
            return Some(Status::new(view, None));
        }
        let (_, height, _) = view.ledger.tx(txid)?;
        Some(Status::new(view, view.ledger.tip_at(height)))
    }
}

#[derive(Serialize)]
struct Output {
    scriptpubkey: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    scriptpubkey_address: Option<String>,
    value: u64,
}

impl From<&TxOut> for Output {
    fn from(output: &TxOut) -> Output {
        let address = Address::from_script(&output.script_pubkey, Network::Regtest).ok();
        Output {
            scriptpubkey: output.script_pubkey.to_hex_string(),
            scriptpubkey_address: address.map(|address| address.to_string()),
            value: output.value.to_sat(),
        }
    }
}

#[derive(Serialize)]
struct Input {
    txid: Txid,
    vout: u32,
    prevout: Option<Output>,
    scriptsig: String,
    witness: Vec<String>,
    is_coinbase: bool,
    sequence: u32,
}

#[derive(Serialize)]
pub(super) struct Tx {
    txid: Txid,
    version: i32,
    locktime: u32,
    vin: Vec<Input>,
    vout: Vec<Output>,
    size: usize,
    weight: u64,
    fee: u64,
    status: Status,
}

impl Tx {
    /// A transaction, if chain or mempool hold it.
    pub(super) fn of(view: &View, txid: &Txid) -> Option<Tx> {
        let tx = view.tx(txid)?;
        let spent = view.spent_by(txid);
        let paid_in: u64 = spent.iter().map(|output| output.value.to_sat()).sum();
        let paid_out: u64 = tx.output.iter().map(|output| output.value.to_sat()).sum();
        Some(Tx {
            txid: *txid,
            version: tx.version.0,
            locktime: tx.lock_time.to_consensus_u32(),
            vin: inputs(tx, &spent),
            vout: tx.output.iter().map(Output::from).collect(),
            size: tx.total_size(),
            weight: tx.weight().to_wu(),
            // A coinbase spends nothing and pays no fee.
            fee: paid_in.saturating_sub(paid_out),
            status: Status::of(view, txid)?,
        })
    }
}

fn inputs(tx: &Transaction, spent: &[&TxOut]) -> Vec<Input> {
    let input = |(index, input): (usize, &bitcoin::TxIn)| Input {
        txid: input.previous_output.txid,
        vout: input.previous_output.vout,
        prevout: spent.get(index).map(|output| Output::from(*output)),
        scriptsig: input.script_sig.to_hex_string(),
        witness: input
            .witness
            .iter()
            .map(DisplayHex::to_lower_hex_string)
            .collect(),
        is_coinbase: input.previous_output.is_null(),
        sequence: input.sequence.to_consensus_u32(),
    };
    tx.input.iter().enumerate().map(input).collect()
}

#[derive(Serialize)]
pub(super) struct Outspend {
    spent: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    txid: Option<Txid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vin: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

impl Outspend {
    pub(super) fn of(view: &View, outpoint: &OutPoint) -> Outspend {
        let spender = view.spender(outpoint);
        Outspend {
            spent: spender.is_some(),
            txid: spender.as_ref().map(|spender| spender.txid),
            vin: spender.as_ref().map(|spender| spender.vin),
            status: spender.map(|spender| Status::new(view, spender.block)),
        }
    }
}
