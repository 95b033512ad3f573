//! BOLT12 invoices: the server's node asks the issuer of an offer for one.

use ark_lib::lightning::{Bolt12InvoiceExt, Offer, offer_request_amount};
use bitcoin::Amount;
use server_rpc::protos;

use super::super::faults::{Action, Hook, InvoiceFault};
use super::super::state::Ark;
use super::super::status::RpcError;

impl Ark {
    /// `FetchBolt12Invoice`. Each call gives a new invoice with a new hash; the server stores nothing.
    pub(in super::super) async fn fetch_bolt12_invoice(
        &self,
        request: protos::FetchBolt12InvoiceRequest,
    ) -> Result<protos::FetchBolt12InvoiceResponse, RpcError> {
        let offer = Offer::try_from(request.offer)
            .map_err(|error| RpcError::bad(format!("invalid offer: {error:?}")))?;
        let amount = offer_request_amount(&offer, request.amount_sat.map(Amount::from_sat))
            .map_err(|error| RpcError::bad(format!("cannot determine the amount: {error}")))?;
        if !self.lightning.network.is_online() {
            return Err(anyhow::anyhow!("no active node").into());
        }
        let msat = amount.to_sat().saturating_mul(1_000);
        let network = &self.lightning.network;
        let invoice = match self.hook(Hook::LnFetchInvoice)? {
            Some(Action::AlterInvoice { change }) => match change {
                InvoiceFault::OtherIssuer => network.invoice_of_server(msat)?,
                InvoiceFault::OtherAmount => network.fetch_invoice(&offer, msat + 1_000)?,
            },
            _ => network.fetch_invoice(&offer, msat)?,
        };
        Ok(protos::FetchBolt12InvoiceResponse {
            invoice: invoice.bytes(),
        })
    }
}
