//! The two locks of a datadir. The operating system releases both when the process ends, so that a crash leaves no lock behind.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, fcntl_lock, flock};

/// Prevents a second daemon on the datadir: an exclusive `flock` on `barkd.lock`, held while the daemon runs.
///
/// `flock` belongs to the open file, so it also works between two daemons of one process.
#[derive(Debug)]
pub struct DaemonLock {
    file: File,
}

/// Marks the wallet as open: an exclusive POSIX lock on `LOCK`, which other programs on the same datadir respect.
///
/// A POSIX lock ends as soon as the process closes *any* handle of the file. Therefore nothing else may open `LOCK` while this lock is
/// held; [`DaemonLock`] ensures that there is only one.
#[derive(Debug)]
pub struct WalletLock {
    _file: File,
}

/// The reason why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process (or another daemon in this one) holds it.
    #[error("{} is locked{}", path.display(), holder.as_ref().map(|pid| format!(" by process {pid}")).unwrap_or_default())]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The pid that the holder wrote into the file, if it is readable.
        holder: Option<String>,
    },
    /// The file could not be opened or written.
    #[error("cannot lock {}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

impl DaemonLock {
    /// Takes the lock without waiting.
    ///
    /// # Errors
    /// Another process holds it, or the file cannot be opened or written.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        take(path, |file| {
            flock(file, FlockOperation::NonBlockingLockExclusive)
        })
        .map(|file| Self { file })
    }
}

impl DaemonLock {
    /// Takes the lock of a datadir that is only read: beside other readers, and without changing the file. `None` without a file.
    ///
    /// # Errors
    /// A daemon holds it, or the file cannot be opened.
    pub fn share(path: &Path) -> Result<Option<Self>, LockError> {
        let lock = |file: &File| flock(file, FlockOperation::NonBlockingLockShared);
        Ok(share(path, lock)?.map(|file| Self { file }))
    }
}

impl Drop for DaemonLock {
    /// A child process shares the open file until it executes its program, and would hold the lock that long.
    fn drop(&mut self) {
        // An error is of no use here: closing the file releases the lock as well.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl WalletLock {
    /// Takes the lock without waiting.
    ///
    /// # Errors
    /// Another process holds it, or the file cannot be opened or written.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        take(path, |file| {
            fcntl_lock(file, FlockOperation::NonBlockingLockExclusive)
        })
        .map(|file| Self { _file: file })
    }
}

impl WalletLock {
    /// As [`DaemonLock::share`].
    ///
    /// # Errors
    /// Another process holds it, or the file cannot be opened.
    pub fn share(path: &Path) -> Result<Option<Self>, LockError> {
        let lock = |file: &File| fcntl_lock(file, FlockOperation::NonBlockingLockShared);
        Ok(share(path, lock)?.map(|file| Self { _file: file }))
    }
}

fn share(
    path: &Path,
    lock: impl Fn(&File) -> rustix::io::Result<()>,
) -> Result<Option<File>, LockError> {
    let io = |source| LockError::Io {
        path: path.to_owned(),
        source,
    };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    locked(&mut file, path, lock)?;
    Ok(Some(file))
}

fn locked(
    file: &mut File,
    path: &Path,
    lock: impl Fn(&File) -> rustix::io::Result<()>,
) -> Result<(), LockError> {
    match lock(file) {
        Ok(()) => Ok(()),
        // On some systems fcntl reports a lock of another process as EACCES.
        Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::ACCESS) => Err(LockError::Held {
            path: path.to_owned(),
            holder: holder(file),
        }),
        Err(errno) => Err(LockError::Io {
            path: path.to_owned(),
            source: errno.into(),
        }),
    }
}

fn take(path: &Path, lock: impl Fn(&File) -> rustix::io::Result<()>) -> Result<File, LockError> {
    let io = |source| LockError::Io {
        path: path.to_owned(),
        source,
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(io)?;
    locked(&mut file, path, lock)?;
    write_pid(&mut file).map_err(io)?;
    Ok(file)
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "{}", std::process::id())?;
    file.flush()
}

fn holder(file: &mut File) -> Option<String> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    let pid = text.trim();
    (!pid.is_empty() && pid.bytes().all(|b| b.is_ascii_digit())).then(|| pid.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_and_gets_the_pid_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("barkd.lock");
        let first = DaemonLock::take(&path).unwrap();
        match DaemonLock::take(&path) {
            Err(LockError::Held { holder, .. }) => {
                assert_eq!(holder, Some(std::process::id().to_string()));
            }
            other => panic!("{other:?}"),
        }
        drop(first);
        DaemonLock::take(&path).unwrap();
    }

    #[test]
    fn the_pid_replaces_an_older_and_longer_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        std::fs::write(&path, "99999999999999").unwrap();
        let _lock = WalletLock::take(&path).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            std::process::id().to_string()
        );
    }
}
