//! Validation of received VTXOs against a sandbox (docs/protocol.md §4.16).

use ark_lib::test_util::VTXO_VECTORS;
use ark_lib::test_util::dummy::DummyTestVtxoSpec;
use ark_lib::vtxo::Full;
use ark_lib::{SECP, Vtxo};
use bitcoin::secp256k1::SecretKey;

use crate::ark::PinnedKeys;
use crate::wallet::coins::validate::Verdict;
use crate::wallet::testing::{Running, World};
use arkwalletd_sandbox::ark::Params;

/// A wallet with one board.
struct Scene {
    world: World,
    running: Running,
    /// The board's VTXO.
    valid: Vtxo<Full>,
}

async fn scene() -> Scene {
    let world = World::new(Params::free()).await;
    let running = world.create().await;
    let id = world.fund(&running.wallet, 20_000).await;
    let valid = running.wallet.full_vtxos(vec![id]).await.unwrap().remove(0);
    Scene {
        world,
        running,
        valid,
    }
}

impl Scene {
    /// The verdict of a wallet whose Ark server has these keys.
    async fn verdict_with(&self, received: &Vtxo<Full>, server: &PinnedKeys) -> Verdict {
        self.running
            .wallet
            .validate_received(received, server)
            .await
    }

    async fn verdict(&self, received: &Vtxo<Full>) -> Verdict {
        let server = self.running.wallet.server_keys().unwrap();
        self.verdict_with(received, &server).await
    }
}

#[tokio::test]
async fn a_valid_vtxo_is_accepted_with_its_anchor() {
    let scene = scene().await;
    let Verdict::Accept(anchor) = scene.verdict(&scene.valid).await else {
        panic!("a valid VTXO was not accepted")
    };
    assert_eq!(anchor.compute_txid(), scene.valid.chain_anchor().txid);
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
        running,
        valid,
    } = scene;
    let server = running.wallet.server_keys().unwrap();
    world.sandbox.stop().await;
    let verdict = running.wallet.validate_received(&valid, &server).await;
    assert!(matches!(verdict, Verdict::Undecided(_)), "{verdict:?}");
}
