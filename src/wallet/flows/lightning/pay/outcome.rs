//! How a payment stands, for the API.

use ark_lib::lightning::{Invoice, PaymentHash, Preimage};
use bitcoin::Amount;

use super::LightningSend;
use super::revoke::FAILURES_BEFORE_STUCK;
use crate::model::{MovementId, OperationId, Outcome};
use crate::store::{lightning_send, movement, operation};
use crate::wallet::engine::{Answer, state_of};
use crate::wallet::{Error, Result, Wallet};

/// How far a payment is, as the API names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentState {
    /// The coins are locked; the server has signed nothing.
    InputsLocked,
    /// The HTLCs are signed; the server does not pay yet.
    HtlcReceived,
    /// The server pays.
    PaymentInitiated,
    /// The payment failed; the HTLCs come back.
    RevocableHtlcs,
    /// The payment failed, and the server does not give the HTLCs back.
    RevocationStuck,
    /// The preimage is known, and the payment is settled with it.
    Paid,
    /// The payment failed, and nothing is locked for it.
    Failed,
}

impl PaymentState {
    /// Its name. A payment that failed counts as unknown: it can be paid again.
    pub fn name(self) -> &'static str {
        match self {
            PaymentState::InputsLocked => "inputs-locked",
            PaymentState::HtlcReceived => "htlc-received",
            PaymentState::PaymentInitiated => "payment-initiated",
            PaymentState::RevocableHtlcs => "revocable-htlcs",
            PaymentState::RevocationStuck => "revocation-stuck",
            PaymentState::Paid => "paid",
            PaymentState::Failed => "unknown",
        }
    }

    fn of(state: &LightningSend, failures: u32) -> PaymentState {
        match state {
            LightningSend::Sign { .. } => PaymentState::InputsLocked,
            LightningSend::Register { .. } | LightningSend::Initiate { .. } => {
                PaymentState::HtlcReceived
            }
            LightningSend::Await { .. } => PaymentState::PaymentInitiated,
            LightningSend::Revoke { .. } if failures >= FAILURES_BEFORE_STUCK => {
                PaymentState::RevocationStuck
            }
            LightningSend::Revoke { .. } | LightningSend::Return { .. } => {
                PaymentState::RevocableHtlcs
            }
        }
    }
}

/// A payment that was begun.
#[derive(Clone, Debug)]
pub struct Payment {
    /// The hash that its preimage has.
    pub payment_hash: PaymentHash,
    /// What it pays.
    pub invoice: Invoice,
    /// What the payee gets.
    pub amount: Amount,
    /// How far it is.
    pub state: PaymentState,
    /// Proves it; `None` until it is known.
    pub preimage: Option<Preimage>,
    /// The movement of its last try.
    pub movement: Option<MovementId>,
    /// Why its last try, or the last step of it, failed.
    pub error: Option<String>,
}

/// The answer to a request to pay.
#[derive(Clone, Debug)]
pub struct PaymentOutcome {
    /// The hash that the preimage has.
    pub payment_hash: PaymentHash,
    /// Its movement.
    pub movement: MovementId,
    /// How far it is.
    pub state: PaymentState,
    /// Proves it; `None` until it is known.
    pub preimage: Option<Preimage>,
    /// Whether the server pays, or has paid. Otherwise the payment is stored and continues by itself.
    pub begun: bool,
}

impl Payment {
    /// What a request to pay is answered now.
    pub(in crate::wallet) fn outcome(self, answer: Answer) -> Result<PaymentOutcome> {
        let missing = || Error::internal(anyhow::anyhow!("a Lightning payment has no movement"));
        Ok(PaymentOutcome {
            payment_hash: self.payment_hash,
            movement: self.movement.ok_or_else(missing)?,
            state: self.state,
            preimage: self.preimage,
            begun: answer == Answer::Complete,
        })
    }
}

impl Wallet {
    /// The payment of this hash, if one was ever begun.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn payment(&self, hash: PaymentHash) -> Result<Option<Payment>> {
        let found = self.store.read(move |connection| {
            let Some(row) = lightning_send::get(connection, hash)? else {
                return Ok::<_, Error>(None);
            };
            let id = OperationId::lightning_send(hash);
            let operation = operation::get(connection, &id)?;
            let movement = movement::id_of_operation(connection, &id)?;
            let state = match &operation {
                Some(running) if running.outcome.is_none() => {
                    PaymentState::of(&state_of(running)?, running.attempts)
                }
                _ if row.preimage.is_some() => PaymentState::Paid,
                Some(done) if done.outcome == Some(Outcome::Done) => PaymentState::Paid,
                _ => PaymentState::Failed,
            };
            Ok(Some(Payment {
                payment_hash: hash,
                invoice: row.invoice,
                amount: row.amount,
                state,
                preimage: row.preimage,
                movement,
                error: operation.and_then(|operation| operation.last_error),
            }))
        });
        found.await
    }
}
