//! Rounds that the server reports although nobody asked for them, or otherwise than they were asked for.

use ark_lib::fees::{FeeSchedule, RefreshFees};
use arkwalletd_sandbox::ark::Params;
use bitcoin::Amount;
use serde_json::{Value, json};

use super::{scene, scene_at};
use crate::support::{
    Daemon, World, assert_conserved, assert_history_adds_up, eventually, rounds_of,
};

/// The only fact that waits for the operator, a round that the wallet has no record of, and for which it forfeits nothing.
async fn unknown_round(world: &World, daemon: &Daemon) -> Value {
    let fact = eventually("the operator is asked", async || {
        assert_eq!(world.calls_of("ForfeitVtxos"), 0);
        let facts = daemon.attention().await;
        assert!(facts.len() < 2, "{facts:#?}");
        facts.into_iter().next()
    })
    .await;
    assert_eq!(fact["code"], "unknown_round", "{fact:#}");
    fact
}

/// Gives the daemon time to forfeit: two blocks and two complete passes. Asserts that it does not even begin.
async fn assert_nothing_is_forfeited(world: &World, daemon: &Daemon) {
    for _ in 0..2 {
        world.mine(1).await;
        daemon.post_empty("/wallet/sync").await.ok();
    }
    assert_eq!(world.calls_of("RequestForfeitNonces"), 0);
    assert_eq!(world.calls_of("ForfeitVtxos"), 0);
}

/// Delegates a refresh of these VTXOs, and loses the answers of the server.
async fn delegate_without_answer(world: &World, daemon: &Daemon, vtxos: &[String]) {
    let lost = json!({"type": "drop_after"});
    world.fault(json!({"target": "SubmitRoundParticipation", "action": lost}));
    let path = "/wallet/refresh/delegated/vtxos";
    daemon
        .post_and_leave(path, json!({"vtxos": vtxos}), async || {
            world.faults_fired("SubmitRoundParticipation") > 0
        })
        .await;
}

/// The statuses of the refreshes, newest first.
async fn refreshes(daemon: &Daemon) -> Vec<Value> {
    let history = daemon.history().await.into_iter();
    history
        .filter(|movement| movement["subsystem"]["kind"] == "refresh")
        .map(|movement| movement["status"].clone())
        .collect()
}

/// A daemon with 80 000 sat for which the server has made a round that nobody asked for, at a fee of 4 000 sat.
async fn forged_scene() -> (World, Daemon, Vec<String>) {
    let (world, daemon) = scene_at(rounds_of(0)).await;
    let old = daemon.vtxos().await;
    daemon.post_empty("/wallet/sync/mailbox").await.ok();
    let forge = json!({"type": "forge_participation", "fee_sat": 4_000});
    world.fault(json!({"target": "round.attempt", "times": 1, "action": forge}));
    assert!(world.round().await);
    assert_eq!(world.faults_fired("round.attempt"), 1);
    world.mine(1).await;
    daemon.post_empty("/wallet/sync").await.ok();
    (world, daemon, old)
}

