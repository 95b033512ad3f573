//! Creation and deletion of wallets, without a chain or an Ark server.

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

#[tokio::test]
async fn deletion_needs_confirmation_and_the_right_fingerprint() {
    let (_temp, slot) = slot();
    std::fs::write(slot.datadir.mnemonic(), WORDS).unwrap();
    std::fs::write(slot.datadir.path().join("holiday.jpg"), "").unwrap();
    let delete = |dangerous, fingerprint: &str| {
        slot.delete(DeleteWallet {
            dangerous,
            fingerprint: fingerprint.to_owned(),
        })
    };
    let owner = slot.fingerprint_on_disk().unwrap().unwrap().to_string();
    assert_eq!(
        delete(false, &owner).await.unwrap_err().code(),
        "not_confirmed"
    );
    assert_eq!(
        delete(true, "00000000").await.unwrap_err().code(),
        "wrong_fingerprint"
    );
    assert_eq!(
        delete(true, &owner).await.unwrap(),
        DeletedWallet { fingerprint: None }
    );
    assert_eq!(entries(&slot), ["holiday.jpg"]);
    assert_eq!(
        delete(true, "anything").await.unwrap(),
        DeletedWallet { fingerprint: None }
    );
}
