//! An out-of-round spend: the wallet's VTXOs become VTXOs of a payee, or of the wallet itself, and change (docs/protocol.md §4.2).
//!
//! ```text
//!  RegisterInputs ─▶ Cosign ─▶ signed
//!    │    ▲           │ ▲
//!    │    └────────┐  ▼ │
//!    └─▶ abort ◀─ Doubted
//! ```
//!
//! | state | remote call | what its commit writes |
//! |---|---|---|
//! | RegisterInputs | upload the signed chains of the inputs that the server may lack | the server has them |
//! | Cosign | request the server's signatures; from then on it counts the inputs as spent | written by the flow: inputs spent, new VTXOs |
//! | Doubted | ask the server for the states of the inputs | back to RegisterInputs or Cosign, or inputs released |
//!
//! Inputs, amounts and keys are fixed before the server is asked, so each request asks for the same transactions: the server
//! signs the same spend again, and refuses any other (H3, H4). A refusal releases the inputs only when no earlier request can
//! have succeeded, when the server reports the inputs as unspent and no earlier request can still run (H60), or when a round has
//! taken one. While it is not clear whether the server has signed, the inputs can be exited, and are exited shortly before they expire:
//! the spend lacks the signatures of the wallet, so it is worth nothing, and ends when all inputs are on chain. Inputs that are spent although no request had an unclear outcome were spent by a copy of this wallet (H56).

use std::sync::Arc;
use std::time::Duration;

use ark_lib::arkoor::ArkoorDestination;
use ark_lib::vtxo::Full;
use ark_lib::{Vtxo, VtxoId, VtxoPolicy};
use bitcoin::Amount;
use serde::{Deserialize, Serialize};
use server_rpc::protos::VtxoSpendState;

use super::exited::{Exited, exited};
use super::spend::{ArkoorSpend, Change, Payee};
use super::unsigned::{Outputs, Unsigned};
use super::upload::{Upload, upload_inputs, upload_missing_inputs};
use super::{end, refusal};
use crate::ark;
use crate::model::{Attention, MovementStatus, OperationId, VtxoRecord, VtxoState};
use crate::store::{WriteTx, movement, recovery, vtxo};
use crate::wallet::engine::{Next, Step, Tries, attention, back_off, clock};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// Refusals before the operator learns that inputs are spent for something that the server does not sign.
const DOUBTS_BEFORE_ATTENTION: u32 = 4;

/// The code of that fact.
const IN_DOUBT: &str = "inputs_in_doubt";

/// How far the signatures of a spend are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) enum Signing {
    /// The server may lack the inputs' signed chains.
    RegisterInputs(ArkoorSpend),
    /// The server has to sign.
    Cosign(ArkoorSpend),
    /// The server refused to sign, but an earlier request may have succeeded.
    Doubted {
        /// The spend that is in doubt.
        spend: ArkoorSpend,
        /// The server's reason.
        refusal: String,
        /// The VTXOs that the refusal names: then it is about their state, not about a request that still runs.
        #[serde(default)]
        refused: Vec<VtxoId>,
    },
}

/// The server's call that signs a spend.
#[derive(Clone, Copy, Debug)]
pub(in crate::wallet) enum CosignCall {
    /// For VTXOs of a payee, or of the wallet itself.
    Arkoor,
    /// For HTLCs that pay a Lightning invoice.
    LightningSend,
}

/// What a flow adds to the signing.
pub(in crate::wallet) struct SigningFlow {
    /// What is signed, for messages: "payment".
    pub(in crate::wallet) what: &'static str,
    /// The call that signs it.
    pub(in crate::wallet) call: CosignCall,
    /// The server has the inputs' chains.
    pub(in crate::wallet) registered: CommitPoint,
    /// A refusal is in doubt, or the doubt is resolved.
    pub(in crate::wallet) doubted: CommitPoint,
    /// Nothing was signed; the inputs are released.
    pub(in crate::wallet) aborted: CommitPoint,
}

