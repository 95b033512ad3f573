//! Long lists, page by page.

use serde_json::{Value, json};

use crate::support::{Daemon, World, assert_conserved, rounds_of};

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

/// Makes the oldest unfinished operation of a kind unreadable.
fn damage(daemon: &Daemon, kind: &str) {
    let database = rusqlite::Connection::open(daemon.folder().join("db.sqlite")).unwrap();
    let sql = "UPDATE operation SET state = 'damaged' WHERE id = (SELECT id FROM operation
               WHERE kind = ?1 AND finished_at IS NULL ORDER BY created_at, id LIMIT 1)";
    assert_eq!(database.execute(sql, [kind]).unwrap(), 1);
}

/// H57: the lists show what can be read; what cannot stands in the list of what waits for the operator.
#[tokio::test]
async fn lists_of_pending_operations_leave_out_what_cannot_be_read() {
    let world = World::with(rounds_of(0)).await;
    let mut daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 10_000).await;
    daemon.fund_and_board(&world, 20_000).await;
    for vtxo in daemon.vtxos().await {
        let body = json!({"vtxos": [vtxo]});
        let path = "/wallet/refresh/delegated/vtxos";
        daemon.post(path, body).await.ok();
    }
    daemon.fund(&world, 100_000).await;
    for sats in [11_000, 12_000] {
        let body = json!({"amount_sat": sats});
        daemon.post("/boards/board-amount", body).await.ok();
    }
    let lists = ["/wallet/rounds", "/boards/pending"];
    for list in lists {
        let all = daemon.get(list).await.ok();
        assert_eq!(all.as_array().unwrap().len(), 2, "{list}: {all:#}");
    }
    daemon.stop().await;
    damage(&daemon, "round");
    damage(&daemon, "board");
    daemon.restart(None).await;
    for list in lists {
        let readable = daemon.get(list).await.ok();
        assert_eq!(
            readable.as_array().unwrap().len(),
            1,
            "{list}: {readable:#}"
        );
    }
    let facts = daemon.attention().await;
    assert_eq!(facts.len(), 2, "{facts:#?}");
    assert!(
        facts
            .iter()
            .all(|fact| fact["code"] == "unreadable_operation")
    );
}
