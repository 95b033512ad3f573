//! `bitcoin:` URIs that offer every way to pay this wallet (BIP-321, docs/protocol.md §23.3).

use std::fmt::Write;
use std::sync::Arc;

use bitcoin::{Address, Amount, Denomination, Network};

use crate::wallet::{Error, InvoiceRequest, Result, Wallet};

/// Characters of the longest label or message.
const MAX_LABEL: usize = 1_000;

/// A payment that is asked for.
#[derive(Clone, Debug, Default)]
pub struct PaymentUriRequest {
    /// The amount; without it there is no invoice.
    pub amount: Option<Amount>,
    /// Whether an on-chain address is offered too.
    pub onchain: bool,
    /// Who asks for the payment.
    pub label: Option<String>,
    /// What it is for.
    pub message: Option<String>,
    /// Whether the URI is in upper case, which makes its QR code smaller.
    pub uppercase: bool,
}

/// A URI, and the ways to pay that it offers.
#[derive(Clone, Debug)]
pub struct PaymentUri {
    /// A new Ark address.
    pub ark: String,
    /// A BOLT11 invoice.
    pub bolt11: Option<String>,
    /// A new on-chain address.
    pub onchain: Option<String>,
    /// The URI.
    pub uri: String,
}

impl Wallet {
    /// Makes a URI with new addresses, and with an invoice if there is an amount. A request that fails uses up no address.
    ///
    /// # Errors
    /// `label_too_long`, `not_uppercase`; `server_unavailable` before the first contact with the Ark server; with an amount, those of
    /// [`create_invoice`](Self::create_invoice).
    pub async fn payment_uri(self: &Arc<Wallet>, request: PaymentUriRequest) -> Result<PaymentUri> {
        check(&request)?;
        self.server_keys()?;
        // First what can fail.
        let bolt11 = match request.amount {
            Some(amount) => Some(self.create_invoice(InvoiceRequest::of(amount)).await?),
            None => None,
        };
        let onchain = if request.onchain {
            Some(self.next_onchain_address().await?)
        } else {
            None
        };
        let ark = self.next_address().await?.to_string();
        let uri = write(
            &request,
            self.network,
            &ark,
            bolt11.as_deref(),
            onchain.as_ref(),
        );
        Ok(PaymentUri {
            ark,
            bolt11,
            onchain: onchain.map(|address| address.to_string()),
            uri,
        })
    }
}

fn check(request: &PaymentUriRequest) -> Result<()> {
    for (name, text) in [("label", &request.label), ("message", &request.message)] {
        let text = text.as_deref().unwrap_or_default();
        if text.chars().count() > MAX_LABEL {
            let message = format!("the {name} has more than {MAX_LABEL} characters; shorten it");
            return Err(Error::bad_request("label_too_long", message));
        }
        // Other letters are escaped, and an escape means the same in upper case.
        if request.uppercase && text.contains(|c: char| c.is_ascii_lowercase()) {
            let message = format!(
                "the {name} has lower-case letters, which an upper-case URI would change; write it in upper case, or leave uppercase out"
            );
            return Err(Error::bad_request("not_uppercase", message));
        }
    }
    Ok(())
}

/// An on-chain address of the main network stands where wallets that know nothing else look for it.
pub(super) fn write(
    request: &PaymentUriRequest,
    network: Network,
    ark: &str,
    bolt11: Option<&str>,
    onchain: Option<&Address>,
) -> String {
    let onchain = onchain.map(Address::to_string);
    let (body, tb) = match network {
        Network::Bitcoin => (onchain, None),
        _ => (None, onchain),
    };
    let amount = request
        .amount
        .map(|amount| amount.to_string_in(Denomination::Bitcoin));
    let parameters = [
        ("amount", amount.as_deref()),
        ("label", request.label.as_deref()),
        ("message", request.message.as_deref()),
        ("lightning", bolt11),
        ("tb", tb.as_deref()),
        ("ark", Some(ark)),
    ];
    let mut uri = format!("bitcoin:{}", body.unwrap_or_default());
    let mut separator = '?';
    for (name, value) in parameters {
        if let Some(value) = value {
            uri.push(separator);
            uri.push_str(name);
            uri.push('=');
            escape(&mut uri, value);
            separator = '&';
        }
    }
    if request.uppercase {
        uri.make_ascii_uppercase();
    }
    uri
}

/// Appends a text with all characters escaped that mean something in a URI (RFC 3986 §2).
fn escape(uri: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            uri.push(byte.into());
        } else {
            write!(uri, "%{byte:02X}").expect("a String takes all that is written to it");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    const ARK: &str = "ark1ptd4e9vezqqpmf7ah7q0kz94yn6q7tl275yssgwyc6wfx8qwaqj7u8eh970783r3zqypj0qruyh4u8yc3gmfqam9an2227n0rre45q39jts69ndu5nnj3umcjzg7qr";
    const ONCHAIN: &str = "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr";

    fn uri(network: Network, uppercase: bool) -> String {
        let request = PaymentUriRequest {
            amount: Some(Amount::from_sat(123_456_789)),
            onchain: true,
            label: Some("A&B=C?#%+ ~É".to_owned()),
            message: None,
            uppercase,
        };
        let onchain = Address::from_str(ONCHAIN).unwrap().assume_checked();
        write(&request, network, ARK, Some("lnbc1x"), Some(&onchain))
    }

    #[test]
    fn the_address_of_the_main_network_stands_in_front() {
        let query = "amount=1.23456789&label=A%26B%3DC%3F%23%25%2B%20~%C3%89&lightning=lnbc1x";
        let mainnet = format!("bitcoin:{ONCHAIN}?{query}&ark={ARK}");
        assert_eq!(uri(Network::Bitcoin, false), mainnet);
        assert_eq!(uri(Network::Bitcoin, true), mainnet.to_ascii_uppercase());
        let signet = format!("bitcoin:?{query}&tb={ONCHAIN}&ark={ARK}");
        assert_eq!(uri(Network::Signet, false), signet);
    }

    #[test]
    fn lower_case_letters_do_not_go_into_an_upper_case_uri() {
        let code = |label: &str, uppercase| {
            let request = PaymentUriRequest {
                label: Some(label.to_owned()),
                uppercase,
                ..PaymentUriRequest::default()
            };
            check(&request).err().map(|error| error.code())
        };
        assert_eq!(code("Tea", false), None);
        assert_eq!(code("TEA 1 é", true), None);
        assert_eq!(code("Tea", true), Some("not_uppercase"));
        assert_eq!(code(&"é".repeat(1_000), true), None);
        assert_eq!(code(&"é".repeat(1_001), false), Some("label_too_long"));
    }
}
