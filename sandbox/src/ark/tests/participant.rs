//! A wallet in a round: joins, signs, and claims what it gets.

use ark_lib::attestations::{DelegatedRoundParticipationAttestation, RoundAttemptAttestation};
use ark_lib::forfeit::HashLockedForfeitBundle;
use ark_lib::musig::{self, PublicNonce, SecretNonce};
use ark_lib::rounds::{RoundAttempt, RoundEvent, RoundFinished, VtxoProposal};
use ark_lib::tree::signed::{LeafVtxoCosignContext, UnlockHash, UnlockPreimage, VtxoLeafSpec};
use ark_lib::{SignedVtxoRequest, VtxoRequest};
use bitcoin::consensus::encode::deserialize;
use bitcoin::hashes::Hash;
use server_rpc::TryFromBytes;
use server_rpc::protos::{Empty, RoundParticipationStatusResponse};
use server_rpc::tonic::Streaming;

use super::*;

/// What a wallet receives from the server's rounds.
pub struct Events(Streaming<protos::RoundEvent>);

impl Events {
    /// The next event; panics if there is none.
    pub async fn next(&mut self) -> RoundEvent {
        let event = self.0.message().await.unwrap().unwrap();
        event.try_into().unwrap()
    }

    pub async fn attempt(&mut self) -> RoundAttempt {
        match self.next().await {
            RoundEvent::Attempt(attempt) => attempt,
            other => panic!("{other}"),
        }
    }

    pub async fn proposal(&mut self) -> VtxoProposal {
        match self.next().await {
            RoundEvent::VtxoProposal(proposal) => proposal,
            other => panic!("{other}"),
        }
    }

    pub async fn finished(&mut self) -> RoundFinished {
        match self.next().await {
            RoundEvent::Finished(finished) => finished,
            other => panic!("{other}"),
        }
    }

    pub async fn is_cut(&mut self) -> bool {
        self.0.message().await.is_err()
    }
}

/// A wallet that has joined an attempt.
pub struct Joined {
    pub request: protos::SubmitPaymentRequest,
    pub unlock_hash: UnlockHash,
    outputs: Vec<SignedVtxoRequest>,
    cosign: Vec<(Keypair, Vec<SecretNonce>)>,
}

impl Joined {
    fn leaves(&self) -> impl Iterator<Item = VtxoLeafSpec> {
        self.outputs.iter().map(|output| VtxoLeafSpec {
            vtxo: output.vtxo.clone(),
            cosign_pubkey: Some(output.cosign_pubkey),
            unlock_hash: self.unlock_hash,
        })
    }

    /// Whether the tree gives what was asked for.
    pub fn is_served_by(&self, proposal: &VtxoProposal) -> bool {
        self.leaves()
            .all(|leaf| proposal.vtxos_spec.leaf_idx_of(&leaf).is_some())
    }
}

impl Wallet {
    pub async fn events(&self) -> Events {
        let mut client = self.rpc.client.clone();
        Events(
            client
                .subscribe_rounds(Empty {})
                .await
                .unwrap()
                .into_inner(),
        )
    }

    pub fn outputs(&self, amounts: &[u64]) -> Vec<VtxoRequest> {
        amounts
            .iter()
            .map(|amount| VtxoRequest {
                amount: sat(*amount),
                policy: VtxoPolicy::new_pubkey(self.key.public_key()),
            })
            .collect()
    }

    /// Asks for outputs of these amounts.
    pub async fn join(
        &self,
        attempt: &RoundAttempt,
        inputs: &[&Vtxo<Full>],
        amounts: &[u64],
    ) -> Result<Joined, Status> {
        let mut joined = self.join_request(attempt, inputs, amounts);
        joined.unlock_hash = self.submit(joined.request.clone()).await?;
        Ok(joined)
    }

