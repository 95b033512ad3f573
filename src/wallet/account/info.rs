//! The wallet's identity, and what it knows about the Ark server and the chain.

use std::sync::Arc;

use ark_lib::ArkInfo;
use bitcoin::Network;
use bitcoin::bip32::Fingerprint;
use bitcoin_ext::BlockHeight;

use crate::ark::PinnedKeys;
use crate::wallet::{Error, Result, Wallet};

impl Wallet {
    /// The fingerprint of m/350', which identifies the wallet to its users and in files.
    pub fn fingerprint(&self) -> Fingerprint {
        self.keys.fingerprint()
    }

    /// The bitcoin network.
    pub fn network(&self) -> Network {
        self.network
    }

    /// Whether the Ark server answered the last check of the connection and passed all checks.
    pub fn is_connected(&self) -> bool {
        self.server.is_connected()
    }

    /// The Ark server's parameters as it last sent them.
    ///
    /// # Errors
    /// `never_connected` before the first contact since the start.
    pub fn known_info(&self) -> Result<Arc<ArkInfo>> {
        self.server.info().ok_or_else(|| {
            let message = "the Ark server has not been reached since the daemon started; GET /api/v1/wallet/connected tells when it is";
            Error::not_found("never_connected", message, "ark server")
        })
    }

    /// The height of the newest block. Asks the chain backend.
    ///
    /// # Errors
    /// `chain_unavailable`.
    pub async fn tip(&self) -> Result<BlockHeight> {
        Ok(self.chain.tip().await?.height)
    }

    /// The height that the background loop saw last, so that a payment does not wait for the chain backend. Asks the backend
    /// if the loop does not run or has no answer yet.
    ///
    /// # Errors
    /// `chain_unavailable`.
    pub(in crate::wallet) async fn recent_tip(&self) -> Result<BlockHeight> {
        match self.chain.last_tip() {
            Some(tip) if !self.settings.manual_sync => Ok(tip.height),
            _ => self.tip().await,
        }
    }

    /// The parameters of the Ark server, if it is connected.
    ///
    /// # Errors
    /// `server_unavailable` if it is not.
    pub(in crate::wallet) fn connected_info(&self) -> Result<Arc<ArkInfo>> {
        let away = || {
            let message = "the Ark server cannot be reached now; nothing was done, try again when the wallet is connected";
            Error::unavailable("server_unavailable", message)
        };
        self.server
            .info()
            .filter(|_| self.server.is_connected())
            .ok_or_else(away)
    }

    /// As [`connected_info`](Self::connected_info), for a request: shortly after the start it waits for the first connection.
    pub(in crate::wallet) async fn awaited_info(&self) -> Result<Arc<ArkInfo>> {
        self.server.first_contact().await;
        self.connected_info()
    }

    /// The Ark server's keys, which are stored at the first contact.
    ///
    /// # Errors
    /// `server_unavailable` before the first contact.
    pub(in crate::wallet) fn server_keys(&self) -> Result<PinnedKeys> {
        self.server.pinned().ok_or_else(|| {
            let message = "the wallet has never reached its Ark server and does not know its keys; try again when it is connected";
            Error::unavailable("server_unavailable", message)
        })
    }
}
