//! A round from its first attempt to the broadcast of its funding transaction (docs/protocol.md §32.4, steps 1 to 11).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow, ensure};
use ark_lib::rounds::{
    Challenge, ROUND_TX_VTXO_TREE_VOUT, RoundAttempt, RoundEvent, RoundFailed, RoundFinished,
    RoundSeq, VtxoProposal,
};
use ark_lib::tree::signed::{CachedSignedVtxoTree, UnsignedVtxoTree};
use ark_lib::{ServerVtxo, VtxoId, VtxoPolicy};
use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::secp256k1::schnorr;
use bitcoin::{Amount, OutPoint, Transaction, Txid};
use serde::Serialize;
use server_rpc::protos::mailbox_server::RoundParticipationCompleted;
use server_rpc::protos::mailbox_server::mailbox_message::Message;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::super::faults::{Action, Hook, corrupt_signature};
use super::super::state::Ark;
use super::super::store::{
    Participation, Round, TxKind, VtxoState, mailbox, participation, round, tx, vtxo,
};
use super::attempt::{Attempt, Participant, Proposal, Stage};
use super::tree::{ServerNonces, alter_proposal, draw_nonces};
use crate::coin_wallet::CoinLock;

/// Round numbers start at the seconds since this moment, so that they grow even if the store is lost.
const ROUND_SEQ_EPOCH: Duration = Duration::from_secs(1_741_015_334);

/// How a round ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum RoundOutcome {
    /// Its funding transaction is complete and stored.
    Finished {
        /// Number of the round.
        round_seq: u64,
        /// Number of the attempt that succeeded.
        attempt_seq: usize,
        /// The funding transaction.
        txid: Txid,
        /// VTXOs issued to clients.
        outputs: usize,
    },
    /// The round failed; no VTXO changed.
    Failed {
        /// Number of the round.
        round_seq: u64,
        /// Why.
        reason: String,
    },
}

/// The coins that the attempts of one round lock. All attempts spend the first one, so that only one can confirm.
#[derive(Clone, Copy)]
struct Promised {
    lock: CoinLock,
    common: OutPoint,
}

/// A tree whose signatures are being collected.
struct Signing {
    funding_tx: Transaction,
    tree: UnsignedVtxoTree,
    nonces: ServerNonces,
}

/// Which participants have signed the tree.
struct Signed {
    /// Number of participants that have signed.
    present: usize,
    /// The inputs of participants that have not signed.
    absent: Vec<VtxoId>,
    /// Number of delegated participants, which do not sign.
    delegated: usize,
}

impl Ark {
    /// Runs a round in its own task, so that it continues when the caller disconnects.
    pub(in super::super) fn start_round(self: &Arc<Self>) -> JoinHandle<Option<RoundOutcome>> {
        let ark = self.clone();
        tokio::spawn(async move {
            let ended = ark.alive.run_until_cancelled(ark.run_round()).await?;
            ended
                .inspect_err(
                    |error| tracing::warn!(error = %format_args!("{error:#}"), "round lost"),
                )
                .ok()
        })
    }

    /// Runs a round and waits for its end. Fails if the server restarts meanwhile.
    pub(in super::super) async fn trigger_round(self: &Arc<Self>) -> anyhow::Result<RoundOutcome> {
        self.start_round().await?.context("server restarted")
    }

    /// Runs a round after the one in progress, if any.
    pub(super) async fn run_round(&self) -> anyhow::Result<RoundOutcome> {
        let _running = self.rounds.running.lock().await;
        let earliest = SystemTime::now()
            .duration_since(UNIX_EPOCH)?
            .saturating_sub(ROUND_SEQ_EPOCH);
        let seq = RoundSeq::new(self.store.next_round_seq(earliest.as_secs())?);
        let mut promised = None;
        let outcome = self.attempts(seq, &mut promised).await;
        *self.rounds.attempt() = None;
        if let Some(Promised { lock, .. }) = promised {
            self.coins.release(lock).await;
        }
        if self.alive.is_cancelled() {
            return outcome;
        }
        let outcome = outcome.unwrap_or_else(|error| RoundOutcome::Failed {
            round_seq: seq.inner(),
            reason: format!("{error:#}"),
        });
        if let RoundOutcome::Failed { reason, .. } = &outcome {
            tracing::info!(round = seq.inner(), reason, "round failed");
            let failed = RoundFailed { round_seq: seq };
            self.rounds.events.publish(&RoundEvent::Failed(failed));
        }
        Ok(outcome)
    }

