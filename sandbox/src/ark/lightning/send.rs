//! HTLCs to pay with: a client spends its VTXOs to VTXOs that the server can take with the preimage of an invoice.

use std::collections::{BTreeMap, BTreeSet};

use ark_lib::VtxoId;
use ark_lib::lightning::PaymentHash;
use ark_lib::tree::signed::UnlockHash;
use ark_lib::vtxo::VtxoPolicyKind;
use bitcoin::Txid;
use server_rpc::protos;

use super::super::arkoor::{Package, Request, store_package};
use super::super::faults::{Action, Hook};
use super::super::state::Ark;
use super::super::status::RpcError;
use super::super::store::{AttemptStatus, VtxoRecord};

impl Ark {
    /// `RequestLightningPayHtlcCosign`. The same request again is answered as long as its expiry is high enough.
    pub(in super::super) async fn request_lightning_pay_htlc_cosign(
        &self,
        request: protos::LightningPayHtlcCosignRequest,
    ) -> Result<protos::ArkoorPackageCosignResponse, RpcError> {
        let request = protos::ArkoorPackageCosignRequest {
            parts: request.parts,
        };
        let request = Request::try_from(request).map_err(RpcError::malformed)?;
        let ids = distinct_inputs(&request)?;
        let lock = self.in_flight.lock(&ids)?;
        let _turn = self.turn().await;
        let inputs = self.user_vtxos(&ids)?;
        self.check_htlc(&request).await?;
        let package = self.build_htlc_package(request, &inputs)?;
        let spends: BTreeMap<VtxoId, Txid> = package.input_spend_info().collect();
        let spendable = self.check_spendable(&inputs, &spends).await;
        spendable.map_err(RpcError::without_ids)?;

        self.store.write(|db| store_package(db, &package))?;
        drop(lock);
        self.refuse_inputs_at(Hook::LnHtlcPersisted)?;
        self.sign_package(package, Hook::LnHtlcResponse)
    }

    /// Checks the HTLC outputs. All must be the same.
    async fn check_htlc(&self, request: &Request) -> Result<(), RpcError> {
        let mut htlcs = request
            .all_outputs()
            .filter_map(|output| output.policy.as_server_htlc_send());
        let htlc = htlcs
            .next()
            .ok_or_else(|| RpcError::bad("no HTLC outputs provided"))?;
        if htlcs.any(|other| other != htlc) {
            return Err(RpcError::malformed("the HTLC outputs differ"));
        }
        let hash = htlc.payment_hash;
        self.check_no_unlock_hash(hash)?;
        if self.store.settlement(hash)?.is_some() {
            return Err(RpcError::bad("invoice has already been paid"));
        }
        let tip = self.tip_height().await?.to_u32();
        let lowest = tip + self.params.htlc_send_expiry_delta.to_u32() - 1;
        let expiry = htlc.htlc_expiry.to_u32();
        if expiry < lowest {
            return Err(RpcError::bad(format!(
                "requested expiry is too low: {expiry} is below {lowest}"
            )));
        }
        match self.store.latest_attempt(hash)? {
            Some(attempt) if attempt.status == AttemptStatus::Open => {
                Err(RpcError::bad("payment already in progress"))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a payment hash that locks the outputs of a round: its preimage is the server's secret.
    pub(super) fn check_no_unlock_hash(&self, hash: PaymentHash) -> Result<(), RpcError> {
        let unlock: UnlockHash = hash.to_sha256_hash();
        match self.store.participation(unlock)? {
            Some(_) => Err(RpcError::bad(
                "payment hash collides with an existing unlock hash",
            )),
            None => Ok(()),
        }
    }

    /// Builds the transactions. The policies of the change are not checked.
    fn build_htlc_package(
        &self,
        request: Request,
        inputs: &[VtxoRecord],
    ) -> Result<Package, RpcError> {
        let invalid = |reason: String| RpcError::bad(format!("invalid cosign request: {reason}"));
        for (part, input) in request.requests.iter().zip(inputs) {
            if input.vtxo.policy_type() != VtxoPolicyKind::Pubkey {
                return Err(invalid("an input must have a pubkey policy".into()));
            }
            if !part.use_checkpoint {
                return Err(invalid("a checkpoint is needed".into()));
            }
            if part.all_outputs().count() > self.params.max_arkoor_fanout {
                return Err(invalid("too many outputs for one input".into()));
            }
            if input.vtxo.exit_depth() >= self.params.max_vtxo_exit_depth {
                return Err(invalid(
                    "an input is too many payments away from the chain".into(),
                ));
            }
        }
        package_of(request, inputs).map_err(invalid)
    }

    /// Carries out a fault that refuses the inputs although they are spent.
    pub(super) fn refuse_inputs_at(&self, hook: Hook) -> Result<(), RpcError> {
        match self.hook(hook)? {
            Some(Action::RefuseInputs) => Err(RpcError::bad("vtxo not spendable")),
            _ => Ok(()),
        }
    }
}

/// The inputs of a request. The same one twice is reported as an unknown one without an id.
pub(super) fn distinct_inputs(request: &Request) -> Result<Vec<VtxoId>, RpcError> {
    let ids: Vec<VtxoId> = request.inputs().copied().collect();
    let distinct: BTreeSet<&VtxoId> = ids.iter().collect();
    if distinct.len() < ids.len() {
        return Err(RpcError::repeated_vtxo());
    }
    Ok(ids)
}

/// Lets the library check attestations, nonces, amounts and dust.
pub(super) fn package_of(request: Request, inputs: &[VtxoRecord]) -> Result<Package, String> {
    let request = request
        .set_vtxos(inputs.iter().map(|input| input.vtxo.clone()))
        .map_err(|error| error.to_string())?;
    Package::from_cosign_request(request).map_err(|(part, error)| format!("part {part}: {error}"))
}
