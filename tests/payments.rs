//! Out-of-round payments (docs/protocol.md §4.2).

use serde_json::{Value, json};

use crate::support::{Daemon, World, assert_conserved, eventually};

async fn pair(world: &World, sats: u64) -> (Daemon, Daemon) {
    let (payer, payee) = (
        Daemon::with_wallet(world).await,
        Daemon::with_wallet(world).await,
    );
    payer.fund_and_board(world, sats).await;
    (payer, payee)
}

/// The server makes at most four outputs of one input. Change in three pieces leaves no room for the output that isolated dust can need.
#[tokio::test]
async fn change_in_three_pieces_leaves_room_for_dust() {
    let world = World::new().await;
    let pieces = [("BARK_CHANGE_VTXO_SPLIT_FACTOR", "3")];
    let (rich, payer) = (
        Daemon::start_with(&[], &pieces).await,
        Daemon::start_with(&[], &pieces).await,
    );
    for daemon in [&rich, &payer] {
        daemon.create_wallet(&world).await;
    }
    rich.fund_and_board(&world, 200_000).await;
    let to = payer.address().await;
    rich.send(&to, 50_000).await.ok();
    rich.send(&to, 1_000).await.ok();
    payer.wait_for_spendable(51_000).await;
    // The deeper coin, of 1,000 sat, is spent first. What the payment takes of the other one is dust.
    payer.send(&rich.address().await, 1_200).await.ok();
    let inputs = payer.history().await[0]["input_vtxos"].clone();
    assert_eq!(inputs.as_array().unwrap().len(), 2, "{inputs:#}");
    // The payment is dust itself.
    rich.send(&to, 200).await.ok();
    payer.wait_for_spendable(51_000 - 1_200 + 200).await;
    rich.wait_for_spendable(149_000 + 1_200 - 200).await;
    assert_conserved(&world, &[&rich, &payer]).await;
}

#[tokio::test]
async fn a_payment_arrives_and_both_histories_show_it() {
    let world = World::new().await;
    let (payer, payee) = pair(&world, 100_000).await;
    let to = payee.address().await;
    payer.send(&to, 30_000).await.ok();
    assert_eq!(payer.balance("spendable_sat").await, 70_000);
    payee.wait_for_spendable(30_000).await;

    let sent = &payer.history().await[0];
    assert_eq!(sent["status"], "successful");
    assert_eq!(
        sent["subsystem"],
        json!({"name": "bark.arkoor", "kind": "send"})
    );
    assert_eq!(sent["effective_balance_sat"], -30_000);
    assert_eq!(
        sent["sent_to"],
        json!([{"destination": {"type": "ark", "value": to}, "amount_sat": 30_000}])
    );
    assert_eq!(sent["input_vtxos"].as_array().unwrap().len(), 1);
    assert_eq!(
        sent["output_vtxos"].as_array().unwrap().len(),
        2,
        "change larger than the payment comes in two pieces"
    );
    assert!(sent["time"]["completed_at"].is_string());

    let received = payee.history().await;
    assert_eq!(received.len(), 1);
    assert_eq!(
        received[0]["subsystem"],
        json!({"name": "bark.arkoor", "kind": "receive"})
    );
    assert_eq!(received[0]["status"], "successful");
    assert_eq!(received[0]["effective_balance_sat"], 30_000);
    assert_eq!(
        received[0]["received_on"][0]["destination"]["value"],
        to.as_str()
    );

    for path in ["/wallet/history", "/wallet/movements"] {
        assert_eq!(payer.get(path).await.ok(), payer.get("/history").await.ok());
    }
    let found = payer
        .get(&format!("/history?type=ark&value={to}"))
        .await
        .ok();
    assert_eq!(found.as_array().unwrap().len(), 1);
    let none = payee
        .get(&format!(
            "/history?type=ark&value={}",
            payee.address().await
        ))
        .await
        .ok();
    assert_eq!(none, json!([]));
    assert_conserved(&world, &[&payer, &payee]).await;
}

