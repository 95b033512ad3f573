//! Requests that outlast their patience: a client of the published documents can decode each success, and an answer without the facts
//! that it needs is an error which says that the request must not be repeated.

use bark_rest_client::apis::{boards_api, wallet_api};
use serde_json::json;

use super::{AMOUNT, Request, movements, payee, rich};
use crate::support::{Books, Daemon, Reply, World, assert_conserved, eventually};

/// Asserts a 504 whose movement is pending.
async fn assert_late(daemon: &Daemon, reply: Reply) {
    let movement = reply.body["movement_id"].as_u64();
    let movement = movement.unwrap_or_else(|| panic!("no movement in {reply:?}"));
    let message = reply.refused(504, "still_in_progress");
    for words in ["do not repeat", "/api/v1/history", &movement.to_string()] {
        assert!(message.contains(words), "{message}");
    }
    let history = daemon.history().await;
    let found = history.iter().find(|it| it["id"] == movement);
    assert_eq!(found.expect("it is there")["status"], "pending");
}

#[tokio::test]
async fn an_answer_without_its_required_facts_is_a_504_that_names_the_movement() {
    let world = World::new().await;
    let daemon = rich(&world, 50_000).await;
    daemon.fund_and_board(&world, 40_000).await;
    let to = payee();
    // The server takes its time; after a few failures the operations would be given up.
    for target in ["RequestBoardCosign", "PrepareOffboard"] {
        let slow = json!({"type": "delay", "ms": 28_000});
        world.fault(json!({"target": target, "action": slow}));
    }
    let board = Request::new("/boards/board-amount", json!({"amount_sat": 20_000}));
    let body = json!({"destination": to, "amount_sat": AMOUNT});
    let payment = Request::new("/wallet/send-onchain", body);
    let client = daemon.generated_client();
    let rest = serde_json::from_value(json!({"address": to})).unwrap();
    let rest = async {
        eventually("the payment has taken its coins", async || {
            movements(&daemon, "payment").await.pop()
        })
        .await;
        wallet_api::offboard_all(&client, rest).await
    };
    let (board_reply, payment_reply, rest_reply) = tokio::join!(
        board.send(&daemon, "board"),
        payment.send(&daemon, "payment"),
        rest
    );
    assert_late(&daemon, board_reply).await;
    assert_late(&daemon, payment_reply).await;
    for (request, key) in [(&board, "board"), (&payment, "payment")] {
        let repeated = request.send(&daemon, key).await;
        repeated.refused(409, "idempotency_in_progress");
    }
    // A published client gets an error, not a success that it cannot decode.
    match rest_reply.unwrap_err() {
        bark_rest_client::apis::Error::ResponseError(response) => {
            assert_eq!(response.status, 504, "{}", response.content);
        }
        other => panic!("{other:?}"),
    }
    world.no_faults();
    payment.outcome(&daemon, "payment").await.ok();
    board.outcome(&daemon, "board").await.ok();
    eventually("the offboard is broadcast", async || {
        daemon.post_empty("/wallet/sync").await.ok();
        world.mine(1).await;
        (Books::read(&world).await.received(&to).len() == 2).then_some(())
    })
    .await;
    daemon.settled().await;
    let pending = boards_api::get_pending_boards(&client).await.unwrap();
    assert!(pending.is_empty());
    assert_conserved(&world, &[&daemon]).await;
}

/// The 202 of a payment has all that the published schema of its 200 requires.
#[tokio::test]
async fn a_published_client_decodes_the_answer_to_a_late_payment() {
    let world = World::new().await;
    let payer = rich(&world, 50_000).await;
    let payee = Daemon::with_wallet(&world).await;
    world.fault(json!({"target": "PostArkoorMessage", "action": {"type": "drop_before"}}));
    let client = payer.generated_client();
    let to = payee.address().await;
    let request = json!({"destination": to, "amount_sat": AMOUNT});
    let request = serde_json::from_value(request).unwrap();
    let sent = wallet_api::send(&client, request).await.unwrap();
    assert!(sent.message.contains("do not repeat"), "{}", sent.message);
    world.no_faults();
    payer.post_empty("/wallet/sync").await.ok();
    payee.wait_for_spendable(AMOUNT).await;
}
