//! Ark addresses (docs/protocol.md §1.4). They are computed from the key index when needed, and never stored.

use ark_lib::Address;
use bitcoin::Network;
use bitcoin::secp256k1::Keypair;

use crate::ark::PinnedKeys;
use crate::wallet::account::keys::{self, WalletKeys};
use crate::wallet::{Error, Result, Wallet};

/// The address that pays to `key` and delivers to the wallet's mailbox, whose id it contains in blinded form.
pub(in crate::wallet) fn build(
    keys: &WalletKeys,
    network: Network,
    server: &PinnedKeys,
    key: &Keypair,
) -> Result<Address> {
    Address::builder()
        .testnet(network != Network::Bitcoin)
        .server_pubkey(server.server)
        .pubkey_policy(key.public_key())
        .mailbox(server.mailbox, keys.mailbox_id(), key)
        .and_then(ark_lib::address::Builder::into_address)
        .map_err(|error| Error::internal(anyhow::anyhow!("building an Ark address: {error}")))
}

impl Wallet {
    /// A new address. Needs no connection to the Ark server, only its keys.
    ///
    /// # Errors
    /// `server_unavailable` before the first contact with the Ark server.
    pub async fn next_address(&self) -> Result<Address> {
        let server = self.server_keys()?;
        let keys = self.keys.clone();
        let network = self.network;
        self.store
            .write(move |tx| {
                let key = keys.vtxo_key(keys::reveal_next(tx, &keys)?.index)?;
                build(&keys, network, &server, &key)
            })
            .await
    }

    /// The address with this key index.
    ///
    /// # Errors
    /// `unknown_address_index` if the key is not in use yet; `server_unavailable` before the first contact with the Ark server.
    pub async fn address_at(&self, index: u32) -> Result<Address> {
        let server = self.server_keys()?;
        let revealed = self.store.read(crate::store::key::next_index).await?;
        if index >= revealed {
            let message = format!(
                "there is no address {index} yet; the next that POST /api/v1/wallet/addresses/next gives out is {revealed}"
            );
            return Err(Error::not_found("unknown_address_index", message, index));
        }
        build(
            &self.keys,
            self.network,
            &server,
            &self.keys.vtxo_key(index)?,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_lib::SECP;
    use bitcoin::secp256k1::SecretKey;

    /// docs/protocol.md §12.
    #[test]
    fn addresses_match_the_vectors() {
        let mnemonic = format!("{}about", "abandon ".repeat(11)).parse().unwrap();
        let public = |byte| {
            SecretKey::from_slice(&[byte; 32])
                .unwrap()
                .public_key(&SECP)
        };
        let server = PinnedKeys {
            server: public(0x11),
            mailbox: public(0x22),
        };
        for (network, expected) in [
            (
                Network::Regtest,
                "tark1ptd4e9vezqqpmf7ah7q0kz94yn6q7tl275yssgwyc6wfx8qwaqj7u8eh970783r3zqypj0qruyh4u8yc3gmfqam9an2227n0rre45q39jts69ndu5nnj3umc3l04v4",
            ),
            (
                Network::Bitcoin,
                "ark1ptd4e9vezqqpmf7ah7q0kz94yn6q7tl275yssgwyc6wfx8qwaqj7u8eh970783r3zqypj0qruyh4u8yc3gmfqam9an2227n0rre45q39jts69ndu5nnj3umcjzg7qr",
            ),
        ] {
            let keys = WalletKeys::new(&mnemonic, network);
            let address = build(&keys, network, &server, &keys.vtxo_key(0).unwrap()).unwrap();
            assert_eq!(address.to_string(), expected);
        }
    }
}
