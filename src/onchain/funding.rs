//! Picking coins for a transaction that is signed later, and holding them until then (docs/protocol.md §4.1, H6).
//!
//! ```text
//! prepare_funding ── Funding (coins reserved in memory) ── hold (rows in the caller's transaction) ── sign ── record
//!                        └ dropped: coins free                └ release: coins free
//! ```

use std::collections::HashSet;
use std::sync::Arc;

use bdk_wallet::{KeychainKind, Wallet};
use bitcoin::absolute::LOCK_TIME_THRESHOLD;
use bitcoin::{Amount, FeeRate, OutPoint, Psbt, ScriptBuf, Transaction};

use super::select::{Outputs, Plan, build};
use super::view::spendable;
use super::{Error, OnchainWallet, Shared, now};
use crate::chain::Tip;
use crate::store::{self, WriteTx};

/// The most inputs of a funding; the Ark server accepts no larger board.
const MAX_FUNDING_INPUTS: usize = 100;

/// How much to put into a funding output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FundingAmount {
    /// This much; the fee comes on top.
    Exact(Amount),
    /// All coins that are worth their fee, at most the hundred largest; the fee comes out of them.
    All,
}

/// An unsigned transaction whose coins nobody else can pick. Dropping it lets go of them.
pub struct Funding {
    shared: Arc<Shared>,
    psbt: Psbt,
    fee: Amount,
    change_index: Option<u32>,
}

impl Funding {
    /// The transaction. All inputs are native segwit, so signing does not change its id.
    pub fn psbt(&self) -> &Psbt {
        &self.psbt
    }

    /// What it pays to the miner.
    pub fn fee(&self) -> Amount {
        self.fee
    }

    /// Holds the coins for `operation`, from the commit of `tx` until the operation records or releases, also across
    /// restarts. Answers the transaction. When `tx` is undone, the coins are free again.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn hold(self, tx: &mut WriteTx<'_>, operation: &str) -> Result<Psbt, Error> {
        for input in &self.psbt.unsigned_tx.input {
            store::onchain::hold(tx, input.previous_output, operation)?;
        }
        let psbt = self.psbt.clone();
        self.used();
        Ok(psbt)
    }

    /// Keeps the change index from being given to another transaction.
    pub(super) fn used(mut self) {
        self.change_index = None;
    }
}

impl Drop for Funding {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        for input in &self.psbt.unsigned_tx.input {
            state.reserved.remove(&input.previous_output);
        }
        state.spare_change.extend(self.change_index);
    }
}

impl OnchainWallet {
    /// Picks coins for an output to `script` and builds the transaction, without signing or recording it.
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
        })
        .await
    }

    pub(super) async fn prepare(&self, plan: Plan) -> Result<Funding, Error> {
        plan.check()?;
        let plan = Arc::new(plan);
        loop {
            self.catch_up().await?;
            let (shared, plan) = (Arc::clone(&self.0), Arc::clone(&plan));
            let picked = self
                .0
                .store
                .write(move |tx| pick(&shared, tx, &plan))
                .await?;
            // Somebody recorded a transaction in between: its coins must be known as spent first.
            if let Some((funding, revision)) = picked {
                self.0.state().saved(revision);
                return Ok(funding);
            }
        }
    }

    /// Gives back the coins that `operation` holds.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn release(&self, tx: &mut WriteTx<'_>, operation: &str) -> Result<(), Error> {
        Ok(store::onchain::release(tx, operation)?)
    }

    /// Records a signed transaction of ours, and gives back what `operation` holds, as its coins are spent now. Every sync
    /// broadcasts it until it is confirmed. Call [`catch_up`](Self::catch_up) once `tx` is committed.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn record(
        &self,
        tx: &mut WriteTx<'_>,
        transaction: &Transaction,
        operation: Option<&str>,
    ) -> Result<(), Error> {
        // As of a second ago: times are whole seconds, and a sync in this very second has not seen it on the network, also
        // when it is the first one of a process whose predecessor died before it could broadcast.
        store::onchain::insert_transaction(tx, transaction, now().saturating_sub(1))?;
        if let Some(operation) = operation {
            store::onchain::release(tx, operation)?;
        }
        Ok(())
    }
}

/// The height of the newest block, before which the transaction cannot be mined. A block that the backend once invented stays
/// among the wallet's, and a transaction that waits for its height would wait for ever, so the tip has to agree.
fn newest_height(wallet: &Wallet, tip: Option<Tip>) -> u32 {
    let newest = wallet.latest_checkpoint().height();
    let height = tip.map_or(newest, |tip| tip.height.to_u32().min(newest));
    height.min(LOCK_TIME_THRESHOLD - 1)
}

/// Builds a transaction and reserves its coins; `None` when memory does not know all recorded transactions yet. Runs in the
/// writer thread, for the reason that the module [`onchain`](super) gives.
fn pick(
    shared: &Arc<Shared>,
    tx: &WriteTx<'_>,
    plan: &Plan,
) -> Result<Option<(Funding, u64)>, Error> {
    let mut state = shared.state();
    if !store::onchain::transactions_after(tx, state.followed)?.is_empty() {
        return Ok(None);
    }
    let held: HashSet<OutPoint> = store::onchain::held(tx)?.into_iter().collect();
    let mut coins = spendable(&state.wallet);
    coins.retain(|coin| !held.contains(&coin.outpoint) && !state.reserved.contains(&coin.outpoint));

    let spare = state.spare_change.pop_first();
    let change = match spare {
        Some(index) => state.wallet.peek_address(KeychainKind::External, index),
        None => state.wallet.reveal_next_address(KeychainKind::External),
    };
    let height = newest_height(&state.wallet, shared.chain.last_tip());
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
    state
        .reserved
        .extend(inputs.map(|input| input.previous_output));
    drop(state);
    let funding = Funding {
        shared: Arc::clone(shared),
        psbt,
        fee,
        change_index,
    };
    Ok(Some((funding, revision)))
}
