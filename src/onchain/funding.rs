//! Selects coins for a transaction that is signed later, and holds them until then (docs/protocol.md §4.1, H6).
//!
//! ```text
//! prepare_funding ── Funding (coins reserved in memory) ── hold (rows in the caller's transaction) ── sign ── record
//!                        └ dropped: coins are free            └ release: coins are free
//! ```

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

use bdk_wallet::Wallet;
use bitcoin::absolute::LOCK_TIME_THRESHOLD;
use bitcoin::{Amount, FeeRate, OutPoint, Psbt, ScriptBuf, Transaction};

use super::reservation::Reservation;
use super::select::{Coins, Outputs, Plan, build};
use super::view::spendable;
use super::wallet::{Shared, now};
use super::{Error, OnchainWallet};
use crate::chain::Tip;
use crate::store::{self, WriteTx};

/// The most inputs of a funding; the Ark server accepts no larger board.
const MAX_FUNDING_INPUTS: usize = 100;

/// The amount of a funding output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FundingAmount {
    /// This amount. The wallet pays the fee in addition.
    Exact(Amount),
    /// All coins that are worth more than the fee for spending them, at most the 100 largest. The fee is subtracted.
    All,
}

/// An unsigned transaction. No other transaction can select its coins until it is dropped.
pub struct Funding {
    reservation: Reservation,
    psbt: Psbt,
    fee: Amount,
}

impl Funding {
    /// The transaction. All its inputs are native segwit, so signing does not change its id.
    pub fn psbt(&self) -> &Psbt {
        &self.psbt
    }

    /// The transaction's fee.
    pub fn fee(&self) -> Amount {
        self.fee
    }

    /// Holds the coins for `operation` and returns the transaction. The hold begins with the commit of `tx` and lasts, across
    /// restarts, until the operation records or releases. If `tx` is rolled back, the coins are free again.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn hold(self, tx: &mut WriteTx<'_>, operation: &str) -> Result<Psbt, Error> {
        for input in &self.psbt.unsigned_tx.input {
            store::onchain::hold(tx, input.previous_output, operation)?;
        }
        self.reservation.keep_change_index();
        Ok(self.psbt)
    }

    /// Drops the funding without making its change index available to another transaction.
    pub(super) fn keep_change_index(self) {
        self.reservation.keep_change_index();
    }
}

impl OnchainWallet {
    /// Selects coins for an output to `script` and builds the transaction. It is neither signed nor recorded.
    ///
    /// # Errors
    /// [`Error::InsufficientFunds`], [`Error::Dust`], [`Error::TooManyInputs`].
    pub async fn prepare_funding(
        &self,
        script: ScriptBuf,
        amount: FundingAmount,
        fee_rate: FeeRate,
    ) -> Result<Funding, Error> {
        let outputs = match amount {
            FundingAmount::Exact(amount) => Outputs::Pay(vec![(script, amount)]),
            FundingAmount::All => Outputs::Drain(script),
        };
        self.prepare(Plan {
            outputs,
            fee_rate,
            max_inputs: MAX_FUNDING_INPUTS,
            coins: Coins::Any,
        })
        .await
    }

    pub(super) async fn prepare(&self, plan: Plan) -> Result<Funding, Error> {
        plan.check()?;
        let plan = Arc::new(plan);
        loop {
            self.catch_up().await?;
            let (shared, plan) = (Arc::clone(&self.0), Arc::clone(&plan));
            let selected = self
                .0
                .store
                .write(move |tx| select(&shared, tx, &plan))
                .await?;
            // `None` if a transaction was recorded in between: first apply it, so that its coins are spent in memory too.
            if let Some((funding, revision)) = selected {
                self.0.state().saved(revision);
                return Ok(funding);
            }
        }
    }

    /// Releases the coins that `operation` holds.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn release(&self, tx: &mut WriteTx<'_>, operation: &str) -> Result<(), Error> {
        Ok(store::onchain::release(tx, operation)?)
    }

    /// Records a signed transaction of ours, which spends its coins, and releases the holds of `operation`. Each sync broadcasts
    /// the transaction until it is confirmed. Call [`catch_up`](Self::catch_up) after the commit of `tx`.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn record(
        &self,
        tx: &mut WriteTx<'_>,
        transaction: &Transaction,
        operation: Option<&str>,
    ) -> Result<(), Error> {
        // Dated one second back, because times are whole seconds: a sync that starts in the same second must regard the
        // transaction as not seen on the network, and broadcast it.
        store::onchain::insert_transaction(tx, transaction, now().saturating_sub(1))?;
        if let Some(operation) = operation {
            store::onchain::release(tx, operation)?;
        }
        Ok(())
    }
}

/// The lock time of a new transaction: the height of the wallet's newest block, but at most the tip's. A backend may once have
/// reported a block that does not exist; a transaction locked until its height could not be mined.
fn lock_height(wallet: &Wallet, tip: Option<Tip>) -> u32 {
    let newest = wallet.latest_checkpoint().height();
    let height = tip.map_or(newest, |tip| tip.height.to_u32().min(newest));
    height.min(LOCK_TIME_THRESHOLD - 1)
}

/// Builds a transaction and reserves its coins. `None` if there are recorded transactions that memory has not applied yet. Runs
/// in the store's writer thread; the doc of the [module](super) gives the reason.
fn select(
    shared: &Arc<Shared>,
    tx: &WriteTx<'_>,
    plan: &Plan,
) -> Result<Option<(Funding, u64)>, Error> {
    let mut state = shared.state();
    if !store::onchain::transactions_after(tx, state.applied_row)?.is_empty() {
        return Ok(None);
    }
    let held: HashSet<OutPoint> = store::onchain::held(tx)?.into_iter().collect();
    let mut coins = spendable(&state.wallet);
    coins.retain(|coin| !held.contains(&coin.outpoint) && !state.reserved.contains(&coin.outpoint));
    if plan.coins == Coins::LargestConfirmed {
        coins.retain(|coin| coin.chain_position.is_confirmed());
        coins.sort_by_key(|coin| Reverse(coin.txout.value));
        coins.truncate(1);
    }

    let change = state.take_change_address();
    let height = lock_height(&state.wallet, shared.chain.last_tip());
    let built = build(
        &mut state.wallet,
        coins,
        plan,
        &change.script_pubkey(),
        height,
    );
    state.collect_changes();
    let pays_change = |psbt: &Psbt| {
        let mut outputs = psbt.unsigned_tx.output.iter();
        outputs.any(|output| output.script_pubkey == change.script_pubkey())
    };
    let change_index = built
        .as_ref()
        .is_ok_and(pays_change)
        .then_some(change.index);
    if change_index.is_none() {
        state.spare_change.insert(change.index);
    }

    let psbt = built?;
    let fee = psbt
        .fee()
        .map_err(|error| Error::Transaction(error.to_string()))?;
    let revision = state.write_unsaved(tx)?;
    let inputs = psbt.unsigned_tx.input.iter();
    let coins = inputs.map(|input| input.previous_output).collect();
    let funding = Funding {
        reservation: Reservation::new(shared, &mut state, coins, change_index),
        psbt,
        fee,
    };
    Ok(Some((funding, revision)))
}
