//! Ark addresses: reading them, and which of them can be paid.

use std::str::FromStr;

use ark_lib::address::{ParseAddressError, VtxoDelivery};
use ark_lib::{Address, VtxoPolicy};
use bitcoin::Network;

use super::{name_of, typo};
use crate::ark::PinnedKeys;
use crate::wallet::{Error, Result};

/// Reads an Ark address; `None` if the text is none.
///
/// # Errors
/// It is one that this wallet cannot read.
pub(super) fn parse(text: &str) -> Result<Option<Address>> {
    match Address::from_str(text) {
        Ok(address) => Ok(Some(address)),
        Err(ParseAddressError::Arkade) => Err(Error::bad_request(
            "unsupported_address",
            "this is an Arkade address, of another protocol; this wallet cannot pay it",
        )),
        Err(
            error @ (ParseAddressError::VtxoPolicy(_)
            | ParseAddressError::Invalid(_)
            | ParseAddressError::UnknownVersion { .. }),
        ) => Err(Error::bad_request(
            "invalid_address",
            format!("this Ark address cannot be read: {error}; ask the payee for a new one"),
        )),
        Err(_) => Ok(None),
    }
}

/// Reads an Ark address.
///
/// # Errors
/// `invalid_address`; `unsupported_address` for one of another protocol.
pub(in crate::wallet) fn read(text: &str) -> Result<Address> {
    parse(text)?.ok_or_else(|| {
        let message = typo::explain(text).unwrap_or_else(|| {
            "this is not an Ark address, which begins with ark1 on mainnet and with tark1 on other networks".to_owned()
        });
        Error::bad_request("invalid_address", message)
    })
}

/// Refuses addresses of another network or server, of a kind that cannot be paid out of round, and those that leave no
/// way to reach the payee. An address without any delivery is fine: its owner chose to look for the coins elsewhere.
pub(in crate::wallet) fn check(
    address: &Address,
    network: Network,
    server: &PinnedKeys,
) -> Result<()> {
    let refuse = |code, message: &str| Err(Error::bad_request(code, message));
    if address.is_testnet() != (network != Network::Bitcoin) {
        let (theirs, prefix) = match address.is_testnet() {
            true => ("a test network", "ark1"),
            false => ("mainnet", "tark1"),
        };
        let message = format!(
            "this Ark address is for {theirs}, the wallet is on {}; ask the payee for one that begins with {prefix}",
            name_of(network)
        );
        return refuse("wrong_network", &message);
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
        check(address, Network::Regtest, &server)
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
}
