//! The types in the interface of the chain.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bitcoin::{Amount, BlockHash, FeeRate, OutPoint, ScriptBuf, Transaction, TxOut, Txid, Wtxid};

/// The options of a chain.
#[derive(Clone, Debug)]
pub struct ChainConfig {
    /// Where blocks and mempool are kept; `None` keeps them in RAM only.
    pub dir: Option<PathBuf>,
    /// The script that newly mined coins pay to.
    pub coinbase_script: ScriptBuf,
    /// Lowest fee rate that the mempool relays, and by which a replacement must pay more.
    pub min_relay_fee: FeeRate,
    /// The settings of automatic mining.
    pub auto_mine: AutoMine,
    /// The fee estimates served at first.
    pub fee_rates: FeeRates,
}

/// How to reach the RPC of a regtest node.
#[derive(Clone)]
pub struct BitcoindConfig {
    /// Where it listens, for example `http://127.0.0.1:18443`.
    pub url: String,
    /// The name that it was given with `-rpcuser` or `-rpcauth`.
    pub user: String,
    /// The password that belongs to the name.
    pub password: String,
}

impl fmt::Debug for BitcoindConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BitcoindConfig")
            .field("url", &self.url)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// When the chain mines on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AutoMine {
    /// Mine a block whenever the mempool holds something that can be mined.
    pub on: bool,
    /// How long a transaction waits for that block.
    pub delay: Duration,
}

/// The last block of the best chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Its height; genesis is 0.
    pub height: u32,
    /// Its hash.
    pub hash: BlockHash,
}

/// A transaction that the chain or its mempool holds.
#[derive(Clone, Debug)]
pub struct ChainTx {
    /// The transaction.
    pub tx: Transaction,
    /// The block that holds it; `None` while it waits in the mempool.
    pub block: Option<Tip>,
}

/// The input that spends an output.
#[derive(Clone, Debug)]
pub struct Spender {
    /// The spending transaction.
    pub txid: Txid,
    /// Which of its inputs.
    pub vin: u32,
    /// The block that holds it; `None` while it waits in the mempool.
    pub block: Option<Tip>,
}

/// An unspent output, seen from the mempool.
#[derive(Clone, Debug)]
pub struct Unspent {
    /// Where it is.
    pub outpoint: OutPoint,
    /// Amount and script.
    pub output: TxOut,
    /// The height of its block; `None` while its transaction waits in the mempool.
    pub height: Option<u32>,
    /// True for an output of a coinbase transaction, which needs 100 confirmations.
    pub coinbase: bool,
}

/// The three fee estimates that the sandbox knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeeRates {
    /// For the next block.
    pub fast: FeeRate,
    /// For the next three blocks.
    pub regular: FeeRate,
    /// For the next six blocks and later.
    pub slow: FeeRate,
}

/// Why a transaction was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Reject {
    /// What kind of refusal it is.
    pub kind: RejectKind,
    /// The text that a node gives, for example `min relay fee not met, 0 < 124`.
    pub reason: String,
}

/// The kinds of refusal that a caller may treat differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectKind {
    /// An input does not exist or is spent in a block.
    MissingInputs,
    /// It pays too little by itself; a package or a higher fee may pass.
    Fee,
    /// Anything else; the same transaction will not pass.
    Invalid,
}

/// What became of a package, in the words of a node's `submitpackage`.
#[derive(Clone, Debug)]
pub struct PackageOutcome {
    /// `success` when all its transactions are in the mempool now.
    pub message: String,
    /// One result for each transaction, in the order given; empty when the package was refused as malformed.
    pub results: Vec<PackageTx>,
    /// Transactions that were replaced in the mempool.
    pub replaced: Vec<Txid>,
}

impl PackageOutcome {
    /// Whether all transactions of the package are in the mempool.
    pub fn is_success(&self) -> bool {
        self.message == "success"
    }
}

/// What became of one transaction of a package.
#[derive(Clone, Debug)]
pub struct PackageTx {
    /// The transaction's id.
    pub txid: Txid,
    /// Its id with witness.
    pub wtxid: Wtxid,
    /// Accepted now or before, or refused.
    pub result: Result<Accepted, Reject>,
}

/// A transaction that is in the mempool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Virtual bytes.
    pub vsize: u64,
    /// Its own fee.
    pub fee: Amount,
    /// The rate that it was accepted at and the transactions that the rate is over; `None` if it was there before.
    pub effective: Option<(FeeRate, Vec<Wtxid>)>,
    /// Set when the mempool already holds the same transaction with this other witness, so this one was ignored.
    pub other_wtxid: Option<Wtxid>,
}

/// What happens to the transactions of the blocks that a reorganisation removes.
#[derive(Clone, Debug)]
pub enum Reorg {
    /// All are mined again (those on hold wait in the mempool).
    Keep,
    /// These and what spends them are gone, from chain and mempool; the others are mined again.
    Drop(Vec<Txid>),
    /// These are mined first; what conflicts with them is gone, the others are mined again.
    Replace(Vec<Transaction>),
}
