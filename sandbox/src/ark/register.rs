//! Uploads of signed transactions, which make a cosigned VTXO spendable (docs/protocol.md §32.2).

use std::collections::BTreeMap;

use anyhow::Context;
use ark_lib::vtxo::Full;
use ark_lib::{Vtxo, VtxoId};
use server_rpc::{MAX_NB_REGISTER_VTXOS, TryFromBytes, protos};

use super::faults::{Action, Hook};
use super::state::Ark;
use super::status::RpcError;
use super::store::{TxKind, VtxoRecord, VtxoState, tx, vtxo};

impl Ark {
    /// `RegisterVtxoTransactions`. Clients repeat it before nearly every spend.
    pub(super) async fn register_vtxo_transactions(
        &self,
        request: protos::RegisterVtxoTransactionsRequest,
    ) -> Result<protos::Empty, RpcError> {
        if request.vtxos.is_empty() || request.vtxos.len() > MAX_NB_REGISTER_VTXOS {
            return Err(RpcError::bad(format!(
                "an upload has 1 to {MAX_NB_REGISTER_VTXOS} vtxos"
            )));
        }
        let mut vtxos: BTreeMap<VtxoId, Vtxo<Full>> = BTreeMap::new();
        for bytes in &request.vtxos {
            let vtxo = Vtxo::<Full>::from_bytes(bytes)?;
            vtxos.insert(vtxo.id(), vtxo);
        }

        let _turn = self.turn().await;
        let records = self.known(vtxos.keys())?;
        for (vtxo, record) in vtxos.values().zip(&records) {
            self.check_signed(vtxo, record)?;
        }

        if self.hook(Hook::Register)? == Some(Action::Forget) {
            return Ok(self.forget_uploads(vtxos.keys())?);
        }
        self.store.write(|db| {
            for signed in vtxos.values() {
                for item in signed.transactions() {
                    tx::insert_signed(db, TxKind::Virtual, &item.tx)?;
                }
                vtxo::replace_body(db, signed)?;
                let (from, to) = (VtxoState::Unregistered, VtxoState::Spendable);
                vtxo::change_state(db, signed.id(), from, to)?;
            }
            Ok(())
        })?;
        Ok(protos::Empty {})
    }

    /// Every signature down to the chain has to be there and right.
    fn check_signed(&self, vtxo: &Vtxo<Full>, record: &VtxoRecord) -> Result<(), RpcError> {
        let id = vtxo.id();
        // Otherwise a client could leave out the beginning of its chain, and with it the exit depth.
        if vtxo.chain_anchor() != record.vtxo.chain_anchor() {
            return Err(RpcError::bad(format!("{id} has another chain anchor")));
        }
        if !vtxo.has_all_witnesses() {
            return Err(RpcError::bad(format!("{id} is not fully signed")));
        }
        let anchor = self
            .store
            .signed_tx(vtxo.chain_anchor().txid)?
            .ok_or_else(|| RpcError::bad(format!("{id} hangs on an unknown transaction")))?;
        vtxo.validate(&anchor)
            .map_err(|error| RpcError::bad(format!("{id}: {error}")))
    }

    /// The fault of a server that acknowledges an upload and has lost it.
    fn forget_uploads<'a>(
        &self,
        ids: impl Iterator<Item = &'a VtxoId>,
    ) -> anyhow::Result<protos::Empty> {
        self.store
            .write(|db| {
                for id in ids {
                    let (from, to) = (VtxoState::Spendable, VtxoState::Unregistered);
                    vtxo::change_state(db, *id, from, to)?;
                }
                Ok(protos::Empty {})
            })
            .context("forgetting uploads")
    }
}
