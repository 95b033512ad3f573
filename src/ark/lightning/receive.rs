//! The calls of a Lightning receive (docs/protocol.md §4.7).

use ark_lib::arkoor::package::{ArkoorPackageCosignRequest, ArkoorPackageCosignResponse};
use ark_lib::attestations::LightningReceiveAttestation;
use ark_lib::lightning::{PaymentHash, Preimage};
use ark_lib::mailbox::MailboxIdentifier;
use ark_lib::vtxo::Full;
use ark_lib::{ProtocolEncoding, Vtxo, VtxoId};
use bitcoin::Amount;
use bitcoin::secp256k1::PublicKey;
use bitcoin_ext::{BlockDelta, BlockHeight};
use server_rpc::protos;
use server_rpc::protos::prepare_lightning_receive_claim_request::LightningReceiveAntiDos;

use crate::ark::{Error, Server};

/// What an invoice is asked for with.
#[derive(Clone, Debug)]
pub struct InvoiceOrder {
    /// The payment hash.
    pub hash: PaymentHash,
    /// What the payer pays.
    pub amount: Amount,
    /// Blocks that the payer's HTLCs outlive their arrival at least, without those that the server needs itself.
    pub min_cltv: BlockDelta,
    /// The mailbox that gets the message when a payment is held.
    pub mailbox: MailboxIdentifier,
    /// The description in the invoice.
    pub description: Option<String>,
}

/// How far a receive is at the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiveStatus {
    /// Not paid.
    Created,
    /// The server holds the payer's HTLCs.
    Accepted,
    /// The server has granted HTLC VTXOs.
    HtlcsReady,
    /// The server has the preimage; these are the HTLC VTXOs that it granted.
    Settled(Vec<VtxoId>),
    /// It certainly does not get paid.
    Canceled,
}

/// What the server may ask for before it grants HTLCs.
#[derive(Clone, Debug)]
pub enum AntiDosProof {
    /// A token. The server takes it once, also when it then refuses the request.
    Token(String),
    /// A spendable VTXO, with a signature of its owner. It is not spent.
    Vtxo(VtxoId, LightningReceiveAttestation),
}

impl From<AntiDosProof> for LightningReceiveAntiDos {
    fn from(proof: AntiDosProof) -> LightningReceiveAntiDos {
        match proof {
            AntiDosProof::Token(token) => LightningReceiveAntiDos::Token(token),
            AntiDosProof::Vtxo(id, attestation) => {
                LightningReceiveAntiDos::InputVtxo(protos::InputVtxo {
                    vtxo_id: id.to_bytes().to_vec(),
                    attestation: attestation.serialize(),
                })
            }
        }
    }
}

impl Server {
    /// Requests a BOLT11 invoice. Must not be called twice with one payment hash: after a lost answer the server may refuse the
    /// hash for ever.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn start_lightning_receive(&self, order: InvoiceOrder) -> Result<String, Error> {
        let request = protos::StartLightningReceiveRequest {
            payment_hash: order.hash.as_ref().to_vec(),
            amount_sat: order.amount.to_sat(),
            min_cltv_delta: order.min_cltv.to_u16().into(),
            mailbox_id: Some(order.mailbox.serialize()),
            description: order.description,
        };
        let answer = self
            .call(|mut connection| async move {
                connection.client.start_lightning_receive(request).await
            })
            .await?;
        Ok(answer.bolt11)
    }

    /// Requests how far a receive is.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn check_lightning_receive(&self, hash: PaymentHash) -> Result<ReceiveStatus, Error> {
        use protos::LightningReceiveStatus;
        // With `wait`, the server answers in two of the five states only.
        let request = protos::CheckLightningReceiveRequest {
            hash: hash.as_ref().to_vec(),
            wait: false,
        };
        let answer = self
            .call(|mut connection| async move {
                connection.client.check_lightning_receive(request).await
            })
            .await?;
        Ok(match answer.status() {
            LightningReceiveStatus::Created => ReceiveStatus::Created,
            LightningReceiveStatus::Accepted => ReceiveStatus::Accepted,
            LightningReceiveStatus::HtlcsReady => ReceiveStatus::HtlcsReady,
            LightningReceiveStatus::Canceled => ReceiveStatus::Canceled,
            LightningReceiveStatus::Settled => {
                let ids = answer.htlc_vtxos.iter();
                let ids = ids
                    .map(|id| VtxoId::from_slice(id))
                    .collect::<Result<_, _>>();
                ReceiveStatus::Settled(ids.map_err(Error::malformed)?)
            }
        })
    }

    /// Requests HTLC VTXOs for a payment that the server holds. A repeated request is answered with the same ones.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn prepare_lightning_receive(
        &self,
        hash: PaymentHash,
        key: PublicKey,
        expiry: BlockHeight,
        proof: Option<AntiDosProof>,
    ) -> Result<Vec<Vtxo<Full>>, Error> {
        let request = protos::PrepareLightningReceiveClaimRequest {
            payment_hash: hash.as_ref().to_vec(),
            user_pubkey: key.serialize().to_vec(),
            htlc_recv_expiry: expiry.to_u32(),
            lightning_receive_anti_dos: proof.map(Into::into),
        };
        let answer = self
            .call(|mut connection| async move {
                connection
                    .client
                    .prepare_lightning_receive_claim(request)
                    .await
            })
            .await?;
        let htlcs = answer.htlc_vtxos.iter();
        let htlcs = htlcs.map(|body| Vtxo::<Full>::deserialize(body));
        htlcs.collect::<Result<_, _>>().map_err(Error::malformed)
    }

    /// Reveals the preimage, and requests the server's signatures on the spend of the HTLC VTXOs. The server may keep the preimage even
    /// if it refuses. A repeated request for the same spend is answered again.
    ///
    /// # Errors
    /// See [`Error`]; none of them proves that the server does not have the preimage.
    pub async fn claim_lightning_receive(
        &self,
        preimage: Preimage,
        request: ArkoorPackageCosignRequest<Vtxo<Full>>,
    ) -> Result<ArkoorPackageCosignResponse, Error> {
        let request = protos::ClaimLightningReceiveRequest {
            payment_hash: preimage.compute_payment_hash().as_ref().to_vec(),
            payment_preimage: preimage.as_ref().to_vec(),
            cosign_request: Some(request.into()),
        };
        let answer = self
            .call(|mut connection| async move {
                connection.client.claim_lightning_receive(request).await
            })
            .await?;
        ArkoorPackageCosignResponse::try_from(answer).map_err(Error::malformed)
    }

    /// Cancels a receive that has no HTLC VTXOs.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn cancel_lightning_receive(&self, hash: PaymentHash) -> Result<(), Error> {
        let request = protos::CancelLightningReceiveRequest {
            payment_hash: hash.as_ref().to_vec(),
        };
        self.call(|mut connection| async move {
            connection.client.cancel_lightning_receive(request).await
        })
        .await?;
        Ok(())
    }
}
