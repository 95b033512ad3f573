//! A preimage that the server withholds after it got the forfeits (W11).
//!
//! Once an input is exited, the server has to broadcast the forfeit, or the wallet claims the input. The output of the forfeit is the
//! server's with the preimage, which unlocks the new VTXOs, and the wallet's after the exit delay.

use ark_lib::forfeit::create_hark_forfeit_tx;
use ark_lib::tree::signed::{UnlockHash, UnlockPreimage};
use ark_lib::vtxo::policy::HarkForfeitVtxoPolicy;
use ark_lib::vtxo::{Full, TapScriptClause};
use ark_lib::{SECP, Vtxo};
use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash as _;
use bitcoin::secp256k1::{Keypair, schnorr};
use bitcoin::sighash::{Prevouts, SighashCache};
use bitcoin::taproot::LeafVersion;
use bitcoin::transaction::Version;
use bitcoin::{OutPoint, ScriptBuf, TapLeafHash, TapSighashType, Transaction, TxIn, TxOut};
use bitcoin_ext::BlockHeight;

use super::{Exchange, Round, confirm};
use crate::chain::{Spend, TxStatus};
use crate::model::{OperationId, VtxoState};
use crate::wallet::engine::Step;
use crate::wallet::{Error, Result, Wallet};

/// What the chain says of the inputs of a refresh whose preimage is withheld.
pub(super) enum OnChain {
    /// Nothing that decides.
    Waiting,
    /// The preimage.
    Revealed(UnlockPreimage),
    /// The wallet has claimed every input, or the output of its forfeit.
    Returned,
}

/// Looks for the preimage on chain, and claims the outputs of forfeits that the server leaves.
pub(super) async fn look(wallet: &Wallet, exchange: &Exchange) -> Result<OnChain> {
    let ids = exchange.plan.inputs.clone();
    let records = wallet.records(ids.clone()).await?;
    if records.iter().all(|it| it.state != VtxoState::Exited) {
        return Ok(OnChain::Waiting);
    }
    let mut returned = 0;
    for ((input, key), record) in wallet.signers(ids).await?.iter().zip(&records) {
        if record.state != VtxoState::Exited {
            continue;
        }
        let forfeit = create_hark_forfeit_tx(input, exchange.unlock_hash, None);
        let spend = wallet.chain.spender(input.point()).await?;
        let Some(Spend { txid, status }) = spend else {
            continue;
        };
        let TxStatus::Confirmed { height, .. } = status else {
            continue;
        };
        if txid != forfeit.compute_txid() {
            returned += 1;
            continue;
        }
        match follow_forfeit(wallet, exchange, (input, key), &forfeit, height).await? {
            OnChain::Waiting => {}
            OnChain::Revealed(preimage) => return Ok(OnChain::Revealed(preimage)),
            OnChain::Returned => returned += 1,
        }
    }
    Ok(if returned == records.len() {
        OnChain::Returned
    } else {
        OnChain::Waiting
    })
}

/// What became of the output of a forfeit that was confirmed at `height`.
async fn follow_forfeit(
    wallet: &Wallet,
    exchange: &Exchange,
    (input, key): (&Vtxo<Full>, &Keypair),
    forfeit: &Transaction,
    height: BlockHeight,
) -> Result<OnChain> {
    let output = OutPoint::new(forfeit.compute_txid(), 0);
    let Some(Spend { txid, status }) = wallet.chain.spender(output).await? else {
        let tip = wallet.chain.tip().await?.height;
        if tip >= height.add_delta(input.exit_delta()) {
            take_back(wallet, exchange, (input, key), forfeit).await?;
        }
        return Ok(OnChain::Waiting);
    };
    if !status.is_confirmed() {
        return Ok(OnChain::Waiting);
    }
    let missing = || {
        Error::unavailable(
            "chain_unavailable",
            format!("transaction {txid} is missing"),
        )
    };
    let claim = wallet.chain.transaction(txid).await?.ok_or_else(missing)?;
    Ok(match revealed(&claim, output, exchange.unlock_hash) {
        Some(preimage) => OnChain::Revealed(preimage),
        None => OnChain::Returned,
    })
}