#[tokio::test]
async fn payments_go_back_and_forth_down_to_the_last_sat() {
    let world = World::new().await;
    let (one, other) = pair(&world, 10_000).await;
    let (to_one, to_other) = (one.address().await, other.address().await);
    one.send(&to_other, 10_000).await.ok();
    other.wait_for_spendable(10_000).await;
    other.send(&to_one, 1).await.ok();
    one.wait_for_spendable(1).await;
    other.send(&to_one, 329).await.ok();
    one.wait_for_spendable(330).await;
    one.send(&to_other, 330).await.ok();
    other.wait_for_spendable(10_000).await;
    assert_eq!(one.balance("spendable_sat").await, 0);
    assert_conserved(&world, &[&one, &other]).await;
}

#[tokio::test]
async fn one_payment_may_take_many_vtxos() {
    let world = World::new().await;
    let (payer, payee) = pair(&world, 10_000).await;
    let own = payer.address().await;
    for sats in [1_000, 1_600, 1_700] {
        payer.send(&own, sats).await.ok();
        payer.wait_for_spendable(10_000).await;
    }
    assert!(
        payer
            .get("/wallet/vtxos")
            .await
            .ok()
            .as_array()
            .unwrap()
            .len()
            >= 4
    );
    payer.send(&payee.address().await, 9_500).await.ok();
    payee.wait_for_spendable(9_500).await;
    assert_eq!(payer.balance("spendable_sat").await, 500);
    assert_conserved(&world, &[&payer, &payee]).await;
}

#[tokio::test]
async fn concurrent_payments_never_use_a_vtxo_twice() {
    let world = World::new().await;
    let (payer, payee) = pair(&world, 100_000).await;
    // Many coins, so that many payments find one each.
    let own = payer.address().await;
    for _ in 0..6 {
        payer.send(&own, 10_000).await.ok();
        payer.wait_for_spendable(100_000).await;
    }
    let to = payee.address().await;
    let attempts = futures::future::join_all((0..12).map(|_| payer.send(&to, 2_000))).await;
    let (mut paid, mut short) = (0, 0);
    for attempt in attempts {
        match attempt.status {
            200 => paid += 1,
            400 if attempt.body["code"] == "insufficient_funds" => short += 1,
            _ => panic!("{attempt:?}"),
        }
    }
    assert!(
        paid > 0 && paid + short == 12,
        "{paid} paid, {short} found no free coin"
    );
    payee.wait_for_spendable(2_000 * paid).await;
    payer.settled().await;
    let spent: Vec<Value> = payer
        .history()
        .await
        .iter()
        .flat_map(|m| m["input_vtxos"].as_array().unwrap().clone())
        .collect();
    let mut distinct = spent.iter().map(Value::to_string).collect::<Vec<_>>();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), spent.len());
    assert_conserved(&world, &[&payer, &payee]).await;
}

#[tokio::test]
async fn a_client_that_disconnects_changes_nothing() {
    let world = World::new().await;
    let (payer, payee) = pair(&world, 50_000).await;
    let to = payee.address().await;
    let slow = world.fault(json!({"target": "RequestArkoorCosign", "times": 1, "action": {"type": "delay", "ms": 2_000}}));
    let body = json!({"destination": to, "amount_sat": 5_000});
    payer
        .post_and_leave("/wallet/send", body, async || world.fired(slow) > 0)
        .await;
    assert_eq!(payer.history().await[0]["status"], "pending");
    payee.wait_for_spendable(5_000).await;
    payer.settled().await;
    assert_conserved(&world, &[&payer, &payee]).await;
}

#[tokio::test]
async fn a_lost_reply_is_asked_for_again_and_nothing_is_paid_twice() {
    let world = World::new().await;
    let (payer, payee) = pair(&world, 100_000).await;
    let to = payee.address().await;
    let mut received = 0;
    for rpc in [
        "RegisterVtxoTransactions",
        "RequestArkoorCosign",
        "PostArkoorMessage",
    ] {
        for action in ["drop_before", "drop_after"] {
            world.fault(json!({"target": rpc, "times": 1, "action": {"type": action}}));
            payer.send(&to, 1_000).await.ok();
            received += 1_000;
            payee.wait_for_spendable(received).await;
            world.no_faults();
        }
    }
    assert_eq!(payer.balance("spendable_sat").await, 100_000 - received);
    assert_conserved(&world, &[&payer, &payee]).await;
}

