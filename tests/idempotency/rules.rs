//! Which keys are taken, what is kept of a request, and for how long.

use serde_json::json;

use super::{AMOUNT, Request, is_replayed, movements, rich};
use crate::support::{Daemon, World, assert_conserved, eventually};

#[tokio::test]
async fn a_bad_key_is_refused_before_anything_begins() {
    let world = World::new().await;
    let daemon = rich(&world, 30_000).await;
    let before = daemon.history().await;
    let body = json!({"destination": daemon.address().await, "amount_sat": 1_000});
    let too_long = "k".repeat(256);
    for key in ["", "\"", "two words", too_long.as_str()] {
        let reply = daemon.post_once(key, "/wallet/send", body.clone()).await;
        reply.refused(400, "invalid_idempotency_key");
    }
    let twice = daemon.raw("POST", "/api/v1/wallet/send", |request| {
        let request = request.header("idempotency-key", "a");
        request.header("idempotency-key", "b").json(&body)
    });
    twice.await.refused(400, "invalid_idempotency_key");
    assert_eq!(daemon.history().await, before);
    // A route that begins nothing ignores the header.
    daemon
        .post_once("two words", "/wallet/sync", None)
        .await
        .ok();
    for filter in ["", "%20", "%C3%A4"] {
        let path = format!("/history?idempotency_key={filter}");
        daemon
            .get(&path)
            .await
            .refused(400, "invalid_idempotency_key");
    }
    assert!(movements(&daemon, "unknown").await.is_empty());
}

#[tokio::test]
async fn a_key_belongs_to_one_path_and_body_in_whatever_form() {
    let world = World::new().await;
    let daemon = rich(&world, 30_000).await;
    let own = daemon.address().await;
    let send = |key: &'static str, path: &'static str, body: String| {
        daemon.raw("POST", path, move |request| {
            let request = request.header("content-type", "application/json");
            request.header("idempotency-key", key).body(body)
        })
    };
    let path = "/api/v1/wallet/send";
    let first = send(
        "k",
        path,
        format!("{{\"destination\": \"{own}\", \"amount_sat\": 900}}"),
    );
    let first = first.await.ok();
    let same = send(
        "\"k\"",
        path,
        format!("{{\"amount_sat\":900,\"destination\":\"{own}\"}}"),
    );
    let same = same.await;
    assert!(is_replayed(&same));
    assert_eq!(same.ok(), first);
    let other = format!("{{\"destination\": \"{own}\", \"amount_sat\": 901}}");
    let other = send("k", path, other).await;
    other.refused(422, "idempotency_key_reused");
    let body = format!("{{\"destination\": \"{own}\", \"amount_sat\": 900}}");
    let elsewhere = send("k", "/api/v1/lightning/pay", body).await;
    elsewhere.refused(422, "idempotency_key_reused");
    let sends = daemon.history().await;
    let sends = sends.iter().filter(|it| it["subsystem"]["kind"] == "send");
    assert_eq!(sends.count(), 1);
}

/// The payer gets money, and repeats the request that was refused.
#[tokio::test]
async fn a_request_that_began_nothing_can_be_repeated_with_its_key() {
    let world = World::new().await;
    let (payer, payee) = (
        Daemon::with_wallet(&world).await,
        Daemon::with_wallet(&world).await,
    );
    let body = json!({"destination": payee.address().await, "amount_sat": AMOUNT});
    let request = Request::new("/wallet/send", body);
    let poor = request.send(&payer, "k").await;
    poor.refused(400, "insufficient_funds");
    assert!(movements(&payer, "k").await.is_empty());
    payer.fund_and_board(&world, 30_000).await;
    let first = request.send(&payer, "k").await.ok();
    assert_eq!(request.send(&payer, "k").await.ok(), first);
    payee.wait_for_spendable(AMOUNT).await;
    payer.settled().await;
    assert_conserved(&world, &[&payer, &payee]).await;
}

/// What began and failed is answered again as it was, also after a kill before the answer.
#[tokio::test]
async fn a_failed_operation_is_answered_again() {
    let world = World::new().await;
    let mut payer = rich(&world, 30_000).await;
    let payee = Daemon::with_wallet(&world).await;
    let body = json!({"destination": payee.address().await, "amount_sat": AMOUNT});
    let request = Request::new("/wallet/send", body);
    let refusal = json!({"type": "status", "code": 3, "message": "no"});
    let fault = json!({"target": "RequestArkoorCosign", "action": refusal});
    world.fault(fault.clone());
    let first = request.send(&payer, "k").await;
    world.no_faults();
    let message = first.refused(409, "server_refused");
    let again = request.send(&payer, "k").await;
    assert!(is_replayed(&again));
    assert_eq!(again.refused(409, "server_refused"), message);
    assert_eq!(movements(&payer, "k").await[0]["status"], "failed");

    payer.stop().await;
    payer.restart(Some("send.aborted.after")).await;
    payer.wait_for_connected(true).await;
    world.fault(fault);
    let lost = payer.try_post_once("l", request.path, request.body.as_ref());
    assert!(lost.await.is_err());
    payer.wait_for_exit().await;
    world.no_faults();
    payer.restart(None).await;
    let again = request.send(&payer, "l").await;
    assert_eq!(again.refused(409, "server_refused"), message);
    // A new key is a new request.
    request.send(&payer, "m").await.ok();
    payee.wait_for_spendable(AMOUNT).await;
    payer.settled().await;
    assert_conserved(&world, &[&payer, &payee]).await;
}

