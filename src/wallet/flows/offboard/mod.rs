//! Offboards: VTXOs become an on-chain output (docs/protocol.md §4.8).
//!
//! ```text
//!  start ─▶ Split ─▶ RegisterSplit ─┐      (send-onchain: the exact amount is split off first)
//!    │        │                       ▼
//!    └▶ RegisterWhole ───────────▶ Prepare ─▶ Finish ─▶ Broadcast ─▶ Confirm ─▶ done
//!             │                    │   ▲       │                      ▲
//!  failed ◀───┴────────────────────┘   └───────┴── session lost ──────┘ found on chain
//! ```
//!
//! | state | remote call | what its commit writes |
//! |---|---|---|
//! | Split | those of [`steps::arkoor`](crate::wallet::engine::steps::arkoor), for a spend to the wallet itself | inputs spent, change spendable, VTXOs of the exact amount locked |
//! | RegisterSplit | upload the new chains | the server has them |
//! | RegisterWhole | upload the inputs' signed chains | the server has them |
//! | Prepare | request the transaction | the checked transaction and the server's nonces; from then on the server may have forfeits |
//! | Finish | hand over the forfeits for the signed transaction | the signed transaction |
//! | Broadcast | broadcast the transaction | the transaction is broadcast |
//! | Confirm | count its confirmations | inputs spent, the movement successful |
//!
//! The server can use the forfeits only once the transaction confirms, and then it has paid. So once forfeits were handed out,
//! inputs are released only when the chain proves that their transaction cannot confirm: others that spend the same coins are deep
//! in the chain. No sentence of the server proves it (H61). When the server has lost the session, its transaction is searched for
//! on chain, and then requested again (H3, H28-H30). A transaction that vanishes is broadcast again, and its inputs stay locked
//! however long that takes (H29). While the server does not answer, or denies the offboard, the inputs can be exited, and are exited
//! shortly before they expire: the chain then has either the transaction with the forfeits, or the claims of the exits.

mod confirm;
mod endangered;
mod finish;
mod prepare;
mod split;
mod start;

use ark_lib::VtxoId;
use ark_lib::musig::PublicNonce;
use ark_lib::offboard::OffboardRequest;
use bitcoin::consensus::encode::{self, deserialize_hex, serialize_hex};
use bitcoin::{Transaction, Txid};
use serde::{Deserialize, Serialize};

use crate::model::{MovementStatus, OperationId, OperationKind};
use crate::store::vtxo;
use crate::wallet::engine::encoding::{Encoded, TransactionHex};
use crate::wallet::engine::steps::arkoor::Signing;
use crate::wallet::engine::steps::end;
use crate::wallet::engine::{Flow, Next, Step, Tries, attention};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

pub use start::OffboardOutcome;

pub(in crate::wallet) use endangered::endangered;

/// How far an offboard is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) enum Offboard {
    /// The spend that splits off the exact amount has to be signed.
    Split {
        request: OffboardRequest,
        /// Pays amount and fee to a key of the wallet.
        signing: Signing,
    },
    /// The server may lack the signed chains of the VTXOs that the split made.
    RegisterSplit {
        /// What goes on chain.
        order: OffboardOrder,
        /// The change of the split.
        change: Vec<VtxoId>,
    },
    /// The server may lack the signed chains of VTXOs that go on chain as a whole.
    RegisterWhole(OffboardOrder),
    /// The server has to propose the transaction.
    Prepare {
        /// What goes on chain.
        order: OffboardOrder,
        /// The transactions of earlier sessions that the server has lost; it has the wallet's forfeits for them.
        prior: Vec<PriorTx>,
    },
    /// The server may have the forfeits; it has to send the signed transaction.
    Finish(PreparedOrder),
    /// Signed; the transaction has to be broadcast.
    Broadcast(SignedOffboard),
    /// Broadcast; the transaction has to confirm.
    Confirm(SignedOffboard),
}

/// The VTXOs that go on chain, and what is paid for them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) struct OffboardOrder {
    /// In ascending order of their ids.
    inputs: Vec<VtxoId>,
    request: OffboardRequest,
}

/// An order with the transaction that the server proposes for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) struct PreparedOrder {
    order: OffboardOrder,
    /// Checked, not signed.
    #[serde(with = "TransactionHex")]
    transaction: Transaction,
    /// The server's nonces for the forfeits, one for each input.
    nonces: Vec<Encoded<PublicNonce>>,
    /// As in [`Offboard::Prepare`].
    prior: Vec<PriorTx>,
}

/// The transaction of a session that the server has lost.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(in crate::wallet) enum PriorTx {
    /// Unsigned.
    Full(Transaction),
    /// Its id alone, as releases up to 0.1 stored it. What it spends is not known, so nothing proves that it cannot confirm.
    Id(Txid),
}

impl PriorTx {
    fn txid(&self) -> Txid {
        match self {
            PriorTx::Full(transaction) => transaction.compute_txid(),
            PriorTx::Id(txid) => *txid,
        }
    }
}

/// An offboard whose transaction is signed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) struct SignedOffboard {
    inputs: Vec<VtxoId>,
    #[serde(with = "TransactionHex")]
    transaction: Transaction,
    /// When the signed transaction was received, unix milliseconds.
    signed_at: i64,
}

