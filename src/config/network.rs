//! The networks of the API, and the default servers of a new wallet on each of them.

use bitcoin::Network;
use serde::{Deserialize, Serialize};

/// The name of a network in the API.
///
/// Mutinynet has the parameters of signet, and other default servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = BarkNetwork)]
pub enum NetworkName {
    /// Bitcoin.
    Mainnet,
    /// The public signet.
    Signet,
    /// A signet with 30 second blocks.
    Mutinynet,
    /// A private chain on the developer's machine.
    Regtest,
}

impl NetworkName {
    /// The bitcoin network behind the name.
    pub fn network(self) -> Network {
        match self {
            Self::Mainnet => Network::Bitcoin,
            Self::Signet | Self::Mutinynet => Network::Signet,
            Self::Regtest => Network::Regtest,
        }
    }

    /// The public Ark server that a wallet on this network uses by default.
    pub fn default_server(self) -> Option<&'static str> {
        match self {
            Self::Mainnet => Some("https://ark.second.tech/"),
            Self::Signet => Some("https://ark.signet.2nd.dev/"),
            Self::Mutinynet | Self::Regtest => None,
        }
    }

    /// The public Esplora server that a wallet on this network uses by default.
    pub fn default_esplora(self) -> Option<&'static str> {
        match self {
            Self::Mainnet => Some("https://mempool.second.tech/api"),
            Self::Signet => Some("https://esplora.signet.2nd.dev/"),
            Self::Mutinynet => Some("https://mutinynet.com/api"),
            Self::Regtest => None,
        }
    }
}
