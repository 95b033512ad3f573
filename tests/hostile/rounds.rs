//! Rounds whose tree, signatures, transaction or preimage is not what was agreed on.

use arkwalletd_sandbox::ark::Params;
use serde_json::{Value, json};

use super::{scene, scene_at};
use crate::support::{
    Daemon, World, assert_conserved, assert_history_adds_up, eventually, rounds_of,
};

/// Waits until the one round that is pending shows a problem; answers the problem. That the server has not signed the round's
/// transaction yet is none: it is so for a moment in each round.
async fn problem(daemon: &Daemon) -> String {
    eventually("a problem is shown", async || {
        let round = daemon.rounds().await.remove(0);
        (round["status"]["status"] == "sync-error").then_some(())?;
        let reason = round["status"]["error"].as_str().expect("a text");
        (!reason.contains("has not signed")).then(|| reason.to_owned())
    })
    .await
}

/// Waits until the one round that is pending has come this far.
async fn state(daemon: &Daemon, state: &str) -> Value {
    eventually(&format!("the round is {state}"), async || {
        let round = daemon.rounds().await.remove(0);
        (round["state"] == state).then_some(round)
    })
    .await
}

/// Asserts, once the faults are over, that the refresh happened once, and swapped its inputs for the same amount.
async fn assert_refreshed_once(world: &World, daemon: &Daemon, old: &[String]) {
    daemon.wait_without_rounds().await;
    let held = daemon.vtxos().await;
    assert!(held.iter().all(|id| !old.contains(id)), "{held:?}");
    assert_eq!(daemon.balance("spendable_sat").await, 80_000);
    let refreshes = daemon.history().await.into_iter();
    let refreshes: Vec<Value> = refreshes
        .filter(|movement| movement["subsystem"]["kind"] == "refresh")
        .collect();
    assert_eq!(refreshes.len(), 1, "{refreshes:#?}");
    assert_eq!(refreshes[0]["status"], "successful");
    assert_conserved(world, &[daemon]).await;
}

/// Asserts that a tree with this fault gets neither signatures nor forfeits, and that the refresh, its inputs spendable, waits for
/// the next round.
async fn assert_not_signed(change: &str) {
    let (world, daemon) = scene().await;
    let old = daemon.vtxos().await;
    let fault = json!({"type": "alter_tree", "change": change});
    world.fault(json!({"target": "round.proposal", "times": 1, "action": fault}));
    daemon.refresh_all().await;
    assert!(!world.round().await);
    state(&daemon, "pending").await;
    assert_eq!(world.calls_of("SubmitPayment"), 1, "it did take part");
    assert_eq!(world.calls_of("ProvideVtxoSignatures"), 0);
    assert_eq!(world.calls_of("ForfeitVtxos"), 0);
    assert_eq!(daemon.vtxos().await, old);
    assert_eq!(daemon.balance("spendable_sat").await, 80_000);
    assert!(world.round().await);
    daemon.finish_round(&world).await;
    assert_eq!(world.calls_of("ForfeitVtxos"), 1);
    assert_refreshed_once(&world, &daemon, &old).await;
}

/// §4.16, proposal.
#[tokio::test]
async fn a_tree_without_our_vtxo_is_not_signed() {
    assert_not_signed("missing_output").await;
}

/// §4.16, proposal.
#[tokio::test]
async fn a_tree_with_a_smaller_vtxo_is_not_signed() {
    assert_not_signed("wrong_amount").await;
}

/// H10.
#[tokio::test]
async fn a_tree_with_a_vtxo_that_is_not_ours_is_not_signed() {
    assert_not_signed("wrong_policy").await;
}

/// §4.16, proposal: the preimage that pays for the forfeit would unlock nothing.
#[tokio::test]
async fn a_tree_with_another_unlock_hash_is_not_signed() {
    assert_not_signed("wrong_unlock_hash").await;
}

/// H10, H11.
#[tokio::test]
async fn a_tree_that_expires_too_soon_is_not_signed() {
    assert_not_signed("short_expiry").await;
}

/// H10.
#[tokio::test]
async fn a_tree_with_another_exit_delay_is_not_signed() {
    assert_not_signed("exit_delta").await;
}

/// H14.
#[tokio::test]
async fn a_tree_of_another_server_is_not_signed() {
    assert_not_signed("server_key").await;
}

/// §4.16, proposal: the root of the tree is what the transaction pays.
#[tokio::test]
async fn a_tree_that_its_transaction_does_not_pay_for_is_not_signed() {
    assert_not_signed("underfunded").await;
}

