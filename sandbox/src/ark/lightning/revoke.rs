//! Revocations: a client spends the HTLCs of a payment that failed back to itself.

use std::collections::BTreeMap;

use ark_lib::VtxoId;
use ark_lib::lightning::PaymentHash;
use ark_lib::vtxo::VtxoPolicyKind;
use bitcoin::Txid;
use rusqlite::Transaction;
use server_rpc::protos;

use super::super::arkoor::{Package, Request, store_package};
use super::super::faults::Hook;
use super::super::state::Ark;
use super::super::status::RpcError;
use super::super::store::{AttemptStatus, ReceiveStatus, VtxoRecord, VtxoState, attempt, receive};
use super::send::{distinct_inputs, package_of};

impl Ark {
    /// `RequestLightningPayHtlcRevocation`. The same request again is answered unless the invoice was paid meanwhile.
    pub(in super::super) async fn request_lightning_pay_htlc_revocation(
        &self,
        request: protos::ArkoorPackageCosignRequest,
    ) -> Result<protos::ArkoorPackageCosignResponse, RpcError> {
        let request = Request::try_from(request).map_err(RpcError::malformed)?;
        check_outputs(&request)?;
        let ids = distinct_inputs(&request)?;
        let _turn = self.turn().await;
        let inputs = self.user_vtxos(&ids)?;
        let hash = hash_of(&inputs)?;
        self.check_unpaid(hash)?;
        let package = build(request, &inputs)?;
        self.check_revocable(hash).await?;
        self.check_htlcs_spendable(&inputs, &package).await?;

        let committed = self
            .store
            .write(|db| match write_revocation(db, hash, &package) {
                Ok(()) => Ok(Ok(())),
                Err(RpcError::Internal(error)) => Err(error),
                Err(refused) => Ok(Err(refused)),
            })?;
        committed?;
        self.lightning.wake();
        self.refuse_inputs_at(Hook::LnRevokePersisted)?;
        self.sign_package(package, Hook::LnRevokeResponse)
    }

    fn check_unpaid(&self, hash: PaymentHash) -> Result<(), RpcError> {
        match self.store.settlement(hash)? {
            Some(preimage) => Err(paid(preimage)),
            None => Ok(()),
        }
    }

    /// Refuses while the latest attempt of the hash, whoever made it, can still succeed.
    async fn check_revocable(&self, hash: PaymentHash) -> Result<(), RpcError> {
        let Some(attempt) = self.store.latest_attempt(hash)? else {
            return Ok(());
        };
        let tip = self.tip_height().await?.to_u32();
        let is_over = match attempt.status {
            AttemptStatus::Failed => true,
            AttemptStatus::Open => tip > attempt.htlc_expiry,
            AttemptStatus::Succeeded => false,
        };
        if is_over {
            Ok(())
        } else {
            Err(RpcError::bad("payment not eligible for revocation yet"))
        }
    }

    /// Refuses HTLCs that were never registered, have exited, or are spent otherwise.
    async fn check_htlcs_spendable(
        &self,
        inputs: &[VtxoRecord],
        package: &Package,
    ) -> Result<(), RpcError> {
        let spends: BTreeMap<VtxoId, Txid> = package.input_spend_info().collect();
        for input in inputs {
            let id = input.vtxo.id();
            let anchor = input.vtxo.chain_anchor();
            if self.exit_height(id, anchor).await?.is_some() {
                return Err(RpcError::bad(format!("vtxo {id} has exited onchain")));
            }
            let is_replay =
                input.state == VtxoState::Spent && input.spent_by == spends.get(&id).copied();
            if input.state != VtxoState::Spendable && !is_replay {
                return Err(RpcError::bad(format!(
                    "vtxo {id} doesn't exist or is unspendable"
                )));
            }
        }
        Ok(())
    }
}

/// Checks again what may have changed, and records that this hash is never paid by these HTLCs.
fn write_revocation(
    db: &Transaction<'_>,
    hash: PaymentHash,
    package: &Package,
) -> Result<(), RpcError> {
    if let Some(preimage) = attempt::settlement(db, hash)? {
        return Err(paid(preimage));
    }
    match receive::find(db, hash)?.map(|receive| receive.status) {
        Some(ReceiveStatus::HtlcsReady | ReceiveStatus::Settled) => {
            return Err(RpcError::bad("receive is already committed"));
        }
        Some(ReceiveStatus::Created | ReceiveStatus::Accepted) => {
            receive::set_status(db, hash, ReceiveStatus::Canceled)?;
        }
        Some(ReceiveStatus::Canceled) | None => {}
    }
    Ok(store_package(db, package)?)
}

fn paid(preimage: ark_lib::lightning::Preimage) -> RpcError {
    RpcError::bad(format!(
        "invoice has already been paid, preimage: {preimage}"
    ))
}

/// All outputs must have the same policy, of a single key.
fn check_outputs(request: &Request) -> Result<(), RpcError> {
    let mut policies = request.all_outputs().map(|output| &output.policy);
    let Some(first) = policies.next() else {
        return Err(RpcError::malformed("no outputs"));
    };
    if policies.any(|policy| policy != first) {
        return Err(RpcError::malformed("the output policies differ"));
    }
    if first.policy_type() != VtxoPolicyKind::Pubkey {
        return Err(RpcError::bad("the output must have a pubkey policy"));
    }
    Ok(())
}

/// The payment hash of the inputs, which must have one and the same HTLC-send policy.
fn hash_of(inputs: &[VtxoRecord]) -> Result<PaymentHash, RpcError> {
    let first = inputs.first().map(|input| input.vtxo.policy());
    let htlc = first.and_then(|policy| policy.as_server_htlc_send());
    let is_one = inputs
        .iter()
        .all(|input| Some(input.vtxo.policy()) == first);
    match htlc {
        Some(htlc) if is_one => Ok(htlc.payment_hash),
        _ => Err(RpcError::malformed(
            "the inputs have not one HTLC-send policy",
        )),
    }
}

fn build(request: Request, inputs: &[VtxoRecord]) -> Result<Package, RpcError> {
    for part in &request.requests {
        if !part.use_checkpoint {
            return Err(RpcError::bad("a revocation needs checkpoints"));
        }
        if part.all_outputs().count() != 1 {
            return Err(RpcError::bad("a revocation has one output per input"));
        }
    }
    package_of(request, inputs).map_err(RpcError::bad)
}
