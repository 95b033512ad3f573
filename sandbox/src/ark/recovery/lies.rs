//! What a server that is not honest tells a wallet that recovers its VTXOs: the faults of these calls.

use ark_lib::VtxoId;
use server_rpc::protos::{RecoverVtxosByXpubResponse, RecoveredVtxo, VtxoSpendState};

use super::super::faults::{Action, Hook, RecoveryFault};
use super::super::state::Ark;
use super::super::status::RpcError;

/// A state that no version of the protocol has.
const NEW_STATE: i32 = 99;

impl Ark {
    /// The body of a VTXO as it is told; `None` for one that is reported as unknown.
    pub(in super::super) fn told_body(
        &self,
        id: VtxoId,
        body: Vec<u8>,
    ) -> Result<Option<Vec<u8>>, RpcError> {
        match self.recovery_fault(Hook::RecoveryBody)? {
            Some(RecoveryFault::Missing) => Ok(None),
            Some(change) => Ok(Some(self.altered_body(id, body, change)?)),
            None => Ok(Some(body)),
        }
    }

    /// The state of a VTXO as it is told.
    pub(in super::super) fn told_state(&self, state: VtxoSpendState) -> Result<i32, RpcError> {
        let change = self.recovery_fault(Hook::RecoveryState)?;
        Ok(altered_state(state.into(), change))
    }

    /// The answer to an extended public key as it is told.
    pub(super) fn told_page(
        &self,
        ids: &[VtxoId],
        mut page: RecoverVtxosByXpubResponse,
    ) -> Result<RecoverVtxosByXpubResponse, RpcError> {
        let Some(change) = self.recovery_fault(Hook::RecoveryPage)? else {
            return Ok(page);
        };
        match change {
            RecoveryFault::Missing => page.vtxos.clear(),
            RecoveryFault::Endless => {
                page.nb_keys_scanned = 0;
                page.cursor_vtxo_id = None;
                page.have_more = true;
            }
            _ => {}
        }
        for (id, told) in ids.iter().zip(&mut page.vtxos) {
            *told = RecoveredVtxo {
                vtxo: self.altered_body(*id, std::mem::take(&mut told.vtxo), change)?,
                derivation_index: told.derivation_index
                    + u32::from(change == RecoveryFault::WrongIndex),
                spend_state: altered_state(told.spend_state, Some(change)),
            };
        }
        Ok(page)
    }

    fn recovery_fault(&self, hook: Hook) -> Result<Option<RecoveryFault>, RpcError> {
        match self.hook(hook)? {
            Some(Action::AlterRecovery { change }) => Ok(Some(change)),
            _ => Ok(None),
        }
    }

    fn altered_body(
        &self,
        id: VtxoId,
        body: Vec<u8>,
        change: RecoveryFault,
    ) -> anyhow::Result<Vec<u8>> {
        match change {
            RecoveryFault::Garbage => Ok(vec![0xff; body.len()]),
            RecoveryFault::Foreign => Ok(self.store.body_of_another(id)?.unwrap_or(body)),
            _ => Ok(body),
        }
    }
}

fn altered_state(state: i32, change: Option<RecoveryFault>) -> i32 {
    match change {
        Some(RecoveryFault::Spendable) => VtxoSpendState::Spendable.into(),
        Some(RecoveryFault::Spent) => VtxoSpendState::Spent.into(),
        Some(RecoveryFault::NewState) => NEW_STATE,
        _ => state,
    }
}
