//! What exits pay: fee spikes, ceilings, and a wallet without coins.

use arkwalletd_sandbox::ark::Params;
use bitcoin::FeeRate;
use serde_json::{Value, json};

use super::steps::kind;
use crate::support::{Daemon, World};

/// The child that pays for the only transaction of an exit: its id and fee rate in sat/kvB.
async fn child(daemon: &Daemon, vtxo: &str) -> (String, u64) {
    let exit = daemon.exit_of(vtxo).await;
    let child = &exit["transactions"][0]["child"];
    let rate = &child["fee_info"]["fee_rate_sat_per_kvb"];
    (
        child["info"]["txid"].as_str().expect("a child").to_owned(),
        rate.as_u64().expect("a fee rate"),
    )
}

/// A wallet with a board whose exit is in the mempool.
async fn publishing(world: &World, environment: &[(&str, &str)]) -> (Daemon, String) {
    let daemon = Daemon::start_with(&[], environment).await;
    daemon.create_wallet(world).await;
    daemon.fund_and_board(world, 60_000).await;
    let vtxo = daemon.only_vtxo().await;
    daemon.exit(std::slice::from_ref(&vtxo)).await;
    daemon.progress().await;
    (daemon, vtxo)
}

/// The problem of the only exit.
async fn problem(daemon: &Daemon) -> Value {
    daemon.progress().await["exits"][0]["error"].clone()
}

#[tokio::test]
async fn a_person_outbids_a_fee_spike() {
    let world = World::new().await;
    let (daemon, vtxo) = publishing(&world, &[]).await;
    let (first, cheap) = child(&daemon, &vtxo).await;
    assert!(cheap < 20_000, "{cheap}");
    let spike = FeeRate::from_sat_per_vb_u32(20);
    world.sandbox.chain.set_min_mined_fee(spike).await.unwrap();
    daemon.next_block(&world).await;
    daemon.progress().await;
    assert_eq!(daemon.exit_state(&vtxo).await, "processing");
    assert_eq!(child(&daemon, &vtxo).await.0, first);
    let body = json!({"wait": true, "fee_rate": 25_000});
    daemon.post("/exits/progress", body).await.ok();
    let (second, dear) = child(&daemon, &vtxo).await;
    assert_ne!(first, second);
    assert!((25_000..26_000).contains(&dear), "{dear}");
    let mempool = world.sandbox.chain.mempool().await.unwrap();
    assert_eq!(mempool.len(), 2, "{mempool:?}");
    // A lower rate replaces nothing.
    let body = json!({"wait": true, "fee_rate": 22_000});
    daemon.post("/exits/progress", body).await.ok();
    assert_eq!(child(&daemon, &vtxo).await.0, second);
    daemon.next_block(&world).await;
    daemon.progress().await;
    assert_eq!(daemon.exit_state(&vtxo).await, "awaiting-delta");
}

#[tokio::test]
async fn a_full_mempool_is_paid_for_up_to_the_ceiling() {
    // H27
    let world = World::simulated(Params::free()).await;
    let ceiling = [("BARK_MAX_EXIT_FEE_RATE_SAT_PER_VB", "8")];
    let (daemon, vtxo) = publishing(&world, &ceiling).await;
    let chain = &world.sandbox.chain;
    let full = |rate| chain.set_min_mempool_fee(FeeRate::from_sat_per_vb_u32(rate));
    assert_eq!(full(5).await.unwrap().len(), 2);
    assert_eq!(problem(&daemon).await, Value::Null);
    let (_, rate) = child(&daemon, &vtxo).await;
    assert!((5_000..=8_100).contains(&rate), "{rate}");
    assert_eq!(chain.mempool().await.unwrap().len(), 2);
    assert_eq!(full(12).await.unwrap().len(), 2);
    let problem_now = problem(&daemon).await;
    assert_eq!(kind(&problem_now), "exit-package-broadcast-failure");
    let (_, rate) = child(&daemon, &vtxo).await;
    assert!(rate <= 8_100, "{rate}");
    // A person may pay more than the wallet does by itself.
    let body = json!({"wait": true, "fee_rate": 13_000});
    daemon.post("/exits/progress", body).await.ok();
    assert_eq!(chain.mempool().await.unwrap().len(), 2);
    assert_eq!(problem(&daemon).await, Value::Null);
    full(0).await.unwrap();
    daemon.exit_until(&world, &vtxo, "awaiting-delta").await;
}

#[tokio::test]
async fn an_exit_without_coins_says_how_much_to_deposit_and_waits() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund(&world, 60_000).await;
    daemon.post_empty("/boards/board-all").await.ok();
    world.mine(1).await;
    daemon.settled().await;
    let vtxo = daemon.only_vtxo().await;
    daemon.exit(std::slice::from_ref(&vtxo)).await;
    let problem_now = problem(&daemon).await;
    assert_eq!(kind(&problem_now), "insufficient-confirmed-funds");
    assert_eq!(problem_now["available"], 0);
    let needed = problem_now["needed"].as_u64().unwrap();
    let raised = daemon.attention().await;
    assert_eq!(raised.len(), 1, "{raised:#?}");
    assert_eq!(raised[0]["code"], "exit_underfunded");
    assert_eq!(raised[0]["subject"], vtxo);
    let advice = raised[0]["what_to_do"].as_str().unwrap();
    assert!(advice.contains(&needed.to_string()), "{advice}");
    let address = advice.split(' ').find(|word| word.starts_with("bcrt1"));
    let address = address.expect("an address").trim_end_matches('.');
    // It is raised once, not at each block.
    daemon.next_block(&world).await;
    problem(&daemon).await;
    assert_eq!(daemon.attention().await, raised);
    world.pay(address, needed).await;
    daemon.next_block(&world).await;
    assert_eq!(problem(&daemon).await, Value::Null);
    assert!(daemon.attention().await.is_empty());
    daemon.exit_until(&world, &vtxo, "claimable").await;
}
