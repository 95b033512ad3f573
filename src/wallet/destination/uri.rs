//! `bitcoin:` URIs (BIP-21, BIP-321), which may name several ways to pay.

use bitcoin::{Amount, Denomination};
use url::form_urlencoded;

use super::{Destination, Request, ark, lightning, typo};
use crate::wallet::{Error, Result};

const SCHEME: &str = "bitcoin:";

/// Reads a URI; `None` if the text is none. Keys count in lower and upper case, because whole URIs are written in upper case for QR
/// codes.
///
/// # Errors
/// Its amount is invalid, it requires something that this wallet does not support, or it names nobody to pay.
pub(super) fn parse(text: &str) -> Result<Option<Request>> {
    let scheme = text.get(..SCHEME.len());
    if !scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME)) {
        return Ok(None);
    }
    let rest = &text[SCHEME.len()..];
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let query = query.split_once('#').map_or(query, |(query, _)| query);
    let mut uri = Uri::default();
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        uri.add(&key.to_lowercase(), &value)?;
    }
    if !address.is_empty() {
        uri.bitcoin.push(read_bitcoin(address));
    }
    uri.into_request().map(Some)
}

#[derive(Default)]
struct Uri {
    amount: Option<Amount>,
    ark: Vec<Result<Destination>>,
    lightning: Vec<Result<Destination>>,
    bitcoin: Vec<Result<Destination>>,
}

impl Uri {
    fn add(&mut self, key: &str, value: &str) -> Result<()> {
        let required = key.strip_prefix("req-");
        match required.unwrap_or(key) {
            "amount" if self.amount.is_some() => Err(invalid_amount("it is there twice")),
            "amount" => {
                self.amount = Some(read_amount(value)?);
                Ok(())
            }
            "ark" => {
                self.ark.push(read_ark(value));
                Ok(())
            }
            "lightning" | "lno" => {
                self.lightning.push(read_lightning(value));
                Ok(())
            }
            "bc" | "tb" => {
                self.bitcoin.push(read_bitcoin(value));
                Ok(())
            }
            "label" | "message" => Ok(()),
            _ if required.is_some() => {
                let message = format!(
                    "the URI requires {key:?}, which this wallet does not support; ask the payee for an address or invoice"
                );
                Err(Error::bad_request("unsupported_uri", message))
            }
            _ => Ok(()),
        }
    }

    fn into_request(self) -> Result<Request> {
        let ways = [self.ark, self.lightning, self.bitcoin];
        let ways: Vec<_> = ways.into_iter().flatten().collect();
        if ways.is_empty() {
            return Err(unreadable("the URI names nobody to pay", ""));
        }
        Ok(Request {
            ways,
            amount: self.amount,
        })
    }
}

fn read_amount(text: &str) -> Result<Amount> {
    if text.contains(char::is_whitespace) {
        return Err(invalid_amount("it contains a space; remove it"));
    }
    // The grammar has digits and a point only.
    if !text.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return Err(invalid_amount("it is no number"));
    }
    match Amount::from_str_in(text, Denomination::Bitcoin) {
        Ok(Amount::ZERO) => Err(invalid_amount("it is zero")),
        Ok(amount) if amount > Amount::MAX_MONEY => Err(invalid_amount("it is too large")),
        Ok(amount) => Ok(amount),
        Err(_) => Err(invalid_amount("it is no number of bitcoin in whole sat")),
    }
}

fn read_ark(text: &str) -> Result<Destination> {
    let address = ark::parse(text)?;
    let address = address.ok_or_else(|| unreadable("the URI's Ark address cannot be read", text));
    address.map(|address| Destination::Ark(Box::new(address)))
}

fn read_lightning(text: &str) -> Result<Destination> {
    let destination = lightning::parse(text)?;
    let invalid = || unreadable("the URI's Lightning invoice or offer cannot be read", text);
    destination.ok_or_else(invalid).map(Destination::Lightning)
}

fn read_bitcoin(text: &str) -> Result<Destination> {
    let address = text.parse();
    let address = address.map_err(|_| unreadable("the URI's bitcoin address cannot be read", text));
    address.map(Destination::Bitcoin)
}

fn unreadable(what: &str, text: &str) -> Error {
    let message = match typo::explain(text) {
        Some(why) => format!("{what}: {why}"),
        None => format!("{what}; ask the payee for a new one"),
    };
    Error::bad_request("invalid_destination", message)
}

fn invalid_amount(why: &str) -> Error {
    let message =
        format!("the amount in the URI cannot be used: {why}; ask the payee for a new one");
    Error::bad_request("invalid_amount", message)
}
