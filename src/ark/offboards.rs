//! The calls of an offboard (docs/protocol.md §4.8).

use ark_lib::attestations::OffboardRequestAttestation;
use ark_lib::musig::PublicNonce;
use ark_lib::offboard::{OffboardForfeitSignatures, OffboardRequest};
use ark_lib::{ProtocolEncoding, VtxoId};
use bitcoin::consensus::encode;
use bitcoin::hashes::Hash;
use bitcoin::{FeeRate, Transaction, Txid};
use server_rpc::TryFromBytes;
use server_rpc::protos;

use super::{Error, Server};

/// The server's proposal for an offboard. Nothing in it is validated.
#[derive(Clone, Debug)]
pub struct PreparedOffboard {
    /// The unsigned offboard transaction.
    pub transaction: Transaction,
    /// The server's public nonces for the forfeit signatures, in the order of the inputs.
    pub nonces: Vec<PublicNonce>,
}

impl Server {
    /// The fee rate that the server charges for offboards at present.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn offboard_fee_rate(&self) -> Result<FeeRate, Error> {
        let answer = self
            .call(|mut connection| async move {
                connection
                    .client
                    .get_offboard_fee_rate(protos::Empty {})
                    .await
            })
            .await?;
        Ok(FeeRate::from_sat_per_kwu(answer.sat_vkb / 4))
    }

    /// Requests the offboard transaction. A repeated request gets the same answer while the server keeps the session.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn prepare_offboard(
        &self,
        offboard: &OffboardRequest,
        inputs: &[VtxoId],
        attestations: &[OffboardRequestAttestation],
    ) -> Result<PreparedOffboard, Error> {
        let request = protos::PrepareOffboardRequest {
            offboard: Some(offboard.into()),
            input_vtxo_ids: inputs.iter().map(|id| id.to_bytes().to_vec()).collect(),
            attestation: attestations
                .iter()
                .map(ProtocolEncoding::serialize)
                .collect(),
        };
        let answer = self
            .call(|mut connection| async move { connection.client.prepare_offboard(request).await })
            .await?;
        let nonces = answer.forfeit_cosign_nonces.iter();
        Ok(PreparedOffboard {
            transaction: encode::deserialize(&answer.offboard_tx).map_err(Error::malformed)?,
            nonces: nonces
                .map(PublicNonce::from_bytes)
                .collect::<Result<_, _>>()
                .map_err(Error::malformed)?,
        })
    }

    /// Sends the forfeit signatures and returns the signed offboard transaction. Once this request is sent, the server can
    /// take the inputs, so they must stay locked even if it fails.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn finish_offboard(
        &self,
        txid: Txid,
        signatures: &OffboardForfeitSignatures,
    ) -> Result<Transaction, Error> {
        let request = protos::FinishOffboardRequest {
            offboard_txid: txid.to_byte_array().to_vec(),
            user_nonces: signatures
                .public_nonces
                .iter()
                .map(|nonce| nonce.serialize().to_vec())
                .collect(),
            partial_signatures: signatures
                .partial_signatures
                .iter()
                .map(|signature| signature.serialize().to_vec())
                .collect(),
        };
        let answer = self
            .call(|mut connection| async move { connection.client.finish_offboard(request).await })
            .await?;
        encode::deserialize(&answer.signed_offboard_tx).map_err(Error::malformed)
    }
}
