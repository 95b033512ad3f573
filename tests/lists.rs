//! Long lists, page by page.

use serde_json::{Value, json};

use crate::support::{Daemon, World, assert_conserved};

/// Reads a list page by page, two entries each; `cursor` is the parameter that takes the last id of the page before.
async fn page_by_page(daemon: &Daemon, path: &str, cursor: &str) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    loop {
        let separator = if path.contains('?') { '&' } else { '?' };
        let from = match all.last().map(|last| &last["id"]) {
            None => String::new(),
            Some(Value::String(id)) => format!("&{cursor}={id}"),
            Some(id) => format!("&{cursor}={id}"),
        };
        let page = daemon
            .get(&format!("{path}{separator}limit=2{from}"))
            .await
            .ok();
        let page = page.as_array().expect("a list");
        assert!(page.len() <= 2);
        all.extend(page.iter().cloned());
        if page.len() < 2 {
            return all;
        }
    }
}

#[tokio::test]
async fn pages_make_up_the_whole_list() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 30_000).await;
    daemon.fund_and_board(&world, 30_000).await;
    daemon.fund_and_board(&world, 20_000).await;
    let own = daemon.address().await;
    for sats in [40_000, 1_000, 2_000] {
        daemon.send(&own, sats).await.ok();
        daemon.wait_for_spendable(80_000).await;
    }
    daemon.settled().await;
    for (path, cursor) in [
        ("/wallet/vtxos", "after"),
        ("/wallet/vtxos?all=true", "after"),
        ("/history", "before"),
        (&format!("/history?type=ark&value={own}"), "before"),
    ] {
        let whole = daemon.get(path).await.ok();
        let whole = whole.as_array().expect("a list");
        assert!(whole.len() > 2, "{path}");
        assert_eq!(&page_by_page(&daemon, path, cursor).await, whole, "{path}");
    }
    // A page may follow on a VTXO that has been spent since.
    let all = daemon.get("/wallet/vtxos?all=true").await.ok();
    let all = all.as_array().expect("a list");
    let spent = all
        .iter()
        .position(|vtxo| vtxo["state"]["type"] == "spent")
        .expect("a spent VTXO");
    let follow = format!("/wallet/vtxos?after={}", all[spent]["id"].as_str().unwrap());
    let rest: Vec<_> = all[spent..]
        .iter()
        .filter(|vtxo| vtxo["state"]["type"] == "spendable")
        .cloned()
        .collect();
    assert_eq!(daemon.get(&follow).await.ok(), json!(rest));
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn invalid_pages_are_refused() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    for path in [
        "/wallet/vtxos?limit=0",
        "/wallet/vtxos?limit=-1",
        "/history?limit=0",
        "/history?before=x",
    ] {
        daemon.get(path).await.refused(400, "invalid_query");
    }
    daemon
        .get("/wallet/vtxos?after=x")
        .await
        .refused(400, "invalid_vtxo_id");
    let unknown = format!("/wallet/vtxos?after={}:0", "ab".repeat(32));
    daemon.get(&unknown).await.refused(404, "unknown_vtxo");
    assert_eq!(
        daemon.get("/history?before=1&limit=5").await.ok(),
        json!([])
    );
}
