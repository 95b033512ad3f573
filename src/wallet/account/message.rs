//! Messages that are signed with the key of one of the wallet's addresses (docs/protocol.md §1.6).

use std::str::FromStr;

use ark_lib::message;
use ark_lib::{Address, VtxoPolicy};
use bitcoin::Network;
use bitcoin::secp256k1::PublicKey;
use bitcoin::secp256k1::schnorr::Signature;

use crate::store::key;
use crate::wallet::destination::read_ark_address;
use crate::wallet::{Error, Result, Wallet};

impl Wallet {
    /// Signs a message with the key of an Ark address of this wallet.
    ///
    /// # Errors
    /// `invalid_address`, `wrong_network`; `not_our_address` if the address is not one that the wallet has given out.
    pub async fn sign_message(&self, text: &str, address: &str) -> Result<Signature> {
        let address = read_ark_address(address)?;
        if address.is_testnet() == (self.network == Network::Bitcoin) {
            let message =
                "this Ark address belongs to another network; sign with an address of this wallet";
            return Err(Error::bad_request("wrong_network", message));
        }
        let index = match address.policy() {
            VtxoPolicy::Pubkey(policy) => {
                let key = policy.user_pubkey;
                let index = self
                    .store
                    .read(move |connection| key::index_of(connection, &key));
                index.await?
            }
            _ => None,
        };
        let foreign = || {
            let message = "this Ark address is not one of the wallet's; sign with an address that POST /api/v1/wallet/addresses/next has given out";
            Error::bad_request("not_our_address", message)
        };
        let key = self.keys.vtxo_key(index.ok_or_else(foreign)?)?;
        Ok(message::sign(&key, text.as_bytes()))
    }
}

/// Whether `signature` is one over the message by the key `pubkey`, or by the key of the Ark address `address`. Any wallet's.
///
/// # Errors
/// `invalid_signer` unless exactly one of the two is given; `invalid_signature`, `invalid_pubkey`, `invalid_address`.
pub fn verify_message(
    text: &str,
    signature: &str,
    pubkey: Option<&str>,
    address: Option<&str>,
) -> Result<bool> {
    let signature = Signature::from_str(signature).map_err(|_| {
        let message = "a signature has 128 hex characters, as POST /api/v1/message/sign answers it";
        Error::bad_request("invalid_signature", message)
    })?;
    let key = match (pubkey, address) {
        (Some(pubkey), None) => PublicKey::from_str(pubkey).map_err(|_| {
            let message = "a public key has 66 hex characters and begins with 02 or 03";
            Error::bad_request("invalid_pubkey", message)
        })?,
        (None, Some(address)) => signer_of(&read_ark_address(address)?),
        _ => {
            let message = "who signed is not clear; set exactly one of pubkey and address";
            return Err(Error::bad_request("invalid_signer", message));
        }
    };
    Ok(message::verify(key, text.as_bytes(), &signature))
}

fn signer_of(address: &Address) -> PublicKey {
    address.policy().user_pubkey()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_lib::SECP;
    use bitcoin::hashes::{Hash, sha256};
    use bitcoin::secp256k1::{Keypair, Message};

    /// docs/protocol.md §1.6.
    #[test]
    fn a_signature_is_one_over_the_prefixed_hash() {
        let pair = Keypair::from_seckey_slice(&SECP, &[0x33; 32]).unwrap();
        let hash = sha256::Hash::hash("bark/messagehello ⚓".as_bytes());
        let message = Message::from_digest(hash.to_byte_array());
        let signature = message::sign(&pair, "hello ⚓".as_bytes());
        let (key, _) = pair.x_only_public_key();
        assert!(SECP.verify_schnorr(&signature, &message, &key).is_ok());
        let own = SECP.sign_schnorr_no_aux_rand(&message, &pair).to_string();
        // Only the x-coordinate of the key counts.
        let other_half = pair.public_key().negate(&SECP).to_string();
        for key in [pair.public_key().to_string(), other_half] {
            assert!(verify_message("hello ⚓", &own, Some(&key), None).unwrap());
            assert!(!verify_message("hello", &own, Some(&key), None).unwrap());
        }
    }
}
