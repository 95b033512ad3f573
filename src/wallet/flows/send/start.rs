//! The start of a payment: the destination is read, and everything that the first remote call depends on is written in one
//! transaction.

use std::sync::Arc;

use ark_lib::Address;
use bitcoin::Amount;

use super::ArkoorSend;
use crate::model::{
    Facts, MovementId, MovementStatus, NewMovement, OperationId, PaymentMethod, Subsystem, Transfer,
};
use crate::store::{WriteTx, movement};
use crate::wallet::account::keys::{self, WalletKeys};
use crate::wallet::coins::select::{self, Limits};
use crate::wallet::destination::{Destination, LightningDestination};
use crate::wallet::engine::steps::arkoor::Signing;
use crate::wallet::engine::steps::end::{movement_of, signed};
use crate::wallet::engine::steps::refusal;
use crate::wallet::engine::steps::spend::{ArkoorSpend, Change, Payee};
use crate::wallet::engine::{self, Answer, clock};
use crate::wallet::flows::lightning::pay::{PaymentOutcome, PaymentTerms};
use crate::wallet::{CommitPoint, Error, PATIENCE, Result, Wallet};

/// A payment as a caller asks for it.
#[derive(Clone, Debug)]
pub struct SendRequest {
    /// Whom to pay.
    pub destination: String,
    /// The amount in sat; needed where the destination does not name it.
    pub amount: Option<Amount>,
    /// A comment to the payee, where the destination takes one.
    pub comment: Option<String>,
    /// How a Lightning payment is made.
    pub terms: PaymentTerms,
}

/// A payment that was accepted.
#[derive(Clone, Debug)]
pub enum SendOutcome {
    /// A payment to an Ark address.
    Ark {
        /// Its movement.
        movement: MovementId,
        /// Whether the payee has it. Otherwise the payment is stored and continues by itself: it must not be repeated.
        finished: bool,
    },
    /// A payment over Lightning.
    Lightning(PaymentOutcome),
}

impl Wallet {
    /// Pays a destination. Returns when the payment is done, or after a while when it continues by itself.
    ///
    /// # Errors
    /// What is wrong with the request, or why the payment failed; then nothing was paid.
    pub async fn send(self: &Arc<Wallet>, request: SendRequest) -> Result<SendOutcome> {
        let payee = self.read_destination(&request.destination, request.amount)?;
        match payee.destination {
            Destination::Ark(address) => {
                if request.comment.is_some() {
                    tracing::debug!("an Ark payment carries no comment; it is left out");
                }
                let amount = payee.amount.ok_or_else(|| {
                    Error::bad_request(
                        "missing_amount",
                        "an Ark address does not name an amount; set amount_sat, in sat",
                    )
                })?;
                refusal::without_refused(|| self.send_arkoor(&address, amount)).await
            }
            Destination::Lightning(to) => {
                let paid = self.send_lightning(to, payee.amount, &request).await?;
                Ok(SendOutcome::Lightning(paid))
            }
            Destination::Bitcoin(_) => Err(Error::bad_request(
                "onchain_destination",
                "this is an on-chain address; pay it out of VTXOs with POST /api/v1/wallet/send-onchain, or from the on-chain wallet with POST /api/v1/onchain/send",
            )),
        }
    }

    async fn send_lightning(
        self: &Arc<Wallet>,
        to: LightningDestination,
        amount: Option<Amount>,
        request: &SendRequest,
    ) -> Result<PaymentOutcome> {
        let payable = self.resolve(to, amount, request.comment.as_deref()).await?;
        self.pay_lightning(payable, request.terms).await
    }

    async fn send_arkoor(self: &Arc<Wallet>, to: &Address, amount: Amount) -> Result<SendOutcome> {
        let info = self.awaited_info().await?;
        let limits = Limits {
            tip: self.recent_tip().await?,
            max_exit_depth: info.max_vtxo_exit_depth,
        };
        let (id, to) = (OperationId::random(), to.clone());
        let (keys, pieces) = (self.keys.clone(), self.settings.change_pieces);
        let started = self.start(id.clone(), CommitPoint::SendStarted, move |tx, id| {
            let signing = reserve(tx, &keys, id, &to, amount, limits, pieces)?;
            write_movement(tx, id, &to, signing.spend())?;
            Ok(ArkoorSend::Sign {
                destination: to,
                signing,
            })
        });
        let progress = started.await?;
        let movement = self
            .store
            .read(move |connection| movement_of(connection, &id))
            .await?;
        let answer = engine::answer(progress, PATIENCE).await?;
        Ok(SendOutcome::Ark {
            movement,
            finished: answer == Answer::Complete,
        })
    }
}

/// Selects and locks the inputs, and takes the change key.
fn reserve(
    tx: &mut WriteTx<'_>,
    keys: &WalletKeys,
    id: &OperationId,
    destination: &Address,
    amount: Amount,
    limits: Limits,
    pieces: u8,
) -> Result<Signing> {
    let inputs = select::select(tx, amount, limits)?;
    let payee = Payee {
        policy: destination.policy().clone(),
        amount,
    };
    let change = Change {
        key: keys::reveal_next(tx, keys)?.index,
        pieces,
    };
    Signing::begin(tx, id, &inputs, payee, change)
}

fn write_movement(
    tx: &WriteTx<'_>,
    id: &OperationId,
    destination: &Address,
    spend: &ArkoorSpend,
) -> Result<()> {
    let amount = spend.amount;
    let balance = -signed(amount)?;
    let movement = NewMovement {
        operation: Some(id),
        status: MovementStatus::Pending,
        subsystem: Subsystem::ArkoorSend,
        intended_balance: balance,
        effective_balance: balance,
        offchain_fee: Amount::ZERO,
        sent_to: &[Transfer {
            method: PaymentMethod::Ark(destination.to_string()),
            amount,
        }],
        received_on: &[],
        input_vtxos: &spend.inputs,
        output_vtxos: &[],
        metadata: Facts::default(),
    };
    movement::insert(tx, &movement, clock::now_millis())?;
    Ok(())
}
