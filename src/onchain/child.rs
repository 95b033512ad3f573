//! The child that pays for a parent without a fee, by spending its anchor (docs/protocol.md §4.9, §10).
//!
//! ```text
//! prepare_child ── PreparedChild (coins reserved in memory) ── hold (rows in the caller's transaction) ── broadcast with the parent
//!                        └ dropped: coins are free                  ├ release: coins are free
//!                                                                   └ record: the child is confirmed, coins are spent
//! ```
//!
//! A held child is not in the wallet's books before the sync finds it on the network. Others may replace it, so the wallet
//! neither broadcasts it nor keeps it when the network has dropped it; the hold keeps its coins from any other transaction
//! (H26). Release the coins when another child is confirmed. When this one is, [`record`](OnchainWallet::record) it instead: a
//! release alone would let the coins be selected again until the next sync.

use std::collections::HashSet;
use std::sync::Arc;

use bdk_wallet::{KeychainKind, LocalOutput};
use bitcoin::absolute::LockTime;
use bitcoin::psbt::Input;
use bitcoin::transaction::Version;
use bitcoin::{
    Amount, FeeRate, OutPoint, Psbt, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Weight, Witness,
};
use bitcoin_ext::TransactionExt;

use super::coin_picker::{Short, pick};
use super::reservation::Reservation;
use super::select::INPUT_WEIGHT;
use super::state::State;
use super::view::confirmed;
use super::wallet::Shared;
use super::{Error, OnchainWallet};
use crate::store::{self, WriteTx};

/// The weight of a child that spends the anchor and one coin, and has one output: 153 vB.
pub const CHILD_WEIGHT: Weight = Weight::from_wu(ANCHOR_ONLY_WEIGHT.to_wu() + INPUT_WEIGHT.to_wu());
/// The weight of a child without coins: the fields outside of the lists, an input with an empty witness, a taproot output.
const ANCHOR_ONLY_WEIGHT: Weight = Weight::from_wu(42 + (41 * 4 + 1) + 43 * 4);
/// The most coins of a child. With them it is below 1000 vB, the limit for a version 3 transaction with an unconfirmed parent.
const MAX_COINS: usize = 15;
/// What a replacement has to pay for its own relay.
const RELAY_RATE: FeeRate = FeeRate::BROADCAST_MIN;

/// What a child has to pay.
#[derive(Clone, Debug)]
pub struct ChildFee {
    /// The fee rate of the parent and the child together.
    pub rate: FeeRate,
    /// The child that is replaced.
    pub replaces: Option<ReplacedChild>,
}

/// A child in the mempool that spends the same anchor. If it is ours, its replacement spends its coins too, so that the two
/// exclude each other for ever.
#[derive(Clone, Debug)]
pub struct ReplacedChild {
    /// The child.
    pub transaction: Transaction,
    /// Its fee, which is the fee of the package: a parent with an anchor pays none.
    pub fee: Amount,
}

/// A signed child. No other transaction can select its coins until it is dropped.
pub struct PreparedChild {
    reservation: Reservation,
    transaction: Transaction,
    fee: Amount,
    /// The coins that nobody holds.
    fresh: Vec<OutPoint>,
    /// The coins of the replaced child.
    reused: Vec<OutPoint>,
}

impl PreparedChild {
    /// The signed transaction.
    pub fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    /// Its fee, which includes the value of the anchor.
    pub fn fee(&self) -> Amount {
        self.fee
    }

    /// Holds the child's coins for `holder`, also those of the replaced child. The hold begins with the commit of `tx` and lasts,
    /// across restarts, until the holder records or releases. If `tx` is rolled back, the coins are as before.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn hold(self, tx: &mut WriteTx<'_>, holder: &str) -> Result<(), Error> {
        for coin in self.fresh {
            store::onchain::hold(tx, coin, holder)?;
        }
        for coin in self.reused {
            store::onchain::take_over(tx, coin, holder)?;
        }
        self.reservation.keep_change_index();
        Ok(())
    }
}

/// The fee of a package whose parent pays nothing. It is computed from virtual sizes, as nodes compute fee rates; `None` if it
/// does not fit.
pub fn package_fee(parent: Weight, child: Weight, rate: FeeRate) -> Option<Amount> {
    rate.fee_vb(parent.to_vbytes_ceil() + child.to_vbytes_ceil())
}

