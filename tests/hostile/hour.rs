//! Hours of chain time with a server that lies in every way, against a wallet that nobody looks after (H46-H62).

use serde_json::{Value, json};

use super::scene;
use crate::support::{Daemon, World, assert_history_adds_up, eventually};

fn info(field: &str) -> Value {
    json!({"target": "info", "action": {"type": "replace_ark_info", "field": field}})
}

fn tree(change: &str) -> Value {
    json!({"target": "round.proposal", "action": {"type": "alter_tree", "change": change}})
}

fn refused(rpc: &str, code: i32, message: &str) -> Value {
    json!({"target": rpc, "action": {"type": "status", "code": code, "message": message}})
}

/// The lies, together those that are told at the same time. Those after which an honest server could not go on come last.
fn lies() -> Vec<Vec<Value>> {
    let mut lies: Vec<Vec<Value>> = [
        "refresh_fee",
        "exit_depth",
        "vtxo_amount",
        "lifetime",
        "server_key",
        "mailbox_key",
        "fee_table",
        "exit_delta",
        "nonce_count",
    ]
    .map(|field| vec![info(field)])
    .into();
    for change in [
        "missing_output",
        "wrong_amount",
        "wrong_policy",
        "wrong_unlock_hash",
        "short_expiry",
        "server_key",
        "underfunded",
    ] {
        lies.push(vec![tree(change)]);
    }
    lies.push(vec![
        json!({"target": "clock", "action": {"type": "skew_clock", "seconds": 3_600}}),
        tree("wrong_amount"),
    ]);
    lies.push(vec![refused(
        "SubmitPayment",
        3,
        "already locked by another process",
    )]);
    lies.push(vec![refused("SubmitPayment", 3, "vtxo already spent")]);
    let forge = json!({"type": "forge_participation", "fee_sat": 4_000});
    lies.push(vec![
        json!({"target": "round.attempt", "action": forge}),
        refused("SubmitPayment", 5, "vtxo does not exist"),
    ]);
    lies
}

/// The VTXOs are due in all these hours: they expire within the refresh threshold.
#[tokio::test]
async fn hours_of_lies_cost_a_wallet_on_autopilot_nothing() {
    let (world, mut daemon) = scene().await;
    let old = daemon.vtxos().await;
    daemon.stop().await;
    let threshold = [("BARK_VTXO_REFRESH_EXPIRY_THRESHOLD", "60")];
    daemon.restart_with(None, &threshold).await;
    let due = first_expiry(&daemon, &old).await - 50;
    world.mine(due - world.height().await).await;
    for lies in lies() {
        daemon.wait_for_connected(true).await;
        daemon.wait_for_tip(&world).await;
        for lie in &lies {
            world.fault(lie.clone());
        }
        // Parameters are asked for every second: with the second answer, the first one has been worked on.
        for lie in lies.iter().filter(|lie| lie["target"] == "info") {
            wait_until_told(&world, lie, 2).await;
        }
        // Whether the round succeeds does not matter.
        let _ = world.sandbox.ark.trigger_round().await;
        world.mine(1).await;
        for lie in &lies {
            wait_until_told(&world, lie, 1).await;
        }
        assert_eq!(world.calls_of("RequestForfeitNonces"), 0, "{lies:#?}");
        assert_eq!(world.calls_of("ForfeitVtxos"), 0, "{lies:#?}");
        world.no_faults();
    }
    assert_eq!(daemon.vtxos().await, old);
    let balance = daemon.get("/wallet/balance").await.ok();
    let kept = ["spendable_sat", "needs_refresh_sat", "pending_in_round_sat"];
    let kept: u64 = kept.iter().filter_map(|part| balance[part].as_u64()).sum();
    assert_eq!(kept, 80_000, "{balance:#}");
    assert_history_adds_up(&daemon).await;
}

/// Waits until the server has told a lie so many times.
async fn wait_until_told(world: &World, lie: &Value, times: u32) {
    let target = lie["target"].as_str().expect("a target");
    eventually(&format!("the server lies: {lie}"), async || {
        (world.faults_fired(target) >= times).then_some(())
    })
    .await;
}

/// The height at which the first of these VTXOs expires.
async fn first_expiry(daemon: &Daemon, vtxos: &[String]) -> u32 {
    let mut expiries = Vec::new();
    for id in vtxos {
        let detail = daemon.get(&format!("/wallet/vtxos/{id}")).await.ok();
        expiries.push(detail["expiry_height"].as_u64().expect("a height"));
    }
    let first = expiries.into_iter().min().expect("there are VTXOs");
    u32::try_from(first).expect("a height")
}
