//! The start of a payment: everything that the first remote call depends on, in one transaction.

use std::sync::Arc;

use ark_lib::Address;
use bitcoin::Amount;

use crate::model::OperationId;
use crate::model::{MovementId, MovementStatus, NewMovement, PaymentMethod, Subsystem, Transfer};
use crate::store::movement;
use crate::store::{WriteTx, vtxo};
use crate::wallet::account::keys::{self, WalletKeys};
use crate::wallet::coins::select::{self, Limits};
use crate::wallet::engine::clock;
use crate::wallet::engine::{self, Answer};
use crate::wallet::flows::board;
use crate::wallet::{CommitPoint, Error, PATIENCE, Result, Wallet};

use super::{ArkoorSend, Payment, Sats};

impl Wallet {
    /// Pays an Ark address, and waits a while for the payment to be done.
    ///
    /// # Errors
    /// What is wrong with the request, or why the payment failed; then nothing was paid.
    pub(in crate::wallet) async fn send_arkoor(
        self: &Arc<Wallet>,
        to: Address,
        amount: Amount,
    ) -> Result<(MovementId, Answer)> {
        let info = self.connected_info()?;
        let limits = Limits {
            tip: self.recent_tip().await?,
            max_exit_depth: info.max_vtxo_exit_depth,
        };
        let id = OperationId::random();
        let (keys, pieces) = (self.keys.clone(), self.settings.change_pieces);
        let method = PaymentMethod::Ark(to.to_string());
        let movement_of = id.clone();
        let started = self.start(id.clone(), CommitPoint::SendStarted, move |tx, id| {
            let (payment, registered) = reserve(tx, &keys, id, to, amount, limits, pieces)?;
            let balance = -board::signed(amount)?;
            let movement = NewMovement {
                operation: Some(id),
                status: MovementStatus::Pending,
                subsystem: Subsystem::ArkoorSend,
                intended_balance: balance,
                effective_balance: balance,
                offchain_fee: Amount::ZERO,
                sent_to: &[Transfer { method, amount }],
                received_on: &[],
                input_vtxos: &payment.inputs,
                output_vtxos: &[],
                metadata: serde_json::Map::new(),
            };
            movement::insert(tx, &movement, clock::now_millis())?;
            Ok(if registered {
                ArkoorSend::Cosign(payment)
            } else {
                ArkoorSend::RegisterInputs(payment)
            })
        });
        let progress = started.await?;
        let movement = self
            .store
            .read(move |connection| movement::id_of_operation(connection, &movement_of))
            .await?;
        let movement = movement
            .ok_or_else(|| Error::internal(anyhow::anyhow!("operation {id} has no movement")))?;
        Ok((movement, engine::answer(progress, PATIENCE).await?))
    }
}

/// Picks and locks the inputs, and takes the change key; answers also whether the server has the chains of all inputs.
fn reserve(
    tx: &mut WriteTx<'_>,
    keys: &WalletKeys,
    id: &OperationId,
    destination: Address,
    amount: Amount,
    limits: Limits,
    pieces: u8,
) -> Result<(Payment, bool)> {
    let inputs = select::select(tx, amount, limits)?;
    for input in &inputs {
        vtxo::lock(tx, input.id, id)?;
    }
    let sum = inputs
        .iter()
        .try_fold(Amount::ZERO, |sum, input| sum.checked_add(input.amount));
    let change = sum
        .and_then(|sum| sum.checked_sub(amount))
        .ok_or_else(|| Error::internal(anyhow::anyhow!("selection is short")))?;
    let change_key = keys::reveal_next(tx, keys)?;
    let payment = Payment {
        destination,
        amount,
        inputs: inputs.iter().map(|input| input.id).collect(),
        change_key: change_key.index,
        change: select::split_change(change, amount, pieces)
            .into_iter()
            .map(Sats)
            .collect(),
        uploaded: false,
        doubts: 0,
    };
    Ok((payment, inputs.iter().all(|input| input.registered)))
}
