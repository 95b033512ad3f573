//! Exited outputs are claimed: together, once, and again only at a higher fee.

use arkwalletd_sandbox::coin_wallet::CoinKey;
use serde_json::{Value, json};

use crate::support::{Daemon, World, assert_history_adds_up, eventually};

/// An address that nobody else pays.
fn payee(world: &World) -> String {
    CoinKey::derive(&world.seed, "payee").address().to_string()
}

async fn claim(daemon: &Daemon, vtxos: &[String], to: &str, fee_rate: Option<u64>) -> Value {
    let body = json!({"destination": to, "vtxos": vtxos, "fee_rate": fee_rate});
    daemon.post("/exits/claim/vtxos", body).await.ok()
}

async fn mempool(world: &World) -> Vec<String> {
    let mempool = world.sandbox.chain.mempool().await;
    let mempool = mempool.expect("the chain answers");
    mempool.iter().map(ToString::to_string).collect()
}

/// The next broadcast of a single transaction fails like this.
fn fail_broadcast(world: &World, action: &str) {
    let target = match world.is_simulated() {
        true => "/tx",
        false => "sendrawtransaction",
    };
    let action = json!({"type": action});
    world.chain_fault(json!({"target": target, "times": 1, "action": action}));
}

/// A wallet with exits of boards of these amounts, in sat, that can be claimed.
async fn claimable(world: &World, amounts: &[u64]) -> (Daemon, Vec<String>) {
    let daemon = Daemon::on_faulty_chain(world).await;
    for amount in amounts {
        daemon.fund_and_board(world, *amount).await;
    }
    let vtxos = daemon.vtxos().await;
    daemon.exit(&vtxos).await;
    for vtxo in &vtxos {
        daemon.exit_until(world, vtxo, "claimable").await;
    }
    (daemon, vtxos)
}

#[tokio::test]
async fn all_exits_are_claimed_with_one_transaction() {
    let world = World::new().await;
    let (daemon, vtxos) = claimable(&world, &[60_000, 30_000, 10_000]).await;
    let to = payee(&world);
    let claim = json!({"destination": to});
    let claimed = daemon.post("/exits/claim/all", claim.clone()).await.ok();
    let (amount, fee) = (&claimed["amount_sat"], &claimed["fee_sat"]);
    let (amount, fee) = (amount.as_u64().unwrap(), fee.as_u64().unwrap());
    assert_eq!(amount + fee, 100_000);
    assert_eq!(mempool(&world).await, [claimed["txid"].as_str().unwrap()]);
    daemon.progress().await;
    for vtxo in &vtxos {
        assert_eq!(daemon.exit_state(vtxo).await, "claim-in-progress");
    }
    let again = daemon.post("/exits/claim/all", claim.clone()).await;
    let message = again.refused(400, "nothing_claimable");
    assert!(message.contains(claimed["txid"].as_str().unwrap()));

    daemon.next_block(&world).await;
    daemon.progress().await;
    for vtxo in &vtxos {
        let exit = daemon.exit_of(vtxo).await;
        assert_eq!(exit["state"]["type"], "claimed", "{exit:#}");
        assert_eq!(exit["state"]["txid"], claimed["txid"]);
    }
    assert_eq!(world.received(&to).await, amount);
    assert_eq!(daemon.balance("pending_exit_sat").await, 0);
    let history = daemon.history().await;
    let exits = history
        .iter()
        .filter(|it| it["subsystem"]["name"] == "bark.exit");
    assert!(exits.clone().all(|it| it["status"] == "successful"));
    assert_eq!(exits.count(), 3);
    assert_history_adds_up(&daemon).await;
    let over = daemon.post("/exits/claim/all", claim).await;
    over.refused(400, "nothing_claimable");
}

