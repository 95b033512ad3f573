//! The calls of a round (docs/protocol.md §4.5).

use std::time::Duration;

use ark_lib::attestations::{DelegatedRoundParticipationAttestation, RoundAttemptAttestation};
use ark_lib::forfeit::HashLockedForfeitBundle;
use ark_lib::mailbox::MailboxIdentifier;
use ark_lib::musig::{PartialSignature, PublicNonce};
use ark_lib::rounds::RoundEvent;
use ark_lib::tree::signed::{
    LeafVtxoCosignRequest, LeafVtxoCosignResponse, UnlockHash, UnlockPreimage,
};
use ark_lib::vtxo::Full;
use ark_lib::{ProtocolEncoding, SignedVtxoRequest, Vtxo, VtxoId, VtxoRequest};
use bitcoin::Transaction;
use bitcoin::consensus::encode;
use bitcoin::hashes::Hash;
use bitcoin::secp256k1::PublicKey;
use bitcoin_ext::BlockHeight;
use futures::{Stream, StreamExt};
use server_rpc::protos::{self, RoundParticipationStatus};
use server_rpc::{MAX_NB_FORFEIT_NONCE_IDS, TryFromBytes, tonic};

use super::{Error, Server};

/// The server ends a stream after this time; the wallet opens the next.
const STREAM_TIMEOUT: Duration = Duration::from_secs(3600);

/// What the server knows of a participation.
#[derive(Clone, Debug)]
pub enum ParticipationStatus {
    /// Nothing: it never was, or it was dropped.
    Unknown,
    /// It waits for its round.
    Pending,
    /// The round has happened.
    Issued(IssuedRound),
}

/// What a round made of a participation, as the server tells it; nothing of it is checked.
#[derive(Clone, Debug)]
pub struct IssuedRound {
    /// What the server takes for the inputs.
    pub inputs: Vec<VtxoId>,
    /// The transaction that funds the round.
    pub funding_tx: Transaction,
    /// The new VTXOs, locked by the unlock hash.
    pub outputs: Vec<Vtxo<Full>>,
}

