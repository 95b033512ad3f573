//! HTLCs of either direction are exited and claimed while the Ark server is gone.

use arkwalletd_sandbox::coin_wallet::CoinKey;
use arkwalletd_sandbox::lightning::Outcome;
use serde_json::{Value, json};

use super::steps::kind;
use crate::support::{Daemon, World, eventually, hash_of};

/// The wallet's VTXOs of this policy.
async fn htlcs(daemon: &Daemon, policy: &str) -> Vec<Value> {
    let all = daemon.get("/wallet/vtxos").await.ok();
    let all = all.as_array().expect("a list").iter();
    let found = all.filter(|it| {
        it["policy_type"]
            .as_str()
            .is_some_and(|it| it.contains(policy))
    });
    found.cloned().collect()
}

/// Exits a VTXO, and claims it as soon as that is possible. Answers the height from which on it was.
async fn exit_and_claim(world: &World, daemon: &Daemon, vtxo: &str) -> u64 {
    let started = daemon.exit(&[vtxo.to_owned()]).await;
    assert_eq!(started["started"], json!([vtxo]), "{started:#}");
    let exit = daemon.exit_until(world, vtxo, "awaiting-delta").await;
    let height = exit["state"]["claimable_height"].as_u64().unwrap();
    let to = CoinKey::derive(&world.seed, "payee").address().to_string();
    let claim = json!({"destination": to, "vtxos": [vtxo]});
    while u64::from(world.height().await) < height {
        daemon.progress().await;
        let early = daemon.post("/exits/claim/vtxos", claim.clone()).await;
        early.refused(400, "not_claimable");
        let left = height - u64::from(world.height().await);
        // All but the last block at once.
        world.mine(u32::try_from((left - 1).max(1)).unwrap()).await;
        daemon.wait_for_tip(world).await;
    }
    daemon.exit_until(world, vtxo, "claimable").await;
    let claimed = daemon.post("/exits/claim/vtxos", claim).await.ok();
    assert!(world.knows(claimed["txid"].as_str().unwrap()).await);
    daemon.next_block(world).await;
    daemon.progress().await;
    assert_eq!(kind(&daemon.exit_of(vtxo).await["state"]), "claimed");
    assert_eq!(world.received(&to).await, claimed["amount_sat"]);
    height
}

/// W18: not before the payment expires, although the exit delay is over long before.
#[tokio::test]
async fn an_htlc_of_a_payment_is_claimed_when_it_has_expired() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 60_000).await;
    let issued = world.issue(20_000, Outcome::Hold);
    daemon.pay(&issued.bolt11, None).await;
    world.wait_until_held(&issued.hash).await;
    let expiry = u64::from(world.height().await) + 100;
    let held = htlcs(&daemon, "htlc-send").await;
    assert_eq!(held.len(), 1, "{held:#?}");
    world.stop_server();
    let height = exit_and_claim(&world, &daemon, held[0]["id"].as_str().unwrap()).await;
    assert!(height >= expiry, "{height} {expiry}");
}

#[tokio::test]
async fn an_htlc_of_a_receive_is_claimed_with_the_preimage() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    // It pays for the transactions.
    daemon.fund(&world, 50_000).await;
    let invoice = daemon.invoice(10_000).await;
    let refuse = json!({"type": "refuse_inputs"});
    let target = "lnrecv.preimage_seen";
    let fault = world.fault(json!({"target": target, "action": refuse}));
    world.pays(&invoice).await;
    let hash = hash_of(&invoice);
    daemon
        .wait_for_receive_state(&hash, "preimage-revealed")
        .await;
    eventually("the server has refused the claim", async || {
        (world.fired(fault) > 0).then_some(())
    })
    .await;
    world.stop_server();
    let granted = htlcs(&daemon, "htlc-receive").await;
    assert_eq!(granted.len(), 1, "{granted:#?}");
    let from = u64::from(world.height().await);
    let height = exit_and_claim(&world, &daemon, granted[0]["id"].as_str().unwrap()).await;
    // The expiry delta of an HTLC and the exit delta, after its last transaction.
    assert!(height >= from + 6 + 12, "{height} {from}");
}