#[tokio::test]
async fn claims_that_cannot_be_made_are_refused_by_name() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 60_000).await;
    daemon.fund_and_board(&world, 20_000).await;
    let vtxos = daemon.vtxos().await;
    let to = payee(&world);
    let post = async |path: &str, body: Value| daemon.post(path, body).await;
    let named = async |vtxo: &str| {
        let body = json!({"destination": to, "vtxos": [vtxo]});
        post("/exits/claim/vtxos", body).await
    };
    let all = async |body: Value| post("/exits/claim/all", body).await;
    named(&vtxos[0]).await.refused(400, "not_claimable");
    named("x").await.refused(400, "invalid_vtxo_id");
    let unknown = format!("{}:7", "ab".repeat(32));
    named(&unknown).await.refused(404, "unknown_vtxo");
    let nothing = json!({"destination": to, "vtxos": []});
    let nothing = post("/exits/claim/vtxos", nothing).await;
    nothing.refused(400, "no_vtxos");
    let ready = all(json!({"destination": to})).await;
    ready.refused(400, "nothing_claimable");

    daemon.exit(&vtxos[..1]).await;
    named(&vtxos[0]).await.refused(400, "not_claimable");
    let exit = daemon.exit_until(&world, &vtxos[0], "awaiting-delta").await;
    let height = exit["state"]["claimable_height"].to_string();
    let message = named(&vtxos[0]).await.refused(400, "not_claimable");
    assert!(message.contains(&height), "{message}");
    daemon.exit_until(&world, &vtxos[0], "claimable").await;
    for (wrong, code) in [("x", "invalid_address"), (MAINNET, "wrong_network")] {
        let refused = all(json!({"destination": wrong})).await;
        refused.refused(400, code);
    }
    for rate in [0, u64::MAX] {
        let refused = all(json!({"destination": to, "fee_rate": rate})).await;
        refused.refused(400, "invalid_fee_rate");
    }
    let refused = all(json!({"destination": to, "fee_rate": 1_000_000})).await;
    let message = refused.refused(400, "amount_too_small");
    assert!(message.contains("0.00060000 BTC"), "{message}");
    let both = json!({"destination": to, "vtxos": vtxos});
    let both = post("/exits/claim/vtxos", both).await;
    both.refused(400, "not_claimable");
    assert!(mempool(&world).await.is_empty());
    daemon.exit_until(&world, &vtxos[0], "claimable").await;
}

const MAINNET: &str = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4";

#[tokio::test]
async fn a_claim_is_replaced_at_a_higher_fee_only() {
    let world = World::new().await;
    let (daemon, vtxos) = claimable(&world, &[60_000, 30_000]).await;
    let to = payee(&world);
    let first = claim(&daemon, &vtxos, &to, Some(1_000)).await;
    // A repetition, as after a lost answer.
    assert_eq!(claim(&daemon, &vtxos, &to, None).await, first);
    assert_eq!(claim(&daemon, &vtxos, &to, Some(1_000)).await, first);
    let body = json!({"destination": to, "vtxos": vtxos, "fee_rate": 1_004});
    let little_more = daemon.post("/exits/claim/vtxos", body).await;
    let message = little_more.refused(400, "claim_fee_too_low");
    assert!(message.contains("2000 sat/kvB"), "{message}");
    let part = json!({"destination": to, "vtxos": vtxos[..1], "fee_rate": 9_000});
    let part = daemon.post("/exits/claim/vtxos", part).await;
    part.refused(400, "claim_in_progress");
    assert_eq!(mempool(&world).await, [first["txid"].as_str().unwrap()]);

    daemon.progress().await;
    let own = daemon.post_empty("/onchain/addresses/next").await.ok();
    let own = own["address"].as_str().unwrap();
    let second = claim(&daemon, &vtxos, own, Some(2_000)).await;
    assert_ne!(second["txid"], first["txid"]);
    assert_eq!(mempool(&world).await, [second["txid"].as_str().unwrap()]);
    daemon.next_block(&world).await;
    daemon.progress().await;
    for vtxo in &vtxos {
        let exit = daemon.exit_of(vtxo).await;
        assert_eq!(exit["state"]["txid"], second["txid"], "{exit:#}");
    }
    assert_eq!(world.received(&to).await, 0);
    // The on-chain wallet has it.
    let transactions = daemon.get("/onchain/transactions").await.ok();
    let mut transactions = transactions.as_array().unwrap().iter();
    let found = transactions.find(|it| it["txid"] == second["txid"]);
    assert_eq!(
        found.unwrap()["balance_change_sat"],
        second["amount_sat"],
        "{found:#?}"
    );
}

