//! Takes over a wallet of barkd 0.8.0: its datadir is read, never changed, and a fresh datadir is made of it (docs/protocol.md §21.8).
//!
//! The fresh datadir is complete or does not exist: it is made under another name and renamed at the end. Nothing is taken over while
//! barkd has anything under way, because only barkd can bring that to its end.

mod source;
mod workspace;
mod write;

use std::path::Path;

use bitcoin::bip32::Fingerprint;

use crate::datadir::{self, DataDir};
use crate::model::VtxoState;
use crate::store::barkd;
use crate::wallet::{CommitPoint, Error, Result};

pub use source::is_barkd;

/// What was taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportedWallet {
    /// The fingerprint.
    pub fingerprint: Fingerprint,
    /// The number of VTXOs in every state.
    pub vtxos: usize,
    /// The number of those that can be spent.
    pub spendable: usize,
    /// The length of the history.
    pub movements: usize,
}

/// Makes the datadir `to` of the datadir `from` of barkd 0.8.0.
///
/// # Errors
/// `not_barkd`, `other_barkd_version`, `barkd_running`, `barkd_busy` if barkd has something under way, `unknown_history`, `target_in_use` if
/// `to` exists and is not empty, `import_running` if another import to `to` runs, `invalid_config`, `invalid_mnemonic`, `wrong_mnemonic`, `file_error`; an internal error if a file cannot be read or written. `to` is as
/// it was before.
pub async fn import_barkd(from: &Path, to: &Path) -> Result<ImportedWallet> {
    source::check(from)?;
    check_target(to)?;
    let _locks = source::lock(from)?;
    let parent = match to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(parent).map_err(|error| failed(parent, &error))?;
    let beside = workspace::Workspace::make(parent, to)?;
    let source = source::read(from, beside.path())?;
    let imported = ImportedWallet {
        fingerprint: source.wallet.identity.fingerprint,
        vtxos: source.wallet.vtxos.len(),
        spendable: spendable(&source.wallet),
        movements: source.wallet.movements.len(),
    };
    let fresh = DataDir::open(beside.path().join("fresh")).map_err(|error| failed(to, &error))?;
    write::datadir(&fresh, source).await?;
    CommitPoint::WalletImported.step(|| {
        // It replaces an empty folder, and no other.
        std::fs::rename(fresh.path(), to).map_err(|error| failed(to, &error))?;
        datadir::sync_directory(parent).map_err(|error| failed(parent, &error))
    })?;
    Ok(imported)
}

fn spendable(wallet: &barkd::BarkdWallet) -> usize {
    let vtxos = wallet.vtxos.iter();
    vtxos.filter(|it| it.state == VtxoState::Spendable).count()
}

fn check_target(to: &Path) -> Result<()> {
    let is_free = match std::fs::read_dir(to) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    if is_free {
        return Ok(());
    }
    let message = format!(
        "{} exists and is not an empty folder; name another one with --datadir",
        to.display()
    );
    Err(Error::conflict("target_in_use", message))
}

/// A file that cannot be read or written.
fn failed(path: &Path, error: &dyn std::fmt::Display) -> Error {
    let message = format!(
        "{} cannot be read or written ({error}); nothing was imported. Check the path and its permissions",
        path.display()
    );
    Error::bad_request("file_error", message)
}
