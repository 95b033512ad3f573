//! The content of `config.toml`, and the environment variables that override it.
//!
//! Reading keeps only what the operator wrote: defaults and checks are in [`WalletConfig`](super::WalletConfig).
//! Writing uses the TOML serialiser, so that a value from a request cannot inject another key.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// The keys of `config.toml`, each optional and unchecked. [`WalletConfig`](super::WalletConfig) documents them.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ConfigFile {
    pub server_address: Option<String>,
    pub server_access_token: Option<String>,
    pub user_agent: Option<String>,
    pub esplora_address: Option<String>,
    pub bitcoind_address: Option<String>,
    pub bitcoind_cookiefile: Option<String>,
    pub bitcoind_user: Option<String>,
    pub bitcoind_pass: Option<String>,
    pub bitcoind_zmq_address: Option<String>,
    pub vtxo_refresh_expiry_threshold: Option<u16>,
    pub vtxo_exit_margin: Option<u16>,
    pub htlc_recv_claim_delta: Option<u16>,
    pub lightning_receive_claim_retries: Option<u8>,
    pub lightning_auto_exit: Option<bool>,
    pub socks5_proxy: Option<String>,
    pub fallback_fee_rate: Option<u64>,
    pub round_tx_required_confirmations: Option<u16>,
    pub offboard_required_confirmations: Option<u16>,
    pub offboard_lost_tx_grace_period_secs: Option<u64>,
    pub daemon_sync_interval_secs: Option<u64>,
    pub change_vtxo_split_factor: Option<u8>,
    pub daemon_manual_sync: Option<bool>,
    pub vtxo_key_gap_limit: Option<u32>,
    pub max_refresh_fee_sat: Option<u64>,
    pub max_refresh_fee_ppm: Option<u32>,
    pub max_auto_refresh_fee_sat: Option<u64>,
    pub max_auto_refresh_fee_ppm: Option<u32>,
    pub max_offboard_fee_sat: Option<u64>,
    pub max_offboard_fee_ppm: Option<u32>,
    pub max_offboard_fee_rate: Option<u64>,
    pub max_board_fee_sat: Option<u64>,
    pub max_board_fee_ppm: Option<u32>,
    pub max_lightning_send_fee_sat: Option<u64>,
    pub max_lightning_send_fee_ppm: Option<u32>,
    pub max_lightning_receive_fee_sat: Option<u64>,
    pub max_lightning_receive_fee_ppm: Option<u32>,
    pub max_exit_fee_rate_sat_per_vb: Option<u32>,
    pub exit_auto_claim: Option<bool>,
    pub exit_auto_claim_max_fee_sat: Option<u64>,
    pub exit_auto_claim_max_fee_ppm: Option<u32>,
    pub event_retention_days: Option<u32>,
    pub event_retention_rows: Option<u64>,
}

/// Shows nothing, because it holds passwords and tokens.
impl std::fmt::Debug for ConfigFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ConfigFile(…)")
    }
}

/// The type of a key's value.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Integer,
    Flag,
}

/// Every key with its type; the variable of a key is `BARK_` and the key in upper case.
const KEYS: [(&str, Kind); 42] = [
    ("server_address", Kind::Text),
    ("server_access_token", Kind::Text),
    ("user_agent", Kind::Text),
    ("esplora_address", Kind::Text),
    ("bitcoind_address", Kind::Text),
    ("bitcoind_cookiefile", Kind::Text),
    ("bitcoind_user", Kind::Text),
    ("bitcoind_pass", Kind::Text),
    ("bitcoind_zmq_address", Kind::Text),
    ("vtxo_refresh_expiry_threshold", Kind::Integer),
    ("vtxo_exit_margin", Kind::Integer),
    ("htlc_recv_claim_delta", Kind::Integer),
    ("lightning_receive_claim_retries", Kind::Integer),
    ("lightning_auto_exit", Kind::Flag),
    ("socks5_proxy", Kind::Text),
    ("fallback_fee_rate", Kind::Integer),
    ("round_tx_required_confirmations", Kind::Integer),
    ("offboard_required_confirmations", Kind::Integer),
    ("offboard_lost_tx_grace_period_secs", Kind::Integer),
    ("daemon_sync_interval_secs", Kind::Integer),
    ("change_vtxo_split_factor", Kind::Integer),
    ("daemon_manual_sync", Kind::Flag),
    ("vtxo_key_gap_limit", Kind::Integer),
    ("max_refresh_fee_sat", Kind::Integer),
    ("max_refresh_fee_ppm", Kind::Integer),
    ("max_auto_refresh_fee_sat", Kind::Integer),
    ("max_auto_refresh_fee_ppm", Kind::Integer),
    ("max_offboard_fee_sat", Kind::Integer),
    ("max_offboard_fee_ppm", Kind::Integer),
    ("max_offboard_fee_rate", Kind::Integer),
    ("max_board_fee_sat", Kind::Integer),
    ("max_board_fee_ppm", Kind::Integer),
    ("max_lightning_send_fee_sat", Kind::Integer),
    ("max_lightning_send_fee_ppm", Kind::Integer),
    ("max_lightning_receive_fee_sat", Kind::Integer),
    ("max_lightning_receive_fee_ppm", Kind::Integer),
    ("max_exit_fee_rate_sat_per_vb", Kind::Integer),
    ("exit_auto_claim", Kind::Flag),
    ("exit_auto_claim_max_fee_sat", Kind::Integer),
    ("exit_auto_claim_max_fee_ppm", Kind::Integer),
    ("event_retention_days", Kind::Integer),
    ("event_retention_rows", Kind::Integer),
];

