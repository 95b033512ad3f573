//! Offboards whose forfeits are out, and that the server denies (H61): an exit of their inputs lets the chain decide.

use arkwalletd_sandbox::coin_wallet::CoinKey;
use serde_json::{Value, json};

use super::{OWN, scene};
use crate::hostile::refusals::assert_locked;
use crate::support::{Daemon, World, assert_history_adds_up, eventually, rounds_of};

/// An offboard of [`OWN`] sat to an address that nobody else pays, and that the server denies; its only input, and the address.
async fn denied() -> (World, Daemon, String, String) {
    let (world, daemon) = scene().await;
    let vtxo = daemon.only_vtxo().await;
    let to = CoinKey::derive(&world.seed, "payee").address().to_string();
    assert_locked(&world, &daemon, &to).await;
    (world, daemon, vtxo, to)
}

impl Daemon {
    /// Mines until the offboard has ended; answers its status.
    async fn offboard_until_over(&self, world: &World) -> Value {
        for _ in 0..10 {
            self.next_block(world).await;
            self.progress().await;
            self.post_empty("/wallet/sync").await.ok();
            let status = self.movement("offboard").await["status"].clone();
            if status != "pending" {
                return status;
            }
        }
        panic!("the offboard has not ended");
    }
}

/// The coins come home with the claim. Only when that is deep, the offboard counts as failed.
#[tokio::test]
async fn the_inputs_of_an_offboard_that_the_server_denies_can_be_exited() {
    let (world, daemon, vtxo, to) = denied().await;
    let begun = daemon.exit(std::slice::from_ref(&vtxo)).await;
    assert_eq!(begun["started"], json!([vtxo]), "{begun:#}");
    daemon.exit_until(&world, &vtxo, "claimable").await;
    assert_eq!(daemon.vtxo_state(&vtxo).await, "exited");
    let home = daemon.claim_all(&world, &vtxo).await;
    assert!(world.received(&home).await > OWN - 1_000);
    daemon.post_empty("/wallet/sync").await.ok();
    assert_eq!(daemon.movement("offboard").await["status"], "pending");
    assert_eq!(daemon.offboard_until_over(&world).await, "failed");
    assert_eq!(daemon.movement("start").await["status"], "successful");
    assert_eq!(daemon.balance("pending_offboard_sat").await, 0);
    assert_eq!(daemon.balance("spendable_sat").await, 0);
    assert_eq!(daemon.attention().await, Vec::<Value>::new());
    assert_eq!(world.received(&to).await, 0);
    assert_history_adds_up(&daemon).await;
}

/// The server publishes its transaction after all, and takes the exited output with the forfeit: the payment has happened, once.
#[tokio::test]
async fn an_offboard_that_comes_out_takes_its_exited_input() {
    let (world, daemon, vtxo, to) = denied().await;
    daemon.exit(std::slice::from_ref(&vtxo)).await;
    daemon.exit_until(&world, &vtxo, "awaiting-delta").await;
    let published = world.sandbox.ark.publish_withheld().await;
    published.expect("the server has it");
    daemon.exit_until(&world, &vtxo, "claimed").await;
    eventually("the payment is found on chain", async || {
        daemon.post_empty("/wallet/sync").await.ok();
        (daemon.movement("offboard").await["status"] == "successful").then_some(())
    })
    .await;
    assert_eq!(daemon.movement("start").await["status"], "canceled");
    let fee = &daemon.movement("offboard").await["offchain_fee_sat"];
    assert_eq!(world.received(&to).await, OWN - fee.as_u64().unwrap());
    assert_eq!(daemon.attention().await, Vec::<Value>::new());
    assert_history_adds_up(&daemon).await;
}

/// Asserts that the input of an offboard comes home near its expiry without a request, and that the offboard fails.
async fn assert_exited_in_time(world: &World, daemon: &Daemon, vtxo: &str, expiry: u32) {
    daemon.mine_to(world, expiry - 12).await;
    daemon.rescued_until(world, vtxo, "claimable").await;
    let home = daemon.claim_all(world, vtxo).await;
    assert!(world.received(&home).await > OWN - 1_000);
    assert_eq!(daemon.offboard_until_over(world).await, "failed");
    assert_history_adds_up(daemon).await;
}

/// The same as the first, near the expiry and without a request.
#[tokio::test]
async fn the_inputs_of_an_offboard_that_the_server_denies_are_exited_in_time() {
    let (world, daemon, vtxo, _) = denied().await;
    let expiry = daemon.body(&vtxo).await.expiry_height().to_u32();
    daemon.mine_to(&world, expiry - 20).await;
    daemon.post_empty("/wallet/sync").await.ok();
    assert!(daemon.exits("all").await.is_empty(), "only near the expiry");
    assert_exited_in_time(&world, &daemon, &vtxo, expiry).await;
}

/// The same if the server does not answer at all once it has the forfeits.
#[tokio::test]
async fn the_inputs_of_an_offboard_that_the_server_does_not_answer_are_exited_in_time() {
    let (world, daemon) = scene().await;
    let vtxo = daemon.only_vtxo().await;
    world.fault(json!({"target": "offboard.persisted", "action": {"type": "withhold"}}));
    let lost = world.fault(json!({"target": "FinishOffboard", "action": {"type": "drop_after"}}));
    let body = json!({"address": world.sandbox.faucet.address().to_string()});
    let is_lost = async || world.fired(lost) > 0;
    daemon
        .post_and_leave("/wallet/offboard/all", body, is_lost)
        .await;
    let expiry = daemon.body(&vtxo).await.expiry_height().to_u32();
    assert_exited_in_time(&world, &daemon, &vtxo, expiry).await;
}

/// A signed transaction that never confirms saves nothing: its inputs are exited while there is time.
#[tokio::test]
async fn the_inputs_of_an_offboard_whose_transaction_never_confirms_are_exited_in_time() {
    let world = World::with(rounds_of(1)).await;
    world.fund_server(2_000_000).await;
    let deep = [("BARK_OFFBOARD_REQUIRED_CONFIRMATIONS", "1")];
    let daemon = Daemon::start_with(&[], &deep).await;
    daemon.create_wallet(&world).await;
    daemon.fund(&world, 100_000).await;
    daemon.fund_and_board(&world, OWN).await;
    let vtxo = daemon.only_vtxo().await;
    let body = json!({"address": world.sandbox.faucet.address().to_string()});
    let done = daemon.post("/wallet/offboard/all", body).await.ok();
    let txid = done["offboard_txid"].as_str().unwrap().parse().unwrap();
    world.sandbox.chain.hold(txid).await.unwrap();
    let expiry = daemon.body(&vtxo).await.expiry_height().to_u32();
    daemon.mine_to(&world, expiry - 12).await;
    daemon.post_empty("/wallet/sync").await.ok();
    assert!(
        daemon.exits("all").await.is_empty(),
        "it waits in the mempool"
    );
    daemon.mine_to(&world, expiry - 6).await;
    daemon.rescued_until(&world, &vtxo, "awaiting-delta").await;
    world.sandbox.chain.unhold(txid).await.unwrap();
    daemon.exit_until(&world, &vtxo, "claimed").await;
    daemon.settled().await;
    assert_eq!(daemon.movement("offboard").await["status"], "successful");
    assert_eq!(daemon.movement("start").await["status"], "canceled");
    assert_history_adds_up(&daemon).await;
}
