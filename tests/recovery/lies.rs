//! The server lies during a recovery: nothing of another's is taken, nothing of ours is dropped, and what is doubtful is shown.

use serde_json::{Value, json};

use super::origins::without_recovery_calls;
use super::{backed_up, lost, recovered, report, restored, states};
use crate::support::{Daemon, World, assert_history_adds_up, eventually};

/// A world with a wallet over 60,000 sat that is lost, its seed words, its VTXOs, and a peer with VTXOs of its own.
struct Scene {
    world: World,
    words: String,
    had: std::collections::BTreeSet<(String, String)>,
    peer: Daemon,
}

impl Scene {
    async fn new() -> Scene {
        let world = World::new().await;
        let (mut daemon, peer) = (
            Daemon::with_wallet(&world).await,
            Daemon::with_wallet(&world).await,
        );
        daemon.fund_and_board(&world, 50_000).await;
        peer.fund_and_board(&world, 70_000).await;
        peer.send(&daemon.address().await, 10_000).await.ok();
        daemon.wait_for_spendable(60_000).await;
        backed_up(&daemon).await;
        let had = states(&daemon).await;
        let words = lost(&mut daemon).await;
        Scene {
            world,
            words,
            had,
            peer,
        }
    }

    /// The wallet is restored while the server lies this often; answers the daemon and the fault.
    async fn restored(&self, target: &str, change: &str, times: u32) -> Daemon {
        let action = json!({"type": "alter_recovery", "change": change});
        let lie = self
            .world
            .fault(json!({"target": target, "times": times, "action": action}));
        let again = restored(&self.world, &self.words).await;
        assert!(self.world.fired(lie) > 0);
        again
    }

    /// Asserts that the daemon has all that was lost, and nothing else.
    async fn assert_complete(&self, daemon: &Daemon) {
        let report = recovered(daemon).await;
        assert_eq!(states(daemon).await, self.had, "{report:#}");
        assert_eq!(daemon.balance("spendable_sat").await, 60_000);
        assert_eq!(daemon.attention().await, Vec::<Value>::new());
        assert_history_adds_up(daemon).await;
    }
}

/// What is wrong in the list by key is made up for by the mailboxes.
#[tokio::test]
async fn a_false_list_by_key_hides_nothing() {
    for change in [
        "garbage",
        "foreign",
        "missing",
        "wrong_index",
        "endless",
        "new_state",
        "bad_signature",
    ] {
        let scene = Scene::new().await;
        let daemon = scene.restored("recovery.page", change, 1).await;
        daemon.post_empty("/wallet/sync").await.ok();
        scene.assert_complete(&daemon).await;
        let report = report(&daemon).await;
        let undecodable = if change == "garbage" { 2 } else { 0 };
        assert_eq!(report["undecodable"], undecodable, "{report:#}");
    }
}

/// A body that is not sent, not one, or another's is asked for again.
#[tokio::test]
async fn a_false_body_is_asked_for_again() {
    for calls in [true, false] {
        for change in ["garbage", "foreign", "missing", "bad_signature"] {
            let scene = Scene::new().await;
            let unlisted = json!({"type": "status", "code": 12, "message": "no"});
            scene
                .world
                .optional_fault(json!({"target": "RecoverVtxosByXpub", "action": unlisted}));
            if !calls {
                without_recovery_calls(&scene.world).await;
            }
            let daemon = scene.restored("recovery.body", change, 1).await;
            scene.assert_complete(&daemon).await;
        }
    }
}

/// A body that is never valid is shown, and never taken.
#[tokio::test]
async fn a_body_with_a_wrong_signature_is_shown_and_not_taken() {
    let scene = Scene::new().await;
    let action = json!({"type": "alter_recovery", "change": "bad_signature"});
    for target in ["recovery.page", "recovery.body"] {
        let lie = json!({"target": target, "action": action});
        scene.world.fault(lie);
    }
    let daemon = restored(&scene.world, &scene.words).await;
    let report = recovered(&daemon).await;
    assert_eq!(report["invalid"], 2, "{report:#}");
    assert_eq!(report["left_out"].as_array().unwrap().len(), 2);
    assert_eq!(daemon.balance("spendable_sat").await, 0);
    assert!(daemon.vtxos().await.is_empty());
    assert_history_adds_up(&daemon).await;
}

