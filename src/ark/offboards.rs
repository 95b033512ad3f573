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

/// What the server proposes for an offboard; nothing of it is checked.
#[derive(Clone, Debug)]
pub struct PreparedOffboard {
    /// The transaction, not signed yet.
    pub transaction: Transaction,
    /// The server's nonces for the forfeits.
    pub nonces: Vec<PublicNonce>,
}

impl Server {
    /// The fee rate at which the server offboards now.
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

    /// Asks for the offboard transaction. The same request again, while the server remembers it, brings the same answer.
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

    /// Hands over the forfeits, for the signed offboard transaction. From the moment this request leaves, the inputs may be
    /// gone.
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
