//! Transactions by which one party alone takes an output that is on chain.

use anyhow::Context;
use ark_lib::vtxo::TapScriptClause;
use ark_lib::vtxo::policy::clause::VtxoClause;
use ark_lib::{SECP, ServerVtxo};
use bitcoin::absolute::LockTime;
use bitcoin::secp256k1::{Keypair, schnorr};
use bitcoin::sighash::{Prevouts, SighashCache};
use bitcoin::taproot::{ControlBlock, LeafVersion};
use bitcoin::transaction::Version;
use bitcoin::{
    FeeRate, ScriptBuf, Sequence, TapLeafHash, TapSighashType, Transaction, TxIn, TxOut, Witness,
};

/// Spends an output with one of its clauses by the clause's `key`, and pays the fee from its amount. `None` if the fee leaves less than
/// dust.
pub(in super::super) fn take(
    vtxo: &ServerVtxo,
    (clause, preimage): (&VtxoClause, Option<[u8; 32]>),
    key: &Keypair,
    to: ScriptBuf,
    fee_rate: FeeRate,
) -> anyhow::Result<Option<Transaction>> {
    let control_block = clause.control_block(vtxo);
    let sign = |signature| {
        witness(clause, signature, preimage, &control_block)
            .context("this kind of clause is not known, or it needs a preimage")
    };
    let mut tx = Transaction {
        version: Version::TWO,
        lock_time: lock_time(clause),
        input: vec![TxIn {
            previous_output: vtxo.point(),
            script_sig: ScriptBuf::new(),
            sequence: clause
                .sequence()
                .unwrap_or(Sequence::ENABLE_RBF_NO_LOCKTIME),
            witness: sign(schnorr::Signature::from_slice(&[0; 64])?)?,
        }],
        output: vec![TxOut {
            value: vtxo.amount(),
            script_pubkey: to.clone(),
        }],
    };
    let fee = fee_rate
        .fee_vb(tx.vsize() as u64)
        .context("fee rate out of range")?;
    let rest = vtxo.amount().checked_sub(fee);
    let Some(rest) = rest.filter(|rest| *rest >= to.minimal_non_dust()) else {
        return Ok(None);
    };
    tx.output[0].value = rest;
    let leaf = TapLeafHash::from_script(&clause.tapscript(), LeafVersion::TapScript);
    let sighash = SighashCache::new(&tx).taproot_script_spend_signature_hash(
        0,
        &Prevouts::All(&[vtxo.txout()]),
        leaf,
        TapSighashType::Default,
    )?;
    tx.input[0].witness = sign(SECP.sign_schnorr(&sighash.into(), key))?;
    Ok(Some(tx))
}

fn lock_time(clause: &VtxoClause) -> LockTime {
    match clause {
        VtxoClause::TimelockSign(clause) => clause.locktime(),
        VtxoClause::DelayedTimelockSign(clause) => clause.locktime(),
        _ => LockTime::ZERO,
    }
}

fn witness(
    clause: &VtxoClause,
    signature: schnorr::Signature,
    preimage: Option<[u8; 32]>,
    control_block: &ControlBlock,
) -> Option<Witness> {
    match clause {
        VtxoClause::DelayedSign(clause) => Some(clause.witness(&signature, control_block)),
        VtxoClause::TimelockSign(clause) => Some(clause.witness(&signature, control_block)),
        VtxoClause::DelayedTimelockSign(clause) => Some(clause.witness(&signature, control_block)),
        VtxoClause::HashSign(clause) => {
            Some(clause.witness(&(signature, preimage?), control_block))
        }
        VtxoClause::HashDelaySign(clause) => {
            Some(clause.witness(&(signature, preimage?), control_block))
        }
        VtxoClause::HashDelaySign_v0(_) | VtxoClause::HashSign_v0(_) => None,
    }
}