    /// The same with a request that is not sent; the unlock hash is not known.
    pub fn join_request(
        &self,
        attempt: &RoundAttempt,
        inputs: &[&Vtxo<Full>],
        amounts: &[u64],
    ) -> Joined {
        let mut cosign = Vec::new();
        let mut outputs = Vec::new();
        for vtxo in self.outputs(amounts) {
            let key = new_key();
            let (secret, nonces): (Vec<SecretNonce>, Vec<PublicNonce>) =
                (0..self.info.nb_round_nonces)
                    .map(|_| musig::nonce_pair(&key))
                    .unzip();
            outputs.push(SignedVtxoRequest {
                vtxo,
                cosign_pubkey: key.public_key(),
                nonces,
            });
            cosign.push((key, secret));
        }
        let request = protos::SubmitPaymentRequest {
            input_vtxos: inputs
                .iter()
                .map(|input| protos::InputVtxo {
                    vtxo_id: input.id().to_bytes().to_vec(),
                    attestation: RoundAttemptAttestation::new(
                        attempt.challenge,
                        input.id(),
                        &outputs,
                        &self.key,
                    )
                    .serialize(),
                })
                .collect(),
            vtxo_requests: outputs.iter().cloned().map(Into::into).collect(),
            ..Default::default()
        };
        Joined {
            request,
            unlock_hash: UnlockHash::all_zeros(),
            outputs,
            cosign,
        }
    }

    pub async fn submit(
        &self,
        request: protos::SubmitPaymentRequest,
    ) -> Result<UnlockHash, Status> {
        let mut client = self.rpc.client.clone();
        let response = client.submit_payment(request).await?.into_inner();
        Ok(UnlockHash::from_bytes(&response.unlock_hash)?)
    }

    /// The signatures for a tree, ready to be sent.
    pub fn signatures(
        joined: &mut Joined,
        proposal: &VtxoProposal,
    ) -> Vec<protos::VtxoSignaturesRequest> {
        let utxo = OutPoint::new(proposal.unsigned_round_tx.compute_txid(), 0);
        let tree = proposal.vtxos_spec.clone().into_unsigned_tree(utxo);
        let leaves: Vec<VtxoLeafSpec> = joined.leaves().collect();
        let cosign = std::mem::take(&mut joined.cosign);
        leaves
            .iter()
            .zip(cosign)
            .map(|(leaf, (key, secret))| {
                let index = proposal.vtxos_spec.leaf_idx_of(leaf).unwrap();
                let signatures = tree
                    .cosign_branch(&proposal.cosign_agg_nonces, index, &key, secret)
                    .unwrap();
                protos::VtxoSignaturesRequest {
                    pubkey: key.public_key().serialize().to_vec(),
                    signatures: signatures
                        .iter()
                        .map(|signature| signature.serialize().to_vec())
                        .collect(),
                }
            })
            .collect()
    }

    pub async fn provide(&self, signatures: protos::VtxoSignaturesRequest) -> Result<(), Status> {
        let mut client = self.rpc.client.clone();
        client.provide_vtxo_signatures(signatures).await.map(drop)
    }

    /// Checks the tree and signs it.
    pub async fn sign(&self, joined: &mut Joined, proposal: &VtxoProposal) {
        assert!(joined.is_served_by(proposal));
        for signatures in Wallet::signatures(joined, proposal) {
            self.provide(signatures).await.unwrap();
        }
    }

    /// Asks for a refresh while the wallet is away.
    pub async fn delegate(
        &self,
        inputs: &[&Vtxo<Full>],
        amounts: &[u64],
        mailbox: Option<Vec<u8>>,
        scheduled_height: Option<u32>,
    ) -> Result<UnlockHash, Status> {
        self.submit_delegated(self.delegation(inputs, amounts, mailbox, scheduled_height))
            .await
    }

    pub fn delegation(
        &self,
        inputs: &[&Vtxo<Full>],
        amounts: &[u64],
        mailbox: Option<Vec<u8>>,
        scheduled_height: Option<u32>,
    ) -> protos::RoundParticipationRequest {
        let outputs = self.outputs(amounts);
        protos::RoundParticipationRequest {
            input_vtxos: inputs
                .iter()
                .map(|input| protos::InputVtxo {
                    vtxo_id: input.id().to_bytes().to_vec(),
                    attestation: DelegatedRoundParticipationAttestation::new(
                        input.id(),
                        &outputs,
                        &self.key,
                    )
                    .serialize(),
                })
                .collect(),
            vtxo_requests: outputs.iter().map(Into::into).collect(),
            unblinded_mailbox_id: mailbox,
            scheduled_height,
        }
    }

