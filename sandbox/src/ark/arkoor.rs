//! Out-of-round payments: the server's half of the signatures, and its protection against double spends (docs/protocol.md §31.3, §32.3).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ark_lib::arkoor::package::{ArkoorPackageBuilder, ArkoorPackageCosignRequest};
use ark_lib::arkoor::state::ServerCanCosign;
use ark_lib::vtxo::VtxoPolicyKind;
use ark_lib::{ServerVtxo, VtxoId};
use bitcoin::Txid;
use rusqlite::Transaction;
use server_rpc::protos;

use super::faults::{Action, Hook, corrupt_signature};
use super::in_flight::InputLock;
use super::state::Ark;
use super::status::RpcError;
use super::store::{TxKind, VtxoRecord, VtxoState, tx, vtxo};

pub(super) type Request = ArkoorPackageCosignRequest<VtxoId>;
pub(super) type Package = ArkoorPackageBuilder<ServerCanCosign>;

impl Ark {
    /// `RequestArkoorCosign`. The spend is recorded before anything is signed; the same request again gets a fresh answer. Until the
    /// record is written, the inputs are in use, and other requests for them are refused.
    pub(super) async fn request_arkoor_cosign(
        self: &Arc<Self>,
        request: protos::ArkoorPackageCosignRequest,
    ) -> Result<protos::ArkoorPackageCosignResponse, RpcError> {
        let request = Request::try_from(request).map_err(RpcError::malformed)?;
        let ids: Vec<VtxoId> = request.inputs().copied().collect();
        if ids.is_empty() {
            return Err(RpcError::bad("no inputs"));
        }
        let distinct: BTreeSet<&VtxoId> = ids.iter().collect();
        if distinct.len() < ids.len() {
            return Err(RpcError::repeated_vtxo());
        }
        let lock = self.in_flight.lock(&ids)?;
        if let Some(held) = self.hold(Hook::ArkoorLocked)? {
            let ark = Arc::clone(self);
            tokio::spawn(async move {
                held.await;
                if let Err(error) = ark.cosign_arkoor(request, &ids, lock).await {
                    tracing::warn!(%error, "an arkoor request that a fault held was refused");
                }
            });
            return Err(RpcError::Lost("connection reset"));
        }
        self.cosign_arkoor(request, &ids, lock).await
    }

    async fn cosign_arkoor(
        &self,
        request: Request,
        ids: &[VtxoId],
        lock: InputLock,
    ) -> Result<protos::ArkoorPackageCosignResponse, RpcError> {
        let _turn = self.turn().await;
        let inputs = self.user_vtxos(ids)?;
        let package = self.build_package(request, &inputs);
        let spends: BTreeMap<VtxoId, Txid> = package
            .as_ref()
            .map(|package| package.input_spend_info().collect())
            .unwrap_or_default();
        if package.is_ok() {
            self.check_not_exited(&inputs, &spends).await?;
        }
        let spendable = self.check_spendable(&inputs, &spends).await;
        let package = match (package, spendable.map_err(RpcError::without_spent_ids)) {
            (Ok(package), Ok(())) => package,
            (Ok(_), Err(error)) | (Err(error), Ok(())) => return Err(error),
            (Err(malformed), Err(unusable)) => return Err(malformed.or(unusable)),
        };

        self.refuse_at(Hook::ArkoorChecked, ids)?;
        self.store.write(|db| store_package(db, &package))?;
        drop(lock);
        self.refuse_at(Hook::ArkoorPersisted, ids)?;
        self.sign_package(package, Hook::ArkoorResponse)
    }

    /// The records of client VTXOs in the order of `ids`.
    pub(super) fn user_vtxos(&self, ids: &[VtxoId]) -> Result<Vec<VtxoRecord>, RpcError> {
        for id in ids {
            if self.store.is_vtxo(id.to_point())? && self.store.vtxo(*id)?.is_none() {
                return Err(anyhow::anyhow!("{id} is not a user VTXO").into());
            }
        }
        self.known(ids)
    }

    /// The server's signatures; a fault at `hook` alters them.
    pub(super) fn sign_package(
        &self,
        package: Package,
        hook: Hook,
    ) -> Result<protos::ArkoorPackageCosignResponse, RpcError> {
        let mut response = protos::ArkoorPackageCosignResponse::from(
            package
                .server_cosign(&self.keys.server)
                .map_err(|error| RpcError::Internal(error.into()))?
                .cosign_response(),
        );
        match self.hook(hook)? {
            Some(Action::WrongSignature) => {
                let first = response.parts.first_mut();
                if let Some(signature) = first.and_then(|part| part.server_partial_sigs.first_mut())
                {
                    corrupt_signature(signature);
                }
            }
            Some(Action::MissingSignature) => {
                if let Some(part) = response.parts.last_mut() {
                    part.server_partial_sigs.pop();
                }
            }
            _ => {}
        }
        Ok(response)
    }

    /// Builds the transactions that the request asks for. The library checks attestation, nonces, amounts and dust.
    fn build_package(&self, request: Request, inputs: &[VtxoRecord]) -> Result<Package, RpcError> {
        for (part, input) in request.requests.iter().zip(inputs) {
            if input.vtxo.policy_type() != VtxoPolicyKind::Pubkey {
                return Err(RpcError::bad("an arkoor input must have a pubkey policy"));
            }
            if part
                .all_outputs()
                .any(|output| output.policy.policy_type() != VtxoPolicyKind::Pubkey)
            {
                return Err(RpcError::bad("an arkoor output must have a pubkey policy"));
            }
            if !part.use_checkpoint {
                return Err(RpcError::bad("an arkoor needs a checkpoint"));
            }
            if part.all_outputs().count() > self.params.max_arkoor_fanout {
                return Err(RpcError::bad("too many outputs for one input"));
            }
            if input.vtxo.exit_depth() >= self.params.max_vtxo_exit_depth {
                return Err(RpcError::bad(
                    "an input is too many payments away from the chain",
                ));
            }
        }
        let request = request
            .set_vtxos(inputs.iter().map(|input| input.vtxo.clone()))
            .map_err(RpcError::malformed)?;
        Package::from_cosign_request(request)
            .map_err(|(part, error)| RpcError::malformed(format!("part {part}: {error}")))
    }

    /// Carries out a fault that refuses the inputs, whether or not they are spendable.
    fn refuse_at(&self, hook: Hook, ids: &[VtxoId]) -> Result<(), RpcError> {
        match self.hook(hook)? {
            Some(Action::RefuseInputs) => Err(RpcError::unusable(
                "vtxo not spendable",
                ids.iter().copied(),
            )),
            _ => Ok(()),
        }
    }
}

/// Stores the outputs of a package and marks its inputs as spent.
pub(super) fn store_package(db: &Transaction<'_>, package: &Package) -> anyhow::Result<()> {
    for output in package.build_unsigned_vtxos() {
        let output = ServerVtxo::from(output);
        vtxo::insert(db, &output, VtxoState::Unregistered, None)?;
    }
    for (checkpoint, spender) in package.build_unsigned_internal_vtxos() {
        vtxo::insert(db, &checkpoint, VtxoState::Internal, Some(spender))?;
        // Another payment of the same amounts has the same checkpoint.
        vtxo::check_spender(db, checkpoint.id(), spender)?;
    }
    for txid in package.virtual_transactions() {
        tx::insert_unsigned(db, TxKind::Virtual, txid)?;
    }
    for (id, txid) in package.input_spend_info() {
        vtxo::mark_spent(db, id, txid)?;
    }
    Ok(())
}
