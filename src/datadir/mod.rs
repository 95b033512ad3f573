//! The data directory: which files it holds, how they are written, and which of them belong to the wallet.
//!
//! The directory is 0700 and each file 0600. Small files are replaced atomically and reach the disk before the call returns.
//! docs/protocol.md §21.5 describes the layout. The file names are those of barkd, so that an operator can switch in place.

mod lock;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

pub use lock::{DaemonLock, LockError, WalletLock};

const AUTH_TOKEN: &str = "auth_token";
const DAEMON_LOCK: &str = "barkd.lock";
const WALLET_LOCK: &str = "LOCK";
const MNEMONIC: &str = "mnemonic";
const CONFIG: &str = "config.toml";
const DATABASE: &str = "db.sqlite";
const DEBUG_LOG: &str = "debug.log";
const CREATION: &str = "creation.json";
const DELETION: &str = "deletion";

/// Files that may exist in the datadir when a wallet is created, because they are not part of a wallet.
const NOT_A_WALLET: [&str; 9] = [
    DEBUG_LOG,
    "stdout.log",
    "stderr.log",
    WALLET_LOCK,
    AUTH_TOKEN,
    DAEMON_LOCK,
    CONFIG,
    CREATION,
    DELETION,
];

/// The database with SQLite's journals, in the order of their removal: a journal without its database cannot be read any more.
const DATABASE_FILES: [&str; 4] = [
    "db.sqlite-wal",
    "db.sqlite-shm",
    "db.sqlite-journal",
    DATABASE,
];

/// An existing data directory.
#[derive(Debug, Clone)]
pub struct DataDir {
    path: PathBuf,
}

impl DataDir {
    /// Opens the directory; creates it (0700) and its parents if they are missing.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)?;
        Ok(Self { path })
    }

    /// Whether the group or other users can access the directory. It contains the seed, so this deserves a warning.
    pub fn is_open_to_others(&self) -> io::Result<bool> {
        Ok(std::fs::metadata(&self.path)?.permissions().mode() & 0o077 != 0)
    }

    /// The path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file with the bearer token of the REST API.
    pub fn auth_token(&self) -> PathBuf {
        self.path.join(AUTH_TOKEN)
    }

    /// The file of [`DaemonLock`].
    pub fn daemon_lock(&self) -> PathBuf {
        self.path.join(DAEMON_LOCK)
    }

    /// The file of [`WalletLock`].
    pub fn wallet_lock(&self) -> PathBuf {
        self.path.join(WALLET_LOCK)
    }

    /// The file with the seed words. A wallet exists exactly when this file does.
    pub fn mnemonic(&self) -> PathBuf {
        self.path.join(MNEMONIC)
    }

    /// The file with the wallet's configuration.
    pub fn config(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// The file with the wallet's database.
    pub fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// The file that exists while a wallet is created: what was asked for.
    pub fn creation(&self) -> PathBuf {
        self.path.join(CREATION)
    }

    /// The file that exists while a wallet is deleted: its fingerprint.
    pub fn deletion(&self) -> PathBuf {
        self.path.join(DELETION)
    }

    /// The log file, unless `--logfile` names another.
    pub fn debug_log(&self) -> PathBuf {
        self.path.join(DEBUG_LOG)
    }

    /// Names of the entries that are unknown or part of a wallet, sorted; a new wallet must not be mixed with them.
    pub fn foreign_entries(&self) -> io::Result<Vec<String>> {
        let names = self
            .names()?
            .into_iter()
            .filter(|name| !is_one_of(name, &NOT_A_WALLET))
            .collect();
        Ok(names)
    }

    /// Names of the entries that are part of a wallet, sorted.
    pub fn wallet_entries(&self) -> io::Result<Vec<String>> {
        let mut names = self.names()?;
        names.retain(|name| is_one_of(name, &[MNEMONIC]) || is_one_of(name, &DATABASE_FILES));
        Ok(names)
    }

    /// The name of a journal of the database that may hold commits, if there is one.
    pub fn journal_with_content(&self) -> Option<&'static str> {
        let mut journals = ["db.sqlite-wal", "db.sqlite-journal"].into_iter();
        journals.find(|name| std::fs::metadata(self.path.join(name)).is_ok_and(|it| it.len() > 0))
    }

    /// Removes the configuration.
    pub fn remove_config(&self) -> io::Result<()> {
        self.remove(&[CONFIG])
    }

    /// Removes the database with its journals.
    pub fn remove_database(&self) -> io::Result<()> {
        self.remove(&DATABASE_FILES)
    }

    /// Removes the seed.
    pub fn remove_seed(&self) -> io::Result<()> {
        self.remove(&[MNEMONIC])
    }

    /// Removes what only exists while a wallet is open, created or deleted.
    pub fn remove_marks(&self) -> io::Result<()> {
        self.remove(&[WALLET_LOCK, CREATION, DELETION])
    }

    /// Removes these files and the leftovers of their atomic writes. After a failure it can be repeated.
    fn remove(&self, files: &[&str]) -> io::Result<()> {
        let mut names = self.names()?;
        names.retain(|name| is_leftover_of(name, files));
        for name in names
            .iter()
            .map(String::as_str)
            .chain(files.iter().copied())
        {
            remove_if_present(&self.path.join(name))?;
        }
        sync_directory(&self.path)
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = std::fs::read_dir(&self.path)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }
}