/// H46: the tree is signed by the server alone, its inputs and outputs are ours, and the fee is 5 %.
#[tokio::test]
async fn a_round_that_nobody_asked_for_gets_no_forfeit_and_the_mailbox_goes_on() {
    let (world, mut daemon, old) = forged_scene().await;
    let fact = unknown_round(&world, &daemon).await;
    assert_nothing_is_forfeited(&world, &daemon).await;
    let message = fact["message"].as_str().unwrap();
    for part in ["80000 sat", "76000 sat", "4000 sat"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(daemon.vtxos().await, old);
    assert_eq!(daemon.balance("spendable_sat").await, 80_000);
    assert!(daemon.rounds().await.is_empty());

    let payer = Daemon::with_wallet(&world).await;
    payer.fund_and_board(&world, 10_000).await;
    payer.send(&daemon.address().await, 7_000).await.ok();
    daemon.wait_for_spendable(87_000).await;
    daemon.stop().await;
    daemon.restart(None).await;
    daemon.wait_for_connected(true).await;
    assert_nothing_is_forfeited(&world, &daemon).await;
    assert_eq!(unknown_round(&world, &daemon).await, fact);
    assert_history_adds_up(&daemon).await;
}

/// H46: a person can have the round completed, for the fee that the person has seen.
#[tokio::test]
async fn an_unknown_round_is_completed_when_a_person_says_so() {
    let (world, daemon, old) = forged_scene().await;
    let hash = unknown_round(&world, &daemon).await["subject"].clone();
    let path = format!("/wallet/rounds/{}/recover", hash.as_str().unwrap());
    let recover = async |fee: u64| daemon.post(&path, json!({"max_fee_sat": fee})).await;
    recover(3_999).await.refused(409, "fee_too_high");
    let unknown = format!("/wallet/rounds/{}/recover", "00".repeat(32));
    let body = json!({"max_fee_sat": 4_000});
    let reply = daemon.post(&unknown, body.clone()).await;
    reply.refused(404, "round_not_found");
    let reply = daemon.post("/wallet/rounds/7/recover", body).await;
    reply.refused(400, "invalid_unlock_hash");
    assert_nothing_is_forfeited(&world, &daemon).await;
    assert_eq!(daemon.vtxos().await, old);

    let first = recover(4_000).await.ok();
    assert_eq!(first["unlock_hash"], hash);
    assert_eq!(recover(4_000).await.ok()["id"], first["id"]);
    daemon.finish_round(&world).await;
    assert_eq!(daemon.balance("spendable_sat").await, 76_000);
    assert_eq!(refreshes(&daemon).await, ["successful"]);
    assert_eq!(daemon.movement("refresh").await["offchain_fee_sat"], 4_000);
    assert_eq!(daemon.attention().await, Vec::<Value>::new());
    // Once more it changes nothing, also when it is done.
    assert_eq!(recover(0).await.ok()["id"], first["id"]);
    assert_eq!(refreshes(&daemon).await, ["successful"]);
    assert_eq!(world.calls_of("ForfeitVtxos"), 1);
    assert_conserved(&world, &[&daemon]).await;
}

/// H55: the fee is 6 %, and it is the fee that was agreed on.
#[tokio::test]
async fn a_dear_delegated_refresh_whose_answer_is_lost_is_completed() {
    let refresh = RefreshFees {
        base_fee: Amount::from_sat(300),
        ppm_expiry_table: Vec::new(),
    };
    let world = World::with(Params {
        fees: FeeSchedule {
            refresh,
            ..FeeSchedule::default()
        },
        ..rounds_of(0)
    })
    .await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 5_000).await;
    let old = daemon.vtxos().await;
    delegate_without_answer(&world, &daemon, &old).await;
    assert!(world.round().await);
    world.mine(1).await;
    eventually("the new VTXO replaces the old one", async || {
        daemon.post_empty("/wallet/sync").await.ok();
        let held = daemon.vtxos().await;
        (!held.is_empty() && held != old).then_some(())
    })
    .await;
    daemon.wait_without_rounds().await;
    assert_eq!(daemon.balance("spendable_sat").await, 4_700);
    assert_eq!(refreshes(&daemon).await, ["successful"]);
    assert_eq!(daemon.movement("refresh").await["offchain_fee_sat"], 300);
    assert_eq!(daemon.attention().await, Vec::<Value>::new());
    assert_conserved(&world, &[&daemon]).await;
}

/// H46: the answer to a delegation is lost, and the round gives one satoshi less than was asked for.
#[tokio::test]
async fn a_reported_round_that_takes_more_than_was_agreed_gets_no_forfeit() {
    let (world, daemon) = scene_at(rounds_of(0)).await;
    let old = daemon.vtxos().await;
    let change = json!({"type": "alter_tree", "change": "wrong_amount"});
    world.fault(json!({"target": "round.proposal", "times": 1, "action": change}));
    delegate_without_answer(&world, &daemon, &old).await;
    assert!(world.round().await);
    assert_eq!(world.faults_fired("round.proposal"), 1);
    world.no_faults();
    world.mine(1).await;
    let fact = unknown_round(&world, &daemon).await;
    assert_nothing_is_forfeited(&world, &daemon).await;
    let message = fact["message"].as_str().unwrap();
    assert!(message.contains("79999 sat"), "{message}");
    daemon.wait_without_rounds().await;
    assert_eq!(refreshes(&daemon).await, ["failed"]);
    assert_eq!(daemon.vtxos().await, old);
    assert_eq!(daemon.balance("spendable_sat").await, 80_000);
    // The fault has made the server's own ledger wrong; the daemon's history is right.
    assert_history_adds_up(&daemon).await;
}

