//! Requests with an idempotency key: the same request again gets the same answer, and begins nothing twice (docs/protocol.md §23.0.1,
//! H70).
//!
//! ```text
//!  take_turn ─▶ New ─▶ run it ─▶ keep its answer
//!      │
//!      ├─▶ Answered    its answer was kept
//!      ├─▶ Outcome     what it began has ended, or can be answered; the answer was lost, and is kept now
//!      ├─▶ Failed      the operation that it began has failed
//!      ├─▶ InProgress  it is being carried out
//!      └─▶ Reused      the key belongs to another request
//! ```
//!
//! While a request is served, its key is in memory. In the database it is only with what the request has begun, in the
//! transaction that [began](crate::wallet::engine::request_key) it. So a key of a process that died either leads to that, or is free.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bitcoin::Amount;
use rusqlite::Connection;

use crate::model::{Effect, KeptRequest, OperationKind, OperationRow, Outcome};
use crate::store::{idempotency, operation};
use crate::wallet::engine::steps::end::movement_of;
use crate::wallet::engine::{Answer, OperationId, Progress, clock, request_key};
use crate::wallet::error::Failure;
use crate::wallet::flows::exit::{SkippedExit, StartedExit};
use crate::wallet::{
    ClaimOutcome, Error, ErrorKind, ExitsBegun, KeptAnswer, MovementId, OffboardOutcome,
    PaymentOutcome, PendingBoard, PendingRound, RequestKey, Result, SendOutcome, Wallet,
};

/// The requests that are being served, by their keys.
#[derive(Default)]
pub(in crate::wallet) struct RequestsServed(Mutex<HashMap<String, [u8; 32]>>);

impl RequestsServed {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, [u8; 32]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a request with a key stands.
pub enum Standing {
    /// It is to be carried out.
    New(Turn),
    /// It was answered.
    Answered(KeptAnswer),
    /// What it began has ended with success, or can be answered; its answer was not kept.
    Outcome(Turn, RequestOutcome),
    /// The operation that it began has failed.
    Failed(Failure),
    /// It is being carried out, with this movement if it has begun one.
    InProgress(Option<MovementId>),
    /// The key belongs to another request.
    Reused,
}

/// What a request has achieved.
pub enum RequestOutcome {
    /// A payment to an Ark address or over Lightning.
    Sent(SendOutcome),
    /// An on-chain payment out of VTXOs.
    Offboarded(OffboardOutcome),
    /// A board.
    Boarded(PendingBoard),
    /// A refresh.
    Refreshed(PendingRound),
    /// A payment from the on-chain wallet.
    PaidOnchain(bitcoin::Txid),
    /// A claim of exits.
    Claimed(ClaimOutcome),
    /// Exits.
    Exiting(ExitsBegun),
    /// An invoice.
    Invoiced(String),
}

/// The right to carry out the request with a key, until it is dropped.
pub struct Turn {
    wallet: Arc<Wallet>,
    key: RequestKey,
}

impl Turn {
    /// Carries out the request: what it begins is bound to its key.
    pub async fn run<T>(&self, request: impl Future<Output = T>) -> T {
        request_key::serve(self.key.clone(), request).await
    }

    /// Keeps the answer of the request. If that fails, the answer is made again from what the request began.
    pub async fn keep(self, answer: KeptAnswer) {
        let key = self.key.clone();
        let (now, before) = (clock::now_millis(), request_key::kept_since());
        let kept = self.wallet.store.write(move |tx| {
            Ok::<_, Error>(idempotency::keep_answer(tx, &key, &answer, now, before)?)
        });
        if let Err(error) = kept.await {
            tracing::warn!(%error, "the answer of a request with an idempotency key was not kept");
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.wallet.requests_served.lock().remove(&self.key.key);
    }
}

/// What the database has of a key: all of one moment.
struct Found {
    kept: KeptRequest,
    /// The operation whose end is the answer.
    operation: Option<OperationRow>,
    movement: Option<MovementId>,
}

fn find(connection: &Connection, key: &str, before: i64) -> Result<Option<Found>> {
    let snapshot = connection
        .unchecked_transaction()
        .map_err(crate::store::Error::from)?;
    let Some(kept) = idempotency::find(&snapshot, key, before)? else {
        return Ok(None);
    };
    let id = kept.effect.as_ref().and_then(Effect::operation);
    let operation = id.map(|id| operation::get(&snapshot, id)).transpose()?;
    Ok(Some(Found {
        movement: idempotency::newest_movement(&snapshot, key)?,
        operation: operation.flatten(),
        kept,
    }))
}

impl Wallet {
    /// Begins to serve a request with a key.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn take_turn(self: &Arc<Wallet>, key: RequestKey) -> Result<Standing> {
        let other = {
            let mut served = self.requests_served.lock();
            let other = served.get(&key.key).copied();
            if other.is_none() {
                served.insert(key.key.clone(), key.request);
            }
            other
        };
        // Made before the first await, so that the key is given back whatever happens.
        let turn = other.is_none().then(|| Turn {
            wallet: Arc::clone(self),
            key: key.clone(),
        });
        let (text, before) = (key.key.clone(), request_key::kept_since());
        let found = self
            .store
            .read(move |connection| find(connection, &text, before))
            .await?;
        let belongs_to = other.or(found.as_ref().map(|found| found.kept.request));
        if belongs_to.is_some_and(|request| request != key.request) {
            return Ok(Standing::Reused);
        }
        let Some(turn) = turn else {
            return Ok(Standing::InProgress(found.and_then(|found| found.movement)));
        };
        match found {
            None => Ok(Standing::New(turn)),
            Some(found) => self.standing(turn, found).await,
        }
    }