/// The recovery mailbox has entries that are no ids, ids that stand there twice, or no end: what it has is found, and the rest is counted.
#[tokio::test]
async fn a_false_recovery_mailbox_hides_nothing() {
    for change in ["garbage", "repeated", "endless"] {
        let scene = Scene::new().await;
        let unlisted = json!({"type": "status", "code": 12, "message": "no"});
        scene
            .world
            .fault(json!({"target": "RecoverVtxosByXpub", "action": unlisted}));
        let before = scene.world.calls_of("ReadMailbox");
        let daemon = scene.restored("recovery.mailbox", change, 1_000_000).await;
        scene.assert_complete(&daemon).await;
        let report = report(&daemon).await;
        let undecodable = report["undecodable"].as_u64().unwrap();
        assert_eq!(undecodable > 0, change == "garbage", "{report:#}");
        assert_eq!(report["found"], 2, "{report:#}");
        // The recovery, and the look for a newer copy of the database.
        let pages = scene.world.calls_of("ReadMailbox") - before;
        assert_eq!(pages > 1_000, change == "endless", "{pages}");
        assert!(pages < 2_100, "{pages}");
    }
}

/// A body that never comes is shown as missing, and taken when it comes.
#[tokio::test]
async fn a_missing_body_is_shown_until_it_comes() {
    let scene = Scene::new().await;
    let unlisted = json!({"type": "status", "code": 12, "message": "no"});
    scene
        .world
        .fault(json!({"target": "RecoverVtxosByXpub", "action": unlisted}));
    let action = json!({"type": "alter_recovery", "change": "missing"});
    let lie = scene
        .world
        .fault(json!({"target": "recovery.body", "action": action}));
    let daemon = restored(&scene.world, &scene.words).await;
    let waiting = eventually("the body is missing", async || {
        let report = report(&daemon).await;
        (report["phase"] == "doubts").then_some(report)
    })
    .await;
    // The mailbox has brought the other one.
    assert_eq!(waiting["missing"], 1, "{waiting:#}");
    assert_eq!(waiting["left_out"][0]["verdict"], "missing");
    assert_eq!(daemon.balance("spendable_sat").await, 10_000);
    scene.world.end_fault(lie);
    daemon.post_empty("/wallet/sync").await.ok();
    scene.assert_complete(&daemon).await;
}

/// A state that does not exist decides nothing: the VTXOs are locked and shown, and asked about again (H35).
#[tokio::test]
async fn a_state_that_does_not_exist_is_doubtful() {
    let scene = Scene::new().await;
    let unlisted = json!({"type": "status", "code": 12, "message": "no"});
    scene
        .world
        .fault(json!({"target": "RecoverVtxosByXpub", "action": unlisted}));
    let action = json!({"type": "alter_recovery", "change": "new_state"});
    let lie = scene
        .world
        .fault(json!({"target": "recovery.state", "action": action}));
    let daemon = restored(&scene.world, &scene.words).await;
    let waiting = report(&daemon).await;
    assert_eq!(waiting["doubtful"], 2, "{waiting:#}");
    assert_eq!(daemon.balance("spendable_sat").await, 0);
    assert_eq!(daemon.balance("pending_exit_sat").await, 60_000);
    let raised = daemon.attention().await;
    assert!(
        raised.iter().all(|it| it["code"] == "vtxo_doubtful"),
        "{raised:#?}"
    );
    assert_eq!(raised.len(), 2);
    daemon
        .send(&scene.peer.address().await, 1_000)
        .await
        .refused(400, "insufficient_funds");
    assert_history_adds_up(&daemon).await;
    scene.world.end_fault(lie);
    daemon.post_empty("/wallet/sync").await.ok();
    scene.assert_complete(&daemon).await;
}