impl ChildFee {
    /// The fee of a child with this weight. A replacement pays the replaced fee plus the relay of the new package (BIP 125), and
    /// is above the replaced fee rate, however much larger it is.
    fn of(&self, parent: Weight, child: Weight) -> Option<Amount> {
        let fee = package_fee(parent, child, self.rate)?;
        let Some(replaced) = &self.replaces else {
            return Some(fee);
        };
        let size = |child: Weight| parent.to_vbytes_ceil() + child.to_vbytes_ceil();
        let (old, new) = (size(replaced.transaction.weight()), size(child));
        let same_rate = u128::from(replaced.fee.to_sat()) * u128::from(new);
        let same_rate = same_rate.div_ceil(u128::from(old.max(1)));
        let same_rate = Amount::from_sat(u64::try_from(same_rate).ok()?);
        let relay = RELAY_RATE.fee_vb(new)?;
        let minimum = same_rate.max(replaced.fee).checked_add(relay)?;
        Some(fee.max(minimum))
    }
}

impl OnchainWallet {
    /// The confirmed coins that nobody holds, in no particular order. Each child needs one of its own, or several.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn free_confirmed_coins(&self) -> Result<Vec<Amount>, Error> {
        self.catch_up().await?;
        let held: HashSet<OutPoint> = self
            .0
            .store
            .read(store::onchain::held)
            .await?
            .into_iter()
            .collect();
        let mut coins = confirmed(&self.0.state().wallet, None);
        coins.retain(|coin| !held.contains(&coin.outpoint));
        Ok(coins.into_iter().map(|coin| coin.txout.value).collect())
    }

    /// Makes a signed child of `parent`, from confirmed coins that nobody holds, with one change output. It is not recorded.
    ///
    /// # Errors
    /// [`Error::InsufficientFunds`], which counts only confirmed coins that nobody holds, and [`Error::TooManyInputs`];
    /// [`Error::Transaction`] when the parent has no anchor.
    pub async fn prepare_child(
        &self,
        parent: &Transaction,
        fee: &ChildFee,
    ) -> Result<PreparedChild, Error> {
        let (anchor, output) = parent.fee_anchor().ok_or_else(|| {
            Error::Transaction(format!("{} has no anchor", parent.compute_txid()))
        })?;
        let request = Arc::new(Request {
            anchor,
            anchor_output: output.clone(),
            parent_weight: parent.weight(),
            fee: fee.clone(),
        });
        let selected = loop {
            self.catch_up().await?;
            let (shared, request) = (Arc::clone(&self.0), Arc::clone(&request));
            let selected = self
                .0
                .store
                .write(move |tx| select(&shared, tx, &request))
                .await?;
            // `None` if a transaction was recorded in between: first apply it, so that its coins are spent in memory too.
            if let Some((selected, revision)) = selected {
                self.0.state().saved(revision);
                break selected;
            }
        };
        let Selected {
            reservation,
            psbt,
            fee,
            fresh,
            reused,
        } = selected;
        Ok(PreparedChild {
            reservation,
            transaction: self.sign(psbt)?,
            fee,
            fresh,
            reused,
        })
    }
}

struct Request {
    anchor: OutPoint,
    anchor_output: TxOut,
    parent_weight: Weight,
    fee: ChildFee,
}

impl Request {
    /// The fee of a child with this number of coins; the largest amount if it does not fit.
    fn fee(&self, coins: usize) -> Amount {
        let inputs = Weight::from_wu(INPUT_WEIGHT.to_wu().saturating_mul(coins as u64));
        let fee = self.fee.of(self.parent_weight, ANCHOR_ONLY_WEIGHT + inputs);
        fee.unwrap_or(Amount::MAX_MONEY).min(Amount::MAX_MONEY)
    }
}

struct Selected {
    reservation: Reservation,
    psbt: Psbt,
    fee: Amount,
    fresh: Vec<OutPoint>,
    reused: Vec<OutPoint>,
}

