//! Everything that derives from the seed (docs/protocol.md §1).
//!
//! The key types here have no `Debug`, are never serialized, and wipe themselves when they go.

use bip39::Mnemonic;
use bitcoin::Network;
use bitcoin::bip32::{ChildNumber, Fingerprint, Xpriv};
use bitcoin::secp256k1::{Keypair, PublicKey};
use zeroize::Zeroizing;

use ark_lib::SECP;
use ark_lib::mailbox::MailboxIdentifier;

use crate::store::{self, WriteTx, key};
use crate::wallet::{Error, Result};

/// The hardened step from the root to the wallet's own branch.
const PURPOSE: u32 = 350;

/// The wallet's keys.
pub struct WalletKeys {
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
            .expect("64 bytes of seed give a key but for one in 2^127");
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
        for spent in [&mut master, &mut mailbox, &mut recovery] {
            spent.private_key.non_secure_erase();
        }
        keys
    }

    /// The fingerprint of m/350', by which people and files name the wallet.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The key m/350'/0'/`index`.
    ///
    /// # Errors
    /// An index of 2^31 or more has no key.
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

    /// The keypair behind the mailbox id.
    pub fn mailbox(&self) -> &Keypair {
        &self.mailbox
    }

    /// The keypair behind the recovery mailbox id.
    pub fn recovery_mailbox(&self) -> &Keypair {
        &self.recovery_mailbox
    }

    /// The name of the mailbox that payments to us go to.
    pub fn mailbox_id(&self) -> MailboxIdentifier {
        MailboxIdentifier::from_pubkey(self.mailbox.public_key())
    }

    /// The root, for the on-chain wallet alone.
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
        .expect("a fixed small index derives but for one in 2^127")
}

/// A key of ours that was given out, with the index that it derives from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevealedKey {
    /// The last step of its path.
    pub index: u32,
    /// The public half.
    pub pubkey: PublicKey,
}

/// Takes the next key and notes it as given out, in the caller's transaction: two callers never get the same, and a
/// caller that fails gives it back (docs/protocol.md §1.3, W23, W29).
pub fn reveal_next(tx: &WriteTx<'_>, keys: &WalletKeys) -> Result<RevealedKey> {
    let index = key::next_index(tx)?;
    let pubkey = keys.vtxo_key(index)?.public_key();
    key::insert(tx, index, &pubkey)?;
    Ok(RevealedKey { index, pubkey })
}

/// The index of a key that was given out, or that is at most `gap` keys beyond those; then it, and all before it, count
/// as given out from now on (W2). `None` when the key is not ours.
pub fn find(
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
                .try_for_each(|(index, key)| store::key::insert(tx, *index, key))?;
            return Ok(Some(index));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::bip32::Xpub;

    /// docs/protocol.md §12.
    const ABANDON: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

    fn keys(network: Network) -> WalletKeys {
        WalletKeys::new(&ABANDON.parse().unwrap(), network)
    }

    #[test]
    fn fingerprint_is_that_of_the_wallets_branch() {
        assert_eq!(keys(Network::Bitcoin).fingerprint().to_string(), "53bdf6b1");
    }

    #[test]
    fn vtxo_keys_follow_the_vectors() {
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
    fn extended_key_follows_the_vectors() {
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
    fn mailboxes_follow_the_vectors() {
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
