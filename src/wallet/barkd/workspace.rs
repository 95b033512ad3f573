//! The folder in which an import makes the fresh datadir. It has a copy of the seed, so nothing of it is left for long: it is removed at the
//! end, and after a kill by the next import to the same datadir.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::failed;
use crate::datadir::{DaemonLock, LockError};
use crate::wallet::{Error, Result};

/// A folder beside the new datadir, which only its owner may enter.
pub(super) struct Workspace {
    path: PathBuf,
    _lock: DaemonLock,
}

impl Workspace {
    /// Makes the folder for an import to the datadir `to`, in `parent`, and removes what an earlier import has left there.
    ///
    /// # Errors
    /// `import_running` if another import to this datadir runs; `file_error`.
    pub(super) fn make(parent: &Path, to: &Path) -> Result<Workspace> {
        let name = to.file_name().unwrap_or_default().to_string_lossy();
        let path = parent.join(format!(".arkwalletd-import.{name}"));
        let lock = path.join("barkd.lock");
        if path.exists() {
            let left = take(&lock, to)?;
            tracing::warn!(path = %path.display(), "an import was killed; removing the copy of the seed that it has left");
            std::fs::remove_dir_all(&path).map_err(|error| failed(&path, &error))?;
            drop(left);
        }
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => running(to),
            _ => failed(&path, &error),
        })?;
        Ok(Workspace {
            _lock: take(&lock, to)?,
            path,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the folder of the import, which may have a copy of the seed; remove it");
        }
    }
}

fn take(lock: &Path, to: &Path) -> Result<DaemonLock> {
    DaemonLock::take(lock).map_err(|error| match error {
        LockError::Held { .. } => running(to),
        LockError::Io { .. } => failed(lock, &error),
    })
}

fn running(to: &Path) -> Error {
    let message = format!(
        "another import to {} is running; wait until it has ended",
        to.display()
    );
    Error::conflict("import_running", message)
}