    /// How a request stands that is not served now, and has been before.
    async fn standing(&self, turn: Turn, found: Found) -> Result<Standing> {
        let Found {
            kept,
            operation,
            movement,
        } = found;
        if let Some(answer) = kept.answer {
            return Ok(Standing::Answered(answer));
        }
        if let Some(failure) = kept.failure {
            let failure = serde_json::from_str(&failure).map_err(Error::internal)?;
            return Ok(Standing::Failed(failure));
        }
        let effect = kept
            .effect
            .ok_or_else(|| Error::internal(anyhow::anyhow!("a key without effect and answer")))?;
        let outcome = match operation {
            None => self.outcome_of(effect).await,
            Some(row) => match row.outcome {
                None if !self.is_answerable(&row.id) => return Ok(Standing::InProgress(movement)),
                None | Some(Outcome::Done) => self.outcome_of_operation(row).await,
                Some(Outcome::Failed) => return Ok(Standing::Failed(failure_of(row))),
            },
        };
        match outcome {
            Ok(outcome) => Ok(Standing::Outcome(turn, outcome)),
            Err(error) if error.kind() == ErrorKind::StillInProgress => {
                Ok(Standing::InProgress(movement))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the caller of a running operation can have its answer.
    fn is_answerable(&self, id: &OperationId) -> bool {
        let progress = self.operations.progress(id);
        progress.is_some_and(|progress| !matches!(&*progress.borrow(), Progress::Working))
    }

    async fn outcome_of(&self, effect: Effect) -> Result<RequestOutcome> {
        Ok(match effect {
            Effect::Operation(id) => {
                return Err(Error::internal(anyhow::anyhow!(
                    "operation {id} of a key has no row"
                )));
            }
            Effect::Exits { started, skipped } => {
                let (started, skipped) = (started.into_iter(), skipped.into_iter());
                RequestOutcome::Exiting(ExitsBegun {
                    started: started
                        .map(|(vtxo, operation)| StartedExit { vtxo, operation })
                        .collect(),
                    skipped: skipped
                        .map(|(vtxo, reason)| SkippedExit { vtxo, reason })
                        .collect(),
                })
            }
            Effect::OnchainPayment(txid) => RequestOutcome::PaidOnchain(txid),
            Effect::Claim {
                txid, amount, fee, ..
            } => RequestOutcome::Claimed(ClaimOutcome {
                txid,
                amount: Amount::from_sat(amount),
                fee: Amount::from_sat(fee),
                refused: None,
            }),
            Effect::Invoice { bolt11, .. } => RequestOutcome::Invoiced(bolt11),
        })
    }

    async fn outcome_of_operation(&self, row: OperationRow) -> Result<RequestOutcome> {
        let id = row.id;
        Ok(match row.kind {
            OperationKind::ArkoorSend => {
                let movement = self
                    .store
                    .read(move |connection| movement_of(connection, &id))
                    .await?;
                RequestOutcome::Sent(SendOutcome::Ark {
                    movement,
                    finished: true,
                })
            }
            OperationKind::LightningSend => {
                let paid = self.lightning_outcome(&id).await?;
                RequestOutcome::Sent(SendOutcome::Lightning(paid))
            }
            OperationKind::Board => RequestOutcome::Boarded(self.signed_board(&id).await?),
            OperationKind::Round => RequestOutcome::Refreshed(self.pending_round(&id).await?),
            OperationKind::Offboard => {
                let outcome = self.offboard_outcome(id, Answer::Complete).await?;
                RequestOutcome::Offboarded(outcome)
            }
            kind @ (OperationKind::LightningReceive
            | OperationKind::Exit
            | OperationKind::Recovery) => {
                return Err(Error::internal(anyhow::anyhow!(
                    "a key is bound to operation {id}, which no request waits for: {kind:?}"
                )));
            }
        })
    }

    async fn lightning_outcome(&self, id: &OperationId) -> Result<PaymentOutcome> {
        let missing = || Error::internal(anyhow::anyhow!("operation {id} pays no invoice"));
        let hash = id.paid_hash().ok_or_else(missing)?;
        let payment = self.payment(hash).await?.ok_or_else(missing)?;
        payment.outcome(Answer::Complete)
    }
}

/// Why an operation failed whose error was not kept with the key.
fn failure_of(row: OperationRow) -> Failure {
    let message = row.last_error.unwrap_or_else(|| "it failed".to_owned());
    Failure::from(&Error::conflict("operation_failed", message))
}
