//! Creation and deletion of wallets, without a chain or an Ark server.

use super::creation::Creation;
use super::delete::DeletedWallet;
use super::*;
use crate::config::Overrides;
use crate::config::{ConfigFile, NetworkName};

const WORDS: &str =
    "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

fn slot() -> (tempfile::TempDir, WalletSlot) {
    let temp = tempfile::tempdir().unwrap();
    let datadir = DataDir::open(temp.path()).unwrap();
    (
        temp,
        WalletSlot::new(datadir, Overrides::None, |_, _| tokio::spawn(async {})),
    )
}

fn request() -> CreateWallet {
    // Nothing listens on port 1, so a creation that passes all checks fails when it connects to the chain.
    let config = ConfigFile {
        server_address: Some("http://127.0.0.1:1".into()),
        esplora_address: Some("http://127.0.0.1:1".into()),
        ..ConfigFile::default()
    };
    CreateWallet {
        network: NetworkName::Regtest,
        config,
        birthday: None,
        mnemonic: None,
        force: false,
    }
}

/// The code of the error with which a creation fails.
async fn refusal(slot: &WalletSlot, request: CreateWallet) -> &'static str {
    slot.create(request).await.unwrap_err().code()
}

fn entries(slot: &WalletSlot) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(slot.datadir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn an_invalid_request_leaves_no_files() {
    let (_temp, slot) = slot();
    let words = CreateWallet {
        mnemonic: Some("abandon ".repeat(12).into()),
        ..request()
    };
    assert_eq!(refusal(&slot, words).await, "invalid_mnemonic");
    let no_server = CreateWallet {
        config: ConfigFile::default(),
        ..request()
    };
    assert_eq!(refusal(&slot, no_server).await, "missing_server");
    let gap = ConfigFile {
        vtxo_key_gap_limit: Some(100_001),
        ..request().config
    };
    assert_eq!(
        refusal(
            &slot,
            CreateWallet {
                config: gap,
                ..request()
            }
        )
        .await,
        "invalid_config"
    );
    assert!(entries(&slot).is_empty());
}

#[tokio::test]
async fn a_failed_creation_removes_its_files() {
    let (_temp, slot) = slot();
    std::fs::write(slot.datadir.auth_token(), "t").unwrap();
    assert_eq!(refusal(&slot, request()).await, "chain_unavailable");
    assert_eq!(entries(&slot), ["auth_token"]);
    std::fs::write(
        slot.datadir.config(),
        "esplora_address = \"http://127.0.0.1:1\"",
    )
    .unwrap();
    let nulls = CreateWallet {
        config: ConfigFile::default(),
        ..request()
    };
    assert_eq!(refusal(&slot, nulls).await, "chain_unavailable");
    assert!(slot.datadir.config().exists());
    assert!(slot.datadir.wallet_entries().unwrap().is_empty());
}

#[tokio::test]
async fn a_request_cannot_override_an_existing_configuration() {
    let (_temp, slot) = slot();
    std::fs::write(slot.datadir.config(), "").unwrap();
    assert_eq!(refusal(&slot, request()).await, "config_exists");
}

#[tokio::test]
async fn force_ignores_unknown_files_but_not_a_seed() {
    let (_temp, slot) = slot();
    std::fs::write(slot.datadir.path().join("holiday.jpg"), "").unwrap();
    assert_eq!(refusal(&slot, request()).await, "datadir_in_use");
    let forced = || CreateWallet {
        force: true,
        ..request()
    };
    assert_eq!(refusal(&slot, forced()).await, "chain_unavailable");
    std::fs::write(slot.datadir.mnemonic(), WORDS).unwrap();
    assert_eq!(refusal(&slot, forced()).await, "datadir_in_use");
    assert_eq!(entries(&slot), ["holiday.jpg", "mnemonic"]);
}

async fn delete(slot: &WalletSlot, dangerous: bool, fingerprint: &str) -> Result<DeletedWallet> {
    slot.delete(DeleteWallet {
        dangerous,
        fingerprint: fingerprint.to_owned(),
    })
    .await
}

/// The code of the error with which a deletion of the wallet of [`WORDS`] fails. Asserts that it names `file`, and that no file
/// changed.
async fn refused_deletion(slot: &WalletSlot, fingerprint: &str, file: &str) -> &'static str {
    let before = contents(slot);
    let error = delete(slot, true, fingerprint).await.unwrap_err();
    assert!(error.to_string().contains(file), "{error}");
    assert_eq!(contents(slot), before);
    error.code()
}

