//! Notes of clients on movements, and the filters of the history (docs/protocol.md §7.3, §23.8).

use serde_json::{Value, json};

use crate::support::{Daemon, Reply, World, assert_conserved, rounds_of};

/// The keys that only the wallet writes.
const RESERVED: [&str; 9] = [
    "chain_anchor",
    "funding_txid",
    "htlc_vtxos",
    "offboard_tx",
    "offboard_txid",
    "offboard_vtxos",
    "onchain_fee_sat",
    "payment_hash",
    "payment_preimage",
];

/// Patches the metadata of movement 1 with a body as it stands.
async fn patch(daemon: &Daemon, body: &str) -> Reply {
    daemon
        .raw("POST", "/api/v1/history/1/metadata", |request| {
            request
                .header("content-type", "application/merge-patch+json")
                .body(body.to_owned())
        })
        .await
}

async fn patched(daemon: &Daemon, body: Value) -> Value {
    let answer = patch(daemon, &body.to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body, Value::Null);
    metadata(daemon).await
}

async fn metadata(daemon: &Daemon) -> Value {
    daemon.history().await.pop().expect("a movement")["metadata"].take()
}

/// W16: no patch takes away or changes what the wallet wrote, and null clears what clients wrote.
#[tokio::test]
async fn clients_keep_notes_beside_the_facts_of_the_wallet() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 20_000).await;
    let facts = metadata(&daemon).await;
    assert!(facts["chain_anchor"].is_string(), "{facts:#}");
    let with = |notes: Value| {
        let mut all = facts.clone();
        let own = notes.as_object().expect("an object").clone();
        all.as_object_mut().expect("an object").extend(own);
        all
    };
    let noted = json!({"order": {"id": 7, "tags": ["a", "b"]}, "note": "tea"});
    assert_eq!(patched(&daemon, noted.clone()).await, with(noted));
    let change = json!({"order": {"id": null, "tags": ["c"], "paid": true}, "note": null, "more": {"a": {"b": null}}});
    let now = with(json!({"order": {"tags": ["c"], "paid": true}, "more": {"a": {}}}));
    assert_eq!(patched(&daemon, change).await, now);

    for key in RESERVED {
        for value in [json!("mine"), Value::Null, json!({})] {
            let body = json!({"note": "x", (key): value}).to_string();
            let message = patch(&daemon, &body)
                .await
                .refused(400, "reserved_metadata_key");
            assert!(message.contains(key), "{message}");
        }
    }
    for body in ["[]", "\"x\"", "5", "true"] {
        patch(&daemon, body).await.refused(422, "invalid_body");
    }
    patch(&daemon, "{").await.refused(400, "malformed_body");
    assert_eq!(
        metadata(&daemon).await,
        now,
        "refused patches change nothing"
    );
    // A key of the same name further inside is the client's own.
    let inside = json!({"more": {"payment_hash": "x"}});
    patched(&daemon, inside).await;

    let before = daemon.history().await.pop().expect("a movement");
    assert_eq!(patched(&daemon, Value::Null).await, facts);
    let after = daemon.history().await.pop().expect("a movement");
    assert!(after["time"]["updated_at"].as_str() > before["time"]["updated_at"].as_str());
    let unknown = daemon.post("/history/99/metadata", json!({"a": 1})).await;
    unknown.refused(404, "unknown_movement");
}

#[tokio::test]
async fn notes_are_bounded_in_size_and_depth() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 20_000).await;
    let facts = metadata(&daemon).await;
    let large = |sats: usize| "x".repeat(sats);
    let refused = patch(&daemon, &json!({"a": large(17_000)}).to_string()).await;
    let message = refused.refused(400, "metadata_too_large");
    assert!(message.contains("16384"), "{message}");
    patched(&daemon, json!({"a": large(9_000)})).await;
    let second = json!({"b": large(9_000)}).to_string();
    patch(&daemon, &second)
        .await
        .refused(400, "metadata_too_large");
    patched(&daemon, json!({"a": null, "b": large(9_000)})).await;

    let nested =
        |levels: usize| format!("{{\"a\": {}1{}}}", "[".repeat(levels), "]".repeat(levels));
    patch(&daemon, &nested(16))
        .await
        .refused(400, "metadata_too_deep");
    assert_eq!(patch(&daemon, &nested(15)).await.status, 200);
    patch(&daemon, &nested(500))
        .await
        .refused(400, "malformed_body");
    assert_eq!(patched(&daemon, Value::Null).await, facts);
}