/// The client is gone while the payment is under way; the movement of the request is found by its key.
#[tokio::test]
async fn a_request_that_is_carried_out_says_so_and_then_has_its_answer() {
    let world = World::new().await;
    let payer = rich(&world, 30_000).await;
    let payee = Daemon::with_wallet(&world).await;
    let body = json!({"destination": payee.address().await, "amount_sat": AMOUNT});
    let request = Request::new("/wallet/send", body);
    world.fault(json!({"target": "PostArkoorMessage", "action": {"type": "drop_before"}}));
    let under_way = eventually("the payment is under way", async || {
        movements(&payer, "k").await.pop()
    });
    let movement = tokio::select! {
        reply = request.send(&payer, "k") => panic!("{reply:?}"),
        movement = under_way => movement,
    };
    let repeated = request.send(&payer, "k").await;
    assert_eq!(repeated.body["movement_id"], movement["id"]);
    repeated.refused(409, "idempotency_in_progress");
    eventually("the delivery fails", async || {
        (world.faults_fired("PostArkoorMessage") > 0).then_some(())
    })
    .await;
    world.no_faults();
    let answer = request.outcome(&payer, "k").await.ok();
    assert_eq!(answer["movement_id"], movement["id"]);
    assert_eq!(answer["message"], "Payment sent successfully");
    payee.wait_for_spendable(AMOUNT).await;
    payer.settled().await;
    assert_conserved(&world, &[&payer, &payee]).await;
}

/// Makes everything in the database of a stopped daemon older by so many hours.
fn age(daemon: &Daemon, hours: i64) {
    let database = rusqlite::Connection::open(daemon.folder().join("db.sqlite")).unwrap();
    let millis = hours * 3_600_000;
    database
        .execute_batch(&format!(
            "UPDATE idempotency_key SET created_at = created_at - {millis};
             UPDATE operation SET finished_at = finished_at - {millis};"
        ))
        .unwrap();
}

#[tokio::test]
async fn a_key_is_kept_for_24_hours_and_over_restarts() {
    let world = World::new().await;
    let mut payer = rich(&world, 60_000).await;
    let payee = Daemon::with_wallet(&world).await;
    let body = json!({"destination": payee.address().await, "amount_sat": AMOUNT});
    let request = Request::new("/wallet/send", body);
    let first = request.send(&payer, "k").await.ok();
    payer.settled().await;
    payer.stop().await;
    age(&payer, 23);
    payer.restart(None).await;
    payer.wait_for_connected(true).await;
    assert_eq!(request.send(&payer, "k").await.ok(), first);
    payer.stop().await;
    age(&payer, 2);
    payer.restart(None).await;
    payer.wait_for_connected(true).await;
    let next = request.send(&payer, "k").await;
    assert!(!is_replayed(&next));
    assert_ne!(next.ok()["movement_id"], first["movement_id"]);
    assert_eq!(movements(&payer, "k").await.len(), 1);
    payee.wait_for_spendable(2 * AMOUNT).await;
}

/// A payment that the server does not answer for two days is not made again by its key.
#[tokio::test]
async fn the_key_of_an_unfinished_operation_is_kept_until_it_ends() {
    let world = World::new().await;
    let mut payer = rich(&world, 60_000).await;
    let payee = Daemon::with_wallet(&world).await;
    let body = json!({"destination": payee.address().await, "amount_sat": AMOUNT});
    let request = Request::new("/wallet/send", body);
    world.fault(json!({"target": "PostArkoorMessage", "action": {"type": "drop_before"}}));
    tokio::select! {
        reply = request.send(&payer, "k") => panic!("{reply:?}"),
        () = eventually("the delivery fails", async || {
            (world.faults_fired("PostArkoorMessage") > 0).then_some(())
        }) => {}
    }
    payer.stop().await;
    age(&payer, 48);
    payer.restart(None).await;
    payer.wait_for_connected(true).await;
    let repeated = request.send(&payer, "k").await;
    repeated.refused(409, "idempotency_in_progress");
    world.no_faults();
    request.outcome(&payer, "k").await.ok();
    payee.wait_for_spendable(AMOUNT).await;
    payer.settled().await;
    assert_conserved(&world, &[&payer, &payee]).await;
}

/// Expired keys go with the next ones, a few at a time.
#[tokio::test]
async fn expired_keys_are_deleted() {
    let world = World::new().await;
    let mut daemon = rich(&world, 60_000).await;
    let count = |daemon: &Daemon| {
        let database = rusqlite::Connection::open(daemon.folder().join("db.sqlite")).unwrap();
        let sql = "SELECT (SELECT count(*) FROM idempotency_key) + (SELECT count(*) FROM idempotency_movement)";
        let count = database.query_row(sql, [], |row| row.get::<_, u32>(0));
        count.unwrap()
    };
    let body = json!({"amount_sat": AMOUNT});
    let request = Request::new("/lightning/receives/invoice", body);
    for number in 0..30 {
        request.send(&daemon, &format!("old-{number}")).await.ok();
    }
    assert_eq!(count(&daemon), 30);
    daemon.stop().await;
    age(&daemon, 25);
    daemon.restart(None).await;
    daemon.wait_for_connected(true).await;
    request.send(&daemon, "new-1").await.ok();
    request.send(&daemon, "new-2").await.ok();
    assert_eq!(count(&daemon), 2);
}