/// SPENT without a spend: the VTXOs are not spendable, and their rows and bodies are kept.
#[tokio::test]
async fn vtxos_that_are_called_spent_are_kept() {
    for target in ["recovery.page", "recovery.state"] {
        let scene = Scene::new().await;
        if target == "recovery.state" {
            let unlisted = json!({"type": "status", "code": 12, "message": "no"});
            scene
                .world
                .fault(json!({"target": "RecoverVtxosByXpub", "action": unlisted}));
        }
        let daemon = scene.restored(target, "spent", 2).await;
        let report = recovered(&daemon).await;
        assert_eq!(report["spent"], 2, "{report:#}");
        let all = daemon.get("/wallet/vtxos?all=true").await.ok();
        let kept: Vec<&str> = all
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["id"].as_str().unwrap())
            .collect();
        assert!(
            scene.had.iter().all(|(id, _)| kept.contains(&id.as_str())),
            "{all:#}"
        );
        for id in kept {
            let body = daemon
                .get(&format!("/wallet/vtxos/{id}/encoded"))
                .await
                .ok();
            assert!(body["encoded"].is_string(), "{body}");
        }
        assert_history_adds_up(&daemon).await;
    }
}

/// SPENDABLE without being so: the change that descends from a VTXO proves that it is spent.
#[tokio::test]
async fn a_spent_vtxo_that_is_called_spendable_is_not_taken() {
    for target in ["recovery.page", "recovery.state"] {
        assert_not_taken(target).await;
    }
}

async fn assert_not_taken(target: &str) {
    let world = World::new().await;
    let (mut daemon, peer) = (
        Daemon::with_wallet(&world).await,
        Daemon::with_wallet(&world).await,
    );
    daemon.fund_and_board(&world, 50_000).await;
    daemon.send(&peer.address().await, 20_000).await.ok();
    peer.wait_for_spendable(20_000).await;
    let words = lost(&mut daemon).await;
    let action = json!({"type": "alter_recovery", "change": "spendable"});
    world.fault(json!({"target": target, "action": action}));
    if target == "recovery.state" {
        let unlisted = json!({"type": "status", "code": 12, "message": "no"});
        world.fault(json!({"target": "RecoverVtxosByXpub", "action": unlisted}));
    }
    let again = restored(&world, &words).await;
    recovered(&again).await;
    assert_eq!(again.balance("spendable_sat").await, 30_000);
    assert_history_adds_up(&again).await;
    again.send(&peer.address().await, 30_000).await.ok();
    peer.wait_for_spendable(50_000).await;
    let ledger = world.sandbox.ark.ledger().unwrap();
    assert_eq!(ledger.spendable.amount.to_sat(), 50_000);
}

/// Anybody who knows the recovery mailbox can post ids to it.
#[tokio::test]
async fn ids_of_another_wallet_in_the_recovery_mailbox_are_skipped() {
    let world = World::new().await;
    let (mut daemon, peer) = (
        Daemon::with_wallet(&world).await,
        Daemon::with_wallet(&world).await,
    );
    daemon.fund_and_board(&world, 50_000).await;
    backed_up(&daemon).await;
    let held =
        world.fault(json!({"target": "PostRecoveryVtxoIds", "action": {"type": "drop_before"}}));
    peer.fund_and_board(&world, 20_000).await;
    eventually("the peer cannot post", async || {
        (world.fired(held) > 0).then_some(())
    })
    .await;
    let foreign = peer.vtxos().await.remove(0);
    world.end_fault(held);
    let words = super::mnemonic(&daemon);
    super::post_id(&world, &words, &foreign).await;
    daemon.stop().await;
    let again = restored(&world, &words).await;
    let report = recovered(&again).await;
    assert_eq!(
        (&report["recovered"], &report["foreign"]),
        (&json!(1), &json!(1)),
        "{report:#}"
    );
    assert_eq!(report["left_out"][0]["vtxo"], foreign);
    assert_eq!(again.balance("spendable_sat").await, 50_000);
    assert_eq!(again.vtxos().await.len(), 1);
}
