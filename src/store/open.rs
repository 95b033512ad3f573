//! Opening the database file: check of the owner, settings, schema.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use include_dir::{Dir, include_dir};
use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::Migrations;

use super::{Error, wallet};

/// The SQLite application id of arkwalletd: "arkw" in ASCII.
const APPLICATION_ID: i32 = 0x6172_6b77;

/// Bytes of a page. A commit writes whole pages, and a payment changes a few small rows on many of them.
const PAGE_SIZE: u32 = 1024;
/// The length of the write-ahead log at which it is copied into the database: 4 MiB, as with SQLite's own page size and default.
const CHECKPOINT_PAGES: u32 = 4096;

static MIGRATION_FILES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/migrations");

static MIGRATIONS: LazyLock<Migrations<'static>> = LazyLock::new(|| {
    Migrations::from_directory(&MIGRATION_FILES)
        .expect("the embedded migrations are well-formed, as a test proves")
});

/// Opens the file for writing, with the schema up to date.
pub(super) fn writable(path: &Path) -> Result<Connection, Error> {
    check_owner(path)?;
    let file = |source| Error::File {
        path: path.to_owned(),
        source,
    };
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(file)?;

    let mut connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    // Takes effect in a new file only, and before anything is written to it.
    connection.pragma_update(None, "page_size", PAGE_SIZE)?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.set_prepared_statement_cache_capacity(128);
    match MIGRATIONS.to_latest(&mut connection) {
        Ok(()) => {
            // After a failed sync, the kernel can show commits that the disk does not have; copying them writes them once more.
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
            Ok(connection)
        }
        Err(rusqlite_migration::Error::MigrationDefinition(
            rusqlite_migration::MigrationDefinitionError::DatabaseTooFarAhead,
        )) => Err(Error::TooNew {
            path: path.to_owned(),
        }),
        Err(error) => Err(error.into()),
    }
}

/// Opens the file for reading only.
pub(super) fn readable(path: &Path) -> Result<Connection, Error> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// The identity of the wallet in a file; `None` if there is no file, or no wallet in it. Only reads.
pub(super) fn owner(path: &Path) -> Result<Option<wallet::WalletRow>, Error> {
    check_owner(path)?;
    if !path.exists() {
        return Ok(None);
    }
    let connection = readable(path)?;
    let has_table = connection.table_exists(None, "wallet")?;
    if has_table {
        wallet::get(&connection)
    } else {
        Ok(None)
    }
}

/// The rollback journal of a database.
fn journal_of(path: &Path) -> PathBuf {
    let mut journal = path.as_os_str().to_owned();
    journal.push("-journal");
    journal.into()
}

/// Undoes a commit that was interrupted before the database had its write-ahead log, which a connection that only reads cannot do. For a
/// database that is certainly our own.
pub(super) fn roll_back(path: &Path) -> Result<(), Error> {
    if !journal_of(path).exists() {
        return Ok(());
    }
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))?;
    Ok(())
}

/// Refuses a file of another program. Only reads.
fn check_owner(path: &Path) -> Result<(), Error> {
    let foreign = || Error::Foreign {
        path: path.to_owned(),
    };
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > 0 => {}
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(Error::File {
                path: path.to_owned(),
                source,
            });
        }
    }
    let connection = readable(path)?;
    let id: i32 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(|_| foreign())?;
    if id == APPLICATION_ID {
        Ok(())
    } else {
        Err(foreign())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_well_formed() {
        MIGRATIONS.validate().unwrap();
    }

    #[test]
    fn another_programs_database_is_refused_and_left_untouched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db.sqlite");
        Connection::open(&path)
            .unwrap()
            .execute_batch("CREATE TABLE theirs (x)")
            .unwrap();
        let before = std::fs::read(&path).unwrap();
        assert!(matches!(writable(&path), Err(Error::Foreign { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_interrupted_first_commit_is_undone() {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy) = (folder.path().join("db.sqlite"), folder.path().join("copy"));
        let writing = Connection::open(&path).unwrap();
        let begin = "PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN; CREATE TABLE filler (x);
                     INSERT INTO filler SELECT randomblob(100000) FROM (VALUES (1), (2), (3))";
        writing.execute_batch(begin).unwrap();
        std::fs::copy(&path, &copy).unwrap();
        std::fs::copy(journal_of(&path), journal_of(&copy)).unwrap();
        assert!(std::fs::metadata(&copy).unwrap().len() > 0);
        assert!(owner(&copy).is_err());
        roll_back(&copy).unwrap();
        assert!(owner(&copy).unwrap().is_none());
        writable(&copy).unwrap();
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db.sqlite");
        writable(&path)
            .unwrap()
            .pragma_update(None, "user_version", 9999)
            .unwrap();
        assert!(matches!(writable(&path), Err(Error::TooNew { .. })));
    }

    #[test]
    fn a_new_file_has_small_pages() {
        let folder = tempfile::tempdir().unwrap();
        let connection = writable(&folder.path().join("db.sqlite")).unwrap();
        let size: u32 = connection
            .pragma_query_value(None, "page_size", |row| row.get(0))
            .unwrap();
        assert_eq!(size, PAGE_SIZE);
    }

    #[test]
    fn the_file_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db.sqlite");
        writable(&path).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}
