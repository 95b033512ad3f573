//! Invoices of clients: the server's node issues them with the client's payment hash.

use ark_lib::lightning::PaymentHash;
use bitcoin::Amount;
use lightning_invoice::Currency;
use server_rpc::{TryFromBytes, protos};

use super::super::faults::Hook;
use super::super::state::Ark;
use super::super::status::RpcError;
use super::super::store::{Receive, ReceiveStatus, receive};
use super::mailbox_of;
use crate::lightning::{Description, InvoiceTerms};

impl Ark {
    /// `StartLightningReceive`. An invoice that is not paid is given out again, whatever the request says. Once a hash is cancelled,
    /// or its first request broke between node and store, it never works again: the node refuses a second invoice.
    pub(in super::super) async fn start_lightning_receive(
        &self,
        request: protos::StartLightningReceiveRequest,
    ) -> Result<protos::StartLightningReceiveResponse, RpcError> {
        let hash = PaymentHash::from_bytes(&request.payment_hash)?;
        let mailbox = mailbox_of(request.mailbox_id.as_deref())?;
        let description = Description::Text(request.description.clone().unwrap_or_default());

        let _turn = self.turn().await;
        self.check_no_unlock_hash(hash)?;
        let amount = Amount::from_sat(request.amount_sat);
        self.check_receive(&request, amount, &description)?;
        if let Some(known) = self.store.receive(hash)? {
            match known.status {
                ReceiveStatus::Created => {
                    return Ok(protos::StartLightningReceiveResponse {
                        bolt11: known.invoice,
                    });
                }
                // The node refuses below, because it has had this hash.
                ReceiveStatus::Canceled => {}
                status => return Err(anyhow::anyhow!("invoice already {status}").into()),
            }
        }
        if !self.lightning.network.is_online() {
            return Err(anyhow::anyhow!("no active hold-compatible node").into());
        }
        self.fill_pool_once().await;
        let receive = self.issue(hash, amount, cut(request.min_cltv_delta), description)?;
        self.hook(Hook::LnInjected)?;
        let receive = Receive { mailbox, ..receive };
        self.store.write(|db| receive::insert(db, &receive))?;
        self.lightning.wake();
        Ok(protos::StartLightningReceiveResponse {
            bolt11: receive.invoice,
        })
    }

    fn check_receive(
        &self,
        request: &protos::StartLightningReceiveRequest,
        amount: Amount,
        description: &Description,
    ) -> Result<(), RpcError> {
        if amount == Amount::ZERO {
            return Err(RpcError::bad("the amount is 0 sat"));
        }
        if !description.is_valid() {
            return Err(RpcError::bad("invalid invoice description"));
        }
        let most = self.params.max_user_invoice_cltv_delta.to_u32();
        if u32::from(cut(request.min_cltv_delta)) > most {
            return Err(RpcError::malformed(format!(
                "min_cltv_delta is above {most}"
            )));
        }
        let fee = self.params.fees.lightning_receive.calculate(amount);
        if fee.is_none_or(|fee| fee >= amount) {
            return Err(RpcError::malformed("the fee is not below the amount"));
        }
        if self.params.max_vtxo_amount.is_some_and(|max| amount > max) {
            return Err(RpcError::bad("the amount exceeds limit"));
        }
        let max = self.params.max_ln_receive_amount;
        if max.is_some_and(|max| amount > max) {
            return Err(RpcError::bad("the amount exceeds lightning receive limit"));
        }
        Ok(())
    }

    /// Lets the node issue the invoice.
    fn issue(
        &self,
        hash: PaymentHash,
        amount: Amount,
        min_cltv_delta: u16,
        description: Description,
    ) -> anyhow::Result<Receive> {
        let created = self.now();
        let expiry = self.params.ln_invoice_expiry;
        let invoice = self.lightning.network.inject(InvoiceTerms {
            hash,
            amount_msat: Some(amount.to_sat() * 1_000),
            description,
            created,
            expiry,
            min_final_cltv: u64::from(min_cltv_delta)
                + u64::from(self.params.htlc_expiry_delta.to_u32()),
            currency: Currency::Regtest,
        })?;
        Ok(Receive {
            hash,
            amount_sat: amount.to_sat(),
            invoice: invoice.to_string(),
            expires: created + expiry,
            mailbox: None,
            status: ReceiveStatus::Created,
            lowest_expiry: None,
            accepted: None,
            linked: false,
            htlcs: Vec::new(),
        })
    }
}

/// Real servers keep the lower 16 bits.
fn cut(min_cltv_delta: u32) -> u16 {
    #[expect(clippy::cast_possible_truncation)] // that is what they do
    let cut = min_cltv_delta as u16;
    cut
}
