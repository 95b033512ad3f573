//! Validation of received VTXOs against a sandbox (docs/protocol.md §4.16).

use std::sync::Arc;
use std::time::Duration;

use ark_lib::test_util::VTXO_VECTORS;
use ark_lib::test_util::dummy::DummyTestVtxoSpec;
use ark_lib::vtxo::Full;
use ark_lib::{SECP, Vtxo};
use bitcoin::secp256k1::SecretKey;
use bitcoin::{Amount, FeeRate, Network};

use crate::ark::PinnedKeys;
use crate::config::{ConfigFile, WalletConfig};
use crate::wallet::coins::validate::Verdict;
use crate::wallet::{BoardAmount, Wallet, WalletOptions};
use arkwalletd_sandbox::chain::AutoMine;
use arkwalletd_sandbox::{Sandbox, SandboxHandle};

struct Scene {
    world: SandboxHandle,
    wallet: Arc<Wallet>,
    /// The board's VTXO.
    valid: Vtxo<Full>,
    _folder: tempfile::TempDir,
}

/// A wallet with one board, without background loops.
async fn scene() -> Scene {
    let auto_mine = AutoMine {
        on: false,
        delay: Duration::ZERO,
    };
    let world = Sandbox {
        auto_mine,
        ..Sandbox::default()
    }
    .start()
    .await
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = ConfigFile {
        server_address: Some(world.ark_url.clone()),
        esplora_address: Some(world.esplora_url.clone()),
        ..ConfigFile::default()
    };
    let options = WalletOptions {
        config: Arc::new(WalletConfig::check(&file).unwrap()),
        network: Some(Network::Regtest),
        mnemonic: bip39::Mnemonic::generate(12).unwrap(),
        restored: false,
        birthday: None,
        database: folder.path().join("db.sqlite"),
        allow_offline_server: false,
    };
    let wallet = Wallet::create(options).await.unwrap();
    let address = wallet.next_onchain_address().await.unwrap();
    let rate = FeeRate::from_sat_per_vb_u32(2);
    world
        .faucet
        .pay(address.script_pubkey(), Amount::from_sat(50_000), rate)
        .await
        .unwrap();
    world.chain.mine(1).await.unwrap();
    wallet.sync_onchain().await.unwrap();
    wallet
        .board(BoardAmount::Exact(Amount::from_sat(20_000)))
        .await
        .unwrap();
    world.chain.mine(1).await.unwrap();
    wallet.sync().await;
    let id = wallet.store.live_vtxos().iter().next().unwrap().id;
    let valid = wallet.full_vtxos(vec![id]).await.unwrap().remove(0);
    Scene {
        world,
        wallet,
        valid,
        _folder: folder,
    }
}

impl Scene {
    /// The verdict of a wallet whose Ark server has these keys.
    async fn verdict_with(&self, received: &Vtxo<Full>, server: &PinnedKeys) -> Verdict {
        self.wallet.validate_received(received, server).await
    }

    async fn verdict(&self, received: &Vtxo<Full>) -> Verdict {
        let server = self.wallet.server_keys().unwrap();
        self.verdict_with(received, &server).await
    }
}

#[tokio::test]
async fn a_valid_vtxo_is_accepted_with_its_anchor() {
    let scene = scene().await;
    let Verdict::Accept(known) = scene.verdict(&scene.valid).await else {
        panic!("a valid VTXO was not accepted")
    };
    assert_eq!(known.anchor.compute_txid(), scene.valid.chain_anchor().txid);
}

#[tokio::test]
async fn an_invalid_signature_is_refused() {
    let scene = scene().await;
    let mut broken = scene.valid.clone();
    broken.invalidate_final_sig();
    assert!(matches!(scene.verdict(&broken).await, Verdict::Refuse(_)));
}

#[tokio::test]
async fn a_vtxo_of_another_server_is_refused() {
    let scene = scene().await;
    let other = SecretKey::from_slice(&[7; 32]).unwrap().public_key(&SECP);
    let server = PinnedKeys {
        server: other,
        mailbox: other,
    };
    let verdict = scene.verdict_with(&scene.valid, &server).await;
    assert!(matches!(verdict, Verdict::Refuse(_)));
}

#[tokio::test]
async fn an_htlc_is_refused() {
    let scene = scene().await;
    let verdict = scene.verdict(&VTXO_VECTORS.arkoor_htlc_out_vtxo).await;
    assert!(matches!(verdict, Verdict::Refuse(_)));
}

/// W1: a chain backend that lacks the anchor or does not answer proves nothing.
#[tokio::test]
async fn an_unknown_anchor_or_an_unreachable_chain_leaves_the_verdict_undecided() {
    let scene = scene().await;
    let unknown = DummyTestVtxoSpec::default().build().1;
    let keys = PinnedKeys {
        server: unknown.server_pubkey(),
        mailbox: unknown.server_pubkey(),
    };
    let verdict = scene.verdict_with(&unknown, &keys).await;
    assert!(matches!(verdict, Verdict::Undecided(_)), "{verdict:?}");
    let Scene {
        world,
        wallet,
        valid,
        ..
    } = scene;
    let server = wallet.server_keys().unwrap();
    world.stop().await;
    let verdict = wallet.validate_received(&valid, &server).await;
    assert!(matches!(verdict, Verdict::Undecided(_)), "{verdict:?}");
}
