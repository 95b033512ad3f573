//! The client of barkd 0.8.0 reads every answer, and the harness notices what does not fit the documents.

use std::collections::BTreeSet;
use std::fmt::Debug;

use bark_rest_client::apis::{
    bitcoin_api, boards_api, default_api, exits_api, fees_api, history_api, lightning_api,
    message_api, notifications_api, onchain_api, wallet_api,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::support::{Daemon, Reply, SETTLE, Sent, World, assert_conserved, complaints, hash_of};

/// A request of the client, from JSON.
fn request<T: DeserializeOwned>(body: Value) -> T {
    serde_json::from_value(body).unwrap()
}

/// What the client read.
#[track_caller]
fn read<T, E: Debug>(operation: &str, answer: Result<T, E>) -> T {
    answer.unwrap_or_else(|error| panic!("the client cannot read {operation}: {error:?}"))
}

/// The operations that our document declares.
fn declared() -> BTreeSet<String> {
    let document = serde_json::to_value(arkwalletd::openapi()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    paths
        .values()
        .flat_map(|operations| operations.as_object().unwrap().values())
        .filter_map(|operation| Some(operation["operationId"].as_str()?.to_owned()))
        .collect()
}

/// A board, payments in both directions, one that failed, and payments on the chain.
async fn lively(world: &World) -> (Daemon, Daemon) {
    let daemon = Daemon::start_with(&["--expose-mnemonic"], &[]).await;
    daemon.create_wallet(world).await;
    let other = Daemon::with_wallet(world).await;
    daemon.fund_and_board(world, 50_000).await;
    daemon.send(&other.address().await, 20_000).await.ok();
    other.wait_for_spendable(20_000).await;
    other.send(&daemon.address().await, 5_000).await.ok();
    daemon.wait_for_spendable(35_000).await;
    world.fault(json!({
        "target": "RequestArkoorCosign",
        "action": {"type": "status", "code": 3, "message": "not today"}
    }));
    let refused = daemon.send(&other.address().await, 1_000).await;
    refused.refused(409, "server_refused");
    world.no_faults();
    daemon.fund(world, 100_000).await;
    (daemon, other)
}

#[tokio::test]
#[expect(deprecated, reason = "deprecated routes are part of the contract")]
async fn the_generated_client_reads_every_answer() {
    let world = World::new().await;
    let (daemon, other) = lively(&world).await;
    let client = daemon.generated_client();
    let mut called = BTreeSet::new();
    macro_rules! call {
        ($api:ident :: $operation:ident ( $($argument:expr),* )) => {{
            called.insert(stringify!($operation).to_owned());
            read(stringify!($operation), $api::$operation(&client $(, $argument)*).await)
        }};
    }
    let faucet = world.sandbox.faucet.address().to_string();

    call!(default_api::ping());
    call!(bitcoin_api::tip());
    assert!(call!(wallet_api::connected()).connected);
    call!(wallet_api::ark_info());
    call!(wallet_api::mnemonic());
    call!(wallet_api::sync());
    call!(wallet_api::sync_mailbox());
    call!(wallet_api::peek_address(0));
    let address = call!(wallet_api::address()).address.to_string();

    let vtxos = call!(wallet_api::vtxos(None));
    let all = call!(wallet_api::vtxos(Some(true)));
    assert!(all.len() > vtxos.len(), "something was spent");
    let id = json!(vtxos)[0]["id"].as_str().unwrap().to_owned();
    call!(wallet_api::get_vtxo(&id));
    let encoded = json!(call!(wallet_api::get_vtxo_encoded(&id)))["encoded"].clone();
    let import = request(json!({"vtxos": [encoded], "gap_limit": null}));
    assert_eq!(call!(wallet_api::import_vtxo(import)).len(), 1);
    call!(wallet_api::balance());

    let movements = json!(call!(history_api::list(None, None)));
    let mut listed: Vec<_> = movements
        .as_array()
        .unwrap()
        .iter()
        .map(|movement| {
            (
                movement["subsystem"]["kind"].as_str(),
                movement["status"].as_str(),
            )
        })
        .collect();
    listed.reverse();
    assert_eq!(
        listed,
        [
            (Some("board"), Some("successful")),
            (Some("send"), Some("successful")),
            (Some("receive"), Some("successful")),
            (Some("send"), Some("failed")),
        ]
    );
    assert_eq!(json!(call!(wallet_api::history())), movements);
    assert_eq!(json!(call!(wallet_api::movements())), movements);
    let filtered = call!(history_api::list(Some("ark"), Some(&address)));
    assert!(filtered.is_empty());
    call!(history_api::update_metadata(1, Some(json!({"note": "x"}))));
    let told = call!(notifications_api::wait_notification(None));
    assert!(
        told.notifications.len() > 4,
        "the movements, and their changes"
    );
    assert_eq!(call!(notifications_api::websocket_ticket()).len(), 64);
    call!(history_api::update_metadata(1, None));
    assert!(daemon.history().await[3]["metadata"]["note"].is_null());
    let asked = json!({"amount_sat": null, "onchain": true, "label": "TEA", "message": null});
    let uri = call!(wallet_api::bip321_uri(request(asked), Some(true)));
    assert!(uri.bip321.starts_with("BITCOIN:?LABEL=TEA&TB="));
    let signed = call!(message_api::sign_message(request(
        json!({"message": "hello", "address": address})
    )));
    let verified = call!(message_api::verify_message(request(json!({
        "message": "hello", "address": address, "pubkey": null, "signature": signed.signature,
    }))));
    assert!(verified.valid);

    call!(fees_api::onchain_fee_rates());
    call!(onchain_api::onchain_sync());
    call!(onchain_api::onchain_balance());
    let own = call!(onchain_api::onchain_address())
        .address
        .assume_checked();
    call!(onchain_api::onchain_send(request(
        json!({"destination": faucet, "amount_sat": 1_000})
    )));
    call!(onchain_api::onchain_send_many(request(
        json!({"destinations": [format!("{own}:2000 sat"), format!("{faucet}:0.00003 BTC")], "immediate": null})
    )));
    assert!(!call!(onchain_api::onchain_utxos()).is_empty());
    assert_eq!(call!(onchain_api::onchain_transactions()).len(), 5);

    call!(boards_api::board_amount(request(
        json!({"amount_sat": 10_000})
    )));
    call!(boards_api::board_all());
    assert_eq!(call!(boards_api::get_pending_boards()).len(), 2);
    world.mine(1).await;
    daemon.settled().await;
    let payment =
        json!({"destination": other.address().await, "amount_sat": 3_000, "comment": null});
    call!(wallet_api::send(request(payment)));
    other.wait_for_spendable(18_000).await;

    let invoice = call!(lightning_api::generate_invoice(request(
        json!({"amount_sat": 2_000, "description": "tea", "token": null})
    )));
    let hash = hash_of(&invoice.invoice);
    assert_eq!(call!(lightning_api::list_receive_statuses()).len(), 1);
    world.pays(&invoice.invoice).await;
    daemon.wait_for_receive_state(&hash, "settled").await;
    call!(lightning_api::get_receive_status(&hash));
    let gift = call!(lightning_api::generate_invoice_for_address(request(
        json!({"amount_sat": 1_000, "address": other.address().await, "description": null})
    )));
    call!(lightning_api::cancel_receive(&hash_of(&gift.invoice)));
    let issued = world.issue(1_000, SETTLE);
    call!(lightning_api::pay(request(
        json!({"destination": issued.bolt11, "amount_sat": null, "comment": null, "retry_for_secs": 5})
    )));
    daemon.wait_for_send_state(&issued.hash, "paid").await;
    let sent = call!(lightning_api::get_send_status(&issued.hash));
    assert_eq!(sent.payment_hash.to_string(), issued.hash);
    daemon.settled().await;

    daemon.fund(&world, 10_000).await;
    assert_conserved(&world, &[&daemon, &other]).await;
    let invoice = arkwalletd_sandbox::lightning::InvoiceRequest {
        amount_msat: Some(1_000_000),
        ..Default::default()
    };
    let invoice = world.sandbox.ark.lightning().issue(invoice);
    let invoice = invoice.unwrap().to_string();
    call!(lightning_api::pay(request(json!({"destination": invoice}))));
    call!(lightning_api::get_send_status(&invoice));
    daemon.settled().await;
    world.fund_server(100_000).await;
    let start = call!(wallet_api::next_round()).start_time;
    assert!(json!(start).as_str().unwrap() > "2026");
    let id = json!(call!(wallet_api::vtxos(None)))[0]["id"].clone();
    call!(wallet_api::refresh_vtxos(request(json!({"vtxos": [id]}))));
    call!(wallet_api::refresh_counterparty());
    call!(wallet_api::refresh_all());
    assert_eq!(call!(wallet_api::pending_rounds()).len(), 3);
    call!(fees_api::board_fee(20_000));
    call!(fees_api::send_onchain_fee(5_000, &faucet));
    call!(fees_api::offboard_all_fee(&faucet));
    call!(fees_api::offboard_fee(request(
        json!({"address": faucet, "vtxos": [id]})
    )));
    call!(fees_api::lightning_send_fee(1_000));
    call!(fees_api::lightning_receive_fee(1_000));
    let ordered = json!({"amount_sat": 1_000, "description": null, "token": null});
    let invoice = call!(lightning_api::generate_invoice(request(ordered))).invoice;
    let ordered = json!({"amount_sat": 1_000, "address": address, "description": null});
    call!(lightning_api::generate_invoice_for_address(request(
        ordered
    )));
    assert_eq!(call!(lightning_api::list_receive_statuses()).len(), 2);
    let receive = json!(call!(lightning_api::get_receive_status(&invoice)));
    assert_eq!(receive["state"], "awaiting-payment");
    call!(lightning_api::cancel_receive(&invoice));
    call!(wallet_api::offboard_vtxos(request(
        json!({"vtxos": [id], "address": faucet})
    )));
    call!(wallet_api::send_onchain(request(
        json!({"destination": faucet, "amount_sat": 2_000})
    )));
    let id = json!(call!(wallet_api::vtxos(None)))[0]["id"].clone();
    call!(wallet_api::refresh_delegated(request(
        json!({"vtxos": [id], "height": null})
    )));
    call!(wallet_api::offboard_all(request(json!({"address": null}))));
    call!(onchain_api::onchain_drain(request(
        json!({"destination": faucet})
    )));
    let fingerprint = call!(wallet_api::wallet_exists()).fingerprint;
    let deleted = call!(wallet_api::wallet_delete(request(
        json!({"dangerous": true, "fingerprint": fingerprint})
    )));
    assert!(deleted.deleted);
    let creation = json!({
        "network": "regtest", "ark_server": world.sandbox.ark_url, "mnemonic": null, "birthday_height": null,
        "chain_source": {"esplora": {"url": world.sandbox.esplora_url}},
    });
    call!(wallet_api::create_wallet(request(creation)));

    daemon.fund_and_board(&world, 30_000).await;
    daemon.fund_and_board(&world, 20_000).await;
    let vtxos = daemon.vtxos().await;
    let (first, all) = (vtxos[0].as_str(), vtxos.join(","));
    let estimate = exits_api::emergency_exit_fee;
    called.insert("emergency_exit_fee".to_owned());
    let estimate = estimate(&client, Some(&all), Some(1.5), Some(&faucet), Some(1.0)).await;
    let estimate = read("emergency_exit_fee", estimate);
    assert_eq!(estimate.txs_to_broadcast, 2);
    call!(exits_api::exit_start_vtxos(request(
        json!({"vtxos": [first]})
    )));
    call!(exits_api::exit_cancel(first));
    call!(exits_api::exit_start_all());
    assert_eq!(call!(exits_api::get_live_exit_status(None, None)).len(), 2);
    let mut seen = BTreeSet::new();
    let states = ["awaiting-delta", "claimable", "processing"].map(str::to_owned);
    for _ in 0..40 {
        let progress = call!(exits_api::exit_progress(request(
            json!({"wait": true, "fee_rate": null})
        )));
        let live = call!(exits_api::get_live_exit_status(Some(true), Some(true)));
        assert_eq!(progress.exits.len(), live.len());
        let state = |exit| json!(exit)["state"]["type"].as_str().unwrap().to_owned();
        let now: BTreeSet<String> = live.iter().map(state).collect();
        let claimable = now.iter().all(|state| state == "claimable");
        seen.extend(now);
        if claimable {
            break;
        }
        world.mine(1).await;
        daemon.wait_for_tip(&world).await;
    }
    assert_eq!(seen, states.into());
    let claim = json!({"destination": faucet, "vtxos": [first], "fee_rate": null});
    call!(exits_api::exit_claim_vtxos(request(claim)));
    let claim = json!({"destination": faucet, "fee_rate": 2_000});
    call!(exits_api::exit_claim_all(request(claim)));
    world.mine(1).await;
    daemon.wait_for_tip(&world).await;
    let done = call!(exits_api::exit_progress(request(
        json!({"wait": true, "fee_rate": null})
    )));
    assert!(done.done);
    let everything = (Some(true), Some(true));
    for status in [
        call!(exits_api::get_exit_status_by_vtxo_id(
            first,
            everything.0,
            everything.1
        )),
        call!(exits_api::get_exit_status_by_vtxo_id_deprecated(
            first,
            everything.0,
            everything.1
        )),
    ] {
        assert_eq!(json!(status)["state"]["type"], "claimed");
    }
    call!(exits_api::get_all_exit_status_deprecated());
    assert_eq!(
        call!(exits_api::get_all_exit_status(everything.0, everything.1)).len(),
        3
    );
    assert_eq!(call!(exits_api::get_finished_exits(None, None)).len(), 3);

    let mut routes = declared();
    // barkd does not declare them, so the generated client does not know them.
    for added in [
        "recover_round",
        "create_wallet_deprecated",
        "list_webhooks",
        "create_webhook",
        "get_webhook",
        "update_webhook",
        "delete_webhook",
        "rotate_webhook_secret",
        "redeliver_events",
        "test_webhook",
        "list_webhook_deliveries",
    ] {
        assert!(routes.remove(added), "{added}");
    }
    assert_eq!(called, routes, "every route is called, and no other");
    assert_eq!(called.len(), 74);
}

#[tokio::test]
async fn the_documentation_s_keys_are_served_too() {
    let world = World::new().await;
    let (daemon, _other) = lively(&world).await;
    let balance = daemon.get("/wallet/balance").await.ok();
    for (alias, key) in [
        ("pending_round_sat", "pending_in_round_sat"),
        (
            "pending_lightning_outbound_sat",
            "pending_lightning_send_sat",
        ),
        (
            "pending_lightning_inbound_sat",
            "claimable_lightning_receive_sat",
        ),
    ] {
        assert_eq!(balance[alias], balance[key], "{alias}");
        assert!(balance[alias].is_u64(), "{alias}");
    }
    let info = daemon.get("/wallet/ark-info").await.ok();
    assert_eq!(info["pubkey"], info["server_pubkey"]);
    assert_eq!(info["round_interval_secs"], 3_600);
    assert_eq!(info["board_fees"], info["fees"]["board"]);
    let lightning = json!({"enabled": true, "cltv_expiry_delta": info["htlc_expiry_delta"]});
    assert_eq!(info["lightning"], lightning);

    let vtxos = daemon.get("/wallet/vtxos?all=true").await.ok();
    for vtxo in vtxos.as_array().unwrap() {
        assert_eq!(
            vtxo["vtxo"],
            json!({
                "id": vtxo["id"], "amount_sat": vtxo["amount_sat"], "expiry_height": vtxo["expiry_height"],
                "spec": vtxo["policy_type"],
            })
        );
        let state = vtxo["state"]["type"].as_str().unwrap();
        assert_eq!(vtxo["state"], json!({"type": state, state: {}}));
    }
    for movement in daemon.history().await {
        assert_eq!(movement["timestamp"], movement["time"]["created_at"]);
        assert_eq!(movement["amount_sat"], movement["effective_balance_sat"]);
        assert_eq!(movement["fee_sat"], movement["offchain_fee_sat"]);
        assert_eq!(movement["inputs"], movement["input_vtxos"]);
        assert_eq!(movement["outputs"], movement["output_vtxos"]);
    }
    assert_eq!(daemon.history().await[0]["movement_type"], "arkoor_send");
}

/// A request below `/api/v1`.
fn sent(method: &str, path: &str, body: Option<Value>) -> Sent {
    let url = format!("http://127.0.0.1/api/v1{path}");
    let request = reqwest::Client::new().request(method.parse().unwrap(), url);
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    Sent::of(&request.build().unwrap())
}

/// An answer of JSON.
fn reply(status: u16, body: Value) -> Reply {
    let kind = reqwest::header::HeaderValue::from_static("application/json");
    let headers = [(reqwest::header::CONTENT_TYPE, kind)]
        .into_iter()
        .collect();
    Reply {
        status,
        headers,
        body,
    }
}

#[tokio::test]
async fn a_request_that_does_not_fit_the_documents_is_noticed() {
    let address = json!({"address": "tark1"});
    let wrong = [
        ("POST", "/wallet/offboard/all", Some(json!({"address": 1}))),
        ("POST", "/wallet/send", None),
        ("POST", "/wallet/addresses/next", Some(json!({}))),
        ("GET", "/fees/board", None),
        ("GET", "/fees/board?amount_sat=1&more=2", None),
    ];
    for (method, path, body) in wrong {
        let sent = sent(method, path, body);
        // A failure of the daemon says nothing about the request.
        assert!(
            !complaints(&sent, &reply(503, json!({}))).is_empty(),
            "{path}"
        );
        assert!(
            complaints(&sent, &reply(400, json!({}))).is_empty(),
            "{path}"
        );
    }
    let right = [
        ("POST", "/wallet/offboard/all", Some(address)),
        ("GET", "/fees/board?amount_sat=1", None),
    ];
    for (method, path, body) in right {
        let said = complaints(&sent(method, path, body), &reply(503, json!({})));
        assert!(said.is_empty(), "{said:?}");
    }
}

#[tokio::test]
async fn an_answer_that_does_not_fit_the_documents_is_noticed() {
    let wrong = [
        ("GET", "/bitcoin/tip", 200, json!({"tip_height": -1})),
        ("GET", "/bitcoin/tip?x=1", 200, json!({})),
        ("GET", "/bitcoin/tip", 204, json!({"tip_height": 1})),
        ("GET", "/history", 200, json!({})),
        ("GET", "/history", 200, json!([{"id": 1}])),
        (
            "GET",
            "/wallet/addresses/index/3",
            200,
            json!({"address": 1}),
        ),
        ("POST", "/wallet/send", 202, json!({})),
        ("POST", "/wallet/sync", 200, json!({})),
        ("GET", "/no/such/route", 200, Value::Null),
    ];
    for (method, path, status, body) in wrong {
        let said = complaints(&sent(method, path, None), &reply(status, body));
        assert!(!said.is_empty(), "{method} {path}");
    }
    let right = [
        (
            "GET",
            "/bitcoin/tip",
            200,
            json!({"tip_height": 1, "more": true}),
        ),
        ("GET", "/bitcoin/tip", 503, json!({})),
        ("POST", "/wallet/sync", 200, Value::Null),
    ];
    for (method, path, status, body) in right {
        let said = complaints(&sent(method, path, None), &reply(status, body));
        assert!(said.is_empty(), "{said:?}");
    }
}