/// Whether environment variables override `config.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overrides {
    /// The variable `BARK_<KEY>` overrides a key.
    Environment,
    /// No variable has an effect.
    #[cfg(any(test, feature = "sandbox"))]
    None,
}

impl Overrides {
    /// `file` with the overrides.
    ///
    /// # Errors
    /// A variable has a value that its key cannot hold.
    pub fn apply(self, file: &ConfigFile) -> Result<ConfigFile, ConfigError> {
        match self {
            Self::Environment => file.overridden_by(|name| std::env::var(name).ok()),
            #[cfg(any(test, feature = "sandbox"))]
            Self::None => Ok(file.clone()),
        }
    }
}

impl ConfigFile {
    /// Reads the file at `path`; a missing file counts as empty.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        match std::fs::read_to_string(path) {
            Ok(text) => text.parse(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(ConfigError::one(format!(
                "config.toml cannot be read: {e}."
            ))),
        }
    }

    /// The text of the file.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string(self).map_err(|e| {
            ConfigError::one(format!("The configuration cannot be written as TOML: {e}."))
        })
    }

    /// Replaces every key whose variable is set. An empty variable counts as unset, because compose files pass unset variables as
    /// empty ones.
    fn overridden_by(
        &self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let mut table = toml::Table::try_from(self)
            .map_err(|e| ConfigError::one(format!("The configuration cannot be read: {e}.")))?;
        let mut mistakes = Vec::new();
        for (key, kind) in KEYS {
            let name = format!("BARK_{}", key.to_uppercase());
            let Some(text) = variable(&name).filter(|text| !text.is_empty()) else {
                continue;
            };
            match value(kind, &text) {
                Some(value) => drop(table.insert(key.to_owned(), value)),
                None => mistakes.push(format!("{name} must be {}.", wanted(kind))),
            }
        }
        if !mistakes.is_empty() {
            return Err(ConfigError { mistakes });
        }
        table.try_into().map_err(|e: toml::de::Error| {
            ConfigError::one(format!(
                "A BARK_ variable has a value that its key cannot hold: {}.",
                e.message()
            ))
        })
    }
}

impl std::str::FromStr for ConfigFile {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Only the short message: the long form repeats the line, which may contain a password.
        toml::from_str(text).map_err(|e| {
            let line = e
                .span()
                .map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            ConfigError::one(format!(
                "config.toml has a mistake on line {line}: {}.",
                e.message()
            ))
        })
    }
}

fn value(kind: Kind, text: &str) -> Option<toml::Value> {
    match kind {
        Kind::Text => Some(toml::Value::String(text.to_owned())),
        Kind::Integer => text.trim().parse().ok().map(toml::Value::Integer),
        Kind::Flag => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(toml::Value::Boolean(true)),
            "false" | "0" | "no" | "off" => Some(toml::Value::Boolean(false)),
            _ => None,
        },
    }
}

fn wanted(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "text",
        Kind::Integer => "a whole number",
        Kind::Flag => "true or false",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_variable_and_every_variable_a_key() {
        let full = ConfigFile::default()
            .overridden_by(|_| Some("1".into()))
            .unwrap();
        let table = toml::Table::try_from(&full).unwrap();
        assert_eq!(
            table.len(),
            KEYS.len(),
            "a key of ConfigFile is missing from KEYS or the other way round"
        );
        for (key, _) in KEYS {
            assert!(table.contains_key(key), "{key}");
        }
    }

    #[test]
    fn a_variable_overrides_the_file() {
        let file: ConfigFile = "server_address = \"https://file\"\nvtxo_exit_margin = 3"
            .parse()
            .unwrap();
        let merged = file
            .overridden_by(|name| (name == "BARK_SERVER_ADDRESS").then(|| "https://env".to_owned()))
            .unwrap();
        assert_eq!(merged.server_address.as_deref(), Some("https://env"));
        assert_eq!(merged.vtxo_exit_margin, Some(3));
    }

    #[test]
    fn an_empty_variable_is_unset_and_an_invalid_one_is_named() {
        let file: ConfigFile = "user_agent = \"shop/1\"".parse().unwrap();
        assert_eq!(file.overridden_by(|_| Some(String::new())).unwrap(), file);
        let error = file
            .overridden_by(|name| (name == "BARK_VTXO_EXIT_MARGIN").then(|| "soon".to_owned()))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "BARK_VTXO_EXIT_MARGIN must be a whole number."
        );
        assert!(file.overridden_by(|name| (name == "BARK_VTXO_EXIT_MARGIN").then(|| "70000".to_owned())).is_err());
    }

    #[test]
    fn unknown_keys_are_ignored_and_errors_do_not_repeat_the_line() {
        "future_key = 3".parse::<ConfigFile>().unwrap();
        let error = "bitcoind_user = \"u\"\nbitcoind_pass = hunter2"
            .parse::<ConfigFile>()
            .unwrap_err()
            .to_string();
        assert!(error.contains("line 2"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_value_cannot_inject_a_key() {
        let hostile = "x\"\nserver_address = \"https://thief";
        let file = ConfigFile {
            bitcoind_pass: Some(hostile.to_owned()),
            ..ConfigFile::default()
        };
        assert_eq!(file.to_toml().unwrap().parse::<ConfigFile>().unwrap(), file);
    }
}
