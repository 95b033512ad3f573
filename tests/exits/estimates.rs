//! What an exit costs is what was estimated.

use arkwalletd_sandbox::coin_wallet::CoinKey;
use serde_json::{Value, json};

use crate::support::{Daemon, World};

async fn estimate(daemon: &Daemon, query: &str) -> Value {
    daemon.get(&format!("/exits/fee?{query}")).await.ok()
}

fn number(value: &Value, field: &str) -> u64 {
    let found = value[field].as_u64();
    found.unwrap_or_else(|| panic!("no {field} in {value:#}"))
}

/// What the on-chain wallet has paid for the transactions of exits, in sat.
async fn paid(daemon: &Daemon) -> u64 {
    daemon.post_empty("/onchain/sync").await.ok();
    let all = daemon.get("/onchain/transactions").await.ok();
    let all = all.as_array().unwrap().iter();
    let fees = all.filter(|it| it["is_cpfp"] == true);
    fees.map(|it| number(it, "onchain_fee_sat")).sum()
}

#[tokio::test]
async fn an_exit_pays_what_was_estimated() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 60_000).await;
    let vtxo = daemon.pay_itself(60_000, 2).await;
    let to = CoinKey::derive(&world.seed, "payee").address().to_string();
    let query = format!("vtxo_ids={vtxo}&fee_margin=1&destination={to}");
    let before = estimate(&daemon, &query).await;
    let all = format!("fee_margin=1&destination={to}");
    assert_eq!(before, estimate(&daemon, &all).await);
    let (broadcast, claim) = (
        number(&before, "exit_broadcast_fee_sat"),
        number(&before, "claim_fee_sat"),
    );
    assert_eq!(number(&before, "total_fee_sat"), broadcast + claim);
    assert_eq!(number(&before, "txs_to_broadcast"), 5);
    // Five transactions, and the 12 blocks of the exit delta.
    assert_eq!(number(&before, "blocks_until_claimable"), 17);
    assert_eq!(before["fundable"], true);
    assert_eq!(before["fundable_now"], true);

    let from = world.height().await;
    daemon.exit(std::slice::from_ref(&vtxo)).await;
    daemon.progress().await;
    // The first transaction is paid for.
    let later = estimate(&daemon, &query).await;
    assert_eq!(number(&later, "txs_to_broadcast"), 4);
    assert!(number(&later, "exit_broadcast_fee_sat") < broadcast);
    assert_eq!(number(&later, "separate_coins_needed"), 0);
    daemon.exit_until(&world, &vtxo, "claimable").await;
    assert_eq!(world.height().await - from, 17);
    assert_eq!(paid(&daemon).await, broadcast);
    let claimed = daemon
        .post("/exits/claim/all", json!({"destination": to}))
        .await;
    assert_eq!(number(&claimed.ok(), "fee_sat"), claim);
    let exited = daemon.get(&format!("/exits/fee?vtxo_ids={vtxo}")).await;
    exited.refused(400, "vtxo_exited");
}

#[tokio::test]
async fn shared_ancestors_are_counted_once() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 60_000).await;
    let own = daemon.address().await;
    daemon.send(&own, 20_000).await.ok();
    daemon.wait_for_spendable(60_000).await;
    let vtxos = daemon.vtxos().await;
    assert!(vtxos.len() > 1);
    let together = estimate(&daemon, "fee_margin=1&fee_rate_sat_per_vb=2.5").await;
    assert_eq!(together["fee_rate_sat_per_vb"], 2.5);
    let (mut fees, mut transactions) = (0, 0);
    for vtxo in &vtxos {
        let query = format!("fee_margin=1&fee_rate_sat_per_vb=2.5&vtxo_ids={vtxo}");
        let alone = estimate(&daemon, &query).await;
        fees += number(&alone, "exit_broadcast_fee_sat");
        transactions += number(&alone, "txs_to_broadcast");
        let mut listed = together["vtxos"].as_array().unwrap().iter();
        let listed = listed.find(|it| it["vtxo_id"] == vtxo.as_str()).unwrap();
        assert_eq!(
            listed["exit_broadcast_fee_sat"],
            alone["exit_broadcast_fee_sat"]
        );
    }
    assert!(number(&together, "exit_broadcast_fee_sat") < fees);
    assert!(number(&together, "txs_to_broadcast") < transactions);
    let doubled = estimate(&daemon, "fee_margin=2&fee_rate_sat_per_vb=2.5").await;
    assert_eq!(
        number(&doubled, "exit_broadcast_fee_sat"),
        2 * number(&together, "exit_broadcast_fee_sat")
    );
}

#[tokio::test]
async fn questions_that_make_no_sense_are_refused() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 60_000).await;
    let spent = daemon.only_vtxo().await;
    let vtxo = daemon.pay_itself(60_000, 1).await;
    let unknown = format!("{}:7", "ab".repeat(32));
    let refused = async |query: &str, code: &str| {
        let reply = daemon.get(&format!("/exits/fee?{query}")).await;
        reply.refused(400, code);
    };
    refused("vtxo_ids=x", "invalid_vtxo_id").await;
    refused(&format!("vtxo_ids={vtxo},{unknown}"), "unknown_vtxo").await;
    refused(&format!("vtxo_ids={spent}"), "vtxo_spent").await;
    for rate in ["-1", "NaN", "inf", "1e300"] {
        let query = format!("fee_rate_sat_per_vb={rate}");
        refused(&query, "invalid_fee_rate").await;
    }
    for margin in ["-0.1", "NaN", "inf"] {
        refused(&format!("fee_margin={margin}"), "invalid_fee_margin").await;
    }
    refused("fee_margin=1e300", "invalid_fee_rate").await;
    refused("fee_margin=much", "invalid_query").await;
    refused("destination=x", "invalid_address").await;
    let nothing = estimate(&daemon, "vtxo_ids=").await;
    for field in [
        "exit_broadcast_fee_sat",
        "claim_fee_sat",
        "txs_to_broadcast",
    ] {
        assert_eq!(number(&nothing, field), 0);
    }
    let listed = estimate(&daemon, &format!("vtxo_ids=%20{vtxo}%20,,{vtxo}")).await;
    assert_eq!(listed["vtxos"].as_array().unwrap().len(), 1);
}
