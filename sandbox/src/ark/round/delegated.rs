//! Participations that the server carries out while the client is away, and the state of any participation (docs/protocol.md §31.4, §32.5).

use ark_lib::attestations::DelegatedRoundParticipationAttestation;
use ark_lib::mailbox::MailboxIdentifier;
use ark_lib::tree::signed::UnlockHash;
use ark_lib::vtxo::policy::check_block_height;
use ark_lib::{ProtocolEncoding, VtxoRequest};
use bitcoin::consensus::encode::serialize;
use bitcoin::hashes::Hash;
use bitcoin_ext::BlockHeight;
use server_rpc::protos::RoundParticipationStatus as Status;
use server_rpc::{TryFromBytes, protos};

use super::super::faults::{Action, Hook};
use super::super::state::Ark;
use super::super::status::RpcError;
use super::super::store::{Participation, Round, VtxoRecord};
use super::check::{Inputs, decode_inputs};

impl Ark {
    /// `SubmitRoundParticipation`. Replaces waiting participations that share an input.
    pub(in super::super) async fn submit_round_participation(
        &self,
        request: protos::RoundParticipationRequest,
    ) -> Result<protos::RoundParticipationResponse, RpcError> {
        let inputs = decode_inputs::<DelegatedRoundParticipationAttestation>(&request.input_vtxos)?;
        let outputs = request
            .vtxo_requests
            .into_iter()
            .map(VtxoRequest::try_from)
            .collect::<Result<Vec<_>, _>>()?;
        let mailbox = request
            .unblinded_mailbox_id
            .map(|bytes| MailboxIdentifier::deserialize(&bytes))
            .transpose()
            .map_err(|_| RpcError::bad("invalid mailbox id"))?;
        let scheduled =
            check_block_height(request.scheduled_height.unwrap_or(0)).map_err(RpcError::bad)?;

        let _turn = self.turn().await;
        // Like a real server, also if the scheduled height has passed: the fee is then that of an earlier height.
        let height = match request.scheduled_height {
            Some(_) => scheduled,
            None => self.tip_height().await?,
        };
        let records = self.known(&inputs.ids)?;
        let terms = self
            .check_outputs(&records, &outputs, height)
            .and_then(|()| self.check_delegation(&inputs, &records, &outputs, scheduled));
        self.check_new_spend(&records, terms).await?;

        let participation = Participation {
            unlock_preimage: rand::random(),
            inputs: inputs.ids,
            outputs,
            mailbox,
            scheduled_height: request.scheduled_height,
            round: None,
            released: false,
        };
        self.store.replace_participation(&participation)?;
        Ok(protos::RoundParticipationResponse {
            unlock_hash: participation.unlock_hash().to_byte_array().to_vec(),
        })
    }

    /// The checks that only delegated participations need.
    fn check_delegation(
        &self,
        inputs: &Inputs<DelegatedRoundParticipationAttestation>,
        records: &[VtxoRecord],
        outputs: &[VtxoRequest],
        scheduled: BlockHeight,
    ) -> Result<(), RpcError> {
        for (attestation, record) in inputs.attestations.iter().zip(records) {
            let id = record.vtxo.id();
            attestation
                .verify(&record.vtxo, outputs)
                .map_err(|_| RpcError::bad(format!("wrong attestation: {id}")))?;
            if record.vtxo.expiry_height() <= scheduled {
                return Err(RpcError::bad(format!("{id} expires before the refresh")));
            }
        }
        if outputs.len() > self.max_leaves() {
            return Err(RpcError::bad("too many outputs for a round"));
        }
        Ok(())
    }

    /// Adds to the attempt the waiting participations that are due. One whose inputs can no longer be spent is deleted, and, like
    /// by a real server, also one whose inputs another request is using, although that request may fail.
    pub(super) async fn add_delegated(&self, tip: BlockHeight) -> Result<(), RpcError> {
        for due in self.store.due_participations(tip.to_u32())? {
            let inputs = match self.known(&due.inputs) {
                Ok(records) => self.check_new_spend(&records, Ok(())).await,
                Err(error) => Err(error),
            };
            match inputs {
                Ok(()) => {}
                Err(
                    RpcError::Locked(_) | RpcError::Unusable { .. } | RpcError::NotFound { .. },
                ) => {
                    if self.hook(Hook::RoundDrop)? != Some(Action::Withhold) {
                        self.store.drop_participation(due.unlock_hash())?;
                        continue;
                    }
                }
                Err(error) => return Err(error),
            }
            if let Some(attempt) = &mut *self.rounds.attempt()
                && attempt.leaves() + due.outputs.len() <= self.max_leaves()
            {
                attempt.delegated.push(due);
            }
        }
        Ok(())
    }

    /// `RoundParticipationStatus`. Interactive participants are known once their round is stored.
    pub(in super::super) async fn round_participation_status(
        &self,
        request: protos::RoundParticipationStatusRequest,
    ) -> Result<protos::RoundParticipationStatusResponse, RpcError> {
        let hash = UnlockHash::from_bytes(&request.unlock_hash)?;
        let fault = self.hook(Hook::RoundStatus)?;
        if fault == Some(Action::NotFound) {
            return Err(unknown_participation(hash));
        }
        let participation = self.known_participation(hash)?;
        let mut response = protos::RoundParticipationStatusResponse {
            status: Status::RoundPartPending.into(),
            input_vtxo_ids: participation
                .inputs
                .iter()
                .map(|id| id.to_bytes().to_vec())
                .collect(),
            ..Default::default()
        };
        let Some(txid) = participation.round else {
            return Ok(response);
        };
        let round = self
            .store
            .round(txid)?
            .ok_or_else(|| anyhow::anyhow!("round {txid} is lost"))?;
        response.status = Status::RoundPartIssued.into();
        response.round_funding_tx = Some(serialize(&round.funding_tx));
        response.output_vtxos = issued_outputs(&participation, round);
        if fault == Some(Action::Duplicate)
            && let Some(first) = response.output_vtxos.first().cloned()
        {
            response.output_vtxos.fill(first);
        }
        if participation.released {
            response.status = Status::RoundPartReleased.into();
            response.unlock_preimage = Some(participation.unlock_preimage.to_vec());
        }
        Ok(response)
    }

    /// A participation that is stored.
    pub(super) fn known_participation(&self, hash: UnlockHash) -> Result<Participation, RpcError> {
        let stored = self.store.participation(hash)?;
        stored.ok_or_else(|| unknown_participation(hash))
    }
}

fn unknown_participation(hash: UnlockHash) -> RpcError {
    RpcError::NotFound {
        what: "participation",
        ids: vec![hash.to_string()],
    }
}

/// The issued outputs in the requested order, without the signature and the preimage of the last step.
fn issued_outputs(participation: &Participation, round: Round) -> Vec<Vec<u8>> {
    let hash = participation.unlock_hash();
    let spec = &round.tree.spec;
    let leaves = spec
        .leaf_idxs_for_participation(hash, &participation.outputs)
        // A fault has changed the tree, so the leaves of this client are returned as they are.
        .unwrap_or_else(|| {
            let leaves = spec.vtxos.iter().enumerate();
            leaves
                .filter(|(_, leaf)| leaf.unlock_hash == hash)
                .map(|(index, _)| index)
                .collect()
        });
    let tree = round.tree.into_cached_tree();
    leaves
        .into_iter()
        .map(|index| tree.build_vtxo(index).serialize())
        .collect()
}
