//! Fee estimates for boards and Lightning. `offboards.rs` compares the estimates for offboards with what offboards cost.

use serde_json::{Value, json};

use crate::support::{Daemon, World, assert_conserved, charging_rounds_of};

/// Gross, fee and net of an estimate.
fn parts(estimate: &Value) -> [u64; 3] {
    ["gross_amount_sat", "fee_sat", "net_amount_sat"].map(|part| estimate[part].as_u64().unwrap())
}

#[tokio::test]
async fn a_board_costs_what_was_estimated() {
    let world = World::with(charging_rounds_of(1)).await;
    let daemon = Daemon::with_wallet(&world).await;
    let mut held = 0;
    // The least fee, and one that grows with the amount.
    for (sats, fee) in [(20_000, 330), (1_000_000, 1_100)] {
        let path = format!("/fees/board?amount_sat={sats}");
        let estimate = daemon.get(&path).await.ok();
        assert_eq!(parts(&estimate), [sats, fee, sats - fee]);
        daemon.fund_and_board(&world, sats).await;
        let board = daemon.movement("board").await;
        assert_eq!(board["offchain_fee_sat"], fee);
        held += sats - fee;
        daemon.wait_for_spendable(held).await;
    }
    daemon
        .get("/fees/board?amount_sat=329")
        .await
        .refused(400, "amount_too_small");
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn lightning_is_estimated_by_the_servers_table() {
    let world = World::with(charging_rounds_of(1)).await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 50_000).await;
    let ask = async |kind: &str, sats: u64| {
        let path = format!("/fees/lightning/{kind}?amount_sat={sats}");
        daemon.get(&path).await.ok()
    };
    // 75 sat and 0.4 % on top, by the age of the VTXO that pays.
    let pay = ask("pay", 10_000).await;
    assert_eq!(parts(&pay), [10_115, 115, 10_000]);
    assert_eq!(pay["vtxos_spent"], json!(daemon.vtxos().await));
    // No VTXO can pay this: 75 sat and the highest rate, 0.8 %.
    let pay = ask("pay", 1_000_000).await;
    assert_eq!(parts(&pay), [1_008_075, 8_075, 1_000_000]);
    assert_eq!(pay["vtxos_spent"], json!([]));
    // 100 sat and 0.2 % out of it.
    let receive = ask("receive", 10_000).await;
    assert_eq!(parts(&receive), [10_000, 120, 9_880]);
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn invalid_amounts_are_not_estimated() {
    let world = World::with(charging_rounds_of(1)).await;
    let daemon = Daemon::with_wallet(&world).await;
    let to = world.sandbox.faucet.address().to_string();
    for route in [
        "board",
        "lightning/pay",
        "lightning/receive",
        "send-onchain",
    ] {
        let ask = async |amount: &str| {
            let path = format!("/fees/{route}?{amount}&address={to}");
            daemon.get(&path).await
        };
        for amount in ["amount_sat=0", "amount_sat=2100000000000001"] {
            ask(amount).await.refused(400, "invalid_amount");
        }
        for amount in ["amount_sat=-1", "amount_sat=1.5", "amount_sat=x", ""] {
            ask(amount).await.refused(400, "invalid_query");
        }
    }
    assert_conserved(&world, &[&daemon]).await;
}
