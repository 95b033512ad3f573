//! The start of a payment: inputs locked, keys, amounts and fee fixed, movement written, in one transaction. A payment hash has at most
//! one payment at a time, and none after it succeeded (H2).

use std::sync::Arc;

use ark_lib::ArkInfo;
use ark_lib::lightning::Invoice;
use bitcoin::Amount;
use bitcoin_ext::BlockHeight;
use serde_json::Value;

use super::sign::expiry;
use super::{LightningSend, Order, Payable, PaymentOutcome, PaymentState};
use crate::config::FeeCeilings;
use crate::model::{
    Fact, Facts, MovementStatus, NewMovement, OperationId, Outcome, PaymentMethod, Subsystem,
    Transfer, VtxoRecord,
};
use crate::store::{WriteTx, lightning_send, movement, operation};
use crate::wallet::account::ceiling::{ABOVE_CEILING, Charge, check_fee};
use crate::wallet::account::keys::{self, WalletKeys};
use crate::wallet::coins::select::{self, Limits, MAX_INPUTS};
use crate::wallet::engine::steps::arkoor::Signing;
use crate::wallet::engine::steps::end::signed;
use crate::wallet::engine::steps::refusal;
use crate::wallet::engine::steps::spend::{Change, Payee};
use crate::wallet::engine::{self, Answer, clock};
use crate::wallet::{CommitPoint, Error, PATIENCE, Result, Wallet};

/// How a payment is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct PaymentTerms {
    /// How long the server tries, in seconds; 0 for a single try, the server's default if `None`.
    pub retry_for: Option<u32>,
    /// The highest fee, beside the operator's ceiling.
    pub max_fee: Option<Amount>,
}

/// How often a request looks again for a payment of its hash that ended in between.
const MOST_LOOKS: usize = 100;

/// What stands against the start of a payment: another request was faster. The request then looks again.
const OVERTAKEN: &str = "operation_exists";

impl Wallet {
    /// Pays somebody over Lightning: gets an invoice over the amount, and pays it as [`pay_lightning`](Self::pay_lightning) does. Of a
    /// URI, only the invoices and offers count.
    ///
    /// # Errors
    /// What is wrong with the destination, the amount or the comment; those of the payment. Nothing was paid.
    pub async fn pay(
        self: &Arc<Wallet>,
        destination: &str,
        amount: Option<Amount>,
        comment: Option<&str>,
        terms: PaymentTerms,
    ) -> Result<PaymentOutcome> {
        let (to, amount) = self.read_lightning_destination(destination, amount)?;
        let payable = self.resolve(to, amount, comment).await?;
        self.pay_lightning(payable, terms).await
    }

    /// Pays an invoice. Returns when the server pays it, or after a while when the payment continues by itself. An invoice that is
    /// being paid is followed, and one that is paid is not paid again: both answer with the outcome.
    ///
    /// # Errors
    /// `invoice_expired`, `amount_differs`, `insufficient_funds`, `fee_above_ceiling`; why the payment failed: then nothing was paid.
    pub(in crate::wallet) async fn pay_lightning(
        self: &Arc<Wallet>,
        payable: Payable,
        terms: PaymentTerms,
    ) -> Result<PaymentOutcome> {
        refusal::without_refused(|| self.pay_once(&payable, terms)).await
    }

    async fn pay_once(
        self: &Arc<Wallet>,
        payable: &Payable,
        terms: PaymentTerms,
    ) -> Result<PaymentOutcome> {
        let hash = payable.invoice.payment_hash();
        let id = OperationId::lightning_send(hash);
        for _ in 0..MOST_LOOKS {
            let known = self.payment(hash).await?;
            if let Some(known) = known.filter(|known| known.state != PaymentState::Failed) {
                check_same(payable, known.amount)?;
                if known.state == PaymentState::Paid {
                    return known.outcome(Answer::Complete);
                }
            }
            let progress = match self.operations.progress(&id) {
                Some(progress) => progress,
                None => match self.begin_payment(payable, terms).await {
                    Ok(progress) => progress,
                    Err(error) if error.code() == OVERTAKEN => continue,
                    Err(error) => return Err(error),
                },
            };
            let answer = engine::answer(progress, PATIENCE).await?;
            // Without a payment, the start that was followed has failed.
            if let Some(known) = self.payment(hash).await? {
                check_same(payable, known.amount)?;
                return known.outcome(answer);
            }
        }
        let message = "this invoice is being paid by other requests; try again";
        Err(Error::conflict(OVERTAKEN, message))
    }

    async fn begin_payment(
        self: &Arc<Wallet>,
        payable: &Payable,
        terms: PaymentTerms,
    ) -> Result<tokio::sync::watch::Receiver<engine::Progress>> {
        check_not_expired(&payable.invoice)?;
        let info = self.awaited_info().await?;
        let start = Start {
            payable: payable.clone(),
            terms,
            tip: self.recent_tip().await?,
            info,
            keys: Arc::clone(&self.keys),
            ceilings: self.settings.ceilings,
            pieces: self.settings.change_pieces,
        };
        let id = OperationId::lightning_send(payable.invoice.payment_hash());
        self.start(id, CommitPoint::LightningSendStarted, move |tx, id| {
            start.write(tx, id)
        })
        .await
    }
}

