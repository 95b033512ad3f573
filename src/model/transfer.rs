//! The counterparts of movements: whom the wallet paid, and where it was paid (docs/protocol.md §7.4).

use bitcoin::Amount;
use serde::{Deserialize, Serialize};

/// An address, invoice or the like that money was sent to or received on, as the user wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "value", rename_all = "kebab-case")]
pub enum PaymentMethod {
    /// An Ark address.
    Ark(String),
    /// A bitcoin address.
    Bitcoin(String),
    /// A script, lower-case hex.
    OutputScript(String),
    /// A BOLT11 or BOLT12 invoice.
    Invoice(String),
    /// A BOLT12 offer.
    Offer(String),
    /// A Lightning address, `user@domain`.
    LightningAddress(String),
    /// A bech32 LNURL, lower case.
    Lnurl(String),
    /// Any other method.
    Custom(String),
}

impl PaymentMethod {
    /// The name of the method in the API and in the database.
    pub fn kind(&self) -> &'static str {
        match self {
            PaymentMethod::Ark(_) => "ark",
            PaymentMethod::Bitcoin(_) => "bitcoin",
            PaymentMethod::OutputScript(_) => "output-script",
            PaymentMethod::Invoice(_) => "invoice",
            PaymentMethod::Offer(_) => "offer",
            PaymentMethod::LightningAddress(_) => "lightning-address",
            PaymentMethod::Lnurl(_) => "lnurl",
            PaymentMethod::Custom(_) => "custom",
        }
    }

    /// The address, invoice, … itself.
    pub fn value(&self) -> &str {
        match self {
            PaymentMethod::Ark(value)
            | PaymentMethod::Bitcoin(value)
            | PaymentMethod::OutputScript(value)
            | PaymentMethod::Invoice(value)
            | PaymentMethod::Offer(value)
            | PaymentMethod::LightningAddress(value)
            | PaymentMethod::Lnurl(value)
            | PaymentMethod::Custom(value) => value,
        }
    }

    /// The method with this name; `None` if there is none. The value is not checked.
    pub fn from_parts(kind: &str, value: String) -> Option<PaymentMethod> {
        Some(match kind {
            "ark" => PaymentMethod::Ark(value),
            "bitcoin" => PaymentMethod::Bitcoin(value),
            "output-script" => PaymentMethod::OutputScript(value),
            "invoice" => PaymentMethod::Invoice(value),
            "offer" => PaymentMethod::Offer(value),
            "lightning-address" => PaymentMethod::LightningAddress(value),
            "lnurl" => PaymentMethod::Lnurl(value),
            "custom" => PaymentMethod::Custom(value),
            _ => return None,
        })
    }
}

/// A payee of a movement, or an own address that it came in on, with the amount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// The address, invoice or the like.
    pub method: PaymentMethod,
    /// The amount that it received.
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub amount: Amount,
}