#[tokio::test]
async fn a_request_is_repeated_after_a_crash_of_the_server() {
    let world = World::new().await;
    let (payer, payee) = pair(&world, 100_000).await;
    let to = payee.address().await;
    let mut received = 0;
    for hook in [
        "arkoor.checked",
        "arkoor.persisted",
        "arkoor.response",
        "register",
        "mailbox.post",
    ] {
        world.fault(json!({"target": hook, "times": 1, "action": {"type": "crash"}}));
        payer.send(&to, 1_000).await.ok();
        received += 1_000;
        payee.wait_for_spendable(received).await;
        world.no_faults();
    }
    assert_conserved(&world, &[&payer, &payee]).await;
}

#[tokio::test]
async fn invalid_signatures_are_refused() {
    let world = World::new().await;
    let (payer, payee) = pair(&world, 50_000).await;
    for action in ["wrong_signature", "missing_signature"] {
        world.fault(json!({"target": "arkoor.response", "times": 1, "action": {"type": action}}));
        payer.send(&payee.address().await, 1_000).await.ok();
    }
    payee.wait_for_spendable(2_000).await;
    assert_conserved(&world, &[&payer, &payee]).await;
}

#[tokio::test]
async fn a_payment_that_the_server_refuses_releases_its_inputs() {
    let world = World::new().await;
    let (payer, payee) = pair(&world, 50_000).await;
    world.fault(json!({"target": "RequestArkoorCosign", "action": {"type": "status", "code": 3, "message": "not today"}}));
    let message = payer
        .send(&payee.address().await, 1_000)
        .await
        .refused(409, "server_refused");
    assert!(message.contains("not today"), "{message}");
    world.no_faults();
    assert_eq!(payer.balance("spendable_sat").await, 50_000);
    let failed = &payer.history().await[0];
    assert_eq!(
        (&failed["status"], &failed["effective_balance_sat"]),
        (&json!("failed"), &json!(0))
    );
    payer.send(&payee.address().await, 50_000).await.ok();
    payee.wait_for_spendable(50_000).await;
    assert_conserved(&world, &[&payer, &payee]).await;
}

/// H3: the first try succeeds but its reply is lost, and the retry is refused because of its inputs.
#[tokio::test]
async fn a_refusal_after_a_lost_reply_releases_nothing() {
    let world = World::new().await;
    let (payer, payee) = pair(&world, 50_000).await;
    world.fault(
        json!({"target": "RequestArkoorCosign", "times": 1, "action": {"type": "drop_after"}}),
    );
    world.fault(json!({
        "target": "RequestArkoorCosign", "skip": 1, "times": 1,
        "action": {"type": "status", "code": 3, "message": "input in flux"}
    }));
    let to = payee.address().await;
    payer.send(&to, 1_000).await.ok();
    payee.wait_for_spendable(1_000).await;
    assert_eq!(payer.balance("spendable_sat").await, 49_000);
    assert_conserved(&world, &[&payer, &payee]).await;
}

#[tokio::test]
async fn chains_that_the_server_forgot_are_uploaded_again() {
    let world = World::new().await;
    let (payer, payee) = pair(&world, 50_000).await;
    payer.send(&payee.address().await, 1_000).await.ok();
    // All coins of the payer are registered now; the next upload makes the server forget what it had.
    world.fault(json!({"target": "register", "times": 1, "action": {"type": "forget"}}));
    payer.send(&payee.address().await, 1_000).await.ok();
    world.no_faults();
    payer.send(&payee.address().await, 30_000).await.ok();
    payee.wait_for_spendable(32_000).await;
    payer.settled().await;
    assert_conserved(&world, &[&payer, &payee]).await;
}

#[tokio::test]
async fn a_payment_that_outlasts_the_request_is_answered_202_and_goes_on() {
    let world = World::new().await;
    let (payer, payee) = pair(&world, 50_000).await;
    world.fault(json!({"target": "PostArkoorMessage", "action": {"type": "drop_before"}}));
    let reply = payer.send(&payee.address().await, 1_000).await;
    assert_eq!(reply.status, 202, "{:#}", reply.body);
    assert!(reply.body["message"].is_string());
    assert_eq!(payer.history().await[0]["status"], "pending");
    assert_eq!(
        payer.balance("spendable_sat").await,
        49_000,
        "the change is free already"
    );
    world.no_faults();
    payer.post_empty("/wallet/sync").await.ok();
    payee.wait_for_spendable(1_000).await;
    eventually("the payment is finished", async || {
        (payer.history().await[0]["status"] == "successful").then_some(())
    })
    .await;
    assert_conserved(&world, &[&payer, &payee]).await;
}

