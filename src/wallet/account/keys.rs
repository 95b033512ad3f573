//! The keys that derive from the seed (docs/protocol.md §1).
//!
//! [`WalletKeys`] has no `Debug`, is never serialized, and erases its keys when it is dropped.

use std::collections::{HashMap, HashSet};

use bip39::Mnemonic;
use bitcoin::Network;
use bitcoin::bip32::{ChildNumber, Fingerprint, Xpriv, Xpub};
use bitcoin::secp256k1::{Keypair, PublicKey};
use rusqlite::Connection;
use zeroize::Zeroizing;

use ark_lib::SECP;
use ark_lib::mailbox::MailboxIdentifier;
use ark_lib::recovery::XpubRecoveryAuthorization;
use chrono::{DateTime, Local};

use crate::store::{WriteTx, key};
use crate::wallet::{Error, Result};

/// The hardened index of the wallet's branch below the root.
const PURPOSE: u32 = 350;

/// The wallet's keys.
pub(in crate::wallet) struct WalletKeys {
    root: Xpriv,
    vtxo_parent: Xpriv,
    mailbox: Keypair,
    recovery_mailbox: Keypair,
    fingerprint: Fingerprint,
}

impl WalletKeys {
    /// Derives the wallet's branches from the mnemonic, with an empty passphrase.
    pub fn new(mnemonic: &Mnemonic, network: Network) -> WalletKeys {
        let seed = Zeroizing::new(mnemonic.to_seed(""));
        let root = Xpriv::new_master(network, seed.as_slice())
            .expect("a 64-byte seed yields an invalid master key with probability 2^-127");
        let mut master = hardened(&root, PURPOSE);
        let mut mailbox = hardened(&master, 1);
        let mut recovery = hardened(&master, 2);
        let keys = WalletKeys {
            root,
            vtxo_parent: hardened(&master, 0),
            mailbox: mailbox.to_keypair(&SECP),
            recovery_mailbox: recovery.to_keypair(&SECP),
            fingerprint: master.fingerprint(&SECP),
        };
        for intermediate in [&mut master, &mut mailbox, &mut recovery] {
            intermediate.private_key.non_secure_erase();
        }
        keys
    }

    /// The fingerprint of m/350', which identifies the wallet to its users and in files. Does not depend on the network.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The key m/350'/0'/`index`.
    ///
    /// # Errors
    /// An internal error for an index of 2^31 or more.
    pub fn vtxo_key(&self, index: u32) -> Result<Keypair> {
        let child = ChildNumber::from_normal_idx(index).map_err(Error::internal)?;
        let mut key = self
            .vtxo_parent
            .derive_priv(&SECP, &[child])
            .map_err(Error::internal)?;
        let pair = key.to_keypair(&SECP);
        key.private_key.non_secure_erase();
        Ok(pair)
    }

    /// The extended public key of the VTXO keys, m/350'/0', and the proof for a server that this wallet may ask what belongs to it.
    pub fn recovery_request(
        &self,
        server: PublicKey,
        expiry: DateTime<Local>,
    ) -> (Xpub, XpubRecoveryAuthorization) {
        let xpub = Xpub::from_priv(&SECP, &self.vtxo_parent);
        (
            xpub,
            XpubRecoveryAuthorization::new(&self.vtxo_parent, server, expiry),
        )
    }

    /// The keypair of the mailbox, m/350'/1'.
    pub fn mailbox(&self) -> &Keypair {
        &self.mailbox
    }

    /// The keypair of the recovery mailbox, m/350'/2'.
    pub fn recovery_mailbox(&self) -> &Keypair {
        &self.recovery_mailbox
    }

    /// The id of the mailbox that receives payments to this wallet.
    pub fn mailbox_id(&self) -> MailboxIdentifier {
        MailboxIdentifier::from_pubkey(self.mailbox.public_key())
    }

    /// The root key, from which the on-chain wallet derives its own.
    pub fn onchain_root(&self) -> &Xpriv {
        &self.root
    }
}

impl Drop for WalletKeys {
    fn drop(&mut self) {
        self.root.private_key.non_secure_erase();
        self.vtxo_parent.private_key.non_secure_erase();
        self.mailbox.non_secure_erase();
        self.recovery_mailbox.non_secure_erase();
    }
}

fn hardened(parent: &Xpriv, index: u32) -> Xpriv {
    let child = ChildNumber::Hardened { index };
    parent
        .derive_priv(&SECP, &[child])
        .expect("a fixed index yields an invalid child key with probability 2^-127")
}

/// A VTXO key that is in use, with its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::wallet) struct RevealedKey {
    /// The last index of its derivation path.
    pub index: u32,
    /// The public key.
    pub pubkey: PublicKey,
}

/// Takes the next unused key in the caller's transaction, so that two callers never get the same key, and a key becomes free
/// again if its transaction fails (docs/protocol.md §1.3, W23, W29).
pub(in crate::wallet) fn reveal_next(tx: &WriteTx<'_>, keys: &WalletKeys) -> Result<RevealedKey> {
    let index = key::next_index(tx)?;
    let pubkey = keys.vtxo_key(index)?.public_key();
    key::insert(tx, index, &pubkey)?;
    Ok(RevealedKey { index, pubkey })
}

