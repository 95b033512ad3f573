//! From whom the caller wants to pay to an invoice that can be paid (docs/protocol.md §4.6). Nothing is stored.

use ark_lib::lightning::{Bolt12Invoice, Bolt12InvoiceExt, Invoice, Offer, OfferAmount};
use bitcoin::constants::ChainHash;
use bitcoin::{Amount, Network};

use crate::ark::NoInvoice;
use crate::model::PaymentMethod;
use crate::wallet::destination::{LightningDestination, LightningPayee};
use crate::wallet::{Error, Result, Wallet};

/// The smallest amount of an invoice that the server pays, in msat.
const MIN_MSAT: u64 = 500;

/// An invoice that can be paid, whom the caller asked to pay, and how much.
#[derive(Clone, Debug)]
pub(in crate::wallet) struct Payable {
    pub invoice: Invoice,
    /// In whole sat; an invoice over a part of a sat is rounded up.
    pub amount: Amount,
    /// The destination as the caller wrote it.
    pub method: PaymentMethod,
}

impl Wallet {
    /// Gets an invoice over the amount, and checks it: network, signature, issuer and amount (H41). It may have expired.
    ///
    /// # Errors
    /// `missing_amount`, `amount_mismatch`, `comment_not_supported`; what is wrong with the invoice or offer; why the payee gave no
    /// invoice. Nothing was paid.
    pub(in crate::wallet) async fn resolve(
        &self,
        destination: LightningDestination,
        amount: Option<Amount>,
        comment: Option<&str>,
    ) -> Result<Payable> {
        let comment = comment.filter(|comment| !comment.is_empty());
        if comment.is_some() && !matches!(destination.payee, LightningPayee::Lnurl(_)) {
            let message = "only a Lightning address or LNURL takes a comment; leave it out";
            return Err(Error::bad_request("comment_not_supported", message));
        }
        let invoice = match destination.payee {
            LightningPayee::Invoice(invoice) => Invoice::Bolt11(*invoice),
            LightningPayee::Offer(offer) => {
                Invoice::Bolt12(self.invoice_for_offer(&offer, amount).await?)
            }
            LightningPayee::Lnurl(endpoint) => {
                let amount =
                    amount.ok_or_else(|| missing_amount("a Lightning address or LNURL"))?;
                Invoice::Bolt11(self.lnurl.invoice(&endpoint, amount, comment).await?)
            }
        };
        check_origin(&invoice, self.network)?;
        Ok(Payable {
            amount: agreed_amount(invoice.amount_msat(), amount)?,
            invoice,
            method: destination.method,
        })
    }

    /// Has the server request an invoice from the issuer of an offer.
    async fn invoice_for_offer(
        &self,
        offer: &Offer,
        asked: Option<Amount>,
    ) -> Result<Bolt12Invoice> {
        if offer.is_expired() {
            let message = "the offer has expired; ask the payee for a new one";
            return Err(Error::bad_request("offer_expired", message));
        }
        let amount = amount_for_offer(offer.amount(), asked)?;
        let fetched = self.server.fetch_bolt12_invoice(offer, amount).await?;
        let invoice = fetched.map_err(|NoInvoice(reason)| {
            let message = format!(
                "the issuer of the offer gave no invoice: {reason}; try again later, or ask the payee for an invoice"
            );
            Error::bad_request("offer_unanswered", message)
        })?;
        if invoice.chain() != ChainHash::using_genesis_block(self.network) {
            return Err(wrong_network());
        }
        invoice.validate_issuance(offer, amount).map_err(|error| {
            let message = format!(
                "the invoice that came for this offer cannot be trusted: {error}; ask the payee for an invoice"
            );
            Error::bad_request("invalid_invoice", message)
        })?;
        Ok(invoice)
    }
}

/// The amount to request an invoice over. A payer may give more than an offer asks for.
fn amount_for_offer(offered: Option<OfferAmount>, asked: Option<Amount>) -> Result<Amount> {
    let least = offered.map(|offered| match offered {
        OfferAmount::Bitcoin { amount_msats } => Some(whole_sat(amount_msats)),
        OfferAmount::Currency { .. } => None,
    });
    match (least, asked) {
        (Some(Some(least)), Some(asked)) if asked < least => {
            let message = format!(
                "the offer asks for at least {} sat; set amount_sat to that or more, or leave it out",
                least.to_sat()
            );
            Err(Error::bad_request("amount_mismatch", message))
        }
        (_, Some(asked)) => Ok(asked),
        (Some(Some(least)), None) => Ok(least),
        (Some(None), None) => Err(missing_amount("an offer in another currency")),
        (None, None) => Err(missing_amount("this offer")),
    }
}