/// Writes that a spend is signed: its inputs, which the operation must still hold, are spent, and its change is spendable.
///
/// # Errors
/// The operation does not hold an input; the database's.
pub(in crate::wallet) fn complete(
    tx: &mut WriteTx<'_>,
    id: &OperationId,
    inputs: &[VtxoId],
    change: &[Vtxo<Full>],
) -> Result<()> {
    for input in inputs {
        vtxo::spend_held(tx, *input, id)?;
    }
    for piece in change {
        vtxo::insert(tx, piece, VtxoState::Spendable)?;
    }
    let change: Vec<VtxoId> = change.iter().map(Vtxo::id).collect();
    end::add_outputs(tx, id, &change)
}

/// The result of a step of the signing.
pub(in crate::wallet) enum Signed<F> {
    /// Not signed: the flow takes this step.
    Not(Step<F>),
    /// Signed and validated. The flow has to commit this with [`complete`], together with what becomes of the outgoing VTXOs.
    Done {
        /// The spent VTXOs.
        inputs: Vec<VtxoId>,
        /// The new VTXOs.
        outputs: Outputs,
    },
}

impl Signing {
    /// Locks the inputs of a spend for an operation, and fixes all that the first request depends on.
    ///
    /// # Errors
    /// `internal` if the inputs are worth less than the payee gets; the database's.
    pub(in crate::wallet) fn begin(
        tx: &mut WriteTx<'_>,
        id: &OperationId,
        inputs: &[Arc<VtxoRecord>],
        payee: Payee,
        change: Change,
    ) -> Result<Signing> {
        let spend = ArkoorSpend::begin(tx, id, inputs, payee, change)?;
        Ok(if inputs.iter().all(|input| input.registered) {
            Signing::Cosign(spend)
        } else {
            Signing::RegisterInputs(spend)
        })
    }

    /// What is signed.
    pub(in crate::wallet) fn spend(&self) -> &ArkoorSpend {
        match self {
            Signing::RegisterInputs(spend)
            | Signing::Cosign(spend)
            | Signing::Doubted { spend, .. } => spend,
        }
    }

    /// Whether the server may have signed the spend, and so count the inputs as spent, although the wallet has no answer. `earlier` says
    /// that this state was tried before.
    fn is_in_doubt(&self, earlier: bool) -> bool {
        self.spend().unclear_at.is_some() || (earlier && matches!(self, Signing::Cosign(_)))
    }

    /// The inputs that only an exit can save, if the operation has failed so often. The wallet has not completed the spend, so the server
    /// has no transaction with which it could take an input that is exited.
    pub(in crate::wallet) fn stuck(&self, attempts: u32) -> &[VtxoId] {
        if self.is_in_doubt(attempts > 0) {
            &self.spend().inputs
        } else {
            &[]
        }
    }

    /// Runs the step of this state; `state` makes the flow's state of the next one.
    ///
    /// # Errors
    /// A failure after which the same step has to be run again.
    pub(in crate::wallet) async fn step<F>(
        self,
        wallet: &Wallet,
        id: &OperationId,
        tries: Tries,
        flow: &SigningFlow,
        state: impl FnOnce(Signing) -> F,
    ) -> Result<Signed<F>> {
        if self.is_in_doubt(tries.earlier) {
            match exited(wallet, &self.spend().inputs).await? {
                Exited::None => {}
                // The others are exited as well: the server may count them as spent.
                Exited::Some => return Ok(Signed::Not(Step::AwaitBlock)),
                Exited::All | Exited::Claimed => return Ok(flow.exited(id)),
            }
        }
        match self {
            Signing::RegisterInputs(spend) => {
                register_inputs(wallet, id, tries, flow, spend, state).await
            }
            Signing::Cosign(spend) => cosign(wallet, id, tries, flow, spend, state).await,
            Signing::Doubted {
                spend,
                refusal,
                refused,
            } => {
                let refusal = Refusal {
                    message: refusal,
                    vtxos: refused,
                };
                resolve_doubt(wallet, id, flow, spend, refusal, state).await
            }
        }
    }
}

/// The server's refusal of a spend.
struct Refusal {
    message: String,
    /// The inputs that it names.
    vtxos: Vec<VtxoId>,
}

