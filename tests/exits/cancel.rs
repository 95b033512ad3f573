//! An exit can be canceled until the VTXO's own transaction is broadcast.

use serde_json::Value;

use super::exiting_beside_a_payee;
use crate::support::{Daemon, World, assert_conserved, assert_history_adds_up, eventually};

async fn cancel(daemon: &Daemon, vtxo: &str) -> Value {
    let reply = daemon.post_empty(&format!("/exits/cancel/{vtxo}")).await;
    reply.ok()
}

#[tokio::test]
async fn an_exit_that_is_canceled_half_way_leaves_the_vtxo_spendable() {
    let world = World::new().await;
    let (daemon, payee, vtxo) = exiting_beside_a_payee(&world).await;
    daemon.next_block(&world).await;
    daemon.progress().await;
    assert_eq!(daemon.exits("live").await, std::slice::from_ref(&vtxo));
    cancel(&daemon, &vtxo).await;
    cancel(&daemon, &vtxo).await;
    assert_eq!(daemon.exit_state(&vtxo).await, "canceled");
    assert!(daemon.exits("live").await.is_empty());
    assert_eq!(daemon.exits("finished").await, std::slice::from_ref(&vtxo));
    assert_eq!(daemon.vtxo(&vtxo).await["state"]["type"], "spendable");
    let movement = daemon.movement("start").await;
    assert_eq!(movement["status"], "canceled");
    assert!(movement["time"]["completed_at"].is_string(), "{movement:#}");
    assert_history_adds_up(&daemon).await;
    daemon.send(&payee.address().await, 60_000).await.ok();
    payee.wait_for_spendable(60_000).await;
    assert_conserved(&world, &[&daemon, &payee]).await;
}

#[tokio::test]
async fn an_exit_cannot_be_canceled_once_the_vtxo_is_broadcast() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 60_000).await;
    let vtxo = daemon.only_vtxo().await;
    let path = format!("/exits/cancel/{vtxo}");
    daemon.post_empty(&path).await.refused(404, "unknown_exit");
    daemon.exit(std::slice::from_ref(&vtxo)).await;
    eventually("its transaction is broadcast", async || {
        daemon.progress().await;
        let exit = daemon.exit_of(&vtxo).await;
        let status = &exit["state"]["transactions"][0]["status"]["type"];
        (status == "awaiting-confirmation").then_some(())
    })
    .await;
    let refused = daemon.post_empty(&path).await;
    refused.refused(400, "exit_not_cancelable");
    assert_eq!(daemon.exits("live").await, std::slice::from_ref(&vtxo));
    daemon.exit_until(&world, &vtxo, "claimable").await;
    let refused = daemon.post_empty(&path).await;
    refused.refused(400, "exit_not_cancelable");
}

#[tokio::test]
async fn an_exit_can_be_started_again_after_it_was_canceled() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 60_000).await;
    let vtxo = daemon.only_vtxo().await;
    daemon.exit(std::slice::from_ref(&vtxo)).await;
    cancel(&daemon, &vtxo).await;
    let again = daemon.exit(std::slice::from_ref(&vtxo)).await;
    assert_eq!(again["started"][0], vtxo);
    let skipped = daemon.exit(std::slice::from_ref(&vtxo)).await;
    assert_eq!(skipped["skipped"][0]["vtxo_id"], vtxo, "{skipped:#}");
    daemon.exit_until(&world, &vtxo, "claimable").await;
    assert_eq!(daemon.exits("all").await, [vtxo.clone(), vtxo.clone()]);
    assert_eq!(daemon.exits("finished").await, std::slice::from_ref(&vtxo));
    daemon.claim_all(&world, &vtxo).await;
    assert_eq!(daemon.movement("start").await["status"], "successful");
    assert_history_adds_up(&daemon).await;
}