/// Refuses invoices of other networks and forged ones.
fn check_origin(invoice: &Invoice, network: Network) -> Result<()> {
    let is_ours = match invoice {
        Invoice::Bolt11(invoice) => invoice.currency() == network.into(),
        Invoice::Bolt12(invoice) => invoice.chain() == ChainHash::using_genesis_block(network),
    };
    if !is_ours {
        return Err(wrong_network());
    }
    invoice.check_signature().map_err(|error| {
        let message = format!("{error}; ask the payee for a new invoice");
        Error::bad_request("invalid_invoice", message)
    })
}

/// The amount to pay in whole sat. To pay more than the invoice asks for would be a gift to the server.
fn agreed_amount(invoice_msat: Option<u64>, asked: Option<Amount>) -> Result<Amount> {
    let Some(msat) = invoice_msat else {
        return asked.ok_or_else(|| missing_amount("this invoice"));
    };
    if msat < MIN_MSAT {
        let message =
            format!("the invoice is over {msat} msat; the smallest payment is {MIN_MSAT} msat");
        return Err(Error::bad_request("invalid_amount", message));
    }
    let amount = whole_sat(msat);
    if amount > Amount::MAX_MONEY {
        let message =
            "the invoice is over more than 21 million bitcoin; ask the payee for a new one";
        return Err(Error::bad_request("invalid_amount", message));
    }
    match asked {
        Some(asked) if asked != amount => {
            let message = format!(
                "the invoice is over {} sat, amount_sat is {}; leave amount_sat out or set it to the same",
                amount.to_sat(),
                asked.to_sat()
            );
            Err(Error::bad_request("amount_mismatch", message))
        }
        _ => Ok(amount),
    }
}

fn whole_sat(msat: u64) -> Amount {
    Amount::from_sat(msat.div_ceil(1_000))
}

fn missing_amount(what: &str) -> Error {
    let message = format!("{what} does not name an amount; set amount_sat, in sat");
    Error::bad_request("missing_amount", message)
}

fn wrong_network() -> Error {
    let message =
        "this invoice belongs to another network; ask the payee for one of the wallet's network";
    Error::bad_request("wrong_network", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn sats(sats: u64) -> Option<Amount> {
        Some(Amount::from_sat(sats))
    }

    fn code(result: Result<Amount>) -> &'static str {
        result.expect_err("it is refused").code()
    }

    #[test]
    fn the_amount_of_an_invoice_counts_in_whole_sat() {
        let agreed = |msat, asked| agreed_amount(msat, asked).unwrap().to_sat();
        assert_eq!(agreed(Some(1_000), None), 1);
        assert_eq!(agreed(Some(1_001), None), 2);
        assert_eq!(agreed(Some(500), None), 1);
        assert_eq!(agreed(Some(5_000), sats(5)), 5);
        assert_eq!(agreed(None, sats(7)), 7);
        assert_eq!(code(agreed_amount(Some(499), None)), "invalid_amount");
        assert_eq!(code(agreed_amount(Some(u64::MAX), None)), "invalid_amount");
        assert_eq!(code(agreed_amount(Some(0), sats(1))), "invalid_amount");
        assert_eq!(code(agreed_amount(None, None)), "missing_amount");
        for other in [4, 6, 10] {
            let refused = agreed_amount(Some(5_000), sats(other));
            assert_eq!(code(refused), "amount_mismatch");
        }
    }

    /// W26: an offer in another currency has no amount in bitcoin.
    #[test]
    fn the_amount_of_an_offer_is_a_minimum() {
        let offered = |amount_msats| Some(OfferAmount::Bitcoin { amount_msats });
        let requested = |offer, asked| amount_for_offer(offer, asked).unwrap().to_sat();
        assert_eq!(requested(offered(10_000), None), 10);
        assert_eq!(requested(offered(9_001), None), 10);
        assert_eq!(requested(offered(10_000), sats(11)), 11);
        assert_eq!(requested(None, sats(3)), 3);
        let refused = amount_for_offer(offered(10_000), sats(9));
        assert_eq!(code(refused), "amount_mismatch");
        let fiat = || {
            let iso4217_code = lightning::offers::offer::CurrencyCode::new(*b"EUR").unwrap();
            Some(OfferAmount::Currency {
                iso4217_code,
                amount: 5,
            })
        };
        assert_eq!(code(amount_for_offer(fiat(), None)), "missing_amount");
        assert_eq!(requested(fiat(), sats(900)), 900);
        assert_eq!(code(amount_for_offer(None, None)), "missing_amount");
    }
}
