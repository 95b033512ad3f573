//! The calls of interactive participants: they join with inputs and outputs, then send their signatures (docs/protocol.md §31.4).

use std::collections::BTreeSet;

use anyhow::anyhow;
use ark_lib::attestations::RoundAttemptAttestation;
use ark_lib::musig::PartialSignature;
use ark_lib::{SignedVtxoRequest, VtxoId};
use bitcoin::hashes::Hash;
use bitcoin::secp256k1::PublicKey;
use server_rpc::{TryFromBytes, protos};

use super::super::state::Ark;
use super::super::status::RpcError;
use super::super::store::VtxoRecord;
use super::attempt::{Attempt, Participant, Stage};
use super::check::{Inputs, decode_inputs};

impl Ark {
    /// `SubmitPayment`. Like a real server, it does not recognise a repeated request, and between two rounds it answers with a
    /// hash that it forgets.
    pub(in super::super) async fn submit_payment(
        &self,
        request: protos::SubmitPaymentRequest,
    ) -> Result<protos::SubmitPaymentResponse, RpcError> {
        #[allow(deprecated)]
        if !request.offboard_requests.is_empty() {
            return Err(RpcError::bad("a round does not offboard"));
        }
        let inputs = decode_inputs::<RoundAttemptAttestation>(&request.input_vtxos)?;
        let outputs = request
            .vtxo_requests
            .iter()
            .cloned()
            .map(SignedVtxoRequest::try_from)
            .collect::<Result<Vec<_>, _>>()?;

        let _turn = self.turn().await;
        self.check_cosign_keys(&outputs)?;
        let tip = self.tip_height().await?;
        let records = self.known(&inputs.ids)?;
        let terms = self
            .check_outputs(&records, outputs.iter().map(|output| &output.vtxo), tip)
            .and_then(|()| self.check_joins(&inputs, &records, &outputs));
        self.check_new_spend(&records, terms).await?;

        let participant = Participant {
            unlock_preimage: rand::random(),
            inputs: inputs.ids,
            outputs,
        };
        let unlock_hash = participant.unlock_hash().to_byte_array().to_vec();
        // The list of participants is closed under the same lock, so this is still the attempt that was checked.
        if let Some(attempt) = &mut *self.rounds.attempt() {
            attempt.interactive.push(participant);
        }
        self.rounds.progress.notify_one();
        Ok(protos::SubmitPaymentResponse { unlock_hash })
    }

    /// Refuses cosign keys that occur twice, in the request or in the attempt. A real server reports them as its own fault.
    fn check_cosign_keys(&self, outputs: &[SignedVtxoRequest]) -> Result<(), RpcError> {
        let attempt = self.rounds.attempt();
        let known = attempt.iter().flat_map(Attempt::outputs);
        let mut keys: BTreeSet<PublicKey> = known.map(|output| output.cosign_pubkey).collect();
        if outputs
            .iter()
            .all(|output| keys.insert(output.cosign_pubkey))
        {
            Ok(())
        } else {
            Err(RpcError::Internal(anyhow!("duplicate cosign key")))
        }
    }

    /// Checks what depends on the attempt, if there is one.
    fn check_joins(
        &self,
        inputs: &Inputs<RoundAttemptAttestation>,
        records: &[VtxoRecord],
        outputs: &[SignedVtxoRequest],
    ) -> Result<(), RpcError> {
        let attempt = self.rounds.attempt();
        let Some(attempt) = attempt.as_ref() else {
            return Ok(());
        };
        if !matches!(attempt.stage, Stage::Joining) {
            return Err(RpcError::bad("too late for this round"));
        }
        let banned: Vec<VtxoId> = inputs
            .ids
            .iter()
            .filter(|id| attempt.banned.contains(id))
            .copied()
            .collect();
        if !banned.is_empty() {
            return Err(RpcError::unusable("banned from this round", banned));
        }
        for (attestation, record) in inputs.attestations.iter().zip(records) {
            attestation
                .verify(attempt.challenge, &record.vtxo, outputs)
                .map_err(|_| RpcError::bad(format!("wrong attestation: {}", record.vtxo.id())))?;
        }
        let nonces = self.params.nb_round_nonces;
        if outputs.iter().any(|output| output.nonces.len() != nonces) {
            return Err(RpcError::bad(format!("an output needs {nonces} nonces")));
        }
        if attempt.leaves() + outputs.len() > self.max_leaves() {
            return Err(RpcError::bad("the round is full"));
        }
        Ok(())
    }

    /// `ProvideVtxoSignatures`. Repeated signatures are accepted.
    pub(in super::super) async fn provide_vtxo_signatures(
        &self,
        request: protos::VtxoSignaturesRequest,
    ) -> Result<protos::Empty, RpcError> {
        let key = PublicKey::from_bytes(&request.pubkey)?;
        let signatures = request
            .signatures
            .iter()
            .map(PartialSignature::from_bytes)
            .collect::<Result<Vec<_>, _>>()?;

        let attempt = self.rounds.attempt();
        let mut taken = self.rounds.signatures();
        if let Some(known) = taken.get(&key) {
            let same = known
                .iter()
                .map(PartialSignature::serialize)
                .eq(signatures.iter().map(PartialSignature::serialize));
            return if same {
                Ok(protos::Empty {})
            } else {
                Err(RpcError::bad("this key has signed already"))
            };
        }
        let Some((attempt, Stage::Signing(proposal))) =
            attempt.as_ref().map(|attempt| (attempt, &attempt.stage))
        else {
            return Err(RpcError::bad("there is nothing to sign"));
        };
        let (participant, output) = attempt
            .interactive
            .iter()
            .flat_map(|one| one.outputs.iter().map(move |output| (one, output)))
            .find(|(_, output)| output.cosign_pubkey == key)
            .ok_or_else(|| RpcError::bad("not a key of this round"))?;
        proposal
            .tree
            .verify_branch_cosign_partial_sigs(
                &proposal.agg_nonces,
                &participant.leaf(output),
                &output.nonces,
                &signatures,
            )
            .map_err(RpcError::bad)?;
        taken.insert(key, signatures);
        self.rounds.progress.notify_one();
        Ok(protos::Empty {})
    }
}