/// The names and the contents of all files but the lock and SQLite's shared memory.
fn contents(slot: &WalletSlot) -> Vec<(String, Vec<u8>)> {
    let names = entries(slot)
        .into_iter()
        .filter(|name| !["LOCK", "db.sqlite-shm", "db.sqlite-wal"].contains(&name.as_str()));
    names
        .map(|name| {
            let content = std::fs::read(slot.datadir.path().join(&name)).unwrap();
            (name, content)
        })
        .collect()
}

/// Writes the database of a wallet.
async fn write_database(slot: &WalletSlot, fingerprint: &str) {
    let store = crate::store::Store::open(&slot.datadir.database()).unwrap();
    let fingerprint = fingerprint.parse().unwrap();
    store
        .write(move |tx| crate::store::wallet::insert(tx, bitcoin::Network::Regtest, fingerprint))
        .await
        .unwrap();
}

/// The fingerprint of [`WORDS`].
const FINGERPRINT: &str = "53bdf6b1";

#[tokio::test]
async fn deletion_needs_confirmation_and_the_right_fingerprint() {
    let (_temp, slot) = slot();
    std::fs::write(slot.datadir.mnemonic(), WORDS).unwrap();
    write_database(&slot, FINGERPRINT).await;
    std::fs::write(slot.datadir.path().join("holiday.jpg"), "").unwrap();
    let unconfirmed = delete(&slot, false, FINGERPRINT).await.unwrap_err();
    assert_eq!(unconfirmed.code(), "not_confirmed");
    let wrong = refused_deletion(&slot, "00000000", "mnemonic").await;
    assert_eq!(wrong, "not_this_wallet");
    let none = DeletedWallet { fingerprint: None };
    assert_eq!(delete(&slot, true, FINGERPRINT).await.unwrap(), none);
    assert_eq!(entries(&slot), ["holiday.jpg"]);
    assert_eq!(delete(&slot, true, "anything").await.unwrap(), none);
}

#[tokio::test]
async fn the_database_of_another_wallet_is_not_deleted() {
    let (_temp, slot) = slot();
    std::fs::write(slot.datadir.mnemonic(), WORDS).unwrap();
    write_database(&slot, "11223344").await;
    let code = refused_deletion(&slot, FINGERPRINT, "db.sqlite").await;
    assert_eq!(code, "not_this_wallet");
    std::fs::remove_file(slot.datadir.mnemonic()).unwrap();
    let code = refused_deletion(&slot, FINGERPRINT, "db.sqlite").await;
    assert_eq!(code, "not_this_wallet");
    delete(&slot, true, "11223344").await.unwrap();
    assert!(entries(&slot).is_empty());
}

#[tokio::test]
async fn an_unreadable_mnemonic_is_not_deleted() {
    for content in [b"abandon abandon abandom".as_slice(), b"", b"\xff\xfe\x00"] {
        let (_temp, slot) = slot();
        std::fs::write(slot.datadir.mnemonic(), content).unwrap();
        write_database(&slot, FINGERPRINT).await;
        let code = refused_deletion(&slot, FINGERPRINT, "mnemonic").await;
        assert_eq!(code, "unreadable_wallet");
    }
}

#[tokio::test]
async fn a_database_that_cannot_be_read_is_not_deleted() {
    for make in [
        (|path| std::fs::write(path, "no database").unwrap()) as fn(&std::path::Path),
        |path| {
            let theirs = rusqlite::Connection::open(path).unwrap();
            let table = "CREATE TABLE bark_vtxo (id TEXT)";
            theirs.execute_batch(table).unwrap();
        },
    ] {
        let (_temp, slot) = slot();
        std::fs::write(slot.datadir.mnemonic(), WORDS).unwrap();
        make(&slot.datadir.database());
        let code = refused_deletion(&slot, FINGERPRINT, "db.sqlite").await;
        assert_eq!(code, "unreadable_wallet");
    }
}

