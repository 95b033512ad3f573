//! Questions about single VTXOs, asked on import and recovery (docs/protocol.md §31.1, §32.9).

use std::collections::BTreeSet;

use ark_lib::attestations::VtxoStatusAttestation;
use ark_lib::{ProtocolEncoding, VtxoId};
use server_rpc::protos::{self, VtxoSpendState};
use server_rpc::{MAX_NB_VTXO_IDS, TryFromBytes};

use super::state::Ark;
use super::status::RpcError;
use super::store::{VtxoRecord, VtxoState};

impl Ark {
    /// `GetVtxo`.
    pub(super) async fn get_vtxo(
        &self,
        request: protos::GetVtxoRequest,
    ) -> Result<protos::GetVtxoResponse, RpcError> {
        let record = self.known_vtxo(VtxoId::from_bytes(&request.vtxo_id)?)?;
        Ok(protos::GetVtxoResponse {
            vtxo: record.vtxo.serialize(),
        })
    }

    /// `GetVtxoStatus`.
    pub(super) async fn get_vtxo_status(
        &self,
        request: protos::GetVtxoStatusRequest,
    ) -> Result<protos::GetVtxoStatusResponse, RpcError> {
        let attestation = VtxoStatusAttestation::from_bytes(&request.attestation)?;
        let record = self.known_vtxo(VtxoId::from_bytes(&request.vtxo_id)?)?;
        Ok(protos::GetVtxoStatusResponse {
            spend_state: attested_state(&record, &attestation)?.into(),
        })
    }

    /// `GetVtxosByIds`.
    pub(super) async fn get_vtxos_by_ids(
        &self,
        request: protos::GetVtxosByIdsRequest,
    ) -> Result<protos::GetVtxosByIdsResponse, RpcError> {
        check_count(request.vtxo_ids.len())?;
        let ids = request
            .vtxo_ids
            .iter()
            .map(VtxoId::from_bytes)
            .collect::<Result<Vec<_>, _>>()?;
        let mut response = protos::GetVtxosByIdsResponse::default();
        let mut missing = BTreeSet::new();
        for id in ids {
            match self.store.vtxo(id)? {
                Some(record) => response.vtxos.push(record.vtxo.serialize()),
                None if missing.insert(id) => {
                    response.missing_vtxo_ids.push(id.to_bytes().to_vec());
                }
                None => {}
            }
        }
        Ok(response)
    }

    /// `GetVtxosStatusByIds`. One wrong attestation fails the whole call.
    pub(super) async fn get_vtxos_status_by_ids(
        &self,
        request: protos::GetVtxosStatusByIdsRequest,
    ) -> Result<protos::GetVtxosStatusByIdsResponse, RpcError> {
        check_count(request.vtxos.len())?;
        let mut response = protos::GetVtxosStatusByIdsResponse::default();
        let mut missing = BTreeSet::new();
        for query in &request.vtxos {
            let id = VtxoId::from_bytes(&query.vtxo_id)?;
            let attestation = VtxoStatusAttestation::from_bytes(&query.attestation)?;
            match self.store.vtxo(id)? {
                Some(record) => response.vtxos.push(protos::VtxoStatus {
                    vtxo_id: query.vtxo_id.clone(),
                    spend_state: attested_state(&record, &attestation)?.into(),
                }),
                None if missing.insert(id) => {
                    response.missing_vtxo_ids.push(query.vtxo_id.clone());
                }
                None => {}
            }
        }
        Ok(response)
    }

    fn known_vtxo(&self, id: VtxoId) -> Result<VtxoRecord, RpcError> {
        self.store
            .vtxo(id)?
            .ok_or_else(|| RpcError::unknown_vtxos([id]))
    }
}

fn check_count(count: usize) -> Result<(), RpcError> {
    if count > MAX_NB_VTXO_IDS {
        return Err(RpcError::bad(format!("more than {MAX_NB_VTXO_IDS} ids")));
    }
    Ok(())
}

/// The state as a client may see it, provided that it owns the VTXO.
fn attested_state(
    record: &VtxoRecord,
    attestation: &VtxoStatusAttestation,
) -> Result<VtxoSpendState, RpcError> {
    attestation
        .verify(&record.vtxo)
        .map_err(|_| RpcError::bad(format!("wrong attestation for {}", record.vtxo.id())))?;
    match record.state {
        VtxoState::Spendable => Ok(VtxoSpendState::Spendable),
        VtxoState::Unregistered => Ok(VtxoSpendState::Unregistered),
        VtxoState::Unclaimed => Ok(VtxoSpendState::Unclaimed),
        VtxoState::HtlcRecvUnclaimed => Ok(VtxoSpendState::HtlcRecvUnclaimed),
        VtxoState::Spent | VtxoState::LnSpent => Ok(VtxoSpendState::Spent),
        VtxoState::Internal => Err(RpcError::unknown_vtxos([record.vtxo.id()])),
    }
}
