//! The channels as clients of the published API use them.

use bark_rest_client::apis::notifications_api::{wait_notification, websocket_ticket};
use bark_rest_client::models::WaitNotificationResponse;
use serde_json::{Value, json};

use super::clients::Access;
use super::{note, note_of, scene, types};
use crate::support::{Daemon, World, assert_conserved};

/// A payer with 50 000 sat, and a payee.
async fn pair() -> (World, Daemon, Daemon) {
    let (world, payer) = scene().await;
    let payee = Daemon::with_wallet(&world).await;
    (world, payer, payee)
}

/// The movements of an answer.
fn movements(answer: &WaitNotificationResponse) -> Vec<(String, i64)> {
    let all = serde_json::to_value(&answer.notifications).unwrap();
    let all = all.as_array().unwrap().iter();
    all.map(|event| {
        let balance = event["movement"]["effective_balance_sat"].as_i64();
        (event["type"].as_str().unwrap().to_owned(), balance.unwrap())
    })
    .collect()
}

#[tokio::test]
async fn a_web_socket_tells_once_that_a_payment_was_received() {
    let (world, payer, payee) = pair().await;
    let access = Access::to(&payee);
    let ticket = websocket_ticket(&payee.generated_client()).await.unwrap();
    assert_eq!(ticket.len(), 64);
    let query = format!("ticket={ticket}");
    let mut socket = access.ws_with(&query, None).await.unwrap();
    assert!(socket.is_quiet().await);

    payer.send(&payee.address().await, 20_000).await.ok();
    let event = socket.next().await.unwrap();
    assert_eq!(event["type"], "movement-created");
    assert_eq!(event["movement"]["effective_balance_sat"], 20_000);
    assert_eq!(event["movement"]["status"], "successful");
    assert_eq!(payee.history().await, [event["movement"].clone()]);
    payee.wait_for_spendable(20_000).await;
    assert!(socket.is_quiet().await, "nothing follows");

    let again = access.ws_with(&query, None).await;
    assert!(again.is_err(), "a ticket opens one web socket");
    assert_conserved(&world, &[&payer, &payee]).await;
}

#[tokio::test]
async fn a_long_poll_of_the_generated_client_gets_each_payment_once() {
    let (world, payer, payee) = pair().await;
    let client = payee.generated_client();
    let to = payee.address().await;
    let polled = tokio::spawn({
        let client = client.clone();
        async move { wait_notification(&client, None).await.unwrap() }
    });
    payer.send(&to, 20_000).await.ok();
    let first = polled.await.unwrap();
    let received = |sats| ("movement-created".to_owned(), sats);
    assert_eq!(movements(&first), [received(20_000)]);
    let since = first.last_pushed_at.expect("the time of the payment");
    let nanos = since.timestamp_subsec_nanos();

    payer.send(&to, 5_000).await.ok();
    let second = wait_notification(&client, Some(since.fixed_offset()))
        .await
        .unwrap();
    assert_eq!(movements(&second), [received(5_000)]);
    let last = second.last_pushed_at.expect("the time of the payment");
    assert!(last > since && (nanos % 1_000 != 0 || last.timestamp_subsec_nanos() % 1_000 != 0));

    let all = wait_notification(&client, None).await.unwrap();
    assert_eq!(movements(&all), [received(20_000), received(5_000)]);
    assert_eq!(all.last_pushed_at, Some(last));
    assert_conserved(&world, &[&payer, &payee]).await;
}

#[tokio::test]
async fn a_long_poll_without_news_repeats_the_given_time() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    let nothing = daemon.get("/notifications/wait?timeout=0").await.ok();
    assert_eq!(nothing["notifications"], json!([]));
    assert_eq!(nothing["last_pushed_at"], Value::Null);
    for (sent, shown) in [
        (
            "2026-08-21T14:02:42.123456789Z",
            "2026-08-21T14:02:42.123456789Z",
        ),
        (
            "2026-08-21+14:02:42.123456789+%2B00:00",
            "2026-08-21T14:02:42.123456789Z",
        ),
        ("2026-08-21T16:02:42%2B02:00", "2026-08-21T14:02:42Z"),
        ("2262-08-21T14:02:42.5Z", "2262-08-21T14:02:42.500Z"),
    ] {
        let answer = daemon
            .get(&format!("/notifications/wait?timeout=0&since={sent}"))
            .await
            .ok();
        assert_eq!(answer["notifications"], json!([]));
        assert_eq!(answer["last_pushed_at"], shown);
    }
    for wrong in ["", "yesterday", "2026-08-21"] {
        daemon
            .get(&format!("/notifications/wait?since={wrong}"))
            .await
            .refused(400, "invalid_query");
    }
}

#[tokio::test]
async fn notifications_need_a_token_and_a_wallet() {
    let mut daemon = Daemon::start().await;
    daemon
        .get("/notifications/wait")
        .await
        .refused(422, "no_wallet");
    daemon
        .get("/notifications/sse")
        .await
        .refused(422, "no_wallet");
    // A web socket without a wallet is opened, and closed at once.
    let mut socket = Access::to(&daemon).ws("").await.unwrap();
    assert_eq!(socket.farewell().await, "no wallet is loaded");
    daemon.use_token(None);
    for path in ["wait", "sse", "ws/ticket"] {
        daemon
            .get(&format!("/notifications/{path}"))
            .await
            .refused(401, "missing_token");
    }
}

#[tokio::test]
async fn a_send_is_created_and_then_updated() {
    let (world, payer, payee) = pair().await;
    let access = Access::to(&payer);
    let before = super::newest(&access).await;
    payer.send(&payee.address().await, 20_000).await.ok();
    let events = access.wait(&format!("after={before}&timeout=0")).await;
    let (first, updates) = events.split_first().unwrap();
    assert_eq!(first["type"], "movement-created");
    assert_eq!(first["movement"]["status"], "pending");
    assert!(!updates.is_empty());
    for update in updates {
        assert_eq!(update["type"], "movement-updated");
        assert_eq!(update["movement"]["id"], first["movement"]["id"]);
    }
    let last = &events[events.len() - 1];
    assert_eq!(last["movement"], payer.history().await[0]);
    assert_eq!(last["movement"]["status"], "successful");
    assert_conserved(&world, &[&payer, &payee]).await;
}

#[tokio::test]
async fn a_metadata_patch_is_an_update() {
    let (_world, daemon) = scene().await;
    let access = Access::to(&daemon);
    let mut socket = access.ws("").await.unwrap();
    note(&access, "tea").await;
    let event = socket.next().await.unwrap();
    assert_eq!(types(std::slice::from_ref(&event)), ["movement-updated"]);
    assert_eq!(note_of(&event), "tea");
}