    async fn attempts(
        &self,
        seq: RoundSeq,
        promised: &mut Option<Promised>,
    ) -> anyhow::Result<RoundOutcome> {
        let failed = |reason: &str| RoundOutcome::Failed {
            round_seq: seq.inner(),
            reason: reason.to_owned(),
        };
        let mut expected = self.round_config().participants;
        let mut banned = BTreeSet::new();
        for attempt_seq in 0.. {
            match self.hook(Hook::RoundAttempt)? {
                Some(Action::FailRound) => return Ok(failed("fault")),
                Some(Action::ForgeParticipation { fee_sat }) => {
                    self.forge_participation(Amount::from_sat(fee_sat))?;
                }
                _ => {}
            }
            self.open_attempt(seq, attempt_seq, banned.clone());
            self.wait_for_clients(self.round_config().submit_time, |attempt| {
                expected.is_some_and(|count| attempt.interactive.len() >= count)
            })
            .await;
            let Some(signing) = self.propose(promised).await? else {
                return Ok(failed("nobody takes part"));
            };
            self.wait_for_clients(self.round_config().sign_time, |attempt| {
                self.all_signed(attempt)
            })
            .await;
            let signed = self.close_signing()?;
            if signed.absent.is_empty() {
                return self.finish(signing).await;
            }
            if signed.present == 0 && signed.delegated == 0 {
                return Ok(failed("nobody signed"));
            }
            banned.extend(signed.absent);
            // Without a number to wait for, each attempt waits out its time.
            expected = expected.map(|_| signed.present);
        }
        Err(anyhow!("too many attempts"))
    }

    /// Announces an attempt, so that clients can join.
    fn open_attempt(&self, round_seq: RoundSeq, attempt_seq: usize, banned: BTreeSet<VtxoId>) {
        let challenge = Challenge::generate();
        self.rounds.signatures().clear();
        *self.rounds.attempt() = Some(Attempt {
            round_seq,
            attempt_seq,
            challenge,
            stage: Stage::Joining,
            interactive: Vec::new(),
            delegated: Vec::new(),
            banned,
        });
        self.rounds
            .events
            .publish(&RoundEvent::Attempt(RoundAttempt {
                round_seq,
                attempt_seq,
                challenge,
            }));
    }

    /// Waits until the time is over or no further participant is expected.
    async fn wait_for_clients(&self, time: Duration, complete: impl Fn(&Attempt) -> bool) {
        let end = Instant::now() + time;
        loop {
            if self.rounds.attempt().as_ref().is_none_or(&complete) {
                return;
            }
            tokio::select! {
                () = self.rounds.progress.notified() => {}
                () = sleep_until(end) => return,
            }
        }
    }

