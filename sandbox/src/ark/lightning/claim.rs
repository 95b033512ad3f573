//! Claims: a client reveals the preimage and spends its HTLCs to itself.

use std::collections::BTreeMap;

use ark_lib::VtxoId;
use ark_lib::lightning::{PaymentHash, Preimage};
use bitcoin::Txid;
use server_rpc::{TryFromBytes, protos};

use super::super::arkoor::{Package, Request, store_package};
use super::super::faults::Hook;
use super::super::state::Ark;
use super::super::status::{RpcError, SPENT};
use super::super::store::{Receive, ReceiveStatus, VtxoRecord, VtxoState, attempt};
use super::send::package_of;

/// Blocks that the incoming HTLCs must have left.
const MARGIN: u32 = 3;

impl Ark {
    /// `ClaimLightningReceive`. The preimage is stored before the last checks, so that a refusal can follow although the payer gets
    /// it; the payment is settled later, by the jobs. The same request again is answered at any time.
    pub(in super::super) async fn claim_lightning_receive(
        &self,
        request: protos::ClaimLightningReceiveRequest,
    ) -> Result<protos::ArkoorPackageCosignResponse, RpcError> {
        let hash = PaymentHash::from_bytes(&request.payment_hash)?;
        let preimage = Preimage::from_bytes(&request.payment_preimage)?;
        let cosign = request.cosign_request;
        let cosign = cosign.ok_or_else(|| RpcError::bad("missing cosign request"))?;
        let cosign = Request::try_from(cosign)?;
        if preimage.compute_payment_hash() != hash {
            return Err(RpcError::bad("preimage does not match the payment hash"));
        }
        if cosign.all_outputs().next().is_none() {
            return Err(RpcError::malformed("no output"));
        }
        let ids: Vec<VtxoId> = cosign.inputs().copied().collect();
        // Another claim of them is refused, but only after it has stored the preimage.
        let lock = self.in_flight.lock(&ids);

        let _turn = self.turn().await;
        let receive = self.known_receive(hash)?;
        self.check_claimable(&receive).await?;
        let mut granted = receive.htlcs.clone();
        granted.sort();
        if granted != ids {
            return Err(RpcError::bad("cosign inputs do not match htlcs"));
        }
        let htlcs = self.known(&ids)?;
        let package = build(cosign, &htlcs)?;
        let now = self.now();
        self.store
            .write(|db| attempt::insert_settlement(db, preimage, now))?;
        self.lightning.wake();
        self.refuse_inputs_at(Hook::LnPreimageSeen)?;
        let lock = lock?;
        self.check_htlcs(&htlcs, &package).await?;
        self.store.write(|db| store_package(db, &package))?;
        drop(lock);
        self.refuse_inputs_at(Hook::LnClaimPersisted)?;
        self.sign_package(package, Hook::LnClaimResponse)
    }

    async fn check_claimable(&self, receive: &Receive) -> Result<(), RpcError> {
        match receive.status {
            ReceiveStatus::Settled => return Ok(()),
            ReceiveStatus::HtlcsReady => {}
            status => {
                return Err(RpcError::bad(format!(
                    "payment status in incorrect state: {status}"
                )));
            }
        }
        let tip = self.tip_height().await?.to_u32();
        let lowest = receive.lowest_expiry.unwrap_or_default();
        if !receive.linked && tip + MARGIN > lowest {
            return Err(RpcError::bad(format!(
                "the incoming HTLC expires at {lowest}, too close to the current chaintip"
            )));
        }
        Ok(())
    }

    /// Refuses HTLCs that have exited or are spent otherwise.
    async fn check_htlcs(&self, htlcs: &[VtxoRecord], package: &Package) -> Result<(), RpcError> {
        let spends: BTreeMap<VtxoId, Txid> = package.input_spend_info().collect();
        for htlc in htlcs {
            let id = htlc.vtxo.id();
            if self
                .exit_height(id, htlc.vtxo.chain_anchor())
                .await?
                .is_some()
            {
                return Err(RpcError::bad(format!("vtxo {id} has exited onchain")));
            }
            let is_replay =
                htlc.state == VtxoState::Spent && htlc.spent_by == spends.get(&id).copied();
            if htlc.state != VtxoState::HtlcRecvUnclaimed && !is_replay {
                return Err(anyhow::anyhow!("vtxo {id} is {SPENT}").into());
            }
        }
        Ok(())
    }
}

fn build(request: Request, htlcs: &[VtxoRecord]) -> Result<Package, RpcError> {
    for part in &request.requests {
        if !part.use_checkpoint {
            return Err(RpcError::bad("a claim needs checkpoints"));
        }
        if part.all_outputs().count() != 1 {
            return Err(RpcError::bad("a claim has one output per input"));
        }
    }
    package_of(request, htlcs).map_err(RpcError::bad)
}
