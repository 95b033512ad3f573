//! VTXOs by their ids, many in one call.

use std::collections::BTreeSet;

use ark_lib::VtxoId;
use ark_lib::attestations::VtxoStatusAttestation;
use server_rpc::{MAX_NB_VTXO_IDS, TryFromBytes, protos};

use super::super::state::Ark;
use super::super::status::RpcError;
use super::super::store::VtxoState;

impl Ark {
    /// `GetVtxosByIds`.
    pub(in super::super) async fn get_vtxos_by_ids(
        &self,
        request: protos::GetVtxosByIdsRequest,
    ) -> Result<protos::GetVtxosByIdsResponse, RpcError> {
        self.recovery_calls.check("GetVtxosByIds")?;
        check_count(request.vtxo_ids.len())?;
        let ids = request
            .vtxo_ids
            .iter()
            .map(VtxoId::from_bytes)
            .collect::<Result<Vec<_>, _>>()?;
        let mut response = protos::GetVtxosByIdsResponse::default();
        let mut missing = BTreeSet::new();
        for id in ids {
            let body = match self.store.body(id)? {
                Some((body, state)) if state != VtxoState::Internal => self.told_body(id, body)?,
                _ => None,
            };
            match body {
                Some(body) => response.vtxos.push(body),
                None if missing.insert(id) => {
                    response.missing_vtxo_ids.push(id.to_bytes().to_vec());
                }
                None => {}
            }
        }
        Ok(response)
    }

    /// `GetVtxosStatusByIds`. One wrong attestation fails the whole call.
    pub(in super::super) async fn get_vtxos_status_by_ids(
        &self,
        request: protos::GetVtxosStatusByIdsRequest,
    ) -> Result<protos::GetVtxosStatusByIdsResponse, RpcError> {
        self.recovery_calls.check("GetVtxosStatusByIds")?;
        check_count(request.vtxos.len())?;
        let mut response = protos::GetVtxosStatusByIdsResponse::default();
        let mut missing = BTreeSet::new();
        for query in &request.vtxos {
            let id = VtxoId::from_bytes(&query.vtxo_id)?;
            let attestation = VtxoStatusAttestation::from_bytes(&query.attestation)?;
            match self.attested_state(id, &attestation)? {
                Some(state) => response.vtxos.push(protos::VtxoStatus {
                    vtxo_id: query.vtxo_id.clone(),
                    spend_state: self.told_state(state)?,
                }),
                None if missing.insert(id) => {
                    response.missing_vtxo_ids.push(query.vtxo_id.clone());
                }
                None => {}
            }
        }
        Ok(response)
    }
}

fn check_count(count: usize) -> Result<(), RpcError> {
    if count > MAX_NB_VTXO_IDS {
        return Err(RpcError::bad(format!("more than {MAX_NB_VTXO_IDS} ids")));
    }
    Ok(())
}