impl Server {
    /// When the next round starts, seconds since 1970.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn next_round_time(&self) -> Result<u64, Error> {
        let answer = self
            .call(|mut connection| async move {
                connection.client.next_round_time(protos::Empty {}).await
            })
            .await?;
        Ok(answer.timestamp)
    }

    /// The newest round event; `None` when there was none since the server's start.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn last_round_event(&self) -> Result<Option<RoundEvent>, Error> {
        let answer = self
            .call(|mut connection| async move {
                connection.client.last_round_event(protos::Empty {}).await
            })
            .await;
        match answer {
            Ok(event) => RoundEvent::try_from(event)
                .map(Some)
                .map_err(Error::malformed),
            Err(Error::Rejected { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The newest round event, if there is one, and those to come. One that does not decode is an error in the stream, not
    /// its end.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn subscribe_rounds(
        &self,
    ) -> Result<impl Stream<Item = Result<RoundEvent, Error>> + Send + use<>, Error> {
        let mut request = tonic::Request::new(protos::Empty {});
        request.set_timeout(STREAM_TIMEOUT);
        let stream = self
            .call(|mut connection| async move { connection.client.subscribe_rounds(request).await })
            .await?;
        Ok(stream.map(|event| match event {
            Ok(event) => RoundEvent::try_from(event).map_err(Error::malformed),
            Err(status) => Err(Error::from(status)),
        }))
    }

    /// Joins the attempt that each attestation answers. The same request again brings the same hash.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn submit_payment(
        &self,
        inputs: &[(VtxoId, RoundAttemptAttestation)],
        outputs: &[SignedVtxoRequest],
        mailbox: &MailboxIdentifier,
    ) -> Result<UnlockHash, Error> {
        #[expect(
            deprecated,
            reason = "the field must be there to be left empty, as the server asks"
        )]
        let request = protos::SubmitPaymentRequest {
            input_vtxos: inputs.iter().map(input).collect(),
            vtxo_requests: outputs.iter().cloned().map(Into::into).collect(),
            offboard_requests: Vec::new(),
            unblinded_mailbox_id: Some(mailbox.serialize()),
        };
        let answer = self
            .call(|mut connection| async move { connection.client.submit_payment(request).await })
            .await?;
        UnlockHash::from_bytes(&answer.unlock_hash).map_err(Error::malformed)
    }

    /// Hands over our signatures for one branch of the tree.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn provide_signatures(
        &self,
        pubkey: &PublicKey,
        signatures: &[PartialSignature],
    ) -> Result<(), Error> {
        let request = protos::VtxoSignaturesRequest {
            pubkey: pubkey.serialize().to_vec(),
            signatures: signatures
                .iter()
                .map(|signature| signature.serialize().to_vec())
                .collect(),
        };
        self.call(|mut connection| async move {
            connection.client.provide_vtxo_signatures(request).await
        })
        .await?;
        Ok(())
    }

    /// Leaves a participation with the server, for its next round or the first one from `scheduled` on. A newer one takes
    /// the place of an older one with the same inputs.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn submit_participation(
        &self,
        inputs: &[(VtxoId, DelegatedRoundParticipationAttestation)],
        outputs: &[VtxoRequest],
        mailbox: &MailboxIdentifier,
        scheduled: Option<BlockHeight>,
    ) -> Result<UnlockHash, Error> {
        let request = protos::RoundParticipationRequest {
            input_vtxos: inputs.iter().map(input).collect(),
            vtxo_requests: outputs.iter().map(Into::into).collect(),
            unblinded_mailbox_id: Some(mailbox.serialize()),
            scheduled_height: scheduled.map(BlockHeight::to_u32),
        };
        let answer = self
            .call(|mut connection| async move {
                connection.client.submit_round_participation(request).await
            })
            .await?;
        UnlockHash::from_bytes(&answer.unlock_hash).map_err(Error::malformed)
    }

    /// Asks what became of a participation.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn participation_status(
        &self,
        hash: UnlockHash,
    ) -> Result<ParticipationStatus, Error> {
        let request = protos::RoundParticipationStatusRequest {
            unlock_hash: hash.to_byte_array().to_vec(),
        };
        let answer = self
            .call(|mut connection| async move {
                connection.client.round_participation_status(request).await
            })
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(Error::Rejected { .. }) => return Ok(ParticipationStatus::Unknown),
            Err(error) => return Err(error),
        };
        let status = RoundParticipationStatus::try_from(answer.status).map_err(Error::malformed)?;
        if status == RoundParticipationStatus::RoundPartPending {
            return Ok(ParticipationStatus::Pending);
        }
        let funding_tx = answer
            .round_funding_tx
            .ok_or_else(|| Error::malformed("a round without its transaction"))?;
        let ids = answer.input_vtxo_ids.iter();
        let outputs = answer.output_vtxos.iter();
        Ok(ParticipationStatus::Issued(IssuedRound {
            inputs: ids
                .map(VtxoId::from_bytes)
                .collect::<Result<_, _>>()
                .map_err(Error::malformed)?,
            funding_tx: encode::deserialize(&funding_tx).map_err(Error::malformed)?,
            outputs: outputs
                .map(|output| Vtxo::<Full>::deserialize(output))
                .collect::<Result<_, _>>()
                .map_err(Error::malformed)?,
        }))
    }

    /// Asks for the server's half of the signature on a new VTXO's last transaction. Nothing is stored there.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn cosign_leaf(
        &self,
        request: LeafVtxoCosignRequest,
    ) -> Result<LeafVtxoCosignResponse, Error> {
        let request = protos::LeafVtxoCosignRequest::from(request);
        let answer = self
            .call(|mut connection| async move {
                connection.client.request_leaf_vtxo_cosign(request).await
            })
            .await?;
        LeafVtxoCosignResponse::try_from(answer).map_err(Error::malformed)
    }

    /// Asks for the server's nonces for the forfeits of all inputs: exactly one for each, in their order.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn forfeit_nonces(
        &self,
        hash: UnlockHash,
        inputs: &[VtxoId],
    ) -> Result<Vec<PublicNonce>, Error> {
        let mut nonces = Vec::with_capacity(inputs.len());
        for chunk in inputs.chunks(MAX_NB_FORFEIT_NONCE_IDS) {
            let request = protos::ForfeitNoncesRequest {
                unlock_hash: hash.to_byte_array().to_vec(),
                vtxo_ids: chunk.iter().map(|id| id.to_bytes().to_vec()).collect(),
            };
            let answer = self
                .call(|mut connection| async move {
                    connection.client.request_forfeit_nonces(request).await
                })
                .await?;
            if answer.public_nonces.len() != chunk.len() {
                return Err(Error::Malformed(format!(
                    "{} nonces for {} forfeits",
                    answer.public_nonces.len(),
                    chunk.len()
                )));
            }
            for nonce in answer.public_nonces {
                nonces.push(PublicNonce::from_bytes(nonce).map_err(Error::malformed)?);
            }
        }
        Ok(nonces)
    }

    /// Gives up the inputs of a participation, for the preimage that unlocks its outputs. From the moment this request
    /// leaves, the inputs may be gone; asking again brings the preimage again.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn forfeit(
        &self,
        bundles: &[HashLockedForfeitBundle],
    ) -> Result<UnlockPreimage, Error> {
        let request = protos::ForfeitVtxosRequest {
            forfeit_bundles: bundles.iter().map(ProtocolEncoding::serialize).collect(),
        };
        let answer = self
            .call(|mut connection| async move { connection.client.forfeit_vtxos(request).await })
            .await?;
        UnlockPreimage::try_from(answer.unlock_preimage)
            .map_err(|_| Error::malformed("a preimage that is not 32 bytes long"))
    }

    /// Fetches a VTXO of ours from the server.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn fetch_vtxo(&self, id: VtxoId) -> Result<Vtxo<Full>, Error> {
        let request = protos::GetVtxoRequest {
            vtxo_id: id.to_bytes().to_vec(),
        };
        let answer = self
            .call(|mut connection| async move { connection.client.get_vtxo(request).await })
            .await?;
        Vtxo::<Full>::deserialize(&answer.vtxo).map_err(Error::malformed)
    }
}

fn input<A: ProtocolEncoding>((id, attestation): &(VtxoId, A)) -> protos::InputVtxo {
    protos::InputVtxo {
        vtxo_id: id.to_bytes().to_vec(),
        attestation: attestation.serialize(),
    }
}
