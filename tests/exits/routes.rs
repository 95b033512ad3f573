//! The routes of exits: their lists, redirects and refusals.

use serde_json::json;

use crate::support::{Daemon, World};

#[tokio::test]
async fn exits_are_listed_by_state_and_by_vtxo() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund(&world, 200_000).await;
    daemon.board(&world, 50_000).await;
    daemon.board(&world, 60_000).await;
    let vtxos = daemon.vtxos().await;
    for vtxo in &vtxos {
        daemon.exit(std::slice::from_ref(vtxo)).await;
    }
    let path = format!("/exits/cancel/{}", vtxos[0]);
    daemon.post_empty(&path).await.ok();
    assert_eq!(daemon.exits("live").await, vtxos[1..]);
    assert_eq!(daemon.exits("finished").await, vtxos[..1]);
    let newest_first = [vtxos[1].clone(), vtxos[0].clone()];
    assert_eq!(daemon.exits("all").await, newest_first);
    for vtxo in &vtxos {
        let by_id = daemon.get(&format!("/exits/status/vtxo/{vtxo}")).await.ok();
        let deprecated = daemon.get(&format!("/exits/status/{vtxo}")).await.ok();
        assert_eq!(by_id, deprecated);
        assert!(by_id.get("history").is_none(), "{by_id:#}");
        assert!(by_id.get("transactions").is_none(), "{by_id:#}");
    }
}

#[tokio::test]
async fn the_former_list_redirects_with_its_query() {
    let daemon = Daemon::start().await;
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    for query in ["", "?history=true&transactions=false"] {
        let url = format!(
            "http://127.0.0.1:{}/api/v1/exits/status{query}",
            daemon.port()
        );
        let answer = client.get(&url).bearer_auth(daemon.token()).send().await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 308);
        let location = format!("/api/v1/exits/status/all{query}");
        assert_eq!(answer.headers()["location"], location);
        let answer = client.get(&url).send().await.unwrap();
        assert_eq!(answer.status(), 401);
    }
}

#[tokio::test]
async fn wrong_requests_are_refused_by_name() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    let unknown = format!("{}:0", "ab".repeat(32));
    let start = async |vtxos: serde_json::Value| {
        daemon
            .post("/exits/start/vtxos", json!({"vtxos": vtxos}))
            .await
    };
    start(json!([])).await.refused(400, "no_vtxos");
    start(json!(["x"])).await.refused(400, "invalid_vtxo_id");
    start(json!([unknown])).await.refused(404, "unknown_vtxo");
    let status = daemon.get(&format!("/exits/status/vtxo/{unknown}")).await;
    status.refused(404, "unknown_exit");
    let status = daemon.get("/exits/status/vtxo/x").await;
    status.refused(400, "invalid_vtxo_id");
    let cancel = daemon.post_empty("/exits/cancel/x").await;
    cancel.refused(400, "invalid_vtxo_id");
    let progress = daemon.post("/exits/progress", json!({"fee_rate": 0})).await;
    progress.refused(400, "invalid_fee_rate");
    let nothing = daemon.post_empty("/exits/start/all").await.ok();
    assert_eq!(nothing["started"], json!([]));
    let progress = daemon.progress().await;
    assert_eq!(
        progress,
        json!({"exits": [], "done": true, "claimable_height": null})
    );
}

/// H21: the network relays no dust. It is refused by name, and left out of an exit of everything.
#[tokio::test]
async fn dust_is_not_exited() {
    let world = World::new().await;
    let (daemon, payer) = (
        Daemon::with_wallet(&world).await,
        Daemon::with_wallet(&world).await,
    );
    for wallet in [&daemon, &payer] {
        wallet.fund_and_board(&world, 50_000).await;
    }
    let own = daemon.only_vtxo().await;
    payer.send(&daemon.address().await, 200).await.ok();
    daemon.wait_for_spendable(50_200).await;
    let mut vtxos = daemon.vtxos().await;
    vtxos.retain(|vtxo| *vtxo != own);
    let [dust] = vtxos.as_slice() else {
        panic!("{vtxos:?}");
    };
    for named in [json!([dust]), json!([own, dust])] {
        let body = json!({"vtxos": named});
        let refused = daemon.post("/exits/start/vtxos", body).await;
        let message = refused.refused(400, "vtxo_not_exitable");
        assert!(message.contains(dust.as_str()), "{message}");
    }
    assert!(daemon.exits("all").await.is_empty());
    let all = daemon.post_empty("/exits/start/all").await.ok();
    assert_eq!(all["started"], json!([own]), "{all:#}");
    assert_eq!(all["skipped"][0]["vtxo_id"], dust.as_str(), "{all:#}");
}
