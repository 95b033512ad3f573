//! The consensus rules of transactions: structure, amounts, lock times and scripts.
//!
//! Scripts are run by the consensus library of the reference node, over all outputs that the transaction spends, so
//! that taproot signatures are checked as well.

use std::collections::HashSet;

use bitcoin::constants::COINBASE_MATURITY;
use bitcoin::locktime::absolute::LOCK_TIME_THRESHOLD;
use bitcoin::{Amount, Transaction, TxOut, consensus};

use super::{Reject, RejectKind};

/// Weight that neither a block nor a transaction may exceed.
pub(super) const MAX_WEIGHT: u64 = 4_000_000;
/// Signature operations that a block may hold, in weighted units.
pub(super) const MAX_SIGOPS: usize = 80_000;

/// An output that can be spent.
#[derive(Clone, Debug)]
pub(super) struct Coin {
    pub(super) output: TxOut,
    /// Height of its block; for an output in the mempool that of the next block.
    pub(super) height: u32,
    pub(super) coinbase: bool,
}

/// The block that a transaction is checked for: its height, and the median time of the blocks before it.
pub(super) struct Place {
    pub(super) height: u32,
    pub(super) median_time: u32,
}

impl Reject {
    pub(super) fn invalid(reason: impl Into<String>) -> Reject {
        Reject {
            kind: RejectKind::Invalid,
            reason: reason.into(),
        }
    }

    /// For a transaction of a package that was refused as a whole.
    pub(super) fn not_validated() -> Reject {
        Reject::invalid("package-not-validated")
    }

    pub(super) fn fee(reason: impl Into<String>) -> Reject {
        Reject {
            kind: RejectKind::Fee,
            reason: reason.into(),
        }
    }

    pub(super) fn missing_inputs() -> Reject {
        Reject {
            kind: RejectKind::MissingInputs,
            reason: "bad-txns-inputs-missingorspent".into(),
        }
    }
}

/// Checks what can be checked without knowing the outputs spent.
pub(super) fn check_structure(tx: &Transaction) -> Result<(), Reject> {
    if tx.input.is_empty() {
        return Err(Reject::invalid("bad-txns-vin-empty"));
    }
    if tx.output.is_empty() {
        return Err(Reject::invalid("bad-txns-vout-empty"));
    }
    if tx.base_size() as u64 * 4 > MAX_WEIGHT {
        return Err(Reject::invalid("bad-txns-oversize"));
    }
    let mut total = Amount::ZERO;
    for output in &tx.output {
        if output.value > Amount::MAX_MONEY {
            return Err(Reject::invalid("bad-txns-vout-toolarge"));
        }
        total = total
            .checked_add(output.value)
            .filter(|total| *total <= Amount::MAX_MONEY)
            .ok_or_else(|| Reject::invalid("bad-txns-txouttotal-toolarge"))?;
    }
    let mut seen = HashSet::new();
    if !tx
        .input
        .iter()
        .all(|input| seen.insert(input.previous_output))
    {
        return Err(Reject::invalid("bad-txns-inputs-duplicate"));
    }
    if tx.is_coinbase() {
        if !(2..=100).contains(&tx.input[0].script_sig.len()) {
            return Err(Reject::invalid("bad-cb-length"));
        }
    } else if tx.input.iter().any(|input| input.previous_output.is_null()) {
        return Err(Reject::invalid("bad-txns-prevout-null"));
    }
    Ok(())
}

/// Checks maturity and amounts, and returns the fee. `coins` are the outputs spent, in the order of the inputs.
pub(super) fn check_amounts(
    tx: &Transaction,
    coins: &[Coin],
    height: u32,
) -> Result<Amount, Reject> {
    let mut paid_in = Amount::ZERO;
    for coin in coins {
        let depth = height.saturating_sub(coin.height);
        if coin.coinbase && depth < COINBASE_MATURITY {
            return Err(Reject::invalid(format!(
                "bad-txns-premature-spend-of-coinbase, tried to spend coinbase at depth {depth}"
            )));
        }
        paid_in = paid_in
            .checked_add(coin.output.value)
            .filter(|total| *total <= Amount::MAX_MONEY)
            .ok_or_else(|| Reject::invalid("bad-txns-inputvalues-outofrange"))?;
    }
    let paid_out: Amount = tx.output.iter().map(|output| output.value).sum();
    paid_in.checked_sub(paid_out).ok_or_else(|| {
        Reject::invalid(format!(
            "bad-txns-in-belowout, value in ({}) < value out ({})",
            paid_in.display_in(bitcoin::Denomination::Bitcoin),
            paid_out.display_in(bitcoin::Denomination::Bitcoin)
        ))
    })
}

/// Checks the absolute lock time (BIP113).
pub(super) fn check_lock_time(tx: &Transaction, place: &Place) -> Result<(), Reject> {
    let lock = tx.lock_time.to_consensus_u32();
    let reached = if lock < LOCK_TIME_THRESHOLD {
        place.height
    } else {
        place.median_time
    };
    if lock == 0 || lock < reached || tx.input.iter().all(|input| !input.enables_lock_time()) {
        Ok(())
    } else {
        Err(Reject::invalid("non-final"))
    }
}

/// Checks the relative lock times (BIP68). `median_time` gives that of the block at a height.
pub(super) fn check_sequence_locks(
    tx: &Transaction,
    coins: &[Coin],
    place: &Place,
    median_time: impl Fn(u32) -> u32,
) -> Result<(), Reject> {
    if tx.version.0.cast_unsigned() < 2 {
        return Ok(());
    }
    for (input, coin) in tx.input.iter().zip(coins) {
        let value = input.sequence.to_consensus_u32() & 0xffff;
        let met = if input.sequence.is_height_locked() {
            coin.height + value <= place.height
        } else if input.sequence.is_time_locked() {
            median_time(coin.height.saturating_sub(1)).saturating_add(value << 9)
                <= place.median_time
        } else {
            true
        };
        if !met {
            return Err(Reject::invalid("non-BIP68-final"));
        }
    }
    Ok(())
}

/// Runs the script of every input. `spent` are the outputs spent, in the order of the inputs.
pub(super) fn check_scripts(tx: &Transaction, spent: &[&TxOut]) -> Result<(), Reject> {
    let raw = consensus::serialize(tx);
    let utxos: Option<Vec<_>> = spent
        .iter()
        .map(|output| {
            Some(bitcoinconsensus::Utxo {
                script_pubkey: output.script_pubkey.as_bytes().as_ptr(),
                script_pubkey_len: output.script_pubkey.len().try_into().ok()?,
                value: output.value.to_sat().try_into().ok()?,
            })
        })
        .collect();
    let utxos = utxos.ok_or_else(|| Reject::invalid("bad-txns-inputvalues-outofrange"))?;
    for (index, output) in spent.iter().enumerate() {
        let script = output.script_pubkey.as_bytes();
        bitcoinconsensus::verify(script, output.value.to_sat(), &raw, Some(&utxos), index).map_err(|_| {
            Reject::invalid(format!(
                "mandatory-script-verify-flag-failed (Script failed), input {index} of {} spending {}",
                tx.compute_txid(),
                tx.input[index].previous_output
            ))
        })?;
    }
    Ok(())
}
