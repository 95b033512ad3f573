//! The standardness rules of relay, beyond consensus: forms of transactions, scripts and witnesses, and dust.
//!
//! The limits are the defaults of Bitcoin Core 29, the oldest release that relays everything Ark needs.

use bitcoin::ecdsa;
use bitcoin::opcodes::all::OP_CHECKMULTISIG;
use bitcoin::opcodes::{Class, ClassifyContext};
use bitcoin::{Amount, FeeRate, Script, ScriptBuf, Transaction, TxIn, TxOut};

use super::Reject;

/// 0.1 bitcoin per thousand virtual bytes.
const MAX_FEE_RATE: FeeRate = FeeRate::from_sat_per_vb_u32(10_000);
const MAX_TX_WEIGHT: u64 = 400_000;
const MIN_TX_SIZE: usize = 65;
const MAX_SCRIPT_SIG: usize = 1650;
const MAX_OP_RETURN: usize = 83;
const MAX_TX_SIGOPS: usize = 16_000;
const MAX_P2SH_SIGOPS: usize = 15;
const MAX_WSH_SCRIPT: usize = 3600;
const MAX_WSH_ITEMS: usize = 100;
const MAX_WITNESS_ITEM: usize = 80;
/// Each signature operation counts as at least this many virtual bytes.
const BYTES_PER_SIGOP: u64 = 20;
const ANNEX_TAG: u8 = 0x50;
const TAPSCRIPT_LEAF: u8 = 0xc0;

/// The fee for a size at a rate, rounded up as nodes do.
pub(super) fn fee_at(rate: FeeRate, vsize: u64) -> Amount {
    Amount::from_sat(
        rate.to_sat_per_kwu()
            .saturating_mul(4)
            .saturating_mul(vsize)
            .div_ceil(1000),
    )
}

/// Sat per thousand virtual bytes, the unit in which nodes compare rates.
pub(super) fn rate_of(fee: Amount, vsize: u64) -> u64 {
    fee.to_sat().saturating_mul(1000) / vsize.max(1)
}

/// Checks that the fee is not absurd, as a node does for what comes in by RPC.
pub(super) fn check_highest_fee(fee: Amount, vsize: u64) -> Result<(), Reject> {
    if fee > fee_at(MAX_FEE_RATE, vsize) {
        return Err(Reject::invalid(
            "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)",
        ));
    }
    Ok(())
}

/// Whether an output is worth less than it costs to spend.
pub(super) fn is_dust(output: &TxOut) -> bool {
    output.value < output.script_pubkey.minimal_non_dust()
}

/// Whether the script is the anchor that anybody can spend with an empty witness.
pub(super) fn is_anchor(script: &Script) -> bool {
    script == &*ScriptBuf::new_p2a()
}

/// Checks version, size and outputs.
pub(super) fn check_shape(tx: &Transaction) -> Result<(), Reject> {
    if !(1..=3).contains(&tx.version.0) {
        return Err(Reject::invalid("version"));
    }
    if tx.weight().to_wu() > MAX_TX_WEIGHT {
        return Err(Reject::invalid("tx-size"));
    }
    for input in &tx.input {
        if input.script_sig.len() > MAX_SCRIPT_SIG {
            return Err(Reject::invalid("scriptsig-size"));
        }
        if !input.script_sig.is_push_only() {
            return Err(Reject::invalid("scriptsig-not-pushonly"));
        }
    }
    let (data, paying): (Vec<_>, Vec<_>) = tx
        .output
        .iter()
        .partition(|output| output.script_pubkey.is_op_return());
    if !paying
        .iter()
        .all(|output| can_be_paid(&output.script_pubkey))
        || data
            .iter()
            .any(|output| output.script_pubkey.len() > MAX_OP_RETURN)
    {
        return Err(Reject::invalid("scriptpubkey"));
    }
    if paying.iter().filter(|output| is_dust(output)).count() > 1 {
        return Err(Reject::invalid("dust"));
    }
    if data.iter().any(|output| output.value > Amount::ZERO) {
        return Err(Reject::invalid(
            "Unspendable output exceeds maximum configured by user (maxburnamount)",
        ));
    }
    if data.len() > 1 {
        return Err(Reject::invalid("multi-op-return"));
    }
    if tx.base_size() < MIN_TX_SIZE {
        return Err(Reject::invalid("tx-size-small"));
    }
    Ok(())
}

