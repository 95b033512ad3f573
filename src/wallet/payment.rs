//! What a payment's destination is (spec/http.md §3.5): the first reading that fits wins.

use std::str::FromStr;

use ark_lib::address::ParseAddressError;
use bitcoin::address::NetworkUnchecked;
use lightning::offers::offer::Offer;
use lightning_invoice::Bolt11Invoice;
use lnurl::lightning_address::LightningAddress;
use lnurl::lnurl::LnUrl;

use crate::wallet::{Error, Result};

/// Somewhere money can go.
#[derive(Debug)]
pub(super) enum Payee {
    /// Another wallet of an Ark.
    Ark(Box<ark_lib::Address>),
    /// Something that is paid over Lightning.
    Lightning,
    /// A bitcoin address.
    Bitcoin,
}

/// Reads a destination.
///
/// # Errors
/// It is nothing that this wallet knows.
pub(super) fn parse(destination: &str) -> Result<Payee> {
    match ark_lib::Address::from_str(destination) {
        Ok(address) => return Ok(Payee::Ark(Box::new(address))),
        Err(ParseAddressError::Arkade) => {
            return Err(Error::bad_request(
                "unsupported_address",
                "this is an Arkade address, of another protocol; this wallet cannot pay it",
            ));
        }
        Err(
            error @ (ParseAddressError::VtxoPolicy(_)
            | ParseAddressError::Invalid(_)
            | ParseAddressError::UnknownVersion { .. }),
        ) => {
            return Err(Error::bad_request(
                "invalid_address",
                format!("this Ark address cannot be read: {error}"),
            ));
        }
        Err(_) => {}
    }
    let lightning = Bolt11Invoice::from_str(destination).is_ok()
        || Offer::from_str(destination).is_ok()
        || LightningAddress::from_str(destination).is_ok()
        || LnUrl::from_str(destination).is_ok();
    if lightning {
        return Ok(Payee::Lightning);
    }
    if bitcoin::Address::<NetworkUnchecked>::from_str(destination).is_ok() {
        return Ok(Payee::Bitcoin);
    }
    let message = "the destination is neither an Ark address, a Lightning invoice, offer, address or LNURL, nor a bitcoin address";
    Err(Error::bad_request("invalid_destination", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_told_apart() {
        let ark = "tark1ptd4e9vezqqpmf7ah7q0kz94yn6q7tl275yssgwyc6wfx8qwaqj7u8eh970783r3zqypj0qruyh4u8yc3gmfqam9an2227n0rre45q39jts69ndu5nnj3umc3l04v4";
        assert!(matches!(parse(ark), Ok(Payee::Ark(_))));
        assert!(matches!(parse("alice@example.com"), Ok(Payee::Lightning)));
        assert!(matches!(
            parse("bcrt1p8wpt9v4frpf3tkn0srd97pksgsxc5hs52lafxwru9kgeephvs7rqjeprhg"),
            Ok(Payee::Bitcoin)
        ));
        let offer = "lno1pqps7sjqpgtyzm3qv4uxzmtsd3jjqer9wd3hy6tsw35k7msjzfpy7nz5yqcnygrfdej82um5wf5k2uckyypwa3eyt44h6txtxquqh7lz5djge4afgfjn7k4rgrkuag0jsd5xvxg";
        assert!(matches!(parse(offer), Ok(Payee::Lightning)));
        for nonsense in [
            "",
            " ",
            "hello",
            "tark1",
            "lnbc1",
            &format!("{ark} "),
            &ark.replace("ptd4", "ptd5"),
        ] {
            assert_eq!(
                parse(nonsense).unwrap_err().code(),
                "invalid_destination",
                "{nonsense:?}"
            );
        }
    }
}