#[tokio::test]
async fn an_input_that_is_busy_at_the_server_is_tried_again() {
    // H60: the server says so while an earlier request of ours still runs, with the code of a refusal.
    let world = World::new().await;
    let (payer, payee) = (
        Daemon::with_wallet(&world).await,
        Daemon::with_wallet(&world).await,
    );
    payer.fund_and_board(&world, 20_000).await;
    let busy = "vtxo is already locked by another process";
    world.fault(json!({"target": "RequestArkoorCosign", "times": 2,
        "action": {"type": "status", "code": 3, "message": busy}}));
    payer.send(&payee.address().await, 5_000).await.ok();
    assert_eq!(world.faults_fired("RequestArkoorCosign"), 2);
    payee.wait_for_spendable(5_000).await;
    assert_conserved(&world, &[&payer, &payee]).await;
}

#[tokio::test]
async fn a_payment_whose_step_panics_is_completed() {
    // H57: the operation keeps its driver.
    let world = World::new().await;
    let mut payer = Daemon::with_wallet(&world).await;
    let payee = Daemon::with_wallet(&world).await;
    payer.fund_and_board(&world, 20_000).await;
    payer.stop().await;
    payer
        .restart_with(None, &[("FAILPOINTS", "send.cosigned.before=1*panic")])
        .await;
    payer.wait_for_connected(true).await;
    payer.send(&payee.address().await, 5_000).await.ok();
    assert!(payer.log().contains("panicked"), "the panic happened");
    payee.wait_for_spendable(5_000).await;
    assert_conserved(&world, &[&payer, &payee]).await;
}

#[tokio::test]
async fn one_unreadable_operation_does_not_stop_the_others() {
    // H57: the wallet opens, and its other payments are completed.
    let world = World::new().await;
    let mut payer = Daemon::with_wallet(&world).await;
    let payee = Daemon::with_wallet(&world).await;
    payer.fund_and_board(&world, 20_000).await;
    payer.fund_and_board(&world, 20_000).await;
    let to = payee.address().await;
    world.fault(json!({"target": "RequestArkoorCosign", "action": {"type": "drop_before"}}));
    let (one, other) = tokio::join!(payer.send(&to, 19_000), payer.send(&to, 18_000));
    assert_eq!((one.status, other.status), (202, 202));
    payer.stop().await;
    rusqlite::Connection::open(payer.folder().join("db.sqlite"))
        .unwrap()
        .execute(
            "UPDATE operation SET state = 'damaged' WHERE id = (SELECT operation FROM movement WHERE id = ?1)",
            [one.body["movement_id"].as_u64().unwrap()],
        )
        .unwrap();
    world.no_faults();
    payer.restart(None).await;
    payee.wait_for_spendable(18_000).await;
    let facts = payer.attention().await;
    assert_eq!(facts[0]["code"], "unreadable_operation");
    assert_eq!(facts.len(), 1);
    assert_eq!(payer.balance("pending_arkoor_send_sat").await, 20_000);
}

/// The ids of the change are posted for a recovery at once, not with the next sync, which comes after an hour here.
#[tokio::test]
async fn the_change_of_a_payment_can_be_recovered_at_once() {
    let world = World::new().await;
    let hourly = [("BARK_DAEMON_SYNC_INTERVAL_SECS", "3600")];
    let payer = Daemon::start_with(&[], &hourly).await;
    payer.create_wallet(&world).await;
    payer.fund_and_board(&world, 50_000).await;
    let payee = Daemon::with_wallet(&world).await;
    let to = payee.address().await;
    for _ in 0..3 {
        payer.send(&to, 10_000).await.ok();
        eventually("all ids are posted", async || {
            let database = rusqlite::Connection::open(payer.folder().join("db.sqlite"));
            let missing = database.unwrap().query_row(
                "SELECT count(*) FROM vtxo WHERE backed_up = 0 AND state = 'spendable'",
                [],
                |row| row.get::<_, u32>(0),
            );
            (missing.ok() == Some(0)).then_some(())
        })
        .await;
    }
    payee.wait_for_spendable(30_000).await;
    assert_conserved(&world, &[&payer, &payee]).await;
}
