//! What a payment's destination is (docs/protocol.md §23.5): the first reading that fits wins.

use std::str::FromStr;

use ark_lib::address::{ParseAddressError, VtxoDelivery};
use ark_lib::{Address, VtxoPolicy};
use bitcoin::Network;
use bitcoin::address::NetworkUnchecked;
use lightning::offers::offer::Offer;
use lightning_invoice::Bolt11Invoice;
use lnurl::lightning_address::LightningAddress;
use lnurl::lnurl::LnUrl;

use crate::ark::PinnedKeys;
use crate::wallet::{Error, Result};

/// Somewhere money can go.
#[derive(Debug)]
pub(super) enum Destination {
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
pub(super) fn parse(destination: &str) -> Result<Destination> {
    match ark_lib::Address::from_str(destination) {
        Ok(address) => return Ok(Destination::Ark(Box::new(address))),
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
        return Ok(Destination::Lightning);
    }
    if bitcoin::Address::<NetworkUnchecked>::from_str(destination).is_ok() {
        return Ok(Destination::Bitcoin);
    }
    let message = "the destination is neither an Ark address, a Lightning invoice, offer, address or LNURL, nor a bitcoin address";
    Err(Error::bad_request("invalid_destination", message))
}

/// Refuses addresses of another network or server, of a kind that cannot be paid out of round, and those that leave no
/// way to reach the payee. An address without any delivery is fine: its owner chose to look for the coins elsewhere.
pub(in crate::wallet::flows) fn check_payable(
    address: &Address,
    network: Network,
    server: &PinnedKeys,
) -> Result<()> {
    let refuse = |code, message: &str| Err(Error::bad_request(code, message));
    if address.is_testnet() != (network != Network::Bitcoin) {
        return refuse(
            "wrong_network",
            "this Ark address belongs to another network; ask the payee for one of the wallet's network",
        );
    }
    if !address.is_for_server(server.server) {
        return refuse(
            "wrong_server",
            "this Ark address belongs to another Ark server; pay it with Lightning, or ask the payee for an address of this server",
        );
    }
    if !matches!(address.policy(), VtxoPolicy::Pubkey(_)) {
        return refuse(
            "unsupported_address",
            "this Ark address asks for a kind of VTXO that cannot be paid directly",
        );
    }
    let deliveries = address.delivery();
    if !deliveries.is_empty()
        && !deliveries
            .iter()
            .any(|way| matches!(way, VtxoDelivery::ServerMailbox { .. }))
    {
        return refuse(
            "unsupported_address",
            "this Ark address names no way of delivery that this wallet knows",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_lib::SECP;
    use bitcoin::secp256k1::{PublicKey, SecretKey};

    fn key(byte: u8) -> PublicKey {
        SecretKey::from_slice(&[byte; 32])
            .unwrap()
            .public_key(&SECP)
    }

    fn address(testnet: bool, server: u8, delivery: Vec<VtxoDelivery>) -> Address {
        Address::new(
            testnet,
            key(server),
            VtxoPolicy::new_pubkey(key(9)),
            delivery,
        )
    }

    fn code(address: &Address) -> Option<&'static str> {
        let server = PinnedKeys {
            server: key(1),
            mailbox: key(2),
        };
        check_payable(address, Network::Regtest, &server)
            .err()
            .map(|error| error.code())
    }

    #[test]
    fn addresses_that_cannot_be_paid_are_named_as_such() {
        assert_eq!(code(&address(true, 1, vec![])), None);
        assert_eq!(code(&address(false, 1, vec![])), Some("wrong_network"));
        assert_eq!(code(&address(true, 3, vec![])), Some("wrong_server"));
        let pigeon = VtxoDelivery::Unknown {
            delivery_type: 77,
            data: vec![1],
        };
        assert_eq!(
            code(&address(true, 1, vec![pigeon])),
            Some("unsupported_address")
        );
    }

    #[test]
    fn destinations_are_told_apart() {
        let ark = "tark1ptd4e9vezqqpmf7ah7q0kz94yn6q7tl275yssgwyc6wfx8qwaqj7u8eh970783r3zqypj0qruyh4u8yc3gmfqam9an2227n0rre45q39jts69ndu5nnj3umc3l04v4";
        assert!(matches!(parse(ark), Ok(Destination::Ark(_))));
        assert!(matches!(
            parse("alice@example.com"),
            Ok(Destination::Lightning)
        ));
        assert!(matches!(
            parse("bcrt1p8wpt9v4frpf3tkn0srd97pksgsxc5hs52lafxwru9kgeephvs7rqjeprhg"),
            Ok(Destination::Bitcoin)
        ));
        let offer = "lno1pqps7sjqpgtyzm3qv4uxzmtsd3jjqer9wd3hy6tsw35k7msjzfpy7nz5yqcnygrfdej82um5wf5k2uckyypwa3eyt44h6txtxquqh7lz5djge4afgfjn7k4rgrkuag0jsd5xvxg";
        assert!(matches!(parse(offer), Ok(Destination::Lightning)));
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