/// Replaces the file at `path` with `content` (0600). A reader sees either the old or the new content, never a part of it.
pub fn write_atomic(path: &Path, content: &[u8]) -> io::Result<()> {
    written_beside(path, content)?
        .persist(path)
        .map_err(|e| e.error)?;
    sync_directory(split(path)?.0)
}

/// Writes a new file (0600). It is complete and on disk when this returns, and never exists in part.
///
/// # Errors
/// The file exists already, or cannot be written.
pub fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    written_beside(path, content)?
        .persist_noclobber(path)
        .map_err(|e| e.error)?;
    sync_directory(split(path)?.0)
}

/// A temporary file (0600) beside `path` with this content, which is on disk.
fn written_beside(path: &Path, content: &[u8]) -> io::Result<tempfile::NamedTempFile> {
    let (directory, name) = split(path)?;
    let mut file = tempfile::Builder::new()
        .prefix(&format!(".{name}.temp."))
        .suffix(".tmp")
        .tempfile_in(directory)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Opens a file for appending; creates it (0600) if it is missing.
pub fn open_append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

/// Removes a file if it exists.
pub fn remove_if_present(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn split(path: &Path) -> io::Result<(&Path, &str)> {
    let name = path.file_name().and_then(|name| name.to_str());
    match (path.parent(), name) {
        (Some(directory), Some(name)) => Ok((directory, name)),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the path has no file name",
        )),
    }
}

/// Makes renames and removals in the directory durable.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn is_one_of(name: &str, files: &[&str]) -> bool {
    files.contains(&name) || is_leftover_of(name, files)
}

/// Whether `name` is the leftover of an interrupted atomic write of one of `files`: `.<file>.temp.<anything>.tmp`.
fn is_leftover_of(name: &str, files: &[&str]) -> bool {
    files.iter().any(|file| {
        name.strip_prefix('.')
            .and_then(|rest| rest.strip_prefix(file))
            .is_some_and(|rest| rest.starts_with(".temp.") && rest.ends_with(".tmp"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datadir() -> (tempfile::TempDir, DataDir) {
        let temp = tempfile::tempdir().unwrap();
        let datadir = DataDir::open(temp.path().join("a/b")).unwrap();
        (temp, datadir)
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn files_are_readable_only_by_their_owner() {
        let (_temp, datadir) = datadir();
        assert_eq!(mode(datadir.path()), 0o700);
        assert!(!datadir.is_open_to_others().unwrap());
        write_atomic(&datadir.auth_token(), b"one").unwrap();
        write_atomic(&datadir.auth_token(), b"two").unwrap();
        write_new(&datadir.mnemonic(), b"words").unwrap();
        assert_eq!(mode(&datadir.auth_token()), 0o600);
        assert_eq!(mode(&datadir.mnemonic()), 0o600);
        assert_eq!(std::fs::read(datadir.auth_token()).unwrap(), b"two");
    }

    #[test]
    fn a_new_file_never_replaces_an_existing_one() {
        let (_temp, datadir) = datadir();
        write_new(&datadir.mnemonic(), b"first").unwrap();
        assert_eq!(
            write_new(&datadir.mnemonic(), b"second")
                .unwrap_err()
                .kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(std::fs::read(datadir.mnemonic()).unwrap(), b"first");
    }

    #[test]
    fn foreign_entries_are_all_but_the_known_harmless_ones() {
        let (_temp, datadir) = datadir();
        for name in NOT_A_WALLET {
            std::fs::write(datadir.path().join(name), "").unwrap();
        }
        std::fs::write(datadir.path().join(".auth_token.temp.17.0.tmp"), "").unwrap();
        assert!(datadir.foreign_entries().unwrap().is_empty());
        for name in [
            "mnemonic",
            "db.sqlite",
            "notes.txt",
            ".mnemonic.temp.17.0.tmp",
            ".auth_token.temp.17",
        ] {
            std::fs::write(datadir.path().join(name), "").unwrap();
        }
        std::fs::create_dir(datadir.path().join("dir")).unwrap();
        assert_eq!(
            datadir.foreign_entries().unwrap(),
            [
                ".auth_token.temp.17",
                ".mnemonic.temp.17.0.tmp",
                "db.sqlite",
                "dir",
                "mnemonic",
                "notes.txt"
            ]
        );
    }

    #[test]
    fn removing_the_wallet_keeps_all_other_files() {
        let (_temp, datadir) = datadir();
        let kept = ["auth_token", "barkd.lock", "debug.log", "holiday.jpg"];
        let removed = ["config.toml", "LOCK", "creation.json", "deletion"];
        let database = DATABASE_FILES.iter().chain(&[MNEMONIC]);
        for name in kept.iter().chain(&removed).chain(database) {
            std::fs::write(datadir.path().join(name), "").unwrap();
        }
        std::fs::write(datadir.path().join(".mnemonic.temp.17.0.tmp"), "").unwrap();
        for _ in 0..2 {
            datadir.remove_config().unwrap();
            datadir.remove_database().unwrap();
            datadir.remove_seed().unwrap();
            datadir.remove_marks().unwrap();
            assert_eq!(datadir.names().unwrap(), kept);
        }
    }
}