/// A second request for the same hash has to be for the same amount.
fn check_same(payable: &Payable, amount: Amount) -> Result<()> {
    if payable.amount == amount {
        return Ok(());
    }
    let message = format!(
        "this invoice is paid already, or being paid, with {} sat instead of {} sat; ask the payee for a new invoice",
        amount.to_sat(),
        payable.amount.to_sat()
    );
    Err(Error::conflict("amount_differs", message))
}

fn check_not_expired(invoice: &Invoice) -> Result<()> {
    let expired = match invoice {
        Invoice::Bolt11(invoice) => invoice.is_expired(),
        Invoice::Bolt12(invoice) => invoice.is_expired(),
    };
    if expired {
        let message = "the invoice has expired; ask the payee for a new one";
        return Err(Error::bad_request("invoice_expired", message));
    }
    Ok(())
}

/// All that the start of a payment depends on.
struct Start {
    payable: Payable,
    terms: PaymentTerms,
    info: Arc<ArkInfo>,
    tip: BlockHeight,
    keys: Arc<WalletKeys>,
    ceilings: FeeCeilings,
    pieces: u8,
}

impl Start {
    fn write(self, tx: &mut WriteTx<'_>, id: &OperationId) -> Result<LightningSend> {
        self.claim_hash(tx, id)?;
        let (inputs, needed) = self.select(tx)?;
        let amount = self.payable.amount;
        let fee = needed - amount;
        self.check_fee(fee)?;
        let order = Order {
            invoice: self.payable.invoice.clone(),
            amount,
            retry_for: self.terms.retry_for,
            expiry: expiry(&self.info, self.tip)?,
            htlc_key: keys::reveal_next(tx, &self.keys)?.index,
            revocation_key: keys::reveal_next(tx, &self.keys)?.index,
        };
        let htlcs = Payee {
            policy: order.policy(&self.keys)?,
            amount: needed,
        };
        let change = Change {
            key: order.htlc_key,
            pieces: self.pieces,
        };
        let signing = Signing::begin(tx, id, &inputs, htlcs, change)?;
        let now = clock::now_millis();
        lightning_send::begin(tx, &order.invoice, amount, now)?;
        movement::insert(
            tx,
            &NewMovement {
                operation: Some(id),
                status: MovementStatus::Pending,
                subsystem: Subsystem::LightningSend,
                intended_balance: -signed(amount)?,
                effective_balance: -signed(needed)?,
                offchain_fee: fee,
                sent_to: &[sent_to(&self.payable.method, amount)],
                received_on: &[],
                input_vtxos: &signing.spend().inputs,
                output_vtxos: &[],
                metadata: metadata(&order),
            },
            now,
        )?;
        Ok(LightningSend::Sign { order, signing })
    }

    /// Checks that the hash is neither paid nor being paid. A payment of it that failed leaves its id to this one.
    fn claim_hash(&self, tx: &WriteTx<'_>, id: &OperationId) -> Result<()> {
        let row = lightning_send::get(tx, self.payable.invoice.payment_hash())?;
        let is_paid = row.is_some_and(|row| row.preimage.is_some());
        let former = operation::get(tx, id)?;
        match former.map(|former| former.outcome) {
            None if !is_paid => Ok(()),
            Some(Some(Outcome::Failed)) if !is_paid => {
                movement::leave_operation(tx, id)?;
                Ok(operation::forget(tx, id)?)
            }
            _ => Err(Error::conflict(
                OVERTAKEN,
                "this invoice is paid, or being paid",
            )),
        }
    }

    /// The VTXOs that pay, as the estimate selects them, and what they have to pay.
    fn select(&self, tx: &WriteTx<'_>) -> Result<(Vec<Arc<VtxoRecord>>, Amount)> {
        let amount = self.payable.amount;
        let limits = Limits {
            tip: self.tip,
            max_exit_depth: self.info.max_vtxo_exit_depth,
        };
        select::select_for(tx, limits, MAX_INPUTS, |vtxos| {
            let infos = vtxos.iter().map(|vtxo| vtxo.fee_info(self.tip));
            let fee = self.info.fees.lightning_send.calculate(amount, infos)?;
            amount.checked_add(fee)
        })
    }

    fn check_fee(&self, fee: Amount) -> Result<()> {
        check_fee(
            &self.ceilings,
            Charge::LightningSend,
            fee,
            self.payable.amount,
        )?;
        match self.terms.max_fee {
            Some(most) if fee > most => {
                let message = format!(
                    "the Ark server charges {} sat for this payment, more than max_fee_sat ({} sat) allows; nothing was paid",
                    fee.to_sat(),
                    most.to_sat()
                );
                Err(Error::conflict(ABOVE_CEILING, message))
            }
            _ => Ok(()),
        }
    }
}

fn sent_to(method: &PaymentMethod, amount: Amount) -> Transfer {
    Transfer {
        method: method.clone(),
        amount,
    }
}

fn metadata(order: &Order) -> Facts {
    Facts::from([
        (Fact::PaymentHash, order.hash().to_string().into()),
        (Fact::HtlcVtxos, Value::Array(Vec::new())),
        (Fact::PaymentPreimage, Value::Null),
    ])
}
