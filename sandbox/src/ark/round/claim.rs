//! After a round: the client forfeits its old VTXOs and gets the preimage that unlocks the new ones (docs/protocol.md §32.4, step 12).

use std::collections::BTreeSet;

use ark_lib::VtxoId;
use ark_lib::forfeit::HashLockedForfeitBundle;
use ark_lib::musig::{self, PublicNonce};
use ark_lib::tree::signed::{LeafVtxoCosignRequest, LeafVtxoCosignResponse, UnlockHash};
use server_rpc::{MAX_NB_VTXO_IDS, TryFromBytes, protos};
use tokio::time::Instant;

use super::super::faults::{Action, Hook, corrupt_signature};
use super::super::state::Ark;
use super::super::status::RpcError;
use super::super::store::{
    Participation, Round, TxKind, VtxoRecord, VtxoState, participation, tx, vtxo,
};
use super::nonces::ForfeitNonce;

impl Ark {
    /// `RequestLeafVtxoCosign`. Stores nothing, so a client can repeat it.
    pub(in super::super) async fn request_leaf_vtxo_cosign(
        &self,
        request: protos::LeafVtxoCosignRequest,
    ) -> Result<protos::LeafVtxoCosignResponse, RpcError> {
        let request = LeafVtxoCosignRequest {
            vtxo_id: VtxoId::from_bytes(&request.vtxo_id)?,
            pub_nonce: PublicNonce::from_bytes(&request.public_nonce)?,
        };
        let record = self.known([&request.vtxo_id])?.remove(0);
        let anchor = record.vtxo.chain_anchor().txid;
        let Some(Round { funding_tx, .. }) = self.store.round(anchor)? else {
            return Err(RpcError::bad("not an output of a round"));
        };
        let response = LeafVtxoCosignResponse::new_cosign(
            &request,
            &record.vtxo,
            &funding_tx,
            &self.keys.server,
        )
        .map_err(RpcError::bad)?;
        let mut response = protos::LeafVtxoCosignResponse::from(response);
        if self.hook(Hook::RoundLeaf)? == Some(Action::WrongSignature) {
            corrupt_signature(&mut response.partial_signature);
        }
        Ok(response)
    }

    /// `RequestForfeitNonces`. Gives the same nonce until it is used or too old.
    pub(in super::super) async fn request_forfeit_nonces(
        &self,
        request: protos::ForfeitNoncesRequest,
    ) -> Result<protos::ForfeitNoncesResponse, RpcError> {
        let hash = UnlockHash::from_bytes(&request.unlock_hash)?;
        if request.vtxo_ids.len() > MAX_NB_VTXO_IDS {
            return Err(RpcError::bad(format!("more than {MAX_NB_VTXO_IDS} ids")));
        }
        let ids = request
            .vtxo_ids
            .iter()
            .map(VtxoId::from_bytes)
            .collect::<Result<Vec<_>, _>>()?;
        let participation = self.known_participation(hash)?;
        if ids.iter().any(|id| !participation.inputs.contains(id)) {
            return Err(RpcError::bad("not an input of this participation"));
        }
        check_issued(&participation)?;

        let mut nonces = self.rounds.forfeit_nonces.lock();
        let now = Instant::now();
        nonces.retain(|_, nonce| now - nonce.drawn < self.params.round_forfeit_nonces_timeout);
        let public_nonces = ids
            .into_iter()
            .map(|id| {
                let nonce = nonces.entry((id, hash)).or_insert_with(|| {
                    let (secret, public) = musig::nonce_pair(&self.keys.server);
                    ForfeitNonce {
                        public,
                        secret,
                        drawn: now,
                    }
                });
                nonce.public.serialize().to_vec()
            })
            .collect();
        Ok(protos::ForfeitNoncesResponse { public_nonces })
    }

