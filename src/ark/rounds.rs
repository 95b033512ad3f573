//! The calls of a round (docs/protocol.md §4.5).

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
use server_rpc::{MAX_NB_FORFEIT_NONCE_IDS, TryFromBytes};

use super::connection::stream_request;
use super::{Error, Server};

/// The state of a round participation, as the server reports it.
#[derive(Clone, Debug)]
pub enum ParticipationStatus {
    /// The server does not know the participation: it never arrived, or it was dropped.
    Unknown,
    /// The participation waits for its round.
    Pending,
    /// A round has issued the new VTXOs, but its transaction is not signed yet: it is no anchor.
    Unsigned,
    /// A round has issued the new VTXOs.
    Issued(IssuedRound),
}

/// The result of a participation, as the server reports it. Nothing in it is validated.
#[derive(Clone, Debug)]
pub struct IssuedRound {
    /// The ids of the inputs.
    pub inputs: Vec<VtxoId>,
    /// The transaction that funds the round.
    pub funding_tx: Transaction,
    /// The new VTXOs, which are locked until the preimage of the unlock hash is known.
    pub outputs: Vec<Vtxo<Full>>,
}

impl Server {
    /// The time at which the next round starts, in Unix seconds.
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

    /// The newest round event; `None` if the server has had none since it started.
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

    /// Opens a stream of round events: the newest one, then new ones as they occur. An event that cannot be decoded is an
    /// error item; the stream continues after it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn subscribe_rounds(
        &self,
    ) -> Result<impl Stream<Item = Result<RoundEvent, Error>> + Send + use<>, Error> {
        let request = stream_request(protos::Empty {});
        let stream = self
            .call(|mut connection| async move { connection.client.subscribe_rounds(request).await })
            .await?;
        Ok(stream.map(|event| match event {
            Ok(event) => RoundEvent::try_from(event).map_err(Error::malformed),
            Err(status) => Err(Error::from(status)),
        }))
    }

    /// Joins the round attempt that the attestations sign, and returns the unlock hash that identifies the participation. A
    /// repeated request gets the same hash.
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
            reason = "the message has this field; the server requires that it is empty"
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

    /// Sends our partial signatures for one branch of the round's tree, identified by its cosign key.
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

    /// Submits a delegated participation, for the next round or for the first round at or after height `scheduled`. It
    /// replaces an earlier one with the same inputs.
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

    /// Requests the state of a participation.
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
            .ok_or_else(|| Error::malformed("an issued round has no funding transaction"))?;
        let funding_tx: Transaction = encode::deserialize(&funding_tx).map_err(Error::malformed)?;
        if !is_signed(&funding_tx) {
            return Ok(ParticipationStatus::Unsigned);
        }
        let ids = answer.input_vtxo_ids.iter();
        let outputs = answer.output_vtxos.iter();
        Ok(ParticipationStatus::Issued(IssuedRound {
            inputs: ids
                .map(VtxoId::from_bytes)
                .collect::<Result<_, _>>()
                .map_err(Error::malformed)?,
            funding_tx,
            outputs: outputs
                .map(|output| Vtxo::<Full>::deserialize(output))
                .collect::<Result<_, _>>()
                .map_err(Error::malformed)?,
        }))
    }

    /// Requests the server's partial signature on the leaf transaction of a new VTXO. The server stores nothing.
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

    /// Requests the server's public nonces for the forfeit signatures: exactly one for each input, in the same order.
    ///
    /// # Errors
    /// [`Error::Malformed`] if their number is wrong; see [`Error`].
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
                    "it has {} nonces for {} forfeits",
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

    /// Sends the forfeits of a participation's inputs, and returns the preimage that unlocks its outputs. Once this request is
    /// sent, the server can take the inputs. A repeated request gets the preimage again.
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
            .map_err(|_| Error::malformed("the unlock preimage is not 32 bytes long"))
    }
}

/// Whether each input of a transaction has a signature. Whether it is valid is for the chain to say.
fn is_signed(transaction: &Transaction) -> bool {
    let mut inputs = transaction.input.iter();
    inputs.all(|input| !input.witness.is_empty() || !input.script_sig.is_empty())
}

fn input<A: ProtocolEncoding>((id, attestation): &(VtxoId, A)) -> protos::InputVtxo {
    protos::InputVtxo {
        vtxo_id: id.to_bytes().to_vec(),
        attestation: attestation.serialize(),
    }
}