impl From<PriorTx> for String {
    fn from(prior: PriorTx) -> String {
        match prior {
            PriorTx::Full(transaction) => serialize_hex(&transaction),
            PriorTx::Id(txid) => txid.to_string(),
        }
    }
}

impl TryFrom<String> for PriorTx {
    type Error = encode::FromHexError;

    fn try_from(text: String) -> Result<PriorTx, encode::FromHexError> {
        // A transaction is longer than an id.
        match text.parse() {
            Ok(txid) => Ok(PriorTx::Id(txid)),
            Err(_) => deserialize_hex(&text).map(PriorTx::Full),
        }
    }
}

impl Flow for Offboard {
    const KIND: OperationKind = OperationKind::Offboard;

    async fn step(self, wallet: &Wallet, id: &OperationId, tries: Tries) -> Result<Step<Offboard>> {
        if let Some(step) = endangered::after_exit(wallet, id, &self).await? {
            return Ok(step);
        }
        match self {
            Offboard::Split { request, signing } => {
                split::split(wallet, id, request, signing, tries).await
            }
            Offboard::RegisterSplit { order, change } => {
                split::register_outputs(wallet, order, change).await
            }
            Offboard::RegisterWhole(order) => {
                prepare::register_whole(wallet, id, order, tries).await
            }
            Offboard::Prepare { order, prior } => {
                prepare::prepare(wallet, id, order, prior, tries).await
            }
            Offboard::Finish(prepared) => finish::finish(wallet, id, prepared).await,
            Offboard::Broadcast(signed) => confirm::broadcast(wallet, signed).await,
            Offboard::Confirm(signed) => confirm::confirm(wallet, id, signed).await,
        }
    }

    /// A caller gets the answer when the transaction is broadcast.
    fn answers_caller(&self) -> bool {
        matches!(self, Offboard::Confirm(_))
    }
}

impl Offboard {
    /// The VTXOs that go on chain; none before they are split off.
    fn inputs(&self) -> &[VtxoId] {
        match self {
            Offboard::Split { .. } => &[],
            Offboard::RegisterSplit { order, .. }
            | Offboard::RegisterWhole(order)
            | Offboard::Prepare { order, .. } => &order.inputs,
            Offboard::Finish(prepared) => &prepared.order.inputs,
            Offboard::Broadcast(signed) | Offboard::Confirm(signed) => &signed.inputs,
        }
    }

    /// The transactions for which the server may have forfeits.
    fn forfeited_for(&self) -> Vec<PriorTx> {
        match self {
            Offboard::Split { .. }
            | Offboard::RegisterSplit { .. }
            | Offboard::RegisterWhole(_) => Vec::new(),
            Offboard::Prepare { prior, .. } => prior.clone(),
            Offboard::Finish(prepared) => {
                let last = PriorTx::Full(prepared.transaction.clone());
                prepared.prior.iter().cloned().chain([last]).collect()
            }
            Offboard::Broadcast(signed) | Offboard::Confirm(signed) => {
                vec![PriorTx::Full(signed.transaction.clone())]
            }
        }
    }

    /// The id of the transaction, once it is signed. Before that, the server may replace it by another one.
    fn txid(&self) -> Option<Txid> {
        match self {
            Offboard::Broadcast(signed) | Offboard::Confirm(signed) => {
                Some(signed.transaction.compute_txid())
            }
            _ => None,
        }
    }
}

fn abort(id: &OperationId, reason: Error) -> Step<Offboard> {
    let id = id.clone();
    Step::commit(
        CommitPoint::OffboardAborted,
        Next::Failed(reason),
        move |tx| {
            attention::clear(tx, IN_DOUBT, id.as_str())?;
            vtxo::release(tx, &id)?;
            end::fail_movement(tx, &id, MovementStatus::Failed)
        },
    )
}

/// Confirmations of a transaction that spends the same coins after which another one cannot confirm any more.
const FINAL_DEPTH: u32 = 6;

/// The fact that an offboard is in doubt: its forfeits are out, and its transaction is neither on chain nor impossible.
const IN_DOUBT: &str = "offboard_in_doubt";

fn refused(message: &str) -> Error {
    Error::conflict(
        "server_refused",
        format!("the Ark server refuses the offboard, nothing was paid: {message}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prior_transaction_reads_back_and_so_does_the_id_that_older_releases_stored() {
        let transaction = bitcoin::constants::genesis_block(bitcoin::Network::Regtest)
            .txdata
            .remove(0);
        let txid = transaction.compute_txid();
        let text = serde_json::to_string(&[PriorTx::Full(transaction)]).unwrap();
        let read: Vec<PriorTx> = serde_json::from_str(&text).unwrap();
        assert!(matches!(read[0], PriorTx::Full(_)));
        let old = serde_json::to_string(&[txid]).unwrap();
        let read_old: Vec<PriorTx> = serde_json::from_str(&old).unwrap();
        assert!(matches!(read_old[0], PriorTx::Id(_)));
        assert_eq!((read[0].txid(), read_old[0].txid()), (txid, txid));
    }
}