impl SigningFlow {
    /// Ends the operation. The inputs that cannot be spent are set aside (H51).
    async fn refused<F>(
        &self,
        wallet: &Wallet,
        id: &OperationId,
        spend: &ArkoorSpend,
        refusal: &Refusal,
    ) -> Signed<F> {
        let Refusal { message, vtxos } = refusal;
        let unusable = refusal::unusable(wallet, &spend.inputs, message, vtxos).await;
        let message = format!(
            "the Ark server refuses the {}, nothing was paid: {message}",
            self.what
        );
        let reason = Error::conflict("server_refused", message);
        Signed::Not(refusal::abort(self.aborted, id, reason, unusable))
    }

    /// Ends the flow because the inputs were exited before the server gave a clear answer. Nothing was paid: the spend lacks the
    /// signatures of the wallet.
    fn exited<F>(&self, id: &OperationId) -> Signed<F> {
        let message = format!(
            "the coins of this {} were exited while the Ark server did not answer; nothing was paid",
            self.what
        );
        let id = id.clone();
        Signed::Not(Step::commit(
            self.aborted,
            Next::Failed(Error::conflict("inputs_exited", message)),
            move |tx| {
                vtxo::release(tx, &id)?;
                attention::clear(tx, IN_DOUBT, id.as_str())?;
                end::fail_movement(tx, &id, MovementStatus::Failed)
            },
        ))
    }

    /// Ends the flow because a refresh has taken the inputs.
    fn taken_by_refresh<F>(&self, id: &OperationId) -> Signed<F> {
        let message = format!(
            "the Ark server refuses the {}, nothing was paid: a refresh of these coins has just happened; pay again when it is done",
            self.what
        );
        self.abort(id, Error::conflict("server_refused", message))
    }