/// The index of a key that is in use, or is among the `gap` keys after those; then it and all keys before it count as in use
/// from now on (W2). `None` if the key is not the wallet's.
pub(in crate::wallet) fn find(
    tx: &WriteTx<'_>,
    keys: &WalletKeys,
    pubkey: &PublicKey,
    gap: u32,
) -> Result<Option<u32>> {
    if let Some(index) = key::index_of(tx, pubkey)? {
        return Ok(Some(index));
    }
    let first = key::next_index(tx)?;
    let mut unmatched = Vec::new();
    for index in first..first.saturating_add(gap) {
        let candidate = keys.vtxo_key(index)?.public_key();
        unmatched.push((index, candidate));
        if candidate == *pubkey {
            unmatched
                .iter()
                .try_for_each(|(index, pubkey)| key::insert(tx, *index, pubkey))?;
            return Ok(Some(index));
        }
    }
    Ok(None)
}

/// The indices of those of the keys that are in use, or are among the `gap` keys after the last one that is in use or found here.
/// Writes nothing: whoever takes a VTXO [reveals](reveal_to) its key.
pub(in crate::wallet) fn search(
    connection: &Connection,
    keys: &WalletKeys,
    pubkeys: impl IntoIterator<Item = PublicKey>,
    gap: u32,
) -> Result<HashMap<PublicKey, u32>> {
    let (mut found, mut unknown) = (HashMap::new(), HashSet::new());
    for pubkey in pubkeys {
        match key::index_of(connection, &pubkey)? {
            Some(index) => {
                found.insert(pubkey, index);
            }
            None => {
                unknown.insert(pubkey);
            }
        }
    }
    let mut index = key::next_index(connection)?;
    let mut end = index.saturating_add(gap);
    while index < end && !unknown.is_empty() {
        let candidate = keys.vtxo_key(index)?.public_key();
        if unknown.remove(&candidate) {
            found.insert(candidate, index);
            end = index.saturating_add(1).saturating_add(gap);
        }
        index += 1;
    }
    Ok(found)
}

/// Counts the key with this index, and all keys before it, as in use.
pub(in crate::wallet) fn reveal_to(tx: &WriteTx<'_>, keys: &WalletKeys, index: u32) -> Result<()> {
    for index in key::next_index(tx)?..=index {
        key::insert(tx, index, &keys.vtxo_key(index)?.public_key())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/protocol.md §12.
    const ABANDON: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

    fn keys(network: Network) -> WalletKeys {
        WalletKeys::new(&ABANDON.parse().unwrap(), network)
    }

    #[test]
    fn the_fingerprint_matches_the_vector() {
        assert_eq!(keys(Network::Bitcoin).fingerprint().to_string(), "53bdf6b1");
    }

    #[test]
    fn vtxo_keys_match_the_vectors() {
        let keys = keys(Network::Regtest);
        let expected = [
            "03b4fbb7f01f6116a49e81e5fd5ea121043898d3926381dd04bdc3e6e5f3fc788e",
            "02b2cf3964c5daf5a095fc9b318f5965956983ae6b39e200c44c1c0d1ebbc1a330",
            "02f0cf4d4cb47076da7c14821795aa53ff17a139df99737e2fff83ead9c71fb9c6",
        ];
        for (index, pubkey) in (0..).zip(expected) {
            assert_eq!(
                keys.vtxo_key(index).unwrap().public_key().to_string(),
                pubkey
            );
        }
    }

    #[test]
    fn the_extended_key_matches_the_vectors() {
        let mainnet = Xpub::from_priv(&SECP, &keys(Network::Bitcoin).vtxo_parent);
        assert_eq!(
            mainnet.to_string(),
            "xpub6APLJ7XsMFiTJEd8MrVL5nxmtD7P3qxDfXQNZLSpHZ4S44L4gDTpvcN83uAUkfptRcn72hvi6NGVcv8wdDhBZ1oJWt1fD7J1ui6r2CgV6ZD"
        );
        let test = Xpub::from_priv(&SECP, &keys(Network::Signet).vtxo_parent);
        assert_eq!(
            test.to_string(),
            "tpubDAkxpMMZ4Xfua2oyp3URHiJ9DLD33ETHD9zfutVxdTpKoLzmkSJv542xHwFGHAn8DXK1eHSadU6YK6dZ25YRSTFbaUkxtdxFVfhFnFwu8Sk"
        );
    }

    #[test]
    fn mailboxes_match_the_vectors() {
        let keys = keys(Network::Regtest);
        assert_eq!(
            keys.mailbox().public_key().to_string(),
            "026cfb7a866485f2e27c256af153be33d0c65c5ba531d69d85a20c33a189d5b853"
        );
        assert_eq!(
            keys.recovery_mailbox().public_key().to_string(),
            "03327681ee5d61b92b95b87cbcd5f4e56d71369edfa1e5b81766239973bb5f3077"
        );
    }
}
