//! What the server does about outputs that are on chain.

use serde::{Deserialize, Serialize};

/// Settings of the watch over outputs that are on chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct WatchmanConfig {
    /// Whether exits are noticed. A server that does not lets exited VTXOs be spent off chain for ever.
    pub tracking: bool,
    /// Whether the server reacts by itself, after each block.
    pub reactions: bool,
    /// Whether it sweeps what has expired, too.
    pub sweeps: bool,
    /// Whether it takes the outputs of forfeits, which reveals the preimages.
    pub claims: bool,
    /// Blocks from the confirmation of an output to the broadcast of the transaction that follows it.
    pub delay: u32,
}

impl Default for WatchmanConfig {
    fn default() -> WatchmanConfig {
        WatchmanConfig {
            tracking: true,
            reactions: true,
            sweeps: false,
            claims: true,
            delay: 2,
        }
    }
}

/// New values of the settings; those that are absent stay.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WatchmanChange {
    /// See [`WatchmanConfig::tracking`].
    pub tracking: Option<bool>,
    /// See [`WatchmanConfig::reactions`].
    pub reactions: Option<bool>,
    /// See [`WatchmanConfig::sweeps`].
    pub sweeps: Option<bool>,
    /// See [`WatchmanConfig::claims`].
    pub claims: Option<bool>,
    /// See [`WatchmanConfig::delay`].
    pub delay: Option<u32>,
}

impl WatchmanConfig {
    /// Takes over the new values.
    pub fn apply(&mut self, change: WatchmanChange) {
        *self = WatchmanConfig {
            tracking: change.tracking.unwrap_or(self.tracking),
            reactions: change.reactions.unwrap_or(self.reactions),
            sweeps: change.sweeps.unwrap_or(self.sweeps),
            claims: change.claims.unwrap_or(self.claims),
            delay: change.delay.unwrap_or(self.delay),
        };
    }
}