/// H48: the wallet has joined, is shown no tree, and hears of a round that the server has signed alone.
#[tokio::test]
async fn a_joined_round_that_the_server_signs_alone_gets_no_forfeit() {
    let (world, daemon) = scene().await;
    let old = daemon.vtxos().await;
    let alone = json!({"type": "sign_alone"});
    world.fault(json!({"target": "round.proposal", "times": 1, "action": alone}));
    daemon.refresh_all().await;
    assert!(world.round().await);
    assert_eq!(world.faults_fired("round.proposal"), 1);
    assert_eq!(world.calls_of("SubmitPayment"), 1);
    world.mine(1).await;
    let hash = unknown_round(&world, &daemon).await["subject"].clone();
    assert_nothing_is_forfeited(&world, &daemon).await;
    assert_eq!(world.calls_of("ProvideVtxoSignatures"), 0);

    // The wallet has signed nothing, so its VTXOs are free, and it joins the next round; there the server takes them as spent.
    assert_eq!(daemon.rounds().await[0]["state"], "pending");
    assert_eq!(daemon.balance("spendable_sat").await, 80_000);
    assert!(!world.round().await);
    daemon.wait_without_rounds().await;
    assert_eq!(refreshes(&daemon).await, ["failed"]);
    assert_eq!(daemon.vtxos().await, old);
    assert_nothing_is_forfeited(&world, &daemon).await;

    // A person who trusts the server, or has restored an old database, can accept that round.
    let path = format!("/wallet/rounds/{}/recover", hash.as_str().unwrap());
    daemon.post(&path, json!({"max_fee_sat": 0})).await.ok();
    daemon.finish_round(&world).await;
    assert_eq!(refreshes(&daemon).await, ["successful", "failed"]);
    assert_eq!(daemon.balance("spendable_sat").await, 80_000);
    assert_conserved(&world, &[&daemon]).await;
}

/// The server stores a round before it signs its transaction, and reports it so. The wallet waits for the signatures.
#[tokio::test]
async fn a_round_whose_transaction_is_not_signed_is_waited_for() {
    for route in ["vtxos", "delegated/vtxos"] {
        let interactive = route == "vtxos";
        let (world, mut daemon) = scene_at(rounds_of(usize::from(interactive))).await;
        let old = daemon.vtxos().await;
        let withhold = json!({"type": "withhold"});
        world.fault(json!({"target": "round.sign", "times": 1, "action": withhold}));
        let path = format!("/wallet/refresh/{route}");
        daemon.post(&path, json!({"vtxos": old})).await.ok();
        assert!(world.round().await);
        assert_eq!(world.faults_fired("round.sign"), 1);
        if interactive {
            // Without events, a restarted daemon asks for the result.
            daemon.stop().await;
            let silent = json!({"type": "drop_before"});
            for rpc in ["SubscribeRounds", "LastRoundEvent"] {
                world.fault(json!({"target": rpc, "action": silent}));
            }
            daemon.restart(None).await;
            daemon.wait_for_connected(true).await;
        }
        eventually("the wallet says what it waits for", async || {
            daemon.post_empty("/wallet/sync").await.ok();
            let round = daemon.rounds().await.remove(0);
            assert_eq!(round["funding_tx_hex"], Value::Null, "{round:#}");
            let problem = round["status"]["error"].as_str();
            problem?.contains("not signed").then_some(())
        })
        .await;
        world.no_faults();
        world.mine(1).await;
        eventually("the server has signed", async || {
            let mempool = world.sandbox.chain.mempool().await.unwrap();
            (!mempool.is_empty()).then_some(())
        })
        .await;
        daemon.post_empty("/wallet/sync").await.ok();
        daemon.finish_round(&world).await;
        assert_eq!(refreshes(&daemon).await, ["successful"]);
        assert!(daemon.vtxos().await.iter().all(|id| !old.contains(id)));
        assert_conserved(&world, &[&daemon]).await;
    }
}