/// The preimage in the witness with which a transaction spends an output.
fn revealed(
    claim: &Transaction,
    output: OutPoint,
    unlock_hash: UnlockHash,
) -> Option<UnlockPreimage> {
    let mut inputs = claim.input.iter();
    let input = inputs.find(|input| input.previous_output == output)?;
    let items = input.witness.iter();
    items
        .filter_map(|item| UnlockPreimage::try_from(item).ok())
        .find(|item| UnlockHash::hash(item) == unlock_hash)
}

/// Takes the output of a forfeit to the on-chain wallet, with the clause that the exit delay opens.
async fn take_back(
    wallet: &Wallet,
    exchange: &Exchange,
    (input, key): (&Vtxo<Full>, &Keypair),
    forfeit: &Transaction,
) -> Result<()> {
    let to = wallet.onchain.next_address().await?.script_pubkey();
    let rate = wallet.chain.fee_rates().regular;
    let Some(claim) = claim_of(exchange.unlock_hash, (input, key), forfeit, to, rate) else {
        tracing::warn!(vtxo = %input.id(), "the output of a forfeit is worth less than its claim");
        return Ok(());
    };
    tracing::warn!(vtxo = %input.id(), claim = %claim.compute_txid(), "the Ark server leaves the output of a forfeit; taking it back");
    let sent = wallet.chain.broadcast_package(&[claim]).await;
    sent.map_err(|error| Error::unavailable("chain_unavailable", error.to_string()))
}

/// The transaction that takes the output of a forfeit; `None` if the fee leaves less than dust.
fn claim_of(
    unlock_hash: UnlockHash,
    (input, key): (&Vtxo<Full>, &Keypair),
    forfeit: &Transaction,
    to: ScriptBuf,
    rate: bitcoin::FeeRate,
) -> Option<Transaction> {
    let policy = HarkForfeitVtxoPolicy {
        user_pubkey: input.user_pubkey(),
        unlock_hash,
    };
    let clause = policy.user_exit_clause(input.exit_delta());
    let script = clause.tapscript();
    let taproot = policy.taproot(input.server_pubkey(), input.exit_delta());
    let control_block = taproot.control_block(&(script.clone(), LeafVersion::TapScript))?;
    let output = forfeit.output.first()?;
    let mut claim = Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::new(forfeit.compute_txid(), 0),
            script_sig: ScriptBuf::new(),
            sequence: clause.sequence(),
            witness: clause.witness(
                &schnorr::Signature::from_slice(&[0; 64]).ok()?,
                &control_block,
            ),
        }],
        output: vec![TxOut {
            value: output.value,
            script_pubkey: to.clone(),
        }],
    };
    let fee = rate.checked_mul_by_weight(claim.weight())?;
    let rest = output.value.checked_sub(fee)?;
    claim.output[0].value = Some(rest).filter(|rest| *rest >= to.minimal_non_dust())?;
    let leaf = TapLeafHash::from_script(&script, LeafVersion::TapScript);
    let sighash = SighashCache::new(&claim)
        .taproot_script_spend_signature_hash(
            0,
            &Prevouts::All(&[output]),
            leaf,
            TapSighashType::Default,
        )
        .ok()?;
    let signature = SECP.sign_schnorr(&sighash.into(), key);
    claim.input[0].witness = clause.witness(&signature, &control_block);
    Some(claim)
}

/// Ends a refresh whose inputs, or the outputs of their forfeits, the wallet has claimed on chain.
pub(super) fn returned(id: &OperationId, exchange: Exchange) -> Step<Round> {
    let message =
        "the Ark server withheld the preimage, and the wallet has taken its coins back on chain";
    confirm::abort_issued(id, exchange, Error::conflict("preimage_withheld", message))
}