#[tokio::test]
async fn a_claim_whose_broadcast_is_not_answered_is_paid_once() {
    for killed in [false, true] {
        let world = World::new().await;
        let (mut daemon, vtxos) = claimable(&world, &[60_000]).await;
        let to = payee(&world);
        fail_broadcast(&world, "drop_after");
        let claimed = claim(&daemon, &vtxos, &to, None).await;
        if killed {
            daemon.kill().await;
            daemon.restart(None).await;
        }
        assert_eq!(
            claim(&daemon, &vtxos, &to, None).await["txid"],
            claimed["txid"]
        );
        assert_eq!(mempool(&world).await, [claimed["txid"].as_str().unwrap()]);
        daemon.exit_until(&world, &vtxos[0], "claimed").await;
        assert_eq!(world.received(&to).await, claimed["amount_sat"]);
        world.no_chain_faults();
    }
}

#[tokio::test]
async fn a_claim_that_was_never_broadcast_is_broadcast_later() {
    let world = World::new().await;
    let (daemon, vtxos) = claimable(&world, &[60_000]).await;
    let to = payee(&world);
    fail_broadcast(&world, "drop_before");
    let claimed = claim(&daemon, &vtxos, &to, None).await;
    eventually("the exit broadcasts it", async || {
        daemon.progress().await;
        (mempool(&world).await == [claimed["txid"].as_str().unwrap()]).then_some(())
    })
    .await;
    daemon.exit_until(&world, &vtxos[0], "claimed").await;
    assert_eq!(world.received(&to).await, claimed["amount_sat"]);
    world.no_chain_faults();
}

/// W20: only if the operator wants it, and up to the fee that the operator allows.
#[tokio::test]
async fn exits_are_claimed_unasked_if_the_operator_wants_it() {
    let world = World::new().await;
    let mut daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 60_000).await;
    let vtxo = daemon.only_vtxo().await;
    daemon.exit(std::slice::from_ref(&vtxo)).await;
    daemon.exit_until(&world, &vtxo, "claimable").await;
    daemon.next_block(&world).await;
    daemon.progress().await;
    assert_eq!(daemon.exit_state(&vtxo).await, "claimable");
    let confirmed = onchain_total(&daemon).await;

    daemon.stop().await;
    let stingy = [
        ("BARK_EXIT_AUTO_CLAIM", "true"),
        ("BARK_EXIT_AUTO_CLAIM_MAX_FEE_SAT", "10"),
        ("BARK_EXIT_AUTO_CLAIM_MAX_FEE_PPM", "10"),
    ];
    daemon.restart_with(None, &stingy).await;
    daemon.progress().await;
    assert!(is_above_ceiling(&daemon).await);
    assert_eq!(daemon.exit_state(&vtxo).await, "claimable");

    daemon.stop().await;
    daemon
        .restart_with(None, &[("BARK_EXIT_AUTO_CLAIM", "true")])
        .await;
    daemon.progress().await;
    daemon.exit_until(&world, &vtxo, "claimed").await;
    assert!(!is_above_ceiling(&daemon).await);
    let gained = onchain_total(&daemon).await - confirmed;
    assert!((59_000..60_000).contains(&gained), "{gained}");
}

async fn onchain_total(daemon: &Daemon) -> u64 {
    daemon.post_empty("/onchain/sync").await.ok();
    let balance = daemon.get("/onchain/balance").await.ok();
    balance["total_sat"].as_u64().unwrap()
}

/// Whether the operator is told that a claim would cost too much.
async fn is_above_ceiling(daemon: &Daemon) -> bool {
    let raised = daemon.attention().await;
    let code = "exit_claim_fee_above_ceiling";
    raised.iter().any(|it| it["code"] == code)
}