/// A forfeit of a VTXO that was paid away would let the server take it from the payee.
#[tokio::test]
async fn a_vtxo_that_was_paid_away_is_not_forfeited_in_a_round() {
    let world = World::with(rounds_of(0)).await;
    let daemon = Daemon::with_wallet(&world).await;
    let payee = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 50_000).await;
    let body = json!({"vtxos": daemon.vtxos().await});
    let path = "/wallet/refresh/delegated/vtxos";
    daemon.post(path, body).await.ok();
    daemon.send(&payee.address().await, 50_000).await.ok();
    payee.wait_for_spendable(50_000).await;

    let withhold = json!({"type": "withhold"});
    world.fault(json!({"target": "round.drop", "times": 1, "action": withhold}));
    assert!(world.round().await);
    assert_eq!(world.faults_fired("round.drop"), 1);
    world.mine(1).await;
    daemon.post_empty("/wallet/sync").await.ok();
    daemon.wait_without_rounds().await;
    assert_nothing_is_forfeited(&world, &daemon).await;
    assert_eq!(refreshes(&daemon).await, ["failed"]);
    assert_eq!(daemon.balance("spendable_sat").await, 0);
    assert_conserved(&world, &[&daemon, &payee]).await;
}

/// The other way round: the server signs the payment only after it has the forfeit.
#[tokio::test]
async fn a_vtxo_that_was_forfeited_in_a_round_is_not_paid_away() {
    let world = World::with(rounds_of(0)).await;
    let daemon = Daemon::with_wallet(&world).await;
    let payee = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 50_000).await;
    let old = daemon.vtxos().await;
    let path = "/wallet/refresh/delegated/vtxos";
    daemon.post(path, json!({"vtxos": old})).await.ok();
    let stalled = json!({"type": "drop_after"});
    world.fault(json!({"target": "RequestArkoorCosign", "action": stalled}));
    let to = payee.address().await;
    let body = json!({"destination": to, "amount_sat": 50_000});
    daemon
        .post_and_leave("/wallet/send", body, async || {
            world.faults_fired("RequestArkoorCosign") > 0
        })
        .await;
    let withhold = json!({"type": "withhold"});
    world.fault(json!({"target": "round.drop", "times": 1, "action": withhold}));
    assert!(world.round().await);
    assert_eq!(world.faults_fired("round.drop"), 1);
    daemon.post_empty("/wallet/sync").await.ok();
    daemon.finish_round(&world).await;
    assert_eq!(world.calls_of("ForfeitVtxos"), 1);
    assert_eq!(refreshes(&daemon).await, ["successful"]);

    world.no_faults();
    daemon.post_empty("/wallet/sync").await.ok();
    daemon.settled().await;
    assert_eq!(daemon.movement("send").await["status"], "failed");
    assert_eq!(world.calls_of("PostArkoorMessage"), 0);
    assert_eq!(payee.balance("spendable_sat").await, 0);
    assert_eq!(daemon.balance("spendable_sat").await, 50_000);
    assert_history_adds_up(&daemon).await;
}

/// Two inputs are delegated without an answer. A payment that comes to nothing locks one of them, so the rest is delegated again,
/// which does not arrive. The server carries out the first submission.
#[tokio::test]
async fn a_refresh_that_was_made_smaller_too_late_is_completed_as_a_whole() {
    let (world, daemon) = scene_at(rounds_of(0)).await;
    let old = daemon.vtxos().await;
    delegate_without_answer(&world, &daemon, &old).await;
    world.no_faults();
    let lost = json!({"type": "drop_before"});
    for rpc in ["SubmitRoundParticipation", "RequestArkoorCosign"] {
        world.fault(json!({"target": rpc, "action": lost}));
    }
    let to = daemon.address().await;
    let body = json!({"destination": to, "amount_sat": 20_000});
    daemon
        .post_and_leave("/wallet/send", body, async || {
            daemon.post_empty("/wallet/sync").await.ok();
            let rounds = daemon.rounds().await;
            rounds[0]["participation"]["inputs"]
                .as_array()
                .unwrap()
                .len()
                == 1
        })
        .await;
    assert!(world.round().await);
    world.mine(1).await;
    eventually("both VTXOs are replaced", async || {
        daemon.post_empty("/wallet/sync").await.ok();
        let held = daemon.vtxos().await;
        (!held.is_empty() && held.iter().all(|id| !old.contains(id))).then_some(())
    })
    .await;
    world.no_faults();
    daemon.post_empty("/wallet/sync").await.ok();
    daemon.settled().await;
    assert_eq!(daemon.balance("spendable_sat").await, 80_000);
    assert_eq!(refreshes(&daemon).await, ["successful"]);
    assert_conserved(&world, &[&daemon]).await;
}
