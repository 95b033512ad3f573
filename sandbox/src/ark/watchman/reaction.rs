//! Which reaction an output on chain calls for (docs/protocol.md §40.5).

use ark_lib::vtxo::policy::clause::VtxoClause;
use ark_lib::vtxo::policy::{ServerHtlcRecvVtxoPolicy, ServerHtlcSendVtxoPolicy};
use ark_lib::{ServerVtxoPolicy, VtxoPolicy};
use bitcoin::Transaction;

use super::super::state::Ark;
use super::super::store::{ServerRecord, VtxoState};
use super::config::WatchmanConfig;

/// An output that is in the chain, and that nothing spends.
pub(super) struct OnChain {
    pub(super) record: ServerRecord,
    /// Height of its block.
    pub(super) height: u32,
}

impl OnChain {
    /// Whether a relative lock of this many blocks lets a transaction into the block after `tip`.
    fn is_ripe(&self, delta: u32, tip: u32) -> bool {
        tip + 1 >= self.height + delta
    }
}

/// What the server does.
pub(super) enum Reaction {
    /// Broadcasts the transaction that spends the output off chain.
    Publish(Transaction),
    /// Spends the output to itself.
    Take {
        clause: VtxoClause,
        preimage: Option<[u8; 32]>,
    },
}

impl Ark {
    pub(super) fn reaction(
        &self,
        output: &OnChain,
        tip: u32,
        config: WatchmanConfig,
    ) -> anyhow::Result<Option<Reaction>> {
        let vtxo = &output.record.vtxo;
        let server = vtxo.server_pubkey();
        let expiry = vtxo.expiry_height();
        let is_swept = config.sweeps && tip >= expiry.to_u32();
        let sweep = |clause| is_swept.then_some(take(clause));
        match vtxo.policy() {
            ServerVtxoPolicy::User(VtxoPolicy::Pubkey(_)) => match output.record.state {
                // One without a signed next transaction is its owner's once the exit delta is over.
                VtxoState::Spent => self.publish_next(output, tip, config),
                _ => Ok(None),
            },
            ServerVtxoPolicy::User(VtxoPolicy::ServerHtlcSend(htlc)) => {
                self.take_sent(output, htlc, tip)
            }
            ServerVtxoPolicy::User(VtxoPolicy::ServerHtlcRecv(htlc)) => {
                self.keep_granted(output, htlc, tip, config)
            }
            ServerVtxoPolicy::HarkForfeit(forfeit) if config.claims => {
                let participation = self.store.participation(forfeit.unlock_hash)?;
                Ok(participation.map(|participation| Reaction::Take {
                    clause: forfeit.server_claim_clause(server).into(),
                    preimage: Some(participation.unlock_preimage),
                }))
            }
            ServerVtxoPolicy::Checkpoint(policy) => {
                Ok(sweep(policy.server_sweeping_clause(expiry, server).into()))
            }
            ServerVtxoPolicy::Expiry(policy) => {
                Ok(sweep(policy.server_sweeping_clause(expiry, server).into()))
            }
            ServerVtxoPolicy::HarkLeaf(policy) => {
                Ok(sweep(policy.expiry_clause(expiry, server).into()))
            }
            ServerVtxoPolicy::User(_)
            | ServerVtxoPolicy::ServerOwned
            | ServerVtxoPolicy::HarkForfeit(_)
            | ServerVtxoPolicy::HarkForfeit_v0(_)
            | ServerVtxoPolicy::HarkLeaf_v0(_) => Ok(None),
        }
    }

    fn publish_next(
        &self,
        output: &OnChain,
        tip: u32,
        config: WatchmanConfig,
    ) -> anyhow::Result<Option<Reaction>> {
        if tip < output.height + config.delay {
            return Ok(None);
        }
        let next = self.store.next_tx(output.record.vtxo.id())?;
        Ok(next.map(Reaction::Publish))
    }

    /// An HTLC of a payment belongs to the server once it knows the preimage, else to the client after the expiry.
    fn take_sent(
        &self,
        output: &OnChain,
        htlc: &ServerHtlcSendVtxoPolicy,
        tip: u32,
    ) -> anyhow::Result<Option<Reaction>> {
        let vtxo = &output.record.vtxo;
        let delta = vtxo.exit_delta();
        if !output.is_ripe(delta.to_u32(), tip) {
            return Ok(None);
        }
        let preimage = self.store.settlement(htlc.payment_hash)?;
        Ok(preimage.map(|preimage| Reaction::Take {
            clause: htlc
                .server_reveals_preimage_clause(vtxo.server_pubkey(), delta)
                .into(),
            preimage: Some(preimage.into()),
        }))
    }

    /// A granted HTLC that was claimed and registered gets its checkpoint. Any other one is the server's after the expiry, also one
    /// that was claimed and not registered.
    fn keep_granted(
        &self,
        output: &OnChain,
        htlc: &ServerHtlcRecvVtxoPolicy,
        tip: u32,
        config: WatchmanConfig,
    ) -> anyhow::Result<Option<Reaction>> {
        let vtxo = &output.record.vtxo;
        if self.store.next_tx(vtxo.id())?.is_some() {
            return self.publish_next(output, tip, config);
        }
        let delta = vtxo.exit_delta();
        let is_late = tip >= htlc.htlc_expiry.to_u32() && output.is_ripe(delta.to_u32(), tip);
        let clause = htlc.server_claim_after_expiry_clause(vtxo.server_pubkey(), delta);
        Ok(is_late.then(|| take(clause.into())))
    }
}

fn take(clause: VtxoClause) -> Reaction {
    Reaction::Take {
        clause,
        preimage: None,
    }
}
