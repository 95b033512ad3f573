//! Invoices for BOLT12 offers, which the server requests from the issuer.

use ark_lib::lightning::{Bolt12Invoice, Offer};
use bitcoin::Amount;
use lightning::util::ser::Writeable;
use server_rpc::{protos, tonic};

use crate::ark::{Error, Server};

/// The server got no invoice from the issuer of an offer: its reason.
#[derive(Clone, Debug)]
pub struct NoInvoice(pub String);

impl Server {
    /// Requests an invoice for an offer over `amount`. Each call gives a new invoice with a new payment hash. Nothing in it is
    /// validated.
    ///
    /// # Errors
    /// See [`Error`]; the inner one if the server answered that the issuer gave no invoice.
    pub async fn fetch_bolt12_invoice(
        &self,
        offer: &Offer,
        amount: Amount,
    ) -> Result<Result<Bolt12Invoice, NoInvoice>, Error> {
        let request = protos::FetchBolt12InvoiceRequest {
            offer: offer.encode(),
            amount_sat: Some(amount.to_sat()),
        };
        let answer = self
            .call(|mut connection| async move {
                let answer = connection.client.fetch_bolt12_invoice(request).await;
                match answer {
                    // The call changes nothing, so this status leaves nothing unclear.
                    Err(status) if status.code() == tonic::Code::Internal => Ok(
                        tonic::Response::new(Err(NoInvoice(status.message().to_owned()))),
                    ),
                    answer => answer.map(|answer| answer.map(Ok)),
                }
            })
            .await?;
        let answer = match answer {
            Ok(answer) => answer,
            Err(none) => return Ok(Err(none)),
        };
        let invoice = Bolt12Invoice::try_from(answer.invoice);
        let invoice = invoice.map_err(|error| Error::Malformed(format!("{error:?}")))?;
        Ok(Ok(invoice))
    }
}
