//! VTXO records: what the wallet keeps in memory of a VTXO.

use std::fmt;

use ark_lib::fees::VtxoFeeInfo;
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
    /// Held by an operation. Without one it stays held until its fate is settled by hand.
    Locked(Option<OperationId>),
    /// Spent.
    Spent,
    /// Exited on chain.
    Exited,
}

impl VtxoState {
    /// The name of the state in the API and in the database.
    pub fn name(&self) -> &'static str {
        match self {
            VtxoState::Spendable => "spendable",
            VtxoState::Locked(_) => "locked",
            VtxoState::Spent => "spent",
            VtxoState::Exited => "exited",
        }
    }

    /// The operation that holds the VTXO, if one does.
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

/// A VTXO without its exit chain, which stays on disk.
#[derive(Clone, Debug)]
pub struct VtxoRecord {
    /// Transaction id and output index.
    pub id: VtxoId,
    /// Its value.
    pub amount: Amount,
    /// The kind of script that it pays to.
    pub policy: VtxoPolicyKind,
    /// The wallet's key that spends it.
    pub user_pubkey: PublicKey,
    /// The Ark server's key that cosigns.
    pub server_pubkey: PublicKey,
    /// From this height on the Ark server can spend it alone.
    pub expiry_height: BlockHeight,
    /// Blocks between the exit on chain and its claim.
    pub exit_delta: BlockDelta,
    /// The on-chain output that its exit chain spends.
    pub chain_anchor: OutPoint,
    /// How many transactions an exit publishes.
    pub exit_depth: u16,
    /// The total weight of these transactions.
    pub exit_tx_weight: Weight,
    /// Whether it can be spent.
    pub state: VtxoState,
    /// Whether the Ark server has its signed exit chain.
    pub registered: bool,
    /// Whether it is exited and its output on chain is spent.
    pub claimed: bool,
}

impl VtxoRecord {
    /// The record of a VTXO that is stored for the first time.
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
            claimed: false,
        }
    }

    /// What the Ark server's fee for spending it at `height` depends on (docs/protocol.md §5).
    pub fn fee_info(&self, height: BlockHeight) -> VtxoFeeInfo {
        VtxoFeeInfo {
            amount: self.amount,
            expiry_blocks: self.expiry_height.checked_blocks_since(height).unwrap_or(0),
        }
    }
}
