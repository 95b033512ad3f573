//! Boards: on-chain coins become a VTXO (docs/protocol.md §4.1).
//!
//! ```text
//!  start ─▶ Cosign ─▶ Broadcast ─▶ Confirm ─▶ done, also if the VTXO was exited
//!             │         ▲  │          │
//!             ▼         └──┼──────────┘ the transaction vanished
//!           failed ◀───────┘ a confirmed transaction spends its coins
//! ```
//!
//! | state | remote call | what its commit writes |
//! |---|---|---|
//! | Cosign | request the server's half of the exit's signature; the server stores nothing | the VTXO, locked; the signed funding transaction as its anchor |
//! | Broadcast | broadcast the funding transaction | the transaction in the on-chain wallet |
//! | Confirm | count its confirmations, then register the VTXO | the VTXO spendable, the movement successful |
//!
//! Nothing is broadcast before the exit is signed and stored, so the coins can always be taken back on chain. The VTXO
//! commits to the exact funding transaction, so the on-chain coins are selected once, and only from native segwit outputs
//! (H5-H7). A confirmed board that the server has not registered when the VTXO is about to expire is exited (H53).

mod confirm;
mod cosign;
mod endangered;
mod list;
mod start;

use ark_lib::VtxoId;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Amount, OutPoint, Psbt, Transaction};
use bitcoin_ext::{BlockDelta, BlockHeight};
use serde::{Deserialize, Serialize};

use crate::model::{OperationId, OperationKind};
use crate::wallet::engine::encoding::{self, TransactionHex};
use crate::wallet::engine::{Flow, Step, Tries};
use crate::wallet::{Result, Wallet};

pub(in crate::wallet) use endangered::endangered;
pub use list::PendingBoard;
pub use start::BoardAmount;

/// How far a board is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) enum Board {
    /// The server has to sign its half of the exit.
    Cosign(Box<FundedBoard>),
    /// The exit is signed; the funding transaction has to be broadcast.
    Broadcast(SignedBoard),
    /// Broadcast; it has to confirm, and then the server has to register the VTXO.
    Confirm(SignedBoard),
}

/// A board that is not signed yet, with all that the first remote call depends on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) struct FundedBoard {
    /// The unsigned funding transaction; the operation holds the on-chain coins that it spends.
    #[serde(with = "encoding::psbt")]
    psbt: Psbt,
    /// The output that becomes the VTXO.
    utxo: OutPoint,
    /// Its value, before the fee.
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    amount: Amount,
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    fee: Amount,
    user_key: u32,
    user_pubkey: PublicKey,
    server_pubkey: PublicKey,
    expiry_height: BlockHeight,
    exit_delta: BlockDelta,
    vtxo: VtxoId,
}

/// A board whose exit is signed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) struct SignedBoard {
    #[serde(with = "TransactionHex")]
    funding_tx: Transaction,
    /// Whether the network has had the funding transaction.
    was_broadcast: bool,
    vtxo: VtxoId,
    /// The VTXO's value, after the fee.
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    net: Amount,
}

impl Flow for Board {
    const KIND: OperationKind = OperationKind::Board;

    async fn step(self, wallet: &Wallet, id: &OperationId, tries: Tries) -> Result<Step<Board>> {
        match self {
            Board::Cosign(funded) => cosign::cosign(wallet, id, *funded, tries).await,
            Board::Broadcast(signed) => confirm::broadcast(wallet, id, signed).await,
            Board::Confirm(signed) => confirm::confirm(wallet, id, signed).await,
        }
    }

    /// A caller gets the answer when the funding transaction is out.
    fn answers_caller(&self) -> bool {
        matches!(self, Board::Confirm(_))
    }
}