fn can_be_paid(script: &Script) -> bool {
    let bare_multisig = || script.is_multisig() && multisig_keys(script) <= 3;
    script.is_witness_program()
        || script.is_p2pkh()
        || script.is_p2sh()
        || script.is_p2pk()
        || bare_multisig()
}

/// The number of keys of a script that is known to be a bare multisig.
fn multisig_keys(script: &Script) -> u8 {
    match script.as_bytes() {
        [.., keys @ 0x51..=0x60, last] if *last == OP_CHECKMULTISIG.to_u8() => keys - 0x50,
        _ => u8::MAX,
    }
}

/// Checks that the outputs spent and the witnesses that spend them are of known kinds.
pub(super) fn check_inputs(tx: &Transaction, spent: &[&TxOut]) -> Result<(), Reject> {
    for (input, output) in tx.input.iter().zip(spent) {
        let script = &output.script_pubkey;
        if !can_be_spent(script, input) {
            return Err(Reject::invalid("bad-txns-nonstandard-inputs"));
        }
        if !input.witness.is_empty() && !is_witness_standard(script, input) {
            return Err(Reject::invalid("bad-witness-nonstandard"));
        }
    }
    Ok(())
}

fn can_be_spent(script: &Script, input: &TxIn) -> bool {
    if script.is_p2sh() {
        return input
            .script_sig
            .redeem_script()
            .is_some_and(|inner| inner.count_sigops() <= MAX_P2SH_SIGOPS);
    }
    let known_program =
        script.is_p2wpkh() || script.is_p2wsh() || script.is_p2tr() || is_anchor(script);
    known_program || (!script.is_witness_program() && can_be_paid(script))
}

fn is_witness_standard(script: &Script, input: &TxIn) -> bool {
    let redeem = if script.is_p2sh() {
        input.script_sig.redeem_script()
    } else {
        None
    };
    let program = redeem.unwrap_or(script);
    let items: Vec<&[u8]> = input.witness.iter().collect();
    if is_anchor(program) || !program.is_witness_program() {
        return false;
    }
    if program.is_p2wsh() {
        let Some((inner, stack)) = items.split_last() else {
            return false;
        };
        return inner.len() <= MAX_WSH_SCRIPT && stack.len() <= MAX_WSH_ITEMS && short(stack);
    }
    if program.is_p2tr() && redeem.is_none() {
        return is_taproot_standard(&items);
    }
    if program.is_p2wpkh() {
        return matches!(items.as_slice(), [signature, key] if key.len() == 33 && is_low_s(signature));
    }
    true
}

/// A key path spend, or a script path spend with the present leaf version and without OP_SUCCESS.
fn is_taproot_standard(items: &[&[u8]]) -> bool {
    match items {
        [_, .., last] if last.first() == Some(&ANNEX_TAG) => false,
        [stack @ .., script, control] => {
            let known = control
                .first()
                .is_some_and(|leaf| leaf & 0xfe == TAPSCRIPT_LEAF);
            known && !uses_op_success(Script::from_bytes(script)) && short(stack)
        }
        _ => true,
    }
}

fn uses_op_success(script: &Script) -> bool {
    let opcodes = script
        .instructions()
        .filter_map(|instruction| instruction.ok()?.opcode());
    let mut classes = opcodes.map(|opcode| opcode.classify(ClassifyContext::TapScript));
    classes.any(|class| class == Class::SuccessOp)
}

/// Whether a signature has a low S value, so that third parties cannot malleate it.
fn is_low_s(signature: &[u8]) -> bool {
    ecdsa::Signature::from_slice(signature).is_ok_and(|parsed| {
        let mut low = parsed.signature;
        low.normalize_s();
        low == parsed.signature
    })
}

fn short(stack: &[&[u8]]) -> bool {
    stack.iter().all(|item| item.len() <= MAX_WITNESS_ITEM)
}

/// The size that fee rates are computed with, in virtual bytes.
pub(super) fn virtual_size(tx: &Transaction, spent: &[&TxOut]) -> Result<u64, Reject> {
    let sigops = tx.total_sigop_cost(|outpoint| {
        let index = tx
            .input
            .iter()
            .position(|input| input.previous_output == *outpoint)?;
        Some((*spent[index]).clone())
    });
    if sigops > MAX_TX_SIGOPS {
        return Err(Reject::invalid("bad-txns-too-many-sigops"));
    }
    Ok(tx
        .weight()
        .to_wu()
        .max(sigops as u64 * BYTES_PER_SIGOP)
        .div_ceil(4))
}
