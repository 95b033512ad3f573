//! The clause with which the wallet spends the output of an exited VTXO (docs/protocol.md §4.9).

use ark_lib::lightning::{PaymentHash, Preimage};
use ark_lib::vtxo::policy::clause::{TapScriptClause, VtxoClause};
use ark_lib::vtxo::{Full, Policy};
use ark_lib::{SECP, Vtxo, VtxoId};
use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::secp256k1::{Keypair, PublicKey};
use bitcoin::sighash::{Prevouts, SighashCache};
use bitcoin::taproot::{LeafVersion, TapLeafHash};
use bitcoin::{Amount, Sequence, TapSighashType, Transaction, TxIn, TxOut, Weight, Witness};
use bitcoin_ext::{BlockDelta, BlockHeight};

use crate::store::lightning_receive;
use crate::wallet::{Error, Result, Wallet};

/// The output of an exited VTXO, with what the wallet needs to spend it.
pub(in crate::wallet) struct ExitedOutput {
    vtxo: Vtxo<Full>,
    key: Keypair,
    clause: VtxoClause,
    preimage: Option<Preimage>,
}

impl Wallet {
    /// The outputs of these VTXOs, in the same order; `None` for one that the wallet cannot spend, because it is an HTLC of the
    /// receiver whose preimage is not here.
    ///
    /// # Errors
    /// An internal error if a VTXO or its key is not stored.
    pub(in crate::wallet) async fn exited_outputs(
        &self,
        ids: Vec<VtxoId>,
    ) -> Result<Vec<Option<ExitedOutput>>> {
        let mut outputs = Vec::with_capacity(ids.len());
        for (vtxo, key) in self.signers(ids).await? {
            let clauses = vtxo.policy().clauses(
                vtxo.exit_delta(),
                vtxo.expiry_height(),
                vtxo.server_pubkey(),
            );
            let ours = clauses
                .into_iter()
                .find(|clause| signed_by(clause) == Some(key.public_key()));
            let hash = ours.as_ref().and_then(hash_of);
            let preimage = match hash {
                Some(hash) => self.preimage(hash).await?,
                None => None,
            };
            let spendable = ours.filter(|_| hash.is_none() || preimage.is_some());
            outputs.push(spendable.map(|clause| ExitedOutput {
                vtxo,
                key,
                clause,
                preimage,
            }));
        }
        Ok(outputs)
    }

    async fn preimage(&self, hash: sha256::Hash) -> Result<Option<Preimage>> {
        let hash = PaymentHash::from(hash.to_byte_array());
        let invoice = self
            .store
            .read(move |connection| lightning_receive::get(connection, hash))
            .await?;
        Ok(invoice.map(|invoice| invoice.preimage))
    }
}

impl ExitedOutput {
    /// The VTXO.
    pub(in crate::wallet) fn id(&self) -> VtxoId {
        self.vtxo.id()
    }

    /// What it is worth.
    pub(in crate::wallet) fn amount(&self) -> Amount {
        self.vtxo.amount()
    }

    /// The output on chain.
    pub(in crate::wallet) fn output(&self) -> TxOut {
        self.vtxo.txout()
    }

    /// The height of the chain from which on it can be spent, when its transaction is confirmed at this height: the later one of the
    /// two locks (W18).
    pub(in crate::wallet) fn claimable_from(&self, confirmed: BlockHeight) -> BlockHeight {
        let delta = delay_of(&self.clause).map_or(0, BlockDelta::to_u32);
        let unlocked = BlockHeight::new(confirmed.to_u32().saturating_add(delta));
        self.lock_height()
            .map_or(unlocked, |height| height.max(unlocked))
    }

    /// The height before which a transaction that spends it is not valid, whenever the output is confirmed.
    pub(in crate::wallet) fn lock_height(&self) -> Option<BlockHeight> {
        match &self.clause {
            VtxoClause::TimelockSign(clause) => Some(clause.timelock_height),
            VtxoClause::DelayedTimelockSign(clause) => Some(clause.timelock_height),
            _ => None,
        }
    }

