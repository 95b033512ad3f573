//! What a Lightning payment pays, and how much.

use ark_lib::lightning::Invoice;
use bitcoin::Amount;

use crate::model::PaymentMethod;
use crate::wallet::{Error, Result, Wallet};

/// An invoice that can be paid.
#[derive(Clone, Debug)]
pub struct Payable {
    /// The invoice; its network and signature are checked.
    pub invoice: Invoice,
    /// What the payee gets.
    pub amount: Amount,
    /// What the user asked to pay.
    pub method: PaymentMethod,
}

impl Wallet {
    /// Turns a destination into an invoice that can be paid.
    ///
    /// # Errors
    /// What is wrong with the destination, the amount or the comment.
    pub async fn resolve(
        &self,
        destination: &str,
        amount: Option<Amount>,
        comment: Option<String>,
    ) -> Result<Payable> {
        if comment.is_some() {
            return Err(Error::bad_request(
                "comment_not_supported",
                "an invoice carries no comment; leave it out",
            ));
        }
        let invoice: Invoice = destination.parse().map_err(|_| {
            Error::bad_request("invalid_destination", "the destination is no invoice")
        })?;
        if invoice.network() != self.network || invoice.check_signature().is_err() {
            return Err(Error::bad_request(
                "wrong_network",
                "the invoice is of another network or its signature is wrong",
            ));
        }
        let amount = invoice
            .get_payment_amount(amount)
            .map_err(|error| Error::bad_request("invalid_amount", error.to_string()))?;
        Ok(Payable {
            method: PaymentMethod::Invoice(destination.to_owned()),
            invoice,
            amount,
        })
    }
}
