//! Payment methods as a filter of the history names them (docs/protocol.md §7.4).

use std::str::FromStr;

use ark_lib::lightning::Invoice;
use bitcoin::address::NetworkUnchecked;
use bitcoin::{Address, ScriptBuf};
use lightning::offers::offer::Offer;

use super::{ark, typo};
use crate::lnurl::Endpoint;
use crate::model::PaymentMethod;
use crate::wallet::{Error, Result};

/// The payment method with this name and value, written as the history has it.
///
/// # Errors
/// `invalid_filter` if there is no such method, or the value is not one of it.
pub fn payment_method(kind: &str, value: &str) -> Result<PaymentMethod> {
    let lower = || value.to_lowercase();
    let (found, what) = match kind {
        "ark" => (
            ark::read(value)
                .ok()
                .map(|address| PaymentMethod::Ark(address.to_string())),
            "an Ark address",
        ),
        "bitcoin" => (bitcoin(value), "a bitcoin address"),
        "output-script" => (
            ScriptBuf::from_hex(value)
                .ok()
                .filter(|script| !script.is_empty())
                .map(|script| PaymentMethod::OutputScript(script.to_hex_string())),
            "a script in hex",
        ),
        "invoice" => (
            Invoice::from_str(&lower())
                .ok()
                .map(|_| PaymentMethod::Invoice(lower())),
            "a Lightning invoice",
        ),
        "offer" => (
            Offer::from_str(&lower())
                .ok()
                .map(|_| PaymentMethod::Offer(lower())),
            "a BOLT12 offer",
        ),
        "lightning-address" => (
            Endpoint::of_address(value).map(|_| PaymentMethod::LightningAddress(value.to_owned())),
            "a Lightning address, user@domain",
        ),
        "lnurl" => (
            Endpoint::of_bech32(value)
                .ok()
                .flatten()
                .map(|_| PaymentMethod::Lnurl(lower())),
            "an LNURL, which begins with lnurl1",
        ),
        "custom" => (Some(PaymentMethod::Custom(value.to_owned())), ""),
        _ => {
            let message = format!(
                "there is no type {kind:?}; set type to ark, bitcoin, output-script, invoice, offer, lightning-address, lnurl or custom"
            );
            return Err(Error::bad_request("invalid_filter", message));
        }
    };
    found.ok_or_else(|| {
        let why = typo::explain(value).map_or_else(String::new, |why| format!(": {why}"));
        let message = format!("with the type {kind}, set value to {what}; this is none{why}");
        Error::bad_request("invalid_filter", message)
    })
}

fn bitcoin(value: &str) -> Option<PaymentMethod> {
    let address = Address::<NetworkUnchecked>::from_str(value).ok()?;
    Some(PaymentMethod::Bitcoin(address.assume_checked().to_string()))
}
