//! What the wallet makes of VTXOs that somebody sent (docs/protocol.md §4.16), in a sandbox.

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
use crate::store::vtxo_body;
use crate::wallet::coins::validate::Verdict;
use crate::wallet::testing::ids;
use crate::wallet::{BoardAmount, Wallet, WalletOptions};
use arkwalletd_sandbox::chain::AutoMine;
use arkwalletd_sandbox::{Sandbox, SandboxHandle};

struct Scene {
    world: SandboxHandle,
    wallet: Arc<Wallet>,
    /// A good VTXO of the wallet.
    good: Vtxo<Full>,
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
    let id = ids(&wallet)[0];
    let good = wallet
        .store
        .read(move |connection| vtxo_body::get(connection, id))
        .await
        .unwrap();
    Scene {
        world,
        wallet,
        good,
        _folder: folder,
    }
}

impl Scene {
    async fn verdict(&self, received: &Vtxo<Full>) -> Verdict {
        let server = self.wallet.server.pinned().unwrap();
        self.wallet.judge(received, &server).await.unwrap()
    }
}

#[tokio::test]
async fn a_good_vtxo_is_accepted_with_its_anchor() {
    let scene = scene().await;
    let Verdict::Accept(anchor) = scene.verdict(&scene.good).await else {
        panic!("it is good")
    };
    assert_eq!(anchor.compute_txid(), scene.good.chain_anchor().txid);
}

#[tokio::test]
async fn a_bad_signature_is_refused() {
    let scene = scene().await;
    let mut broken = scene.good.clone();
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
    let verdict = scene.wallet.judge(&scene.good, &server).await.unwrap();
    assert!(matches!(verdict, Verdict::Refuse(_)));
}

#[tokio::test]
async fn an_htlc_is_no_payment() {
    let scene = scene().await;
    assert!(matches!(
        scene.verdict(&VTXO_VECTORS.arkoor_htlc_out_vtxo).await,
        Verdict::Refuse(_)
    ));
}

/// W1: what is not known is not decided.
#[tokio::test]
async fn an_unknown_anchor_or_a_silent_chain_decides_nothing() {
    let scene = scene().await;
    let spec = DummyTestVtxoSpec::default();
    let unknown = spec.build().1;
    let keys = PinnedKeys {
        server: unknown.server_pubkey(),
        mailbox: unknown.server_pubkey(),
    };
    let verdict = scene.wallet.judge(&unknown, &keys).await.unwrap();
    assert!(matches!(verdict, Verdict::Undecided(_)), "{verdict:?}");
    let Scene {
        world,
        wallet,
        good,
        ..
    } = scene;
    let server = wallet.server.pinned().unwrap();
    world.stop().await;
    let verdict = wallet.judge(&good, &server).await.unwrap();
    assert!(matches!(verdict, Verdict::Undecided(_)), "{verdict:?}");
}
