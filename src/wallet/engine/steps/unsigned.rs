//! The transactions of an out-of-round spend, before and after they are signed (docs/protocol.md §4.2).

use ark_lib::arkoor::ArkoorDestination;
use ark_lib::arkoor::package::{
    ArkoorPackageBuilder, ArkoorPackageCosignRequest, ArkoorPackageCosignResponse,
};
use ark_lib::arkoor::state::UserGeneratedNonces;
use ark_lib::vtxo::Full;
use ark_lib::{Vtxo, VtxoId, VtxoPolicy};
use bitcoin::Amount;
use bitcoin::secp256k1::Keypair;

use crate::wallet::{Error, Result, Wallet};

/// A spend that waits for the server's signatures.
pub(in crate::wallet) struct Unsigned {
    package: ArkoorPackageBuilder<UserGeneratedNonces>,
    keys: Vec<Keypair>,
    policy: VtxoPolicy,
}

/// The VTXOs that a spend makes.
pub(in crate::wallet) struct Outputs {
    /// Those that the spend is for.
    pub(in crate::wallet) outgoing: Vec<Vtxo<Full>>,
    /// Those that come back to the wallet.
    pub(in crate::wallet) change: Vec<Vtxo<Full>>,
}

impl Unsigned {
    /// Builds the transactions that spend `inputs` to `amount` of this policy and to `change`, with fresh nonces. The transactions
    /// are the same each time.
    ///
    /// # Errors
    /// An internal error if an input or its key is not stored, or the amounts do not add up.
    pub(in crate::wallet) async fn build(
        wallet: &Wallet,
        inputs: &[VtxoId],
        amount: Amount,
        policy: VtxoPolicy,
        change: impl IntoIterator<Item = ArkoorDestination>,
    ) -> Result<Unsigned> {
        let signers = wallet.signers(inputs.to_vec()).await?;
        Unsigned::spend(signers, amount, policy, change)
    }

    /// As [`build`](Self::build), with all that the VTXOs are worth to one policy.
    ///
    /// # Errors
    /// An internal error if the amounts overflow, or do not make a spend.
    pub(in crate::wallet) fn claim_all(
        signers: Vec<(Vtxo<Full>, Keypair)>,
        policy: VtxoPolicy,
    ) -> Result<Unsigned> {
        let total = signers
            .iter()
            .try_fold(Amount::ZERO, |sum, (input, _)| {
                sum.checked_add(input.amount())
            })
            .ok_or_else(|| Error::internal(anyhow::anyhow!("amounts of VTXOs overflow")))?;
        Unsigned::spend(signers, total, policy, [])
    }

    fn spend(
        signers: Vec<(Vtxo<Full>, Keypair)>,
        amount: Amount,
        policy: VtxoPolicy,
        change: impl IntoIterator<Item = ArkoorDestination>,
    ) -> Result<Unsigned> {
        let (inputs, keys): (Vec<_>, Vec<_>) = signers.into_iter().unzip();
        let mut outputs = vec![ArkoorDestination {
            total_amount: amount,
            policy: policy.clone(),
        }];
        outputs.extend(change);
        let package = ArkoorPackageBuilder::new_with_checkpoints(inputs, outputs)
            .map_err(|error| Error::internal(anyhow::Error::new(error)))?
            .generate_user_nonces(&keys)
            .map_err(|error| Error::internal(anyhow::Error::new(error)))?;
        Ok(Unsigned {
            package,
            keys,
            policy,
        })
    }

    /// The request for the server's signatures.
    pub(in crate::wallet) fn request(&self) -> ArkoorPackageCosignRequest<Vtxo<Full>> {
        self.package.cosign_request()
    }

    /// Checks the server's signatures, adds the wallet's, validates the new VTXOs down to their anchor, and sorts them by owner.
    ///
    /// # Errors
    /// `server_unavailable`: the signatures are not valid, and can be asked for again. `chain_unavailable`.
    pub(in crate::wallet) async fn finish(
        self,
        wallet: &Wallet,
        response: ArkoorPackageCosignResponse,
    ) -> Result<Outputs> {
        let signed = self
            .package
            .user_cosign(&self.keys, response)
            .map_err(|error| {
                Error::unavailable(
                    "server_unavailable",
                    format!("the Ark server's signatures are not valid: {error}"),
                )
            })?;
        let outputs = signed.build_signed_vtxos();
        for output in &outputs {
            wallet.check_own_output(output).await?;
        }
        let (outgoing, change) = outputs
            .into_iter()
            .partition(|output| *output.policy() == self.policy);
        Ok(Outputs { outgoing, change })
    }
}