    pub async fn submit_delegated(
        &self,
        request: protos::RoundParticipationRequest,
    ) -> Result<UnlockHash, Status> {
        let mut client = self.rpc.client.clone();
        let response = client.submit_round_participation(request).await?;
        Ok(UnlockHash::from_bytes(&response.into_inner().unlock_hash)?)
    }

    pub async fn status(
        &self,
        hash: UnlockHash,
    ) -> Result<RoundParticipationStatusResponse, Status> {
        let request = protos::RoundParticipationStatusRequest {
            unlock_hash: hash.to_byte_array().to_vec(),
        };
        let mut client = self.rpc.client.clone();
        Ok(client
            .round_participation_status(request)
            .await?
            .into_inner())
    }

    /// The outputs as the server tells them, and what funds them.
    pub async fn issued(&self, hash: UnlockHash) -> (Vec<Vtxo<Full>>, Transaction) {
        let status = self.status(hash).await.unwrap();
        let outputs = status
            .output_vtxos
            .iter()
            .map(|bytes| Vtxo::from_bytes(bytes).unwrap())
            .collect();
        let funding = deserialize(&status.round_funding_tx.unwrap()).unwrap();
        (outputs, funding)
    }

    /// Has the server sign the last step of an output.
    pub async fn cosign_leaf(&self, vtxo: &mut Vtxo<Full>, funding: &Transaction) -> bool {
        let (context, request) = LeafVtxoCosignContext::new(vtxo, funding, &self.key).unwrap();
        let mut client = self.rpc.client.clone();
        let response = client
            .request_leaf_vtxo_cosign(protos::LeafVtxoCosignRequest::from(request))
            .await
            .unwrap();
        context.finalize(vtxo, response.into_inner().try_into().unwrap())
    }

    pub async fn nonces(
        &self,
        hash: UnlockHash,
        inputs: &[&Vtxo<Full>],
    ) -> Result<Vec<PublicNonce>, Status> {
        let request = protos::ForfeitNoncesRequest {
            unlock_hash: hash.to_byte_array().to_vec(),
            vtxo_ids: inputs
                .iter()
                .map(|input| input.id().to_bytes().to_vec())
                .collect(),
        };
        let mut client = self.rpc.client.clone();
        let response = client.request_forfeit_nonces(request).await?.into_inner();
        Ok(response
            .public_nonces
            .iter()
            .map(|bytes| PublicNonce::from_bytes(bytes).unwrap())
            .collect())
    }

    pub fn forfeits(
        &self,
        hash: UnlockHash,
        inputs: &[&Vtxo<Full>],
        nonces: &[PublicNonce],
    ) -> protos::ForfeitVtxosRequest {
        protos::ForfeitVtxosRequest {
            forfeit_bundles: inputs
                .iter()
                .zip(nonces)
                .map(|(input, nonce)| {
                    HashLockedForfeitBundle::new(input, hash, &self.key, nonce).serialize()
                })
                .collect(),
        }
    }

    pub async fn forfeit(
        &self,
        request: protos::ForfeitVtxosRequest,
    ) -> Result<UnlockPreimage, Status> {
        let mut client = self.rpc.client.clone();
        let response = client.forfeit_vtxos(request).await?.into_inner();
        Ok(response.unlock_preimage.try_into().unwrap())
    }

    /// Goes all the way from the end of a round to registered VTXOs.
    pub async fn claim(&self, hash: UnlockHash, inputs: &[&Vtxo<Full>]) -> Vec<Vtxo<Full>> {
        let (mut outputs, funding) = self.issued(hash).await;
        for output in &mut outputs {
            assert!(output.validate(&funding).is_err());
            assert!(self.cosign_leaf(output, &funding).await);
            assert!(output.validate(&funding).is_err());
        }
        let nonces = self.nonces(hash, inputs).await.unwrap();
        let forfeits = self.forfeits(hash, inputs, &nonces);
        let preimage = self.forfeit(forfeits).await.unwrap();
        for output in &mut outputs {
            assert!(output.provide_unlock_preimage(preimage));
            output.validate(&funding).unwrap();
        }
        self.register(&outputs).await.unwrap();
        outputs
    }
}
