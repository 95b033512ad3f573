//! Schemathesis sends what our document allows and what it forbids, and holds each answer against it. Afterwards, no money is lost.

use std::time::Duration;

use serde_json::json;

use crate::support::{Daemon, World, assert_balanced, run_tool};

/// Makes the requests of a run the same each time.
const SEED: &str = "1";

#[tokio::test]
#[ignore = "needs the tools of tests/python"]
async fn any_request_is_answered_as_the_document_says() {
    fuzz("2").await;
}

#[tokio::test]
#[ignore = "takes minutes"]
async fn any_request_is_answered_as_the_document_says_at_length() {
    fuzz("60").await;
}

/// Sends up to `examples` random requests to each operation, besides those that try out each part of the document.
async fn fuzz(examples: &str) {
    let world = World::new().await;
    world.fund_server(1_000_000).await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 100_000).await;
    daemon.fund_and_board(&world, 50_000).await;
    tokio::select! {
        _ = schemathesis(&daemon, examples) => {}
        () = keep_funded(&world, &daemon) => {}
    }
    bring_to_an_end(&world, &daemon).await;
    assert_balanced(&world, &[&daemon], &[]).await;
}

async fn schemathesis(daemon: &Daemon, examples: &str) -> String {
    let config = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/contract/schemathesis.toml"
    );
    let document = format!("http://127.0.0.1:{}/openapi.json", daemon.port());
    let token = format!("Authorization: Bearer {}", daemon.token());
    let arguments = [
        "--config-file",
        config,
        "run",
        &document,
        "--header",
        &token,
        "--seed",
        SEED,
        "--max-examples",
        examples,
    ];
    run_tool("schemathesis", &arguments).await
}

/// Keeps blocks and money coming: some of the requests exit, offboard or board everything. Never ends.
async fn keep_funded(world: &World, daemon: &Daemon) {
    loop {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let address = daemon.post_empty("/onchain/addresses/next").await.ok();
        world
            .pay(address["address"].as_str().unwrap(), 60_000)
            .await;
        world.mine(1).await;
        let board = json!({"amount_sat": 30_000});
        // Refused while other requests have spent the coins.
        daemon.post("/boards/board-amount", board).await;
    }
}

/// Lets everything end that the requests have begun: refreshes in rounds, exits with a claim to the own on-chain wallet.
async fn bring_to_an_end(world: &World, daemon: &Daemon) {
    daemon.fund(world, 500_000).await;
    for _ in 0..60 {
        if !is_anything_pending(daemon).await {
            return;
        }
        let progress = daemon.post("/exits/progress", json!({"wait": true})).await;
        if progress.ok()["done"] == true {
            let address = daemon.post_empty("/onchain/addresses/next").await.ok();
            let claim = json!({"destination": address["address"]});
            // Refused when there is no exit.
            daemon.post("/exits/claim/all", claim).await;
        }
        world.forget_missed_rounds();
        world.round().await;
        world.mine(1).await;
        daemon.wait_for_tip(world).await;
    }
    panic!("still pending: {:#?}", daemon.history().await);
}

async fn is_anything_pending(daemon: &Daemon) -> bool {
    let boards = daemon.get("/boards/pending").await.ok();
    let history = daemon.history().await;
    boards != json!([]) || history.iter().any(|it| it["status"] == "pending")
}
