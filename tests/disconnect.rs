//! Clients that disconnect before the answer: the operation that they started is completed (docs/protocol.md §23.0).

use std::io::Write;
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::support::{Daemon, World, assert_conserved, eventually};

/// Sends a request, waits until its operation is under way, and cuts the connection without reading an answer.
async fn cut_off(daemon: &Daemon, path: &str, body: &Value) {
    let before = daemon.history().await.len();
    let (token, body) = (daemon.token(), body.to_string());
    let request = format!(
        "POST /api/v1{path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut connection = TcpStream::connect(("127.0.0.1", daemon.port())).unwrap();
    connection.write_all(request.as_bytes()).unwrap();
    eventually("the operation is under way", async || {
        (daemon.history().await.len() > before).then_some(())
    })
    .await;
    drop(connection);
    assert_eq!(daemon.history().await[0]["status"], "pending");
}

#[tokio::test]
async fn a_payment_whose_client_disconnects_arrives() {
    let world = World::new().await;
    let (payer, payee) = (
        Daemon::with_wallet(&world).await,
        Daemon::with_wallet(&world).await,
    );
    payer.fund_and_board(&world, 50_000).await;
    let to = payee.address().await;
    world.fault(json!({"target": "PostArkoorMessage", "action": {"type": "drop_before"}}));
    let payment = json!({"destination": to, "amount_sat": 5_000});
    cut_off(&payer, "/wallet/send", &payment).await;
    eventually("the delivery fails", async || {
        (world.faults_fired("PostArkoorMessage") > 0).then_some(())
    })
    .await;
    world.no_faults();
    payee.wait_for_spendable(5_000).await;
    payer.settled().await;
    assert_eq!(payer.history().await[0]["status"], "successful");
    assert_eq!(payer.balance("spendable_sat").await, 45_000);
    assert_conserved(&world, &[&payer, &payee]).await;
}

#[tokio::test]
async fn a_board_whose_client_disconnects_is_completed() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund(&world, 50_000).await;
    world.fault(json!({"target": "RequestBoardCosign", "action": {"type": "drop_before"}}));
    cut_off(
        &daemon,
        "/boards/board-amount",
        &json!({"amount_sat": 20_000}),
    )
    .await;
    world.no_faults();
    eventually("the board is in the mempool", async || {
        (!world.sandbox.chain.mempool().await.unwrap().is_empty()).then_some(())
    })
    .await;
    world.mine(1).await;
    daemon.wait_for_spendable(20_000).await;
    daemon.settled().await;
    assert_conserved(&world, &[&daemon]).await;
}