#[tokio::test]
async fn a_journal_without_its_database_is_not_deleted() {
    let (_temp, slot) = slot();
    let journal = slot.datadir.path().join("db.sqlite-wal");
    std::fs::write(&journal, "committed transactions").unwrap();
    assert_eq!(
        delete(&slot, true, FINGERPRINT).await.unwrap_err().code(),
        "unreadable_wallet"
    );
    assert!(journal.exists());
}

#[tokio::test]
async fn an_interrupted_creation_can_be_deleted() {
    let (_temp, slot) = slot();
    let creation = Creation::new(&request(), false, true);
    creation.write(&slot.datadir).unwrap();
    std::fs::write(slot.datadir.mnemonic(), WORDS).unwrap();
    let found = slot.unloaded_parts().await;
    assert_eq!(found[0].code, "creation_interrupted");
    assert_eq!(found[0].subject, FINGERPRINT);
    let wrong = refused_deletion(&slot, "00000000", "mnemonic").await;
    assert_eq!(wrong, "not_this_wallet");
    delete(&slot, true, FINGERPRINT).await.unwrap();
    assert!(entries(&slot).is_empty());
    assert!(slot.unloaded_parts().await.is_empty());
}

#[tokio::test]
async fn an_interrupted_deletion_does_not_reach_the_files_of_another_wallet() {
    let (_temp, slot) = slot();
    std::fs::write(slot.datadir.deletion(), "11223344").unwrap();
    std::fs::write(slot.datadir.mnemonic(), WORDS).unwrap();
    slot.open_existing().await.unwrap();
    assert!(slot.loaded().is_none());
    let found = slot.unloaded_parts().await;
    assert_eq!(found[0].code, "deletion_interrupted");
    assert_eq!(found[0].subject, "11223344");
    assert_eq!(refusal(&slot, request()).await, "deletion_interrupted");
    let refused = refused_deletion(&slot, "11223344", "mnemonic").await;
    assert_eq!(refused, "not_this_wallet");
}

#[tokio::test]
async fn a_database_is_kept_when_the_seed_of_an_interrupted_creation_was_taken_away() {
    let (_temp, slot) = slot();
    let creation = Creation::new(&request(), false, true);
    creation.write(&slot.datadir).unwrap();
    write_database(&slot, FINGERPRINT).await;
    slot.open_existing().await.unwrap();
    let found = slot.unloaded_parts().await;
    assert_eq!(found[0].code, "seed_missing");
    assert_eq!(refusal(&slot, request()).await, "datadir_in_use");
    assert!(slot.datadir.database().exists());
}

/// The deletion of a wallet that requests go on using changes nothing.
#[tokio::test]
async fn a_wallet_that_stays_busy_is_not_deleted_and_can_be_used_again() {
    let world = arkwalletd_sandbox::Sandbox::default()
        .start()
        .await
        .unwrap();
    let (_temp, slot) = slot();
    let config = ConfigFile {
        server_address: Some(world.ark_url.clone()),
        esplora_address: Some(world.esplora_url.clone()),
        ..ConfigFile::default()
    };
    let request = CreateWallet {
        config,
        ..request()
    };
    let fingerprint = slot.create(request).await.unwrap().to_string();
    let before = entries(&slot);
    let user = slot.loaded().unwrap();
    let refused = delete(&slot, true, &fingerprint).await.unwrap_err();
    assert_eq!(refused.code(), "wallet_busy");
    assert_eq!(entries(&slot), before);

    // The wallet still gives out keys and takes operations, for this request and for the next one.
    let loaded = slot.loaded().expect("the wallet is loaded again");
    loaded.next_address().await.unwrap();
    user.next_onchain_address().await.unwrap();
    drop((user, loaded));
    let deleted = delete(&slot, true, &fingerprint).await.unwrap();
    assert_eq!(deleted.fingerprint.unwrap().to_string(), fingerprint);
    assert!(slot.loaded().is_none() && entries(&slot).len() < before.len());
    world.stop().await;
}
