//! With which clause of its policy the wallet claims the output of an exited VTXO, and when (docs/protocol.md §4.9, W18).

use ark_lib::lightning::{PaymentHash, Preimage};
use ark_lib::vtxo::Full;
use ark_lib::vtxo::policy::clause::VtxoClause;
use ark_lib::{Vtxo, VtxoPolicy};
use bitcoin_ext::{BlockDelta, BlockHeight};

use crate::store::{key, lightning_receive};
use crate::wallet::{Result, Wallet};

/// The clause with which the wallet claims an output.
#[derive(Clone, Debug)]
pub(in crate::wallet) struct Claiming {
    /// The clause.
    pub(in crate::wallet) clause: VtxoClause,
    /// What a hash lock takes.
    pub(in crate::wallet) preimage: Option<Preimage>,
}

impl Claiming {
    /// The height of the chain from which on the next block can have the claim of an output that was confirmed at `confirmed`: the later
    /// of both locks.
    pub(in crate::wallet) fn claimable_height(&self, confirmed: BlockHeight) -> BlockHeight {
        let delta = match &self.clause {
            VtxoClause::DelayedSign(clause) => clause.block_delta,
            VtxoClause::DelayedTimelockSign(clause) => clause.block_delta,
            VtxoClause::HashDelaySign(clause) => clause.block_delta,
            VtxoClause::HashDelaySign_v0(clause) => clause.block_delta,
            VtxoClause::TimelockSign(_) | VtxoClause::HashSign(_) | VtxoClause::HashSign_v0(_) => {
                BlockDelta::new(0)
            }
        };
        let height = match &self.clause {
            VtxoClause::TimelockSign(clause) => clause.timelock_height,
            VtxoClause::DelayedTimelockSign(clause) => clause.timelock_height,
            _ => BlockHeight::ZERO,
        };
        confirmed.add_delta(delta).max(height)
    }
}

impl Wallet {
    /// The first clause that the wallet can sign; `None` if there is none, for lack of a key or a preimage.
    ///
    /// # Errors
    /// The database's.
    pub(in crate::wallet) async fn claiming(&self, vtxo: &Vtxo<Full>) -> Result<Option<Claiming>> {
        let owner = vtxo.user_pubkey();
        let hash = match vtxo.policy() {
            VtxoPolicy::ServerHtlcRecv(policy) => Some(policy.payment_hash),
            VtxoPolicy::ServerHtlcRecv_v0(policy) => Some(policy.payment_hash),
            _ => None,
        };
        let (is_ours, preimage) = self
            .store
            .read(move |connection| -> Result<(bool, Option<Preimage>)> {
                let invoice = match hash {
                    Some(hash) => lightning_receive::get(connection, hash)?,
                    None => None,
                };
                let preimage = invoice.map(|invoice| invoice.preimage);
                Ok((key::index_of(connection, &owner)?.is_some(), preimage))
            })
            .await?;
        if !is_ours {
            return Ok(None);
        }
        let preimage = preimage.filter(|preimage| fits(*preimage, hash));
        let clauses = vtxo.policy().clauses(
            vtxo.exit_delta(),
            vtxo.expiry_height(),
            vtxo.server_pubkey(),
        );
        let mut own = clauses.into_iter().filter(|it| it.pubkey() == owner);
        let clause = own.find(|clause| match clause {
            VtxoClause::HashDelaySign(_) | VtxoClause::HashDelaySign_v0(_) => preimage.is_some(),
            VtxoClause::HashSign(_) | VtxoClause::HashSign_v0(_) => false,
            _ => true,
        });
        Ok(clause.map(|clause| Claiming { clause, preimage }))
    }
}

fn fits(preimage: Preimage, hash: Option<PaymentHash>) -> bool {
    Some(preimage.compute_payment_hash()) == hash
}