/// H30 in a round: too few nonces neither panic nor wedge.
#[tokio::test]
async fn a_tree_without_a_nonce_for_each_node_is_not_signed() {
    assert_not_signed("missing_nonce").await;
}

/// H13: a tree with two identical leaves is signed, because one of them is what was asked for; the other one is no VTXO of ours.
#[tokio::test]
async fn a_leaf_that_is_there_twice_is_taken_once() {
    let (world, daemon) = scene().await;
    let old = daemon.vtxos().await;
    let fault = json!({"type": "alter_tree", "change": "duplicate_output"});
    world.fault(json!({"target": "round.proposal", "times": 1, "action": fault}));
    daemon.refresh_all().await;
    let taken = world.round().await;
    assert_eq!(world.faults_fired("round.proposal"), 1);
    assert!(taken, "the tree with the leaf twice is signed");
    daemon.finish_round(&world).await;
    let new = daemon.vtxos().await;
    assert!(new.len() == 1 && !old.contains(&new[0]), "{new:?}");
    assert_eq!(daemon.balance("spendable_sat").await, 80_000);
    assert_eq!(world.calls_of("ForfeitVtxos"), 1);
    assert_history_adds_up(&daemon).await;
    // The other leaf is the server's loss.
    let ledger = world.sandbox.ark.ledger().unwrap();
    assert_eq!(ledger.spendable.amount.to_sat(), 160_000);
}

/// H13: of two new VTXOs, the server reports the first one twice. The refresh stops until the server reports both.
#[tokio::test]
async fn one_of_two_new_vtxos_that_is_reported_twice_gets_no_forfeit() {
    for route in ["vtxos", "delegated/vtxos"] {
        let (world, daemon) = scene_at(Params {
            max_vtxo_amount: Some(bitcoin::Amount::from_sat(60_000)),
            ..rounds_of(usize::from(route == "vtxos"))
        })
        .await;
        let old = daemon.vtxos().await;
        world.fault(json!({"target": "round.status", "action": {"type": "duplicate"}}));
        let path = format!("/wallet/refresh/{route}");
        daemon.post(&path, json!({"vtxos": old})).await.ok();
        assert!(world.round().await);
        let reason = problem(&daemon).await;
        assert!(reason.contains("nothing was given up"), "{reason}");
        assert_eq!(world.calls_of("ForfeitVtxos"), 0);
        world.no_faults();
        daemon.post_empty("/wallet/sync").await.ok();
        daemon.finish_round(&world).await;
        assert_eq!(daemon.vtxos().await.len(), 2);
        assert_refreshed_once(&world, &daemon, &old).await;
    }
}

/// §4.16, delegated outputs: the server alone signs the tree, but gets no forfeit for a wrong one.
#[tokio::test]
async fn a_delegated_tree_that_is_not_what_was_asked_for_gets_no_forfeit() {
    for change in [
        "missing_output",
        "wrong_amount",
        "wrong_policy",
        "wrong_unlock_hash",
        "exit_delta",
        "server_key",
    ] {
        let (world, daemon) = scene_at(rounds_of(0)).await;
        let old = daemon.vtxos().await;
        let fault = json!({"type": "alter_tree", "change": change});
        world.fault(json!({"target": "round.proposal", "times": 1, "action": fault}));
        let body = json!({"vtxos": old});
        daemon
            .post("/wallet/refresh/delegated/vtxos", body)
            .await
            .ok();
        assert!(world.round().await, "{change}");
        world.mine(1).await;
        let reason = problem(&daemon).await;
        assert!(
            reason.contains("nothing was given up"),
            "{change}: {reason}"
        );
        daemon.post_empty("/wallet/sync").await.ok();
        assert_eq!(world.calls_of("ForfeitVtxos"), 0, "{change}");
        assert_eq!(daemon.vtxos().await, old, "{change}");
        // The fault has made the server's own ledger wrong; the daemon's history is right.
        assert_history_adds_up(&daemon).await;
    }
}

/// Asserts that a wrong last event of a round changes nothing, because the daemon asks the server for what it has made.
async fn assert_last_event_is_checked(fault: &str) {
    let (world, daemon) = scene().await;
    let old = daemon.vtxos().await;
    world.fault(json!({"target": "round.finished", "times": 1, "action": {"type": fault}}));
    daemon.refresh_all().await;
    assert!(world.round().await);
    daemon.finish_round(&world).await;
    assert_refreshed_once(&world, &daemon, &old).await;
}