    /// The weight of the input that spends it.
    pub(in crate::wallet) fn input_weight(&self) -> Weight {
        let witness = self.clause.witness_size(&self.vtxo);
        Weight::from_wu(41 * 4)
            .checked_add(Weight::from_wu(witness as u64))
            .unwrap_or(Weight::MAX)
    }

    /// The input that spends it, without a witness.
    pub(in crate::wallet) fn input(&self) -> TxIn {
        TxIn {
            previous_output: self.vtxo.point(),
            sequence: self.clause.sequence().unwrap_or(Sequence::ZERO),
            ..TxIn::default()
        }
    }

    /// The witness of input number `index`; `spent` are the outputs that the transaction spends.
    ///
    /// # Errors
    /// An internal error if the transaction has no such input.
    pub(in crate::wallet) fn witness(
        &self,
        cache: &mut SighashCache<&Transaction>,
        index: usize,
        spent: &[TxOut],
    ) -> Result<Witness> {
        let leaf = TapLeafHash::from_script(&self.clause.tapscript(), LeafVersion::TapScript);
        let hash = cache
            .taproot_script_spend_signature_hash(
                index,
                &Prevouts::All(spent),
                leaf,
                TapSighashType::Default,
            )
            .map_err(Error::internal)?;
        let signature = SECP.sign_schnorr(&hash.into(), &self.key);
        let control = self.clause.control_block(&self.vtxo);
        let preimage = self.preimage.map_or([0; 32], |preimage| preimage.into());
        Ok(match &self.clause {
            VtxoClause::DelayedSign(clause) => clause.witness(&signature, &control),
            VtxoClause::TimelockSign(clause) => clause.witness(&signature, &control),
            VtxoClause::DelayedTimelockSign(clause) => clause.witness(&signature, &control),
            VtxoClause::HashDelaySign(clause) => clause.witness(&(signature, preimage), &control),
            VtxoClause::HashSign(clause) => clause.witness(&(signature, preimage), &control),
            VtxoClause::HashDelaySign_v0(clause) => {
                clause.witness(&(signature, preimage), &control)
            }
            VtxoClause::HashSign_v0(clause) => clause.witness(&(signature, preimage), &control),
        })
    }
}

/// Whose signature alone satisfies a clause; `None` for one that needs both parties.
fn signed_by(clause: &VtxoClause) -> Option<PublicKey> {
    match clause {
        VtxoClause::DelayedSign(clause) => Some(clause.pubkey),
        VtxoClause::TimelockSign(clause) => Some(clause.pubkey),
        VtxoClause::DelayedTimelockSign(clause) => Some(clause.pubkey),
        VtxoClause::HashDelaySign(clause) => Some(clause.pubkey),
        VtxoClause::HashDelaySign_v0(clause) => Some(clause.pubkey),
        VtxoClause::HashSign(_) | VtxoClause::HashSign_v0(_) => None,
    }
}

/// The hash whose preimage a clause asks for.
fn hash_of(clause: &VtxoClause) -> Option<sha256::Hash> {
    match clause {
        VtxoClause::HashDelaySign(clause) => Some(clause.hash),
        VtxoClause::HashDelaySign_v0(clause) => Some(clause.hash),
        _ => None,
    }
}

fn delay_of(clause: &VtxoClause) -> Option<BlockDelta> {
    match clause {
        VtxoClause::DelayedSign(clause) => Some(clause.block_delta),
        VtxoClause::DelayedTimelockSign(clause) => Some(clause.block_delta),
        VtxoClause::HashDelaySign(clause) => Some(clause.block_delta),
        VtxoClause::HashDelaySign_v0(clause) => Some(clause.block_delta),
        VtxoClause::TimelockSign(_) | VtxoClause::HashSign(_) | VtxoClause::HashSign_v0(_) => None,
    }
}