    /// `ForfeitVtxos`. Once the inputs are given up, it only repeats the preimage.
    pub(in super::super) async fn forfeit_vtxos(
        &self,
        request: protos::ForfeitVtxosRequest,
    ) -> Result<protos::ForfeitVtxosResponse, RpcError> {
        let bundles = request
            .forfeit_bundles
            .iter()
            .map(HashLockedForfeitBundle::from_bytes)
            .collect::<Result<Vec<_>, _>>()?;
        let hash = match bundles.first() {
            Some(first) => first.unlock_hash,
            None => return Err(RpcError::bad("no forfeits")),
        };
        if bundles.iter().any(|bundle| bundle.unlock_hash != hash) {
            return Err(RpcError::bad("forfeits for different unlock hashes"));
        }

        let _turn = self.turn().await;
        let participation = self.known_participation(hash)?;
        let given: BTreeSet<VtxoId> = bundles.iter().map(|bundle| bundle.vtxo_id).collect();
        let inputs: BTreeSet<VtxoId> = participation.inputs.iter().copied().collect();
        if given != inputs || given.len() < bundles.len() {
            return Err(RpcError::bad("the forfeits must be one for each input"));
        }
        check_issued(&participation)?;
        if !participation.released {
            self.take_forfeits(&participation, &bundles)?;
        }
        match self.hook(Hook::RoundForfeitPersisted)? {
            Some(Action::Withhold) => Err(RpcError::Lost("the preimage is withheld")),
            Some(Action::WrongPreimage) => Ok(protos::ForfeitVtxosResponse {
                unlock_preimage: rand::random::<[u8; 32]>().to_vec(),
            }),
            _ => Ok(protos::ForfeitVtxosResponse {
                unlock_preimage: participation.unlock_preimage.to_vec(),
            }),
        }
    }

    /// Completes the forfeits and stores them together with the release of the outputs.
    fn take_forfeits(
        &self,
        participation: &Participation,
        bundles: &[HashLockedForfeitBundle],
    ) -> Result<(), RpcError> {
        let hash = participation.unlock_hash();
        let inputs = self.known(bundles.iter().map(|bundle| &bundle.vtxo_id))?;
        let nonces = self.use_nonces(bundles, &inputs)?;
        let outputs = self.store.outputs_of(participation)?;
        self.store.write(|db| {
            for ((bundle, input), nonce) in bundles.iter().zip(&inputs).zip(nonces) {
                let (_, forfeit, output) =
                    bundle.finish(&input.vtxo, &nonce.public, nonce.secret, &self.keys.server);
                tx::insert_signed(db, TxKind::Forfeit, &forfeit)?;
                vtxo::insert(db, &output, VtxoState::Internal, None)?;
            }
            for output in outputs {
                vtxo::change_state(db, output, VtxoState::Unclaimed, VtxoState::Spendable)?;
            }
            participation::mark_released(db, hash)
        })?;
        Ok(())
    }

    /// Checks the forfeits, and takes out the nonces that they were made for: none may serve twice.
    fn use_nonces(
        &self,
        bundles: &[HashLockedForfeitBundle],
        inputs: &[VtxoRecord],
    ) -> Result<Vec<ForfeitNonce>, RpcError> {
        let mut nonces = self.rounds.forfeit_nonces.lock();
        let now = Instant::now();
        nonces.retain(|_, nonce| now - nonce.drawn < self.params.round_forfeit_nonces_timeout);
        let key = |bundle: &HashLockedForfeitBundle| (bundle.vtxo_id, bundle.unlock_hash);
        // A refusal, as at a real server, although the client can go on with new nonces.
        let expired = || RpcError::bad("missing forfeit nonces: ask for new ones");
        for (bundle, input) in bundles.iter().zip(inputs) {
            let nonce = nonces.get(&key(bundle)).ok_or_else(expired)?;
            bundle
                .verify(&input.vtxo, &nonce.public)
                .map_err(RpcError::bad)?;
        }
        bundles
            .iter()
            .map(|bundle| nonces.remove(&key(bundle)).ok_or_else(expired))
            .collect()
    }
}

fn check_issued(participation: &Participation) -> Result<(), RpcError> {
    if participation.round.is_none() {
        return Err(RpcError::NotYet("the round has not happened yet".into()));
    }
    Ok(())
}
