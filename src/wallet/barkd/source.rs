//! The datadir of barkd: what makes it one, whether it can be taken over, and its content.

use std::path::Path;

use bip39::{Language, Mnemonic};
use rusqlite::Connection;
use zeroize::Zeroizing;

use super::failed;
use crate::config::{ConfigFile, FeeCeilings, Overrides, WalletConfig};
use crate::datadir::{DaemonLock, LockError, WalletLock};
use crate::store::barkd::{self, BarkdWallet};
use crate::wallet::account::keys::WalletKeys;
use crate::wallet::{Error, Result};

/// The files of barkd, by the names that arkwalletd uses too.
const DATABASE: &str = "db.sqlite";
const MNEMONIC: &str = "mnemonic";

/// How many things under way a refusal names.
const MOST_NAMED: usize = 50;

/// The content of a datadir of barkd.
pub(super) struct Source {
    pub(super) wallet: BarkdWallet,
    pub(super) keys: WalletKeys,
    pub(super) words: Zeroizing<String>,
    pub(super) config: Vec<u8>,
    /// What the configuration allows the Ark server to charge.
    pub(super) ceilings: FeeCeilings,
    /// The token of its API, if it has one.
    pub(super) auth_token: Option<Vec<u8>>,
}

/// Whether a folder is a datadir of barkd. Changes nothing in it.
pub fn is_barkd(folder: &Path) -> bool {
    barkd::schema(&folder.join(DATABASE)).is_ok_and(|version| version.is_some())
}

/// Checks that a folder is a datadir of barkd 0.8.0 with a wallet.
pub(super) fn check(from: &Path) -> Result<()> {
    let not_barkd = |why: &str| {
        let message = format!(
            "{} is not the datadir of a barkd wallet: {why}",
            from.display()
        );
        Error::bad_request("not_barkd", message)
    };
    let version = barkd::schema(&from.join(DATABASE))?;
    let version = version.ok_or_else(|| not_barkd("it has no db.sqlite of barkd"))?;
    if !from.join(MNEMONIC).is_file() {
        return Err(not_barkd("it has no mnemonic"));
    }
    let advice = match version {
        barkd::SCHEMA => return Ok(()),
        older if older < barkd::SCHEMA => {
            "an older barkd; start barkd 0.8.0 on it once, which upgrades it, and stop it"
        }
        _ => "a newer barkd than 0.8.0; look for a release of arkwalletd that knows it",
    };
    let message = format!(
        "{} was written by {advice} (schema {version}, expected {})",
        from.display(),
        barkd::SCHEMA
    );
    Err(Error::bad_request("other_barkd_version", message))
}

/// Keeps barkd from starting on its datadir. Changes nothing in it.
pub(super) fn lock(from: &Path) -> Result<(Option<DaemonLock>, Option<WalletLock>)> {
    let running = |error: LockError| match error {
        LockError::Held { .. } => {
            let message = format!("barkd is running on {}; stop it first", from.display());
            Error::conflict("barkd_running", message)
        }
        LockError::Io { .. } => failed(from, &error),
    };
    let daemon = DaemonLock::share(&from.join("barkd.lock")).map_err(running)?;
    let wallet = WalletLock::share(&from.join("LOCK")).map_err(running)?;
    Ok((daemon, wallet))
}

/// Reads the datadir. The database is copied into `beside` and read there.
pub(super) fn read(from: &Path, beside: &Path) -> Result<Source> {
    let words = file(from, MNEMONIC)?.unwrap_or_default();
    let words = String::from_utf8_lossy(&words);
    let words = Zeroizing::new(words.trim().to_owned());
    let mnemonic = Mnemonic::parse_in(Language::English, words.as_str()).map_err(|_| {
        let message = format!("mnemonic in {} is not a BIP-39 phrase", from.display());
        Error::bad_request("invalid_mnemonic", message)
    })?;
    let config = file(from, "config.toml")?.unwrap_or_default();
    let parsed: ConfigFile = String::from_utf8_lossy(&config).parse()?;
    let settings = WalletConfig::check(&Overrides::Environment.apply(&parsed)?)?;

    // With its journal, in which a barkd that was killed has left what it did not finish.
    for name in [DATABASE, "db.sqlite-journal", "db.sqlite-wal"] {
        match std::fs::copy(from.join(name), beside.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(&from.join(name), &error));
            }
            _ => {}
        }
    }
    let connection = Connection::open(beside.join(DATABASE));
    let connection = connection.map_err(crate::store::Error::from)?;
    let under_way = barkd::under_way(&connection)?;
    if !under_way.is_empty() {
        let named = under_way.iter().take(MOST_NAMED).map(String::as_str);
        let mut named = named.collect::<Vec<_>>().join(", ");
        if under_way.len() > MOST_NAMED {
            named += &format!(" and {} more", under_way.len() - MOST_NAMED);
        }
        let message = format!(
            "barkd has not finished: {named}. Start it again, let it finish or cancel these, and stop it"
        );
        return Err(Error::conflict("barkd_busy", message).with_resources(under_way));
    }
    let unknown = barkd::unknown_kinds(&connection)?;
    if !unknown.is_empty() {
        let message = format!(
            "the history of barkd has entries that this release of arkwalletd does not have: {}",
            unknown.join(", ")
        );
        return Err(Error::bad_request("unknown_history", message));
    }
    let wallet = barkd::read(&connection)?;
    let keys = WalletKeys::new(&mnemonic, wallet.identity.network);
    if keys.fingerprint() != wallet.identity.fingerprint {
        let message = format!(
            "mnemonic in {} belongs to wallet {}, its database to wallet {}",
            from.display(),
            keys.fingerprint(),
            wallet.identity.fingerprint
        );
        return Err(Error::bad_request("wrong_mnemonic", message));
    }
    Ok(Source {
        wallet,
        keys,
        words,
        config,
        ceilings: settings.fee_ceilings,
        auth_token: file(from, "auth_token")?,
    })
}

/// The content of a file; `None` if there is none.
fn file(from: &Path, name: &str) -> Result<Option<Vec<u8>>> {
    let path = from.join(name);
    match std::fs::read(&path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(&path, &error)),
    }
}