/// §4.16, finished round: the signatures of the tree.
#[tokio::test]
async fn a_bad_signature_at_the_end_of_a_round_changes_nothing() {
    assert_last_event_is_checked("wrong_signature").await;
}

/// §4.16, finished round: the transaction.
#[tokio::test]
async fn another_transaction_at_the_end_of_a_round_changes_nothing() {
    assert_last_event_is_checked("other_txid").await;
}

/// W13.
#[tokio::test]
async fn an_end_of_a_round_that_is_not_announced_is_asked_for() {
    assert_last_event_is_checked("withhold").await;
}

/// §4.16, leaf cosign: without a valid signature on the new VTXO the old ones are kept.
#[tokio::test]
async fn a_bad_signature_on_a_new_vtxo_gets_no_forfeit() {
    let (world, daemon) = scene().await;
    let old = daemon.vtxos().await;
    world.fault(json!({"target": "round.leaf", "action": {"type": "wrong_signature"}}));
    daemon.refresh_all().await;
    assert!(world.round().await);
    world.mine(1).await;
    let reason = problem(&daemon).await;
    assert!(reason.contains("nothing was given up"), "{reason}");
    assert!(world.calls_of("RequestLeafVtxoCosign") > 0);
    assert_eq!(world.calls_of("RequestForfeitNonces"), 0);
    assert_eq!(world.calls_of("ForfeitVtxos"), 0);
    world.no_faults();
    daemon.post_empty("/wallet/sync").await.ok();
    assert_refreshed_once(&world, &daemon, &old).await;
}

/// W10, W11: from the forfeit on, the inputs stay locked, the API shows what the refresh waits for, and the refresh is completed
/// when the preimage comes.
async fn assert_waits_for_preimage(fault: &str) {
    let (world, mut daemon) = scene().await;
    let payee = Daemon::with_wallet(&world).await;
    let (old, to) = (daemon.vtxos().await, payee.address().await);
    world.fault(json!({"target": "round.forfeit.persisted", "action": {"type": fault}}));
    daemon.refresh_all().await;
    assert!(world.round().await);
    world.mine(1).await;
    for restarted in [false, true] {
        if restarted {
            daemon.stop().await;
            daemon.restart(None).await;
            daemon.wait_for_connected(true).await;
            world.mine(1).await;
            daemon.post_empty("/wallet/sync").await.ok();
        }
        let reason = problem(&daemon).await;
        assert!(reason.contains("preimage"), "{reason}");
        assert_eq!(daemon.balance("spendable_sat").await, 0);
        assert_eq!(daemon.balance("pending_in_round_sat").await, 80_000);
        assert_eq!(daemon.movement("refresh").await["status"], "pending");
        // Nothing of it can be spent a second time.
        daemon
            .send(&to, 1_000)
            .await
            .refused(400, "insufficient_funds");
        for route in ["offboard/vtxos", "refresh/vtxos", "refresh/delegated/vtxos"] {
            let path = format!("/wallet/{route}");
            daemon
                .post(&path, json!({"vtxos": [old[0]]}))
                .await
                .refused(409, "vtxo_not_spendable");
        }
        assert!(!world.round().await, "and no other round takes it");
    }
    world.no_faults();
    daemon.post_empty("/wallet/sync").await.ok();
    assert_refreshed_once(&world, &daemon, &old).await;
    daemon.send(&to, 80_000).await.ok();
    payee.wait_for_spendable(80_000).await;
    assert_conserved(&world, &[&daemon, &payee]).await;
}

#[tokio::test]
async fn a_withheld_preimage_is_waited_for() {
    assert_waits_for_preimage("withhold").await;
}

#[tokio::test]
async fn a_wrong_preimage_is_not_accepted() {
    assert_waits_for_preimage("wrong_preimage").await;
}

/// W11: past the deadline for the preimage, the inputs are exited; the preimage still completes the refresh.
#[tokio::test]
async fn a_preimage_that_is_withheld_past_its_deadline_lets_the_inputs_exit() {
    let (world, daemon) = scene().await;
    let old = daemon.vtxos().await;
    let withhold = json!({"type": "withhold"});
    world.fault(json!({"target": "round.forfeit.persisted", "action": withhold}));
    daemon.refresh_all().await;
    assert!(world.round().await);
    world.mine(1).await;
    let reason = problem(&daemon).await;
    assert!(reason.contains("preimage"), "{reason}");
    world.mine(425).await;
    eventually("the exit is reported", async || {
        daemon.post_empty("/wallet/sync").await.ok();
        problem(&daemon).await.contains("are exited").then_some(())
    })
    .await;
    assert_eq!(daemon.balance("pending_in_round_sat").await, 80_000);
    world.no_faults();
    daemon.post_empty("/wallet/sync").await.ok();
    daemon.wait_without_rounds().await;
    let held = daemon.vtxos().await;
    assert!(held.iter().all(|id| !old.contains(id)), "{held:?}");
    assert_conserved(&world, &[&daemon]).await;
}

