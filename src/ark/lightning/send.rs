//! The calls of a Lightning payment (docs/protocol.md §4.6).

use ark_lib::arkoor::package::{ArkoorPackageCosignRequest, ArkoorPackageCosignResponse};
use ark_lib::lightning::{Invoice, PaymentHash, Preimage};
use ark_lib::mailbox::MailboxIdentifier;
use ark_lib::vtxo::Full;
use ark_lib::{ProtocolEncoding, Vtxo, VtxoId};
use bitcoin::Amount;
use server_rpc::protos;

use crate::ark::{Error, Server};

/// What the server says when it knows no attempt to pay a hash.
const NO_ATTEMPT: &str = "payment attempt";

/// An invoice to pay with HTLCs.
#[derive(Clone, Copy, Debug)]
pub struct PaymentOrder<'a> {
    /// What is paid.
    pub invoice: &'a Invoice,
    /// The VTXOs that the server takes for the preimage.
    pub htlcs: &'a [VtxoId],
    /// What the payee gets.
    pub amount: Amount,
    /// Where the server posts the outcome.
    pub mailbox: MailboxIdentifier,
    /// How long the server tries, in seconds; the server's default if `None`.
    pub retry_for: Option<u32>,
}

/// How a payment stands: the latest attempt to pay its hash, whoever made it. Nothing in it is validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentStatus {
    /// The server knows no attempt.
    Unknown,
    /// Under way.
    Pending,
    /// It succeeded. The preimage may not fit the hash.
    Paid(Preimage),
    /// It failed, for this reason.
    Failed(&'static str),
}

impl Server {
    /// Requests the server's partial signatures on a spend to HTLCs. Once it has answered, the server treats the inputs as spent. A
    /// repeated request for the same spend is answered again while the HTLCs expire late enough.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn cosign_lightning_send(
        &self,
        request: ArkoorPackageCosignRequest<Vtxo<Full>>,
    ) -> Result<ArkoorPackageCosignResponse, Error> {
        let request = protos::LightningPayHtlcCosignRequest {
            parts: protos::ArkoorPackageCosignRequest::from(request).parts,
        };
        let answer = self
            .call(|mut connection| async move {
                connection
                    .client
                    .request_lightning_pay_htlc_cosign(request)
                    .await
            })
            .await?;
        ArkoorPackageCosignResponse::try_from(answer).map_err(Error::malformed)
    }

    /// Lets the server pay an invoice. Not idempotent: after a failed attempt the same call pays again. The server may answer without
    /// having begun.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn initiate_lightning_payment(&self, order: PaymentOrder<'_>) -> Result<(), Error> {
        let request = protos::InitiateLightningPaymentRequest {
            invoice: order.invoice.to_string(),
            htlc_vtxo_ids: order
                .htlcs
                .iter()
                .map(|id| id.to_bytes().to_vec())
                .collect(),
            payment_amount_sat: order.amount.to_sat(),
            mailbox_id: Some(order.mailbox.serialize()),
            retry_for_secs: order.retry_for,
        };
        self.call(|mut connection| async move {
            connection.client.initiate_lightning_payment(request).await
        })
        .await?;
        Ok(())
    }

    /// Asks how the payment of a hash stands, without waiting for its end.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn lightning_payment_status(
        &self,
        hash: PaymentHash,
    ) -> Result<PaymentStatus, Error> {
        use protos::lightning_payment_status::PaymentStatus as Status;
        let request = protos::CheckLightningPaymentRequest {
            hash: hash.to_vec(),
            wait: false,
        };
        let answer = self
            .call(|mut connection| async move {
                connection.client.check_lightning_payment(request).await
            })
            .await;
        let answer = match answer {
            Err(Error::Rejected { message, .. }) if message.contains(NO_ATTEMPT) => {
                return Ok(PaymentStatus::Unknown);
            }
            answer => answer?,
        };
        match answer.payment_status {
            Some(Status::Pending(_)) => Ok(PaymentStatus::Pending),
            Some(Status::Success(success)) => Preimage::try_from(success.preimage)
                .map(PaymentStatus::Paid)
                .map_err(Error::malformed),
            Some(Status::Failed(failure)) => Ok(PaymentStatus::Failed(reason(failure.reason))),
            None => Err(Error::malformed("a payment without a status")),
        }
    }

    /// Requests the server's partial signatures on the spend of HTLCs back to the wallet. A repeated request to the same key is
    /// answered again.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn revoke_lightning_send(
        &self,
        request: ArkoorPackageCosignRequest<Vtxo<Full>>,
    ) -> Result<ArkoorPackageCosignResponse, Error> {
        let request = protos::ArkoorPackageCosignRequest::from(request);
        let answer = self
            .call(|mut connection| async move {
                connection
                    .client
                    .request_lightning_pay_htlc_revocation(request)
                    .await
            })
            .await?;
        ArkoorPackageCosignResponse::try_from(answer).map_err(Error::malformed)
    }
}

fn reason(code: i32) -> &'static str {
    use protos::core::LightningFailureReason as Reason;
    match Reason::try_from(code) {
        Ok(Reason::LightningFailureFeeTooLow) => "no route to the payee fits the fee",
        Ok(Reason::LightningFailureCltvTooLong) => {
            "no route to the payee fits the expiry of the HTLCs"
        }
        Ok(Reason::LightningFailureNoRoute) => "there is no route to the payee",
        Ok(Reason::LightningFailureDestinationRejected) => "the payee refused it",
        Ok(Reason::LightningFailureSetupTimeout) => "it could not be set up in time",
        Ok(Reason::LightningFailureInvoiceState) => {
            "the invoice is expired, paid or unknown to the payee"
        }
        Ok(Reason::LightningFailureRetriesExhausted) => "all tries failed",
        _ => "the Ark server tells no reason",
    }
}
