//! The state of single VTXOs, which clients request on import and recovery (docs/protocol.md §31.1, §40.5).

use ark_lib::attestations::VtxoStatusAttestation;
use ark_lib::vtxo::Full;
use ark_lib::{ProtocolEncoding, Vtxo, VtxoId};
use server_rpc::TryFromBytes;
use server_rpc::protos::{self, VtxoSpendState};

use super::state::Ark;
use super::status::RpcError;
use super::store::VtxoState;

impl Ark {
    /// `GetVtxo`. Anybody gets any output by its id, also those of the server itself. The body is the one that was registered last.
    pub(super) async fn get_vtxo(
        &self,
        request: protos::GetVtxoRequest,
    ) -> Result<protos::GetVtxoResponse, RpcError> {
        let id = VtxoId::from_bytes(&request.vtxo_id)?;
        let unknown = || RpcError::unknown_vtxos([id]);
        let (body, _) = self.store.body(id)?.ok_or_else(unknown)?;
        let vtxo = self.told_body(id, body)?.ok_or_else(unknown)?;
        Ok(protos::GetVtxoResponse { vtxo })
    }

    /// `GetVtxoStatus`. An exit, an expiry or a sweep does not change the state.
    pub(super) async fn get_vtxo_status(
        &self,
        request: protos::GetVtxoStatusRequest,
    ) -> Result<protos::GetVtxoStatusResponse, RpcError> {
        let attestation = VtxoStatusAttestation::from_bytes(&request.attestation)?;
        let id = VtxoId::from_bytes(&request.vtxo_id)?;
        let state = self
            .attested_state(id, &attestation)?
            .ok_or_else(|| RpcError::unknown_vtxos([id]))?;
        Ok(protos::GetVtxoStatusResponse {
            spend_state: self.told_state(state)?,
        })
    }

    /// The state of a VTXO as its owner sees it; `None` for an unknown one and for outputs of the server. The attestation is checked for
    /// every output that a client could own, and only then its state is looked at.
    pub(super) fn attested_state(
        &self,
        id: VtxoId,
        attestation: &VtxoStatusAttestation,
    ) -> Result<Option<VtxoSpendState>, RpcError> {
        let Some((body, state)) = self.store.body(id)? else {
            return Ok(None);
        };
        let Ok(vtxo) = Vtxo::<Full>::deserialize(&body) else {
            return Ok(None);
        };
        attestation
            .verify(&vtxo)
            .map_err(|_| RpcError::bad("invalid VTXO status attestation"))?;
        Ok(spend_state(state))
    }
}

/// What a client hears about a state; `None` if it does not hear of the VTXO at all.
pub(super) fn spend_state(state: VtxoState) -> Option<VtxoSpendState> {
    match state {
        VtxoState::Spendable => Some(VtxoSpendState::Spendable),
        VtxoState::Unregistered => Some(VtxoSpendState::Unregistered),
        VtxoState::Unclaimed => Some(VtxoSpendState::Unclaimed),
        VtxoState::HtlcRecvUnclaimed => Some(VtxoSpendState::HtlcRecvUnclaimed),
        VtxoState::Spent | VtxoState::LnSpent => Some(VtxoSpendState::Spent),
        VtxoState::Internal => None,
    }
}
