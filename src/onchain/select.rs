//! Builds an unsigned transaction from a set of coins.

use std::cmp::Reverse;
use std::collections::HashSet;

use bdk_wallet::coin_selection::{
    BranchAndBoundCoinSelection, CoinSelectionAlgorithm, InsufficientFunds,
    LargestFirstCoinSelection, SingleRandomDraw,
};
use bdk_wallet::error::CreateTxError;
use bdk_wallet::{LocalOutput, TxOrdering, Wallet};
use bitcoin::{Amount, FeeRate, OutPoint, Psbt, ScriptBuf, Weight};

use super::Error;

/// The weight of an input that spends one of our coins: outpoint, empty script, sequence, and one Schnorr signature.
pub(super) const INPUT_WEIGHT: Weight = Weight::from_wu(41 * 4 + 66);

/// The parameters of a transaction.
pub(super) struct Plan {
    pub(super) outputs: Outputs,
    pub(super) fee_rate: FeeRate,
    pub(super) max_inputs: usize,
    pub(super) coins: Coins,
}

/// The coins that a transaction may spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coins {
    /// All that are spendable.
    Any,
    /// The confirmed one with the largest value.
    LargestConfirmed,
}

/// The outputs of a transaction.
pub(super) enum Outputs {
    /// These outputs, in this order, and a change output.
    Pay(Vec<(ScriptBuf, Amount)>),
    /// One output with the value of all coins.
    Drain(ScriptBuf),
}

impl Plan {
    /// Refuses outputs that are invalid whatever coins there are.
    pub(super) fn check(&self) -> Result<(), Error> {
        let Outputs::Pay(recipients) = &self.outputs else {
            return Ok(());
        };
        if recipients.is_empty() {
            return Err(Error::NoRecipients);
        }
        let mut total = Amount::ZERO;
        for (script, amount) in recipients {
            let (amount, minimum) = (*amount, script.minimal_non_dust());
            if amount < minimum {
                return Err(Error::Dust { amount, minimum });
            }
            total = total
                .checked_add(amount)
                .filter(|total| *total <= Amount::MAX_MONEY)
                .ok_or_else(|| {
                    Error::Transaction("the amounts exceed 21 million bitcoin".into())
                })?;
        }
        Ok(())
    }
}

/// Builds the transaction of `plan` from `coins`, with change to `change` and the lock time `height`.
pub(super) fn build(
    wallet: &mut Wallet,
    mut coins: Vec<LocalOutput>,
    plan: &Plan,
    change: &ScriptBuf,
    height: u32,
) -> Result<Psbt, Error> {
    let recipients = match &plan.outputs {
        Outputs::Pay(recipients) => recipients,
        Outputs::Drain(script) => {
            let spending = plan.fee_rate.fee_wu(INPUT_WEIGHT).unwrap_or(Amount::MAX);
            coins.retain(|coin| coin.txout.value > spending);
            coins.sort_by_key(|coin| Reverse(coin.txout.value));
            coins.truncate(plan.max_inputs);
            return drain(wallet, &coins, script, plan.fee_rate, height);
        }
    };

    let allowed: HashSet<OutPoint> = coins.iter().map(|coin| coin.outpoint).collect();
    let mut excluded: Vec<OutPoint> = wallet.list_unspent().map(|coin| coin.outpoint).collect();
    excluded.retain(|outpoint| !allowed.contains(outpoint));
    let payment = PaymentBuilder {
        recipients,
        excluded,
        change,
        fee_rate: plan.fee_rate,
        height,
    };
    let psbt = payment.build(
        wallet,
        BranchAndBoundCoinSelection::<SingleRandomDraw>::default(),
    )?;
    if psbt.inputs.len() <= plan.max_inputs {
        return Ok(psbt);
    }
    let psbt = payment.build(wallet, LargestFirstCoinSelection)?;
    if psbt.inputs.len() <= plan.max_inputs {
        Ok(psbt)
    } else {
        Err(Error::TooManyInputs {
            limit: plan.max_inputs,
        })
    }
}

struct PaymentBuilder<'a> {
    recipients: &'a [(ScriptBuf, Amount)],
    /// The wallet's coins that must not be spent.
    excluded: Vec<OutPoint>,
    change: &'a ScriptBuf,
    fee_rate: FeeRate,
    height: u32,
}

impl PaymentBuilder<'_> {
    fn build(
        &self,
        wallet: &mut Wallet,
        selection: impl CoinSelectionAlgorithm,
    ) -> Result<Psbt, Error> {
        let mut builder = wallet.build_tx().coin_selection(selection);
        builder
            .set_recipients(self.recipients.to_vec())
            // By default BDK sends change to the oldest unused address, which a payer may have been given.
            .drain_to(self.change.clone())
            .unspendable(self.excluded.clone())
            .ordering(TxOrdering::Untouched)
            .fee_rate(self.fee_rate)
            .current_height(self.height)
            .only_witness_utxo();
        builder.finish().map_err(convert)
    }
}

fn drain(
    wallet: &mut Wallet,
    coins: &[LocalOutput],
    script: &ScriptBuf,
    fee_rate: FeeRate,
    height: u32,
) -> Result<Psbt, Error> {
    if coins.is_empty() {
        return Err(Error::InsufficientFunds {
            needed: script.minimal_non_dust(),
            available: Amount::ZERO,
        });
    }
    let outpoints: Vec<OutPoint> = coins.iter().map(|coin| coin.outpoint).collect();
    let mut builder = wallet.build_tx();
    builder
        .add_utxos(&outpoints)
        .map_err(|error| Error::Transaction(error.to_string()))?
        .manually_selected_only()
        .drain_to(script.clone())
        .fee_rate(fee_rate)
        .current_height(height)
        .only_witness_utxo();
    builder.finish().map_err(convert)
}

fn convert(error: CreateTxError) -> Error {
    match error {
        CreateTxError::CoinSelection(InsufficientFunds { needed, available }) => {
            Error::InsufficientFunds { needed, available }
        }
        other => Error::Transaction(other.to_string()),
    }
}