/// Builds a child and reserves its coins. `None` if there are recorded transactions that memory has not applied yet. Runs in the
/// store's writer thread; the doc of the [module](super) gives the reason.
fn select(
    shared: &Arc<Shared>,
    tx: &WriteTx<'_>,
    request: &Request,
) -> Result<Option<(Selected, u64)>, Error> {
    let mut state = shared.state();
    if !store::onchain::transactions_after(tx, state.applied_row)?.is_empty() {
        return Ok(None);
    }
    let held: HashSet<OutPoint> = store::onchain::held(tx)?.into_iter().collect();
    let replaced = request.fee.replaces.as_ref().map(|it| &it.transaction);
    let is_replaced = |coin: &LocalOutput| {
        let mut inputs = replaced.into_iter().flat_map(|replaced| &replaced.input);
        inputs.any(|input| input.previous_output == coin.outpoint)
    };
    let (mut coins, mut free): (Vec<LocalOutput>, Vec<LocalOutput>) =
        confirmed(&state.wallet, replaced)
            .into_iter()
            .partition(is_replaced);
    free.retain(|coin| !held.contains(&coin.outpoint) && !state.reserved.contains(&coin.outpoint));

    let change = change_script(&mut state, replaced);
    let dust = change.script.minimal_non_dust();
    let value: Amount = coins.iter().map(|coin| coin.txout.value).sum();
    let values: Vec<Amount> = free.iter().map(|coin| coin.txout.value).collect();
    let needed = |coins| {
        let total = request.fee(coins) + dust;
        total
            .checked_sub(request.anchor_output.value)
            .unwrap_or(Amount::ZERO)
    };
    let picked = match pick(coins.len(), value, &values, MAX_COINS, needed) {
        Ok(picked) => picked,
        Err(short) => {
            state.spare_change.extend(change.index);
            return Err(short.into());
        }
    };
    let outpoints = |coins: &[LocalOutput]| coins.iter().map(|coin| coin.outpoint).collect();
    let reused: Vec<OutPoint> = outpoints(&coins);
    let picked: Vec<LocalOutput> = picked.into_iter().map(|at| free[at].clone()).collect();
    let fresh: Vec<OutPoint> = outpoints(&picked);
    coins.extend(picked);

    let fee = request.fee(coins.len());
    let total: Amount = coins.iter().map(|coin| coin.txout.value).sum();
    let output = TxOut {
        value: total + request.anchor_output.value - fee,
        script_pubkey: change.script,
    };
    let psbt = build(&state, request, coins, output)?;
    // The anchor is not ours; its value is remembered so that the fee in the list of transactions is known.
    let (anchor, anchor_output) = (request.anchor, request.anchor_output.clone());
    state.wallet.insert_txout(anchor, anchor_output);
    state.collect_changes();
    let revision = state.write_unsaved(tx)?;
    let reserved = fresh.iter().chain(&reused).copied().collect();
    let reservation = Reservation::new(shared, &mut state, reserved, change.index);
    let selected = Selected {
        reservation,
        psbt,
        fee,
        fresh,
        reused,
    };
    Ok(Some((selected, revision)))
}

struct Change {
    script: ScriptBuf,
    /// The index that was taken for it; `None` if the replaced child has taken it.
    index: Option<u32>,
}

/// Where the change goes: as the replaced child's, if that is ours.
fn change_script(state: &mut State, replaced: Option<&Transaction>) -> Change {
    let mut outputs = replaced.into_iter().flat_map(|replaced| &replaced.output);
    let index = state.wallet.spk_index();
    if let Some(ours) =
        outputs.find(|output| index.index_of_spk(output.script_pubkey.clone()).is_some())
    {
        return Change {
            script: ours.script_pubkey.clone(),
            index: None,
        };
    }
    let change = state.take_change_address();
    debug_assert_eq!(change.keychain, KeychainKind::External);
    Change {
        script: change.script_pubkey(),
        index: Some(change.index),
    }
}

/// The unsigned child; the witness of its anchor input is final.
fn build(
    state: &State,
    request: &Request,
    coins: Vec<LocalOutput>,
    output: TxOut,
) -> Result<Psbt, Error> {
    let broken = |error: String| Error::Transaction(error);
    let spend = |previous_output: OutPoint| TxIn {
        previous_output,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        witness: Witness::new(),
    };
    let outpoints = coins.iter().map(|coin| coin.outpoint);
    let transaction = Transaction {
        version: Version(3),
        lock_time: LockTime::ZERO,
        input: std::iter::once(request.anchor)
            .chain(outpoints)
            .map(spend)
            .collect(),
        output: vec![output],
    };
    let mut psbt =
        Psbt::from_unsigned_tx(transaction).map_err(|error| broken(error.to_string()))?;
    psbt.inputs = vec![Input {
        witness_utxo: Some(request.anchor_output.clone()),
        final_script_witness: Some(Witness::new()),
        ..Input::default()
    }];
    for coin in coins {
        let input = state.wallet.get_psbt_input(coin, None, true);
        psbt.inputs
            .push(input.map_err(|error| broken(error.to_string()))?);
    }
    Ok(psbt)
}

impl From<Short> for Error {
    fn from(short: Short) -> Error {
        match short {
            Short::Funds { needed, available } => Error::InsufficientFunds { needed, available },
            Short::Inputs => Error::TooManyInputs { limit: MAX_COINS },
        }
    }
}