/// An older release let clients write any key. What the wallet writes later counts.
#[tokio::test]
async fn a_fact_replaces_a_note_of_the_same_name() {
    let world = World::with(rounds_of(0)).await;
    let mut daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 20_000).await;
    world.fund_server(100_000).await;
    let body = json!({"vtxos": daemon.vtxos().await});
    daemon
        .post("/wallet/refresh/delegated/vtxos", body)
        .await
        .ok();
    daemon.stop().await;
    let database = rusqlite::Connection::open(daemon.folder().join("db.sqlite")).unwrap();
    let notes = json!({"funding_txid": "mine", "note": "tea"}).to_string();
    let sql = "UPDATE movement SET metadata = ?1 WHERE subsystem = 'bark.round/refresh'";
    assert_eq!(database.execute(sql, [notes]).unwrap(), 1);
    drop(database);
    daemon.restart(None).await;
    daemon.wait_for_connected(true).await;
    world.successful_round().await;
    daemon.finish_round(&world).await;
    let metadata = daemon.movement("refresh").await["metadata"].take();
    assert!(
        world
            .knows(metadata["funding_txid"].as_str().unwrap())
            .await
    );
    assert_eq!(metadata["note"], "tea");
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn a_filter_of_the_history_is_checked() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    let filtered = async |kind: &str, value: &str| {
        let path = "/api/v1/history";
        daemon
            .raw("GET", path, |request| {
                request.query(&[("type", kind), ("value", value)])
            })
            .await
    };
    for query in ["type=ark", "value=x"] {
        let refused = daemon.get(&format!("/history?{query}")).await;
        let message = refused.refused(400, "invalid_filter");
        assert!(message.contains("type and value"), "{message}");
    }
    let message = filtered("pigeon", "x").await.refused(400, "invalid_filter");
    assert!(message.contains("lightning-address"), "{message}");
    let address = "bcrt1p8wpt9v4frpf3tkn0srd97pksgsxc5hs52lafxwru9kgeephvs7rqjeprhg";
    let ark = daemon.address().await;
    let invoice = daemon.invoice(1_000).await;
    let offer = world.issue_offer(None, crate::support::SETTLE);
    let lnurl = world.sandbox.lnurl.clone();
    let good = [
        ("ark", ark.as_str()),
        ("bitcoin", address),
        ("output-script", "51200000"),
        ("invoice", &invoice),
        ("offer", &offer),
        ("lightning-address", "alice@example.com"),
        ("lnurl", &lnurl),
        ("custom", "anything"),
    ];
    for (kind, value) in good {
        assert_eq!(filtered(kind, value).await.ok(), json!([]), "{kind}");
        if kind != "custom" {
            for (other, value) in good {
                if other != kind && !(kind == "output-script" && other == "custom") {
                    let message = filtered(kind, value).await.refused(400, "invalid_filter");
                    assert!(message.contains(kind), "{message}");
                }
            }
            filtered(kind, "").await.refused(400, "invalid_filter");
        }
    }
}

/// W12: the newest movement comes first, filtered or not. The value may be written in any form that means the same.
#[tokio::test]
async fn a_filter_finds_its_payments_newest_first() {
    let world = World::new().await;
    let (payer, payee) = (
        Daemon::with_wallet(&world).await,
        Daemon::with_wallet(&world).await,
    );
    payer.fund_and_board(&world, 20_000).await;
    let (to, other) = (payee.address().await, payee.address().await);
    for (address, sats) in [(&to, 1_000), (&other, 2_000), (&to, 3_000)] {
        payer.send(address, sats).await.ok();
    }
    for value in [to.clone(), to.to_uppercase()] {
        let found = payer
            .get(&format!("/history?type=ark&value={value}"))
            .await
            .ok();
        let movements = found.as_array().expect("a list").iter();
        let amounts: Vec<_> = movements
            .map(|movement| movement["intended_balance_sat"].as_i64())
            .collect();
        assert_eq!(amounts, [Some(-3_000), Some(-1_000)], "{value}");
    }
    let issued = world.issue(500, crate::support::SETTLE);
    payer.pay(&issued.bolt11, None).await.ok();
    payer.settled().await;
    let invoice = issued.bolt11.to_uppercase();
    let found = payer
        .get(&format!("/history?type=invoice&value={invoice}"))
        .await
        .ok();
    assert_eq!(found.as_array().map(Vec::len), Some(1));
}
