//! The cryptography of a payment, all of it ark-lib's.

use ark_lib::arkoor::ArkoorDestination;
use ark_lib::arkoor::package::{ArkoorPackageBuilder, ArkoorPackageCosignResponse};
use ark_lib::arkoor::state::UserGeneratedNonces;
use ark_lib::vtxo::Full;
use ark_lib::{Vtxo, VtxoPolicy};
use bitcoin::secp256k1::Keypair;

use crate::store::{key, vtxo};
use crate::wallet::{Error, Result, Wallet};

use super::Payment;

/// A payment that waits for the server's half of its signatures.
pub(in crate::wallet) struct Unsigned {
    pub(in crate::wallet) package: ArkoorPackageBuilder<UserGeneratedNonces>,
    keys: Vec<Keypair>,
    destination: VtxoPolicy,
}

/// The VTXOs that a payment makes.
pub(in crate::wallet) struct Outputs {
    pub(in crate::wallet) outgoing: Vec<Vtxo<Full>>,
    pub(in crate::wallet) change: Vec<Vtxo<Full>>,
}

impl Wallet {
    /// Builds the payment's transactions, with fresh nonces. The transactions are the same each time.
    pub(in crate::wallet) async fn build_payment(&self, payment: &Payment) -> Result<Unsigned> {
        let ids = payment.inputs.clone();
        let inputs = self
            .store
            .read(move |connection| {
                ids.iter()
                    .map(|id| {
                        let input = vtxo::full(connection, *id)?;
                        let index = key::index_of(connection, &input.user_pubkey())?;
                        let unknown = || {
                            Error::internal(anyhow::anyhow!(
                                "the key of VTXO {id} is not in the key table"
                            ))
                        };
                        Ok((input, index.ok_or_else(unknown)?))
                    })
                    .collect::<Result<Vec<_>>>()
            })
            .await?;
        let keys = inputs
            .iter()
            .map(|(_, index)| self.keys.vtxo_key(*index))
            .collect::<Result<Vec<_>>>()?;
        let change_policy =
            VtxoPolicy::new_pubkey(self.keys.vtxo_key(payment.change_key)?.public_key());
        let mut outputs = vec![ArkoorDestination {
            total_amount: payment.amount,
            policy: payment.destination.policy().clone(),
        }];
        outputs.extend(payment.change.iter().map(|piece| ArkoorDestination {
            total_amount: piece.0,
            policy: change_policy.clone(),
        }));
        let package = ArkoorPackageBuilder::new_with_checkpoints(
            inputs.into_iter().map(|(input, _)| input),
            outputs,
        )
        .map_err(|error| Error::internal(anyhow::Error::new(error)))?
        .generate_user_nonces(&keys)
        .map_err(|error| Error::internal(anyhow::Error::new(error)))?;
        Ok(Unsigned {
            package,
            keys,
            destination: payment.destination.policy().clone(),
        })
    }
}

impl Unsigned {
    /// Checks the server's signatures, adds ours, and sorts the new VTXOs by owner.
    ///
    /// # Errors
    /// The server's answer does not fit: then the payment is not signed, and can be asked for again.
    pub(in crate::wallet) fn finish(
        self,
        response: ArkoorPackageCosignResponse,
    ) -> Result<Outputs> {
        let unusable = |error| {
            Error::unavailable(
                "server_unavailable",
                format!("the Ark server's signatures are not valid: {error}"),
            )
        };
        let signed = self
            .package
            .user_cosign(&self.keys, response)
            .map_err(unusable)?;
        let (outgoing, change) = signed
            .build_signed_vtxos()
            .into_iter()
            .partition(|output| *output.policy() == self.destination);
        Ok(Outputs { outgoing, change })
    }
}