/// §4.5.2: no forfeit leaves before the round's transaction is confirmed, and the daemon broadcasts it itself.
#[tokio::test]
async fn a_round_that_the_server_does_not_broadcast_is_broadcast_by_us() {
    for route in ["vtxos", "delegated/vtxos"] {
        let interactive = usize::from(route == "vtxos");
        let (world, daemon) = scene_at(rounds_of(interactive)).await;
        let old = daemon.vtxos().await;
        let path = format!("/wallet/refresh/{route}");
        world.fault(json!({"target": "round.commit", "action": {"type": "withhold"}}));
        daemon.post(&path, json!({"vtxos": old})).await.ok();
        assert!(world.round().await);
        let txid = state(&daemon, "awaiting-confirmations").await["funding_txid"].clone();
        eventually("it is out", async || {
            let known = world.knows(txid.as_str().unwrap()).await;
            known.then_some(())
        })
        .await;
        assert_eq!(world.calls_of("ForfeitVtxos"), 0);
        daemon.finish_round(&world).await;
        assert_refreshed_once(&world, &daemon, &old).await;
    }
}

/// §4.5.2: the server double-spends the inputs of the round's transaction. The refresh fails, and the old VTXOs stay spendable.
#[tokio::test]
async fn a_round_that_the_server_double_spends_gets_no_forfeit() {
    let (world, daemon) = scene().await;
    let old = daemon.vtxos().await;
    world.fault(json!({"target": "RequestLeafVtxoCosign", "action": {"type": "drop_before"}}));
    daemon.refresh_all().await;
    assert!(world.round().await);
    world.mine(1).await;
    eventually("the leaf is asked for", async || {
        (world.calls_of("RequestLeafVtxoCosign") > 0).then_some(())
    })
    .await;
    let txid = daemon.rounds().await.remove(0)["funding_txid"].clone();
    world.double_spend(txid.as_str().unwrap()).await;
    world.no_faults();
    daemon.wait_for_tip(&world).await;
    daemon.post_empty("/wallet/sync").await.ok();
    daemon.wait_without_rounds().await;
    let failed = daemon.movement("refresh").await;
    assert_eq!(failed["status"], "failed", "{failed:#}");
    assert_eq!(failed["effective_balance_sat"], 0);
    assert_eq!(world.calls_of("ForfeitVtxos"), 0);
    assert_eq!(daemon.vtxos().await, old);
    assert_eq!(daemon.balance("spendable_sat").await, 80_000);
    // The fault has made the server's own ledger wrong; the daemon's history is right.
    assert_history_adds_up(&daemon).await;
}

/// H15: a server that demands too many nonces is refused, at the first contact and later.
#[tokio::test]
async fn a_huge_nonce_count_is_refused_and_no_round_is_joined() {
    let (world, daemon) = scene().await;
    let old = daemon.vtxos().await;
    let fault = json!({"type": "replace_ark_info", "field": "nonce_count"});
    world.fault(json!({"target": "info", "action": fault}));
    world.sandbox.ark.restart().await;
    daemon.wait_for_connected(false).await;
    assert!(!world.round().await);
    assert_eq!(world.calls_of("SubmitPayment"), 0);
    daemon
        .post_empty("/wallet/refresh/all")
        .await
        .refused(503, "server_unavailable");
    let newcomer = Daemon::start().await;
    let message = newcomer
        .post(
            "/wallet/create",
            crate::support::creation(&world, world.chain_source()),
        )
        .await
        .refused(503, "server_unsafe");
    assert!(message.contains("nonces"), "{message}");
    assert_eq!(daemon.balance("spendable_sat").await, 80_000);
    world.no_faults();
    daemon.wait_for_connected(true).await;
    daemon.refresh_all().await;
    world.successful_round().await;
    daemon.finish_round(&world).await;
    assert_refreshed_once(&world, &daemon, &old).await;
}
