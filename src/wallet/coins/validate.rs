//! Validation of VTXOs that come from elsewhere (docs/protocol.md §4.0, §4.3, §4.16).

use ark_lib::vtxo::{Full, VtxoValidationError};
use ark_lib::{Vtxo, VtxoPolicy};
use bitcoin::absolute::LockTime;
use bitcoin::transaction::Version;
use bitcoin::{Transaction, TxOut, Txid};
use bitcoin_ext::{BlockDelta, BlockHeight};

use super::published::{Standing, standings};
use crate::ark::PinnedKeys;
use crate::chain;
use crate::store::anchor;
use crate::wallet::{Error, Result, Wallet};

/// More outputs than this do not fit into a transaction.
const MAX_OUTPUTS: u32 = 120_000;

/// Whether the transactions of a VTXO can be built. While it has not been validated, its amounts may overflow, and then
/// [`Vtxo::transactions`] panics.
pub(in crate::wallet) fn has_transactions(vtxo: &Vtxo<Full>) -> bool {
    let vout = vtxo.chain_anchor().vout;
    if vout >= MAX_OUTPUTS {
        return false;
    }
    // The amounts are added up first, and then compared with those of this anchor, which fits nothing.
    let anchor = Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: Vec::new(),
        output: (0..=vout).map(|_| TxOut::NULL).collect(),
    };
    matches!(
        vtxo.validate_unsigned(&anchor),
        Err(VtxoValidationError::IncorrectChainAnchor { .. })
    )
}

/// The result of the validation of a received VTXO.
#[derive(Debug)]
pub(in crate::wallet) enum Verdict {
    /// It is valid.
    Accept(Accepted),
    /// It is invalid and stays so, for this reason.
    Refuse(String),
    /// Its validity is not known yet, for this reason.
    Undecided(String),
}

/// What is known of a valid VTXO.
#[derive(Debug)]
pub(in crate::wallet) struct Accepted {
    /// The on-chain transaction that its exit chain spends.
    pub(in crate::wallet) anchor: Transaction,
    /// Whether its own transaction is confirmed, so that it can be spent on chain only.
    pub(in crate::wallet) exited: bool,
}

impl Wallet {
    /// The height up to which an exit that takes `exit_delta` blocks may last, begun at `tip`, with the margin for slow confirmation
    /// once before and once after it (H11, H53). A VTXO that expires before is not safe to count on.
    ///
    /// # Errors
    /// `internal` when the height overflows.
    pub(in crate::wallet) fn exit_room(
        &self,
        tip: BlockHeight,
        exit_delta: BlockDelta,
    ) -> Result<BlockHeight> {
        let margin = self.settings.exit_margin;
        tip.checked_add(margin)
            .and_then(|height| height.checked_add(margin))
            .and_then(|height| height.checked_add(exit_delta))
            .ok_or_else(|| Error::internal(anyhow::anyhow!("the tip overflows")))
    }

    /// The last height at which the exit of a VTXO should begin: each of its transactions takes a block, and after its expiry the server
    /// can take what it hangs from. From its own transaction on, the expiry does not matter.
    pub(in crate::wallet) fn last_exit_start(&self, vtxo: &Vtxo<Full>) -> BlockHeight {
        vtxo.expiry_height()
            .saturating_sub(self.settings.exit_margin)
            .saturating_sub(BlockDelta::new(vtxo.exit_depth()))
    }

    /// The transaction with this id from the store, or else from the chain.
    async fn anchor(&self, txid: Txid) -> Result<Option<Transaction>> {
        match self
            .store
            .read(move |connection| anchor::get(connection, txid))
            .await?
        {
            Some(transaction) => Ok(Some(transaction)),
            None => Ok(self.chain.transaction(txid).await?),
        }
    }

    /// The on-chain transaction that a VTXO hangs from; it may be unconfirmed.
    ///
    /// # Errors
    /// `chain_unavailable` if it cannot be fetched.
    pub(in crate::wallet) async fn anchor_of(&self, vtxo: &Vtxo<Full>) -> Result<Transaction> {
        let txid = vtxo.chain_anchor().txid;
        let missing = || {
            Error::unavailable(
                "chain_unavailable",
                format!("the chain backend does not know transaction {txid}"),
            )
        };
        self.anchor(txid).await?.ok_or_else(missing)
    }

    /// Checks the signatures of a VTXO of this wallet that the server has just cosigned.
    ///
    /// # Errors
    /// `server_unavailable` if the VTXO is invalid, `chain_unavailable` if its anchor cannot be fetched.
    pub(in crate::wallet) async fn check_own_output(&self, output: &Vtxo<Full>) -> Result<()> {
        let anchor = self.anchor_of(output).await?;
        output.validate(&anchor).map_err(|error| {
            Error::unavailable(
                "server_unavailable",
                format!("the Ark server signed an invalid VTXO: {error}"),
            )
        })
    }

    /// Validates a VTXO from the mailbox. The caller checks that the wallet has its key.
    ///
    /// The VTXO must have a public key policy and belong to `server`, every signature of its exit chain must be valid, and its
    /// anchor must be confirmed. No transaction that is not of the chain may spend the anchor, or what the chain's transactions
    /// that are on chain already pay to (H50). If the chain backend does not answer, the verdict is
    /// [`Undecided`](Verdict::Undecided), never [`Refuse`](Verdict::Refuse) (W1).
    pub(in crate::wallet) async fn validate_received(
        &self,
        received: &Vtxo<Full>,
        server: &PinnedKeys,
    ) -> Verdict {
        if !matches!(received.policy(), VtxoPolicy::Pubkey(_)) {
            return Verdict::Refuse(format!(
                "its policy is {}, not a public key",
                received.policy_type()
            ));
        }
        if received.server_pubkey() != server.server {
            return Verdict::Refuse("it belongs to another Ark server".into());
        }
        self.validate_by_chain(received)
            .await
            .unwrap_or_else(|error| Verdict::Undecided(error.to_string()))
    }

    async fn validate_by_chain(&self, received: &Vtxo<Full>) -> Result<Verdict, chain::Error> {
        let outpoint = received.chain_anchor();
        let Some(anchor) = self.chain.transaction(outpoint.txid).await? else {
            let reason = format!("its anchor {} is not on the chain", outpoint.txid);
            return Ok(Verdict::Undecided(reason));
        };
        if let Err(error) = received.validate(&anchor) {
            return Ok(Verdict::Refuse(error.to_string()));
        }
        if !self.chain.status(outpoint.txid).await?.is_confirmed() {
            let reason = format!("its anchor {} is not confirmed", outpoint.txid);
            return Ok(Verdict::Undecided(reason));
        }
        let standing = standings(&self.chain, std::slice::from_ref(received)).await?;
        Ok(match standing.first() {
            Some(Standing::DoubleSpent(txid)) => Verdict::Refuse(format!(
                "transaction {txid}, which is not of its chain, has spent what it hangs from"
            )),
            Some(Standing::Claimed(txid)) => Verdict::Refuse(format!(
                "it is on chain, and transaction {txid} has spent it"
            )),
            Some(Standing::Contested(txid)) => Verdict::Undecided(format!(
                "transaction {txid}, which is not of its chain, is about to spend what it hangs from"
            )),
            standing => Verdict::Accept(Accepted {
                anchor,
                exited: standing == Some(&Standing::Exited),
            }),
        })
    }
}