    /// Ends the flow because a copy of the wallet has spent these inputs, which were worth `lost` (H56).
    fn spent_elsewhere<F>(
        &self,
        id: &OperationId,
        spent: Vec<VtxoId>,
        lost: Amount,
    ) -> Result<Signed<F>> {
        let message = format!(
            "the Ark server reports coins of {} sat as spent, although this wallet has not spent them: a copy of it, with this seed, did. \
             The {} was not paid, and the coins do not count any more",
            lost.to_sat(),
            self.what
        );
        let fact = Attention {
            code: "inputs_spent_elsewhere".into(),
            subject: id.to_string(),
            message: format!("{message}."),
            what_to_do: format!(
                "Make sure that only one wallet uses this seed, and that the database is not an old copy. If no copy exists, the server lies: \
                 contact its operator, and exit the VTXOs before they expire with POST /api/v1/exits/start/vtxos: {}. For a VTXO that is spent, \
                 such an exit brings nothing and costs its fees.",
                spent
                    .iter()
                    .map(VtxoId::to_string)
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        };
        let reason = Error::conflict("inputs_spent_elsewhere", message).with_resources(&spent);
        let (id, effective) = (id.clone(), -end::signed(lost)?);
        Ok(Signed::Not(Step::commit(
            self.aborted,
            Next::Failed(reason),
            move |tx| {
                for input in spent {
                    vtxo::spend(tx, input)?;
                    recovery::mark_unproven(tx, input)?;
                }
                vtxo::release(tx, &id)?;
                attention::raise(tx, &fact)?;
                end::fail_at_a_loss(tx, &id, effective)
            },
        )))
    }

    fn abort<F>(&self, id: &OperationId, reason: Error) -> Signed<F> {
        Signed::Not(end::abort(self.aborted, id, MovementStatus::Failed, reason))
    }
}

/// Uploads the chains of the inputs that the server may lack: all of them when it has just reported that one is missing.
async fn register_inputs<F>(
    wallet: &Wallet,
    id: &OperationId,
    tries: Tries,
    flow: &SigningFlow,
    mut spend: ArkoorSpend,
    state: impl FnOnce(Signing) -> F,
) -> Result<Signed<F>> {
    let upload = if spend.uploaded {
        upload_inputs(wallet, &spend.inputs, tries).await?
    } else {
        upload_missing_inputs(wallet, &spend.inputs, tries).await?
    };
    let uploaded = match upload {
        Upload::Done(uploaded) => uploaded,
        Upload::Refused { message, vtxos } => {
            let refusal = Refusal { message, vtxos };
            return Ok(flow.refused(wallet, id, &spend, &refusal).await);
        }
        Upload::GivenUp(error) if spend.doubts == 0 => return Ok(flow.abort(id, error)),
        Upload::GivenUp(error) => return Err(error),
    };
    spend.uploaded |= uploaded.len() == spend.inputs.len();
    Ok(Signed::Not(Step::commit(
        flow.registered,
        Next::State(state(Signing::Cosign(spend))),
        move |tx| Ok(vtxo::set_registered(tx, &uploaded, true)?),
    )))
}

/// Asks the server for its signatures, completes the new VTXOs, and validates them down to their anchor.
async fn cosign<F>(
    wallet: &Wallet,
    id: &OperationId,
    tries: Tries,
    flow: &SigningFlow,
    mut spend: ArkoorSpend,
    state: impl FnOnce(Signing) -> F,
) -> Result<Signed<F>> {
    let unsigned = unsigned(wallet, &spend).await?;
    let request = unsigned.request();
    let answer = match flow.call {
        CosignCall::Arkoor => wallet.server.cosign_arkoor(request).await,
        CosignCall::LightningSend => wallet.server.cosign_lightning_send(request).await,
    };
    let refusal = match answer {
        // The round of a delegated refresh has taken the inputs: who signs both would give them away twice.
        Ok(_) if !wallet.holds(id, &spend.inputs).await? => {
            clear_doubt(wallet, id, &spend).await?;
            return Ok(flow.taken_by_refresh(id));
        }
        Ok(response) => {
            let outputs = unsigned.finish(wallet, response).await?;
            clear_doubt(wallet, id, &spend).await?;
            return Ok(Signed::Done {
                inputs: spend.inputs,
                outputs,
            });
        }
        Err(ark::Error::Rejected { message, vtxos }) => Refusal { message, vtxos },
        Err(error) => return Err(error.into()),
    };
    if tries.earlier {
        spend.unclear_at = Some(clock::now_millis());
    }
    // Even the first refusal says too little: the server may lack a chain that it had once, or the inputs may be spent.
    let first = !tries.earlier && spend.doubts == 0;
    spend.doubts = spend.doubts.saturating_add(1);
    // The pause lets an earlier request that is still on its way arrive.
    let pause = if first {
        Duration::ZERO
    } else {
        back_off(spend.doubts)
    };
    let doubted = state(Signing::Doubted {
        spend,
        refusal: refusal.message,
        refused: refusal.vtxos,
    });
    Ok(Signed::Not(Step::commit(
        flow.doubted,
        Next::Later(doubted, pause),
        |_| Ok(()),
    )))
}

/// Goes on from a refusal by the states of the inputs at the server. Our spend takes all of them or none.
async fn resolve_doubt<F>(
    wallet: &Wallet,
    id: &OperationId,
    flow: &SigningFlow,
    mut spend: ArkoorSpend,
    refusal: Refusal,
    state: impl FnOnce(Signing) -> F,
) -> Result<Signed<F>> {
    let mut states = Vec::with_capacity(spend.inputs.len());
    for (input, key) in wallet.signers(spend.inputs.clone()).await? {
        let state = match wallet.server.vtxo_status(input.id(), &key).await {
            Ok(state) => state,
            // The server does not know the VTXO: the upload of its chain decides.
            Err(ark::Error::Rejected { .. }) => VtxoSpendState::Unregistered,
            Err(error) => return Err(error.into()),
        };
        states.push((input.id(), input.amount(), state));
    }
    let all_are = |wanted: &[VtxoSpendState]| states.iter().all(|(.., it)| wanted.contains(it));
    let spent: Vec<(VtxoId, Amount)> = states
        .iter()
        .filter(|(.., state)| *state == VtxoSpendState::Spent)
        .map(|(id, amount, _)| (*id, *amount))
        .collect();
    let next = if !spent.is_empty() {
        if !wallet.holds(id, &spend.inputs).await? {
            clear_doubt(wallet, id, &spend).await?;
            return Ok(flow.taken_by_refresh(id));
        }
        if spend.is_spent_elsewhere() {
            let lost = spent.iter().map(|(_, amount)| *amount).sum();
            let spent: Vec<VtxoId> = spent.into_iter().map(|(id, _)| id).collect();
            if !may_be_refreshed(wallet, spent.clone()).await? {
                return flow.spent_elsewhere(id, spent, lost);
            }
            // The new VTXOs come with the server's message about the round.
            let refusal = Refusal {
                message: "a round may have taken these coins for a refresh, of which the server has not told yet".into(),
                vtxos: spent,
            };
            return Ok(flow.refused(wallet, id, &spend, &refusal).await);
        }
        // Spent by this very spend, or by a round that the wallet has not heard of yet.
        wallet.round_events.wake();
        if spend.doubts >= DOUBTS_BEFORE_ATTENTION {
            wallet.raise(in_doubt(flow, id, &refusal)).await?;
        }
        tracing::warn!(
            refusal = refusal.message,
            "server refuses to sign but reports the inputs spent; retrying"
        );
        Signing::Cosign(spend)
    } else if spend.uploaded && spend.unclear_at.is_none() {
        return Ok(flow.refused(wallet, id, &spend, &refusal).await);
    } else if all_are(&[VtxoSpendState::Spendable]) && spend.uploaded {
        if !refusal.vtxos.is_empty() || !spend.may_still_run() {
            return Ok(flow.refused(wallet, id, &spend, &refusal).await);
        }
        tracing::warn!(
            refusal = refusal.message,
            "server refuses to sign while an earlier request may still run; retrying"
        );
        Signing::Cosign(spend)
    } else if all_are(&[VtxoSpendState::Spendable, VtxoSpendState::Unregistered]) {
        spend.uploaded = true;
        Signing::RegisterInputs(spend)
    } else {
        let states: Vec<_> = states.iter().map(|(.., state)| state).collect();
        return Err(Error::unavailable(
            "server_unavailable",
            format!(
                "the Ark server reports the inputs as {states:?}: {}",
                refusal.message
            ),
        ));
    };
    Ok(Signed::Not(Step::commit(
        flow.doubted,
        Next::State(state(next)),
        |_| Ok(()),
    )))
}

/// The server has taken the inputs for this spend, by all that is known, and refuses to sign it again.
fn in_doubt(flow: &SigningFlow, id: &OperationId, refusal: &Refusal) -> Attention {
    Attention {
        code: IN_DOUBT.into(),
        subject: id.to_string(),
        message: format!(
            "The Ark server reports the coins of a {} as spent, but does not sign it again: {}. They stay locked, and the wallet goes on asking.",
            flow.what, refusal.message
        ),
        what_to_do: "Contact the operator of the Ark server. If it does not help, exit the coins with POST /api/v1/exits/start/vtxos; the wallet does so before they expire.".into(),
    }
}

/// Removes that fact, which may have been raised.
async fn clear_doubt(wallet: &Wallet, id: &OperationId, spend: &ArkoorSpend) -> Result<()> {
    if spend.doubts >= DOUBTS_BEFORE_ATTENTION {
        wallet.clear(IN_DOUBT, id.to_string()).await?;
    }
    Ok(())
}

/// Whether one of these VTXOs was to be refreshed, so that a round that the wallet has not heard of yet may have taken it.
async fn may_be_refreshed(wallet: &Wallet, vtxos: Vec<VtxoId>) -> Result<bool> {
    let found = wallet.store.read(move |connection| {
        for vtxo in vtxos {
            if movement::is_of_unsuccessful_refresh(connection, vtxo)? {
                return Ok(true);
            }
        }
        Ok(false)
    });
    found.await
}

/// The transactions of a spend, which are the same each time.
async fn unsigned(wallet: &Wallet, spend: &ArkoorSpend) -> Result<Unsigned> {
    let change_key = wallet.keys.vtxo_key(spend.change_key)?.public_key();
    let change = spend.change.iter().map(|piece| ArkoorDestination {
        total_amount: piece.0,
        policy: VtxoPolicy::new_pubkey(change_key),
    });
    Unsigned::build(
        wallet,
        &spend.inputs,
        spend.amount,
        spend.policy.0.clone(),
        change,
    )
    .await
}
