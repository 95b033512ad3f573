//! VTXOs as listings show them.

use std::fmt;

use ark_lib::vtxo::{Full, VtxoPolicyKind};
use ark_lib::{Vtxo, VtxoId};
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Amount, OutPoint, Weight};
use bitcoin_ext::{BlockDelta, BlockHeight};

use super::OperationId;

/// Whether a VTXO can be spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VtxoState {
    /// Free to spend.
    Spendable,
    /// Held by an operation, or, without one, until somebody settles what became of it.
    Locked(Option<OperationId>),
    /// Gone.
    Spent,
    /// Taken on chain.
    Exited,
}

impl VtxoState {
    /// The state as the API and the table name it.
    pub fn name(&self) -> &'static str {
        match self {
            VtxoState::Spendable => "spendable",
            VtxoState::Locked(_) => "locked",
            VtxoState::Spent => "spent",
            VtxoState::Exited => "exited",
        }
    }

    /// The operation that holds the VTXO.
    pub fn holder(&self) -> Option<&str> {
        match self {
            VtxoState::Locked(holder) => holder.as_ref().map(OperationId::as_str),
            _ => None,
        }
    }
}

impl fmt::Display for VtxoState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// All that a listing says about a VTXO; its exit chain stays on disk.
#[derive(Clone, Debug)]
pub struct VtxoRecord {
    /// Transaction id and output index.
    pub id: VtxoId,
    /// Its value.
    pub amount: Amount,
    /// Which script it pays to.
    pub policy: VtxoPolicyKind,
    /// The key of ours that spends it.
    pub user_pubkey: PublicKey,
    /// The key of the server that cosigns.
    pub server_pubkey: PublicKey,
    /// From this height on the server can take it.
    pub expiry_height: BlockHeight,
    /// Blocks between an exit on chain and its claim.
    pub exit_delta: BlockDelta,
    /// The on-chain output that it hangs from.
    pub chain_anchor: OutPoint,
    /// How many transactions an exit has to publish.
    pub exit_depth: u16,
    /// The weight of those transactions together.
    pub exit_tx_weight: Weight,
    /// Whether it can be spent.
    pub state: VtxoState,
    /// Whether the server has its signed chain.
    pub registered: bool,
}

impl VtxoRecord {
    /// The record of a VTXO that is stored now.
    pub fn new(vtxo: &Vtxo<Full>, state: VtxoState) -> VtxoRecord {
        VtxoRecord {
            id: vtxo.id(),
            amount: vtxo.amount(),
            policy: vtxo.policy_type(),
            user_pubkey: vtxo.user_pubkey(),
            server_pubkey: vtxo.server_pubkey(),
            expiry_height: vtxo.expiry_height(),
            exit_delta: vtxo.exit_delta(),
            chain_anchor: vtxo.chain_anchor(),
            exit_depth: vtxo.exit_depth(),
            exit_tx_weight: vtxo.transactions().map(|item| item.tx.weight()).sum(),
            state,
            registered: false,
        }
    }
}
