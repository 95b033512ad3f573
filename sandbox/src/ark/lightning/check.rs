//! How payments and receives stand.

use ark_lib::lightning::{PaymentHash, Preimage};
use server_rpc::TryFromBytes;
use server_rpc::protos::lightning_payment_status::PaymentStatus;
use server_rpc::protos::{self, LightningReceiveStatus};

use super::super::faults::{Action, Hook};
use super::super::state::Ark;
use super::super::status::RpcError;
use super::super::store::{AttemptStatus, Receive, ReceiveStatus};
use super::outcome::failure;
use super::unknown_hash;

impl Ark {
    /// `CheckLightningPayment`: the latest attempt with this hash, whoever made it. With `wait` it answers when that ends.
    pub(in super::super) async fn check_lightning_payment(
        &self,
        request: protos::CheckLightningPaymentRequest,
    ) -> Result<protos::LightningPaymentStatus, RpcError> {
        let hash = PaymentHash::from_bytes(&request.hash)?;
        let mut changes = self.lightning.changed.subscribe();
        let status = loop {
            let status = self.payment_status(hash)?;
            if !request.wait || !matches!(status, PaymentStatus::Pending(_)) {
                break status;
            }
            // Fails only when this run of the server is dropped.
            let _ = changes.changed().await;
        };
        Ok(protos::LightningPaymentStatus {
            payment_status: Some(status),
        })
    }

    fn payment_status(&self, hash: PaymentHash) -> Result<PaymentStatus, RpcError> {
        let fault = self.hook(Hook::LnCheck)?;
        let unknown = || unknown_hash("payment attempt", hash);
        if fault == Some(Action::NotFound) {
            return Err(unknown());
        }
        let attempt = self.store.latest_attempt(hash)?.ok_or_else(unknown)?;
        Ok(match attempt.status {
            AttemptStatus::Open => PaymentStatus::Pending(protos::Empty {}),
            AttemptStatus::Failed => {
                let told = attempt.reason.filter(|_| self.params.ln_failure_reasons);
                let reason = told.and_then(|json| serde_json::from_str(&json).ok());
                PaymentStatus::Failed(failure(reason))
            }
            AttemptStatus::Succeeded => {
                let known = self.store.settlement(hash)?;
                let preimage = match fault {
                    Some(Action::WrongPreimage) => Some(Preimage::random()),
                    _ => known,
                };
                let preimage = preimage.ok_or_else(unknown)?.to_vec();
                PaymentStatus::Success(protos::PaymentSuccessStatus { preimage })
            }
        })
    }

    /// `CheckLightningReceive`. With `wait` it answers when the payment is held or its HTLCs are ready, and in no other state.
    pub(in super::super) async fn check_lightning_receive(
        &self,
        request: protos::CheckLightningReceiveRequest,
    ) -> Result<protos::CheckLightningReceiveResponse, RpcError> {
        let hash = PaymentHash::from_bytes(&request.hash)?;
        let mut changes = self.lightning.changed.subscribe();
        loop {
            let receive = self.known_receive(hash)?;
            let is_payable = matches!(
                receive.status,
                ReceiveStatus::Accepted | ReceiveStatus::HtlcsReady
            );
            if !request.wait || is_payable {
                return Ok(describe(&receive));
            }
            // Fails only when this run of the server is dropped.
            let _ = changes.changed().await;
        }
    }

    /// The receive with this hash.
    pub(super) fn known_receive(&self, hash: PaymentHash) -> Result<Receive, RpcError> {
        self.store
            .receive(hash)?
            .ok_or_else(|| unknown_hash("invoice", hash))
    }
}

/// A receive as its owner sees it.
pub(super) fn describe(receive: &Receive) -> protos::CheckLightningReceiveResponse {
    let status = match receive.status {
        ReceiveStatus::Created => LightningReceiveStatus::Created,
        ReceiveStatus::Accepted => LightningReceiveStatus::Accepted,
        ReceiveStatus::HtlcsReady => LightningReceiveStatus::HtlcsReady,
        ReceiveStatus::Settled => LightningReceiveStatus::Settled,
        ReceiveStatus::Canceled => LightningReceiveStatus::Canceled,
    };
    let ids = receive.htlcs.iter().map(|id| id.to_bytes().to_vec());
    protos::CheckLightningReceiveResponse {
        invoice: receive.invoice.clone(),
        amount_sat: receive.amount_sat,
        status: status.into(),
        htlc_vtxos: match receive.status {
            ReceiveStatus::HtlcsReady | ReceiveStatus::Settled => ids.collect(),
            _ => Vec::new(),
        },
    }
}
