//! Unilateral exits: a VTXO is put on chain, transaction by transaction, and its output is claimed (docs/protocol.md §4.9).

use ark_lib::VtxoId;
use bitcoin::{Amount, BlockHash, FeeRate, OutPoint, Transaction, Txid};
use bitcoin_ext::BlockHeight;
use serde::{Deserialize, Serialize};

use super::OperationId;

/// A block of the best chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Its height.
    pub height: BlockHeight,
    /// Its hash.
    pub hash: BlockHash,
}

/// How far an exit is. The names of the variants are those of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ExitState {
    /// Nothing is on chain yet.
    Start,
    /// Its transactions are put on chain.
    Processing {
        /// All of them, in the order in which they confirm.
        transactions: Vec<ExitTx>,
    },
    /// All are confirmed. The output cannot be claimed yet.
    AwaitingDelta {
        /// The block of the last of them.
        confirmed_block: Block,
        /// The height of the chain from which on the output can be claimed.
        claimable_height: BlockHeight,
    },
    /// The output can be claimed.
    Claimable {
        /// The first block from which on it could be.
        claimable_since: Block,
    },
    /// A transaction in the mempool spends the output.
    ClaimInProgress {
        /// The first block from which on it could be claimed.
        claimable_since: Block,
        /// The transaction.
        claim_txid: Txid,
    },
    /// A confirmed transaction has spent the output.
    Claimed {
        /// The transaction.
        txid: Txid,
        /// Its block.
        block: Block,
    },
    /// The VTXO was spent off chain before all was confirmed.
    VtxoAlreadySpent,
    /// A confirmed transaction that is not of the exit has spent what the VTXO hangs from.
    VtxoSwept {
        /// What was spent.
        spent_inputs: Vec<OutPoint>,
    },
    /// Ended by a person before the last transaction was broadcast.
    Canceled,
}

/// A transaction of an exit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitTx {
    /// Its id.
    pub txid: Txid,
    /// How far it is.
    pub status: ExitTxStatus,
}

/// How far a transaction of an exit is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ExitTxStatus {
    /// Not looked at yet.
    VerifyInputs,
    /// What it spends is not confirmed yet.
    AwaitingInputConfirmation {
        /// The transactions that have to confirm first.
        txids: Vec<Txid>,
    },
    /// It has to be broadcast, with a child that pays for it.
    AwaitingCpfpBroadcast,
    /// In the mempool.
    AwaitingConfirmation {
        /// The child that pays for it.
        child_txid: Txid,
        /// Who made the child.
        origin: ExitTxOrigin,
    },
    /// In a block.
    Confirmed {
        /// The child that paid for it; the transaction itself if none did.
        child_txid: Txid,
        /// The block.
        block: Block,
        /// Who made the child.
        origin: ExitTxOrigin,
    },
}

/// Who made the child of a transaction of an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ExitTxOrigin {
    /// The wallet.
    Wallet {
        /// The block of the transaction.
        confirmed_in: Option<Block>,
    },
    /// Somebody else; it is in the mempool.
    Mempool,
    /// Somebody else; it is in a block.
    Block {
        /// The block.
        confirmed_in: Block,
    },
}

/// What keeps an exit from going on. The names of the variants are those of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ExitProblem {
    /// The confirmed coins of the on-chain wallet do not pay for the next transaction.
    InsufficientConfirmedFunds {
        /// What it takes, in sat.
        #[serde(with = "bitcoin::amount::serde::as_sat")]
        needed: Amount,
        /// What there is, in sat.
        #[serde(with = "bitcoin::amount::serde::as_sat")]
        available: Amount,
    },
    /// The network does not take a transaction and its child.
    ExitPackageBroadcastFailure {
        /// The transaction.
        txid: Txid,
        /// The reason.
        error: String,
    },
    /// Somebody else's transaction spends what the VTXO hangs from, and is not deep enough yet to be final.
    VtxoSwept {
        /// The VTXO.
        vtxo: VtxoId,
    },
    /// The wallet has no key, or no preimage, that spends the output.
    ClaimMissingSignableClause {
        /// The VTXO.
        vtxo: VtxoId,
    },
}

impl ExitState {
    /// Whether the exit is over.
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            ExitState::Claimed { .. }
                | ExitState::VtxoAlreadySpent
                | ExitState::VtxoSwept { .. }
                | ExitState::Canceled
        )
    }
}

/// A stored exit.
#[derive(Clone, Debug)]
pub struct ExitRow {
    /// Its number; later exits have greater ones.
    pub id: i64,
    /// What is exited.
    pub vtxo: VtxoId,
    /// The operation that does it.
    pub operation: OperationId,
    /// How far it is.
    pub state: ExitState,
    /// What keeps it from going on.
    pub problem: Option<ExitProblem>,
    /// The fee rate that a person wants for it.
    pub fee_rate: Option<FeeRate>,
    /// Whether a person asks for its end.
    pub cancel: bool,
    /// The wallet's transaction that claims the output.
    pub claim: Option<Txid>,
}

/// A transaction that pays for a transaction of an exit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitChild {
    /// Its id.
    pub txid: Txid,
    /// The transaction; `None` for one of somebody else that the chain backend did not show.
    pub body: Option<Transaction>,
    /// What it pays; `None` when unknown.
    pub fee: Option<Amount>,
    /// Who made it.
    pub origin: ChildOrigin,
    /// Whether the network had it.
    pub accepted: bool,
}

/// Who made the child of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildOrigin {
    /// The wallet.
    Wallet,
    /// Somebody else; it was in the mempool.
    Mempool,
    /// Somebody else; it was in a block.
    Block,
}

impl ChildOrigin {
    /// The name in the database.
    pub fn name(self) -> &'static str {
        match self {
            ChildOrigin::Wallet => "wallet",
            ChildOrigin::Mempool => "mempool",
            ChildOrigin::Block => "block",
        }
    }

    /// The origin with this name; `None` if there is none.
    pub fn from_name(name: &str) -> Option<ChildOrigin> {
        [
            ChildOrigin::Wallet,
            ChildOrigin::Mempool,
            ChildOrigin::Block,
        ]
        .into_iter()
        .find(|origin| origin.name() == name)
    }
}
