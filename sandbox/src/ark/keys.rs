//! The server's keys, all derived from one seed, so that they survive every restart (docs/protocol.md §30.5).

use anyhow::Context;
use ark_lib::SECP;
use bitcoin::NetworkKind;
use bitcoin::bip32::{DerivationPath, Xpriv};
use bitcoin::secp256k1::Keypair;

use crate::coin_wallet::CoinKey;

/// Keys that clients know or that sign with them, and the key of the server's own money.
pub struct Keys {
    /// Cosigns every VTXO.
    pub server: Keypair,
    /// Unblinds the mailbox ids that senders post to.
    pub mailbox: Keypair,
    /// Owns the VTXOs that Lightning receives are granted from.
    pub pool: Keypair,
    /// Signs the invoices of the server's Lightning node.
    pub lightning: Keypair,
    /// Signs for the world, the other Lightning node of the sandbox.
    pub world: Keypair,
    /// Holds the server's own coins.
    pub coins: CoinKey,
}

impl Keys {
    /// Derives the keys under their fixed hardened paths.
    pub fn from_seed(seed: &[u8; 32]) -> anyhow::Result<Keys> {
        let master = Xpriv::new_master(NetworkKind::Test, seed).context("seed gives no key")?;
        let derive = |path: &str| -> anyhow::Result<Keypair> {
            let path: DerivationPath = path.parse()?;
            Ok(master.derive_priv(&*SECP, &path)?.to_keypair(&*SECP))
        };
        Ok(Keys {
            server: derive("m/2'/0'")?,
            mailbox: derive("m/2'/1'")?,
            pool: derive("m/2'/2'")?,
            lightning: derive("m/2'/3'")?,
            world: derive("m/2'/4'")?,
            coins: CoinKey::derive(seed, "ark server"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_gives_the_same_two_keys() {
        let keys = Keys::from_seed(&[7; 32]).unwrap();
        let again = Keys::from_seed(&[7; 32]).unwrap();
        assert_eq!(keys.server, again.server);
        assert_eq!(keys.mailbox, again.mailbox);
        assert_ne!(keys.server, keys.mailbox);
        assert_ne!(keys.server, Keys::from_seed(&[8; 32]).unwrap().server);
    }
}
