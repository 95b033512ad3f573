//! The output of an exited VTXO as an input of a claim (docs/protocol.md §4.9).

use ark_lib::vtxo::Full;
use ark_lib::vtxo::policy::clause::{TapScriptClause, VtxoClause};
use ark_lib::{SECP, Vtxo, VtxoId};
use bitcoin::secp256k1::Keypair;
use bitcoin::sighash::{Prevouts, SighashCache};
use bitcoin::taproot::{LeafVersion, TapLeafHash};
use bitcoin::{Amount, Sequence, TapSighashType, Transaction, TxIn, TxOut, Weight, Witness};
use bitcoin_ext::BlockHeight;

use super::clause::Claiming;
use crate::wallet::{Error, Result, Wallet};

/// The output of a VTXO, with what the wallet needs to spend it when it is on chain.
pub(super) struct ExitedOutput {
    vtxo: Vtxo<Full>,
    key: Keypair,
    claiming: Claiming,
}

impl Wallet {
    /// The outputs of these VTXOs, in the same order.
    ///
    /// # Errors
    /// `not_claimable` for one that the wallet cannot spend, because it does not have the preimage; an internal error if a VTXO or its
    /// key is not stored.
    pub(super) async fn exited_outputs(&self, ids: Vec<VtxoId>) -> Result<Vec<ExitedOutput>> {
        let mut outputs = Vec::with_capacity(ids.len());
        for (vtxo, key) in self.signers(ids).await? {
            let claiming = self.claiming(&vtxo).await?.ok_or_else(|| {
                let message = format!(
                    "VTXO {} cannot be claimed: the wallet does not have the preimage of its payment",
                    vtxo.id()
                );
                Error::bad_request("not_claimable", message)
            })?;
            outputs.push(ExitedOutput {
                vtxo,
                key,
                claiming,
            });
        }
        Ok(outputs)
    }
}

impl ExitedOutput {
    pub(super) fn id(&self) -> VtxoId {
        self.vtxo.id()
    }

    /// What it is worth.
    pub(super) fn amount(&self) -> Amount {
        self.vtxo.amount()
    }

    /// The output on chain.
    pub(super) fn output(&self) -> TxOut {
        self.vtxo.txout()
    }

    /// The height of the chain from which on it can be spent, if it is confirmed at this height.
    pub(super) fn claimable_height(&self, confirmed: BlockHeight) -> BlockHeight {
        self.claiming.claimable_height(confirmed)
    }

    /// The height before which a transaction that spends it is not valid, whenever the output is confirmed (W18).
    pub(super) fn lock_height(&self) -> Option<BlockHeight> {
        match &self.claiming.clause {
            VtxoClause::TimelockSign(clause) => Some(clause.timelock_height),
            VtxoClause::DelayedTimelockSign(clause) => Some(clause.timelock_height),
            _ => None,
        }
    }

    /// The weight of the input that spends it.
    pub(super) fn input_weight(&self) -> Weight {
        let witness = self.claiming.clause.witness_size(&self.vtxo);
        Weight::from_wu(41 * 4 + witness as u64)
    }

    /// The input that spends it, without a witness.
    pub(super) fn input(&self) -> TxIn {
        TxIn {
            previous_output: self.vtxo.point(),
            sequence: self.claiming.clause.sequence().unwrap_or(Sequence::ZERO),
            ..TxIn::default()
        }
    }

    /// The witness of input number `index`; `spent` are the outputs that the transaction spends.
    ///
    /// # Errors
    /// An internal error if the transaction has no such input.
    pub(super) fn witness(
        &self,
        cache: &mut SighashCache<&Transaction>,
        index: usize,
        spent: &[TxOut],
    ) -> Result<Witness> {
        let clause = &self.claiming.clause;
        let leaf = TapLeafHash::from_script(&clause.tapscript(), LeafVersion::TapScript);
        let prevouts = Prevouts::All(spent);
        let hash = cache.taproot_script_spend_signature_hash(
            index,
            &prevouts,
            leaf,
            TapSighashType::Default,
        );
        let hash = hash.map_err(Error::internal)?;
        let signature = SECP.sign_schnorr(&hash.into(), &self.key);
        let control = clause.control_block(&self.vtxo);
        let preimage = self.claiming.preimage.map_or([0; 32], Into::into);
        Ok(match clause {
            VtxoClause::DelayedSign(it) => it.witness(&signature, &control),
            VtxoClause::TimelockSign(it) => it.witness(&signature, &control),
            VtxoClause::DelayedTimelockSign(it) => it.witness(&signature, &control),
            VtxoClause::HashDelaySign(it) => it.witness(&(signature, preimage), &control),
            VtxoClause::HashSign(it) => it.witness(&(signature, preimage), &control),
            VtxoClause::HashDelaySign_v0(it) => it.witness(&(signature, preimage), &control),
            VtxoClause::HashSign_v0(it) => it.witness(&(signature, preimage), &control),
        })
    }
}

/// The weight of a claim of these outputs to one output.
pub(super) fn claim_weight(outputs: &[ExitedOutput], to: &TxOut) -> Weight {
    let inputs: u64 = outputs.iter().map(|it| it.input_weight().to_wu()).sum();
    let count = bitcoin::VarInt::from(outputs.len()).size() as u64;
    // Version, lock time and the number of outputs; the mark of witnesses is not multiplied.
    let rest = (4 + 4 + 1 + count + to.size() as u64) * 4 + 2;
    Weight::from_wu(inputs + rest)
}
