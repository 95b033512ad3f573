//! Payments from the on-chain wallet.

use serde_json::{Value, json};

use super::telling::{Scene, Tale, Turn};
use crate::support::{Daemon, eventually};

/// What is paid to an address.
const AMOUNT: u64 = 10_000;

/// The mortal pays one, pays two, and sends all away.
pub struct PayOnchain(Scene);

impl Tale for PayOnchain {
    async fn begin() -> PayOnchain {
        PayOnchain(Scene::with_peer().await)
    }

    fn scene(&mut self) -> &mut Scene {
        &mut self.0
    }

    async fn tell(&mut self, turn: &Turn) {
        let scene = &mut self.0;
        scene.mortal.fund(&scene.world, 100_000).await;
        let to = scene
            .peer()
            .post_empty("/onchain/addresses/next")
            .await
            .ok();
        let to = to["address"].as_str().unwrap().to_owned();
        let one = json!({"destination": to, "amount_sat": AMOUNT});
        let payee = format!("{to}:{AMOUNT} sat");
        let two = json!({"destinations": [payee, payee]});
        pay(scene, turn, "/onchain/send", one, Some(AMOUNT)).await;
        pay(scene, turn, "/onchain/send-many", two, Some(2 * AMOUNT)).await;
        pay(
            scene,
            turn,
            "/onchain/drain",
            json!({"destination": to}),
            None,
        )
        .await;
    }
}

/// Pays this much, or all.
async fn pay(scene: &mut Scene, turn: &Turn, path: &str, body: Value, amount: Option<u64>) {
    let (had, peer_had) = (total(&scene.mortal).await, total(scene.peer()).await);
    scene.arm(turn).await;
    let answer = scene.ask(path, body).await;
    assert_eq!(answer.is_none(), turn.is_deadly(), "{answer:?}");
    scene.death(turn).await;
    scene.rise(turn).await;
    if turn.dies_at("onchain.paid.before") {
        assert_eq!(total(&scene.mortal).await, had);
        assert!(
            scene
                .world
                .sandbox
                .chain
                .mempool()
                .await
                .unwrap()
                .is_empty()
        );
        return;
    }
    eventually("the payment is out", async || {
        let mempool = scene.world.sandbox.chain.mempool().await.unwrap();
        (mempool.len() == 1).then_some(())
    })
    .await;
    scene.world.mine(1).await;
    let left = total(&scene.mortal).await;
    let received = total(scene.peer()).await - peer_had;
    let fee = last_fee(&scene.mortal).await;
    assert_eq!(left + received + fee, had);
    match amount {
        Some(amount) => assert_eq!(received, amount),
        None => assert_eq!(left, 0),
    }
}

async fn total(daemon: &Daemon) -> u64 {
    daemon.post_empty("/onchain/sync").await.ok();
    let balance = daemon.get("/onchain/balance").await.ok();
    balance["total_sat"].as_u64().unwrap()
}

/// What the newest transaction of a daemon cost.
async fn last_fee(daemon: &Daemon) -> u64 {
    let transactions = daemon.get("/onchain/transactions").await.ok();
    let last = transactions.as_array().unwrap().last().unwrap();
    last["onchain_fee_sat"].as_u64().unwrap()
}