    /// Closes the list of participants, funds the tree and requests signatures. `None` if there is no participant.
    async fn propose(&self, promised: &mut Option<Promised>) -> anyhow::Result<Option<Signing>> {
        let _turn = self.turn().await;
        let tip = self.tip_height().await?;
        if let Some(attempt) = &mut *self.rounds.attempt() {
            attempt.stage = Stage::Building;
        }
        self.add_delegated(tip).await?;
        if self
            .rounds
            .attempt()
            .as_ref()
            .is_none_or(|attempt| attempt.leaves() == 0)
        {
            return Ok(None);
        }
        let action = self.hook(Hook::RoundProposal)?;
        let alone = action == Some(Action::SignAlone);
        if alone {
            self.delegate_all()?;
        }
        let fault = match action {
            Some(Action::AlterTree { change }) => Some(change),
            _ => None,
        };
        let (spec, nonces) = {
            let attempt = self.rounds.attempt();
            let attempt = attempt.as_ref().context("no attempt")?;
            let (spec, cosign_key) = self.tree_of(attempt, tip, fault);
            let nonces = draw_nonces(attempt, &spec, cosign_key)?;
            (spec, nonces)
        };

        self.forget_late_offboards().await;
        let earlier = promised.take();
        if let Some(earlier) = earlier {
            self.coins.release(earlier.lock).await;
        }
        let rate = self.chain.fee_rates().await?.regular;
        let funded = self
            .coins
            .fund_including(
                earlier.map(|earlier| earlier.common),
                vec![spec.funding_tx_txout()],
                rate,
            )
            .await?;
        *promised = Some(Promised {
            lock: funded.lock,
            common: funded.tx.input[0].previous_output,
        });

        let utxo = OutPoint::new(funded.tx.compute_txid(), ROUND_TX_VTXO_TREE_VOUT);
        let tree = spec.clone().into_unsigned_tree(utxo);
        let mut attempt = self.rounds.attempt();
        let attempt = attempt.as_mut().context("no attempt")?;
        attempt.stage = Stage::Signing(Box::new(Proposal {
            tree: tree.clone(),
            agg_nonces: nonces.aggregate.clone(),
        }));
        let mut proposal = VtxoProposal {
            round_seq: attempt.round_seq,
            attempt_seq: attempt.attempt_seq,
            unsigned_round_tx: funded.tx.clone(),
            vtxos_spec: spec,
            cosign_agg_nonces: nonces.aggregate.clone(),
        };
        alter_proposal(&mut proposal, fault);
        if !alone {
            let proposal = RoundEvent::VtxoProposal(proposal);
            self.rounds.events.publish(&proposal);
        }
        Ok(Some(Signing {
            funding_tx: funded.tx,
            tree,
            nonces,
        }))
    }

    fn all_signed(&self, attempt: &Attempt) -> bool {
        let signatures = self.rounds.signatures();
        let mut interactive = attempt.interactive.iter();
        interactive.all(|one| one.has_signed(&signatures))
    }

    /// Ends the signing, and returns which signatures are missing.
    fn close_signing(&self) -> anyhow::Result<Signed> {
        let mut attempt = self.rounds.attempt();
        let attempt = attempt.as_mut().context("no attempt")?;
        attempt.stage = Stage::Building;
        let signatures = self.rounds.signatures();
        let (signed, unsigned): (Vec<&Participant>, Vec<&Participant>) = attempt
            .interactive
            .iter()
            .partition(|one| one.has_signed(&signatures));
        Ok(Signed {
            present: signed.len(),
            absent: unsigned.iter().flat_map(|one| one.inputs.clone()).collect(),
            delegated: attempt.delegated.len(),
        })
    }

    /// Completes the tree and the funding transaction, stores the round, and publishes the result.
    async fn finish(&self, signing: Signing) -> anyhow::Result<RoundOutcome> {
        let Signing {
            funding_tx,
            tree,
            nonces,
        } = signing;
        let server = tree.cosign_tree(&nonces.aggregate, &nonces.cosign_key, nonces.secret);
        let clients: HashMap<_, _> = self.rounds.signatures().clone().into_iter().collect();
        let cosign_sigs =
            tree.combine_partial_signatures(&nonces.aggregate, &clients, &[server])?;
        tree.verify_cosign_sigs(&cosign_sigs)
            .map_err(|key| anyhow!("wrong signature of {key}"))?;
        let txid = funding_tx.compute_txid();
        let finished = Round {
            funding_tx: funding_tx.clone(),
            tree: tree.into_signed_tree(cosign_sigs.clone()),
        };

        let turn = self.turn().await;
        let done = {
            let mut attempt = self.rounds.attempt();
            // The round is stored before the attempt is deleted, so that a participation is known at any time.
            self.commit(attempt.as_ref().context("no attempt")?, finished)?;
            attempt.take().context("no attempt")?
        };
        drop(turn);
        let outcome = RoundOutcome::Finished {
            round_seq: done.round_seq.inner(),
            attempt_seq: done.attempt_seq,
            txid,
            outputs: done.leaves(),
        };
        if self.hook(Hook::RoundSign)? == Some(Action::Withhold) {
            return Ok(outcome);
        }
        let signed_tx = self.sign_funding(funding_tx).await?;
        if self.hook(Hook::RoundCommit)? == Some(Action::Withhold) {
            self.store.withhold_tx(txid)?;
        }
        self.broadcast_now().await;
        self.announce(&done, cosign_sigs, signed_tx)?;
        Ok(outcome)
    }

