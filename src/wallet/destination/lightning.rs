//! What is paid over Lightning: reading it, and which of it this wallet can pay.

use std::str::FromStr;

use bitcoin::Network;
use bitcoin::constants::ChainHash;
use lightning::offers::offer::Offer;
use lightning_invoice::{Bolt11Invoice, Currency};

use super::name_of;
use crate::lnurl::Endpoint;
use crate::model::PaymentMethod;
use crate::wallet::{Error, Result};

/// Somebody who is paid over Lightning.
#[derive(Clone, Debug)]
pub(in crate::wallet) struct LightningDestination {
    pub payee: LightningPayee,
    /// As the caller wrote it, except that what is case-insensitive is in lower case.
    pub method: PaymentMethod,
}

/// What an invoice is made from.
#[derive(Clone, Debug)]
pub(in crate::wallet) enum LightningPayee {
    /// It is an invoice.
    Invoice(Box<Bolt11Invoice>),
    /// A BOLT12 offer, whose issuer gives the invoice.
    Offer(Box<Offer>),
    /// A Lightning address or LNURL, whose server gives the invoice.
    Lnurl(Endpoint),
}

/// Reads a Lightning destination, with or without `lightning:`; `None` if the text is none.
///
/// # Errors
/// It is one that cannot be paid.
pub(super) fn parse(text: &str) -> Result<Option<LightningDestination>> {
    let text = without_scheme(text);
    let lower = || text.to_lowercase();
    let (payee, method) = if let Ok(invoice) = Bolt11Invoice::from_str(text) {
        let payee = LightningPayee::Invoice(Box::new(invoice));
        (payee, PaymentMethod::Invoice(lower()))
    } else if let Ok(offer) = Offer::from_str(text) {
        let payee = LightningPayee::Offer(Box::new(offer));
        (payee, PaymentMethod::Offer(lower()))
    } else if let Some(endpoint) = Endpoint::of_address(text) {
        let method = PaymentMethod::LightningAddress(text.to_owned());
        (LightningPayee::Lnurl(endpoint), method)
    } else if let Some(endpoint) = Endpoint::of_bech32(text)? {
        let method = PaymentMethod::Lnurl(lower());
        (LightningPayee::Lnurl(endpoint), method)
    } else if let Some(endpoint) = Endpoint::of_scheme(text)? {
        let method = PaymentMethod::Lnurl(endpoint.to_bech32());
        (LightningPayee::Lnurl(endpoint), method)
    } else {
        return Ok(None);
    };
    Ok(Some(LightningDestination { payee, method }))
}

/// The text behind `lightning:`, which some wallets follow by `//`.
fn without_scheme(text: &str) -> &str {
    match text.split_once(':') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("lightning") => {
            rest.strip_prefix("//").unwrap_or(rest)
        }
        _ => text,
    }
}

impl LightningDestination {
    /// Refuses invoices and offers of another network, and offers that this wallet does not support.
    pub(super) fn check(&self, network: Network) -> Result<()> {
        match &self.payee {
            LightningPayee::Invoice(invoice) => {
                let ours = Currency::from(network);
                if invoice.currency() == ours {
                    return Ok(());
                }
                let message = format!(
                    "this invoice is for {}, the wallet is on {}; ask the payee for one of the wallet's network",
                    name_of(invoice.currency().into()),
                    name_of(network)
                );
                Err(Error::bad_request("wrong_network", message))
            }
            LightningPayee::Offer(offer) => check_offer(offer, network),
            LightningPayee::Lnurl(_) => Ok(()),
        }
    }
}

fn check_offer(offer: &Offer, network: Network) -> Result<()> {
    if !offer.supports_chain(ChainHash::using_genesis_block(network)) {
        let message =
            "this offer is for another chain; ask the payee for one of the wallet's network";
        return Err(Error::bad_request("wrong_network", message));
    }
    if offer.expects_quantity() {
        let message = "this offer is for a number of items, which this wallet cannot name; ask the payee for an invoice";
        return Err(Error::bad_request("unsupported_offer", message));
    }
    Ok(())
}
