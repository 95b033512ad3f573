//! Payments from the on-chain wallet.

use serde_json::{Value, json};

use super::matrix::{Case, Run};
use super::scene::Scene;
use crate::support::{Daemon, eventually};

/// What is paid to an address, in sat.
const AMOUNT: u64 = 10_000;

/// The victim pays one address, pays two outputs at once, and drains its on-chain wallet.
pub async fn pay_onchain(run: &mut Run) {
    let mut scene = Scene::with_peer().await;
    while let Some(case) = run.next_case(&mut scene).await {
        scene.victim.fund(&scene.world, 100_000).await;
        let to = scene.peer().post_empty("/onchain/addresses/next").await;
        let to = to.ok()["address"].as_str().unwrap().to_owned();
        let one = json!({"destination": to, "amount_sat": AMOUNT});
        pay(&mut scene, &case, "/onchain/send", one, Some(AMOUNT)).await;
        let output = format!("{to}:{AMOUNT} sat");
        let two = json!({"destinations": [output, output]});
        pay(
            &mut scene,
            &case,
            "/onchain/send-many",
            two,
            Some(2 * AMOUNT),
        )
        .await;
        let all = json!({"destination": to});
        pay(&mut scene, &case, "/onchain/drain", all, None).await;
    }
}

/// Pays this amount, or everything.
async fn pay(scene: &mut Scene, case: &Case, path: &str, body: Value, amount: Option<u64>) {
    let (had, peer_had) = (total(&scene.victim).await, total(scene.peer()).await);
    scene.arm(case).await;
    let reply = scene.post(path, body).await;
    assert_eq!(reply.is_none(), case.kills(), "{reply:?}");
    scene.wait_for_kill(case).await;
    scene.restart(case).await;
    if case.kills_at("onchain.paid.before") {
        assert_eq!(total(&scene.victim).await, had);
        let mempool = scene.world.sandbox.chain.mempool().await.unwrap();
        assert!(mempool.is_empty());
        return;
    }
    eventually("the payment is broadcast", async || {
        let mempool = scene.world.sandbox.chain.mempool().await.unwrap();
        (mempool.len() == 1).then_some(())
    })
    .await;
    scene.world.mine(1).await;
    let left = total(&scene.victim).await;
    let received = total(scene.peer()).await - peer_had;
    let fee = last_fee(&scene.victim).await;
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

/// The fee of a daemon's newest on-chain transaction.
async fn last_fee(daemon: &Daemon) -> u64 {
    let transactions = daemon.get("/onchain/transactions").await.ok();
    let last = transactions.as_array().unwrap().last().unwrap();
    last["onchain_fee_sat"].as_u64().unwrap()
}