    /// Signs the funding transaction of a stored round, and stores the signed form.
    pub(in super::super) async fn sign_funding(
        &self,
        unsigned: Transaction,
    ) -> anyhow::Result<Transaction> {
        let txid = unsigned.compute_txid();
        let signed = self.coins.sign(unsigned).await?;
        ensure!(signed.compute_txid() == txid, "signing changed the txid");
        self.store
            .write(|db| tx::insert_signed(db, TxKind::RoundFunding, &signed))?;
        Ok(signed)
    }

    /// Stores the round in one transaction. From then on the round is valid, also after a crash.
    fn commit(&self, done: &Attempt, finished: Round) -> anyhow::Result<()> {
        let txid = finished.funding_tx.compute_txid();
        let mut spent = Vec::new();
        for id in done.inputs() {
            // A fault can have let in an input that is spent already.
            let record = self.store.vtxo(*id)?;
            if record.is_some_and(|record| record.state == VtxoState::Spendable) {
                spent.push(*id);
            }
        }
        let mut newest_message = None;
        self.store.write(|db| {
            round::insert(db, done.round_seq.inner(), &finished)?;
            for one in &done.interactive {
                let participation = Participation {
                    round: Some(txid),
                    ..one.participation()
                };
                participation::insert(db, &participation)?;
            }
            for one in &done.delegated {
                participation::mark_issued(db, one.unlock_hash(), txid)?;
                if let Some(mailbox) = one.mailbox {
                    let message = completed(one.unlock_hash().to_byte_array().to_vec());
                    newest_message = Some(mailbox::insert(db, mailbox, message)?);
                }
            }
            for id in spent {
                vtxo::mark_spent(db, id, txid)?;
            }
            self.commit_tree(db, &finished.tree.into_cached_tree())
        })?;
        if let Some(checkpoint) = newest_message {
            self.newest_message.send_replace(checkpoint);
        }
        Ok(())
    }

    fn commit_tree(
        &self,
        db: &rusqlite::Transaction<'_>,
        tree: &CachedSignedVtxoTree,
    ) -> anyhow::Result<()> {
        let padding = VtxoPolicy::new_pubkey(self.keys.server.public_key());
        for output in tree.output_vtxos() {
            let state = if *output.policy() == padding {
                VtxoState::Internal
            } else {
                VtxoState::Unclaimed
            };
            vtxo::insert(db, &ServerVtxo::from(output), state, None)?;
        }
        for (node, spender) in tree.internal_vtxos() {
            vtxo::insert(db, &node, VtxoState::Internal, Some(spender))?;
        }
        for leaf in tree.unsigned_leaf_txs() {
            tx::insert_unsigned(db, TxKind::Virtual, leaf.compute_txid())?;
        }
        for node in tree.internal_node_txs() {
            tx::insert_signed(db, TxKind::Virtual, node)?;
        }
        Ok(())
    }

    fn announce(
        &self,
        done: &Attempt,
        mut cosign_sigs: Vec<schnorr::Signature>,
        mut signed_round_tx: Transaction,
    ) -> anyhow::Result<()> {
        match self.hook(Hook::RoundFinished)? {
            Some(Action::Withhold) => return Ok(()),
            Some(Action::OtherTxid) => signed_round_tx.lock_time = LockTime::from_consensus(1),
            Some(Action::WrongSignature) => {
                if let Some(signature) = cosign_sigs.first_mut() {
                    let mut bytes = *signature.as_ref();
                    corrupt_signature(&mut bytes);
                    *signature = schnorr::Signature::from_slice(&bytes)?;
                }
            }
            _ => {}
        }
        self.rounds
            .events
            .publish(&RoundEvent::Finished(RoundFinished {
                round_seq: done.round_seq,
                attempt_seq: done.attempt_seq,
                cosign_sigs,
                signed_round_tx,
            }));
        Ok(())
    }
}

/// The mailbox message for the owner of a delegated participation: its outputs are issued.
fn completed(unlock_hash: Vec<u8>) -> Message {
    // Clients before the renaming read the deprecated field.
    #[allow(deprecated)]
    let message = RoundParticipationCompleted {
        payment_hashes: vec![unlock_hash.clone()],
        unlock_hash,
    };
    Message::RoundParticipationCompleted(message)
}
