//! Mistakes of a caller, and the answers to them (docs/protocol.md §22, §23.0).

use serde_json::{Value, json};

use crate::support::{Daemon, World, assert_conserved};

#[tokio::test]
async fn a_request_without_the_right_token_is_401_on_everything_but_ping() {
    let mut daemon = Daemon::start().await;
    assert_eq!(
        daemon.raw("GET", "/ping", |request| request).await.body,
        "pong"
    );
    let routes = [
        "/wallet",
        "/wallet/balance",
        "/bitcoin/tip",
        "/onchain/balance",
        "/history",
        "/wallet/vtxos/nonsense",
    ];
    let wrong = "A".repeat(44);
    for (token, code) in [
        (None, "missing_token"),
        (Some(wrong.as_str()), "invalid_token"),
        (Some(""), "missing_token"),
    ] {
        daemon.use_token(token);
        for route in routes {
            daemon.get(route).await.refused(401, code);
        }
        let body = json!({"destination": "x"});
        daemon.post("/wallet/send", body).await.refused(401, code);
        assert_eq!(
            daemon.raw("GET", "/ping", |request| request).await.status,
            200
        );
    }
    daemon.use_token(None);
    let lower_case = daemon.raw("GET", "/api/v1/wallet", |request| {
        request.header(
            "authorization",
            "bearer ACoqKioqKioqKioqKioqKioqKioqKioqKioqKioqKioq",
        )
    });
    assert_eq!(lower_case.await.status, 200);
}

#[tokio::test]
async fn invalid_bodies_are_refused_in_json() {
    let daemon = Daemon::start().await;
    let json_body = |text: &'static str| {
        move |request: reqwest::RequestBuilder| {
            request
                .header("content-type", "application/json")
                .body(text)
        }
    };
    daemon
        .raw(
            "POST",
            "/api/v1/wallet/send",
            json_body("{\"destination\": "),
        )
        .await
        .refused(400, "malformed_body");
    daemon
        .raw("POST", "/api/v1/wallet/send", json_body("garbage"))
        .await
        .refused(400, "malformed_body");
    daemon
        .raw("POST", "/api/v1/wallet/send", json_body("{}"))
        .await
        .refused(422, "invalid_body");
    daemon
        .raw("POST", "/api/v1/wallet/send", json_body("[1]"))
        .await
        .refused(422, "invalid_body");
    let form = daemon.raw("POST", "/api/v1/wallet/send", |request| {
        request
            .header("content-type", "application/x-www-form-urlencoded")
            .body("destination=x")
    });
    form.await.refused(415, "unsupported_media_type");
    let large = "x".repeat(3 * 1024 * 1024);
    let large = daemon.raw("POST", "/api/v1/wallet/send", |request| {
        request
            .header("content-type", "application/json")
            .body(format!("{{\"destination\": \"{large}\"}}"))
    });
    large.await.refused(413, "body_too_large");
}

#[tokio::test]
async fn unknown_routes_and_methods_are_refused_in_json() {
    let daemon = Daemon::start().await;
    daemon
        .get("/no/such/route")
        .await
        .refused(404, "unknown_path");
    daemon
        .raw("GET", "/wallet", |request| request)
        .await
        .refused(404, "unknown_path");
    daemon.get("/wallet/").await.refused(404, "unknown_path");
    let wrong_method = daemon
        .try_send("PUT", "/wallet/balance", None)
        .await
        .unwrap();
    assert!(
        wrong_method.headers["allow"]
            .to_str()
            .unwrap()
            .contains("GET")
    );
    wrong_method.refused(405, "method_not_allowed");
    assert!(
        daemon
            .get("/no/such/route")
            .await
            .headers
            .contains_key("x-request-id")
    );
}

#[tokio::test]
async fn without_a_wallet_wallet_routes_say_422() {
    let daemon = Daemon::start().await;
    for route in [
        "/wallet/balance",
        "/wallet/vtxos",
        "/wallet/connected",
        "/history",
        "/onchain/balance",
        "/bitcoin/tip",
    ] {
        daemon.get(route).await.refused(422, "no_wallet");
    }
    assert_eq!(
        daemon.get("/wallet").await.ok(),
        json!({"fingerprint": null, "attention": [], "recovery": null})
    );
}

#[tokio::test]
async fn payments_that_cannot_be_made_are_refused_and_lock_nothing() {
    let world = World::new().await;
    let (payer, payee) = (
        Daemon::with_wallet(&world).await,
        Daemon::with_wallet(&world).await,
    );
    payer.fund_and_board(&world, 50_000).await;
    let to = payee.address().await;

    let send = async |body: Value| payer.post("/wallet/send", body).await;
    let pay = |amount: Value| json!({"destination": to, "amount_sat": amount});
    send(pay(json!(0))).await.refused(400, "invalid_amount");
    send(pay(json!(2_100_000_000_000_001u64)))
        .await
        .refused(400, "invalid_amount");
    send(pay(json!(u64::MAX)))
        .await
        .refused(400, "invalid_amount");
    send(pay(json!(-1))).await.refused(422, "invalid_body");
    send(pay(json!(1.5))).await.refused(422, "invalid_body");
    send(pay(json!("1000"))).await.refused(422, "invalid_body");
    send(pay(Value::Null)).await.refused(400, "missing_amount");
    let message = send(pay(json!(50_001)))
        .await
        .refused(400, "insufficient_funds");
    assert!(message.contains("50000"), "{message}");

    let mainnet = "ark1ptd4e9vezqqpmf7ah7q0kz94yn6q7tl275yssgwyc6wfx8qwaqj7u8eh970783r3zqypj0qruyh4u8yc3gmfqam9an2227n0rre45q39jts69ndu5nnj3umcjzg7qr";
    let foreign = "tark1ptd4e9vezqqpmf7ah7q0kz94yn6q7tl275yssgwyc6wfx8qwaqj7u8eh970783r3zqypj0qruyh4u8yc3gmfqam9an2227n0rre45q39jts69ndu5nnj3umc3l04v4";
    let cases = [
        (mainnet, "wrong_network"),
        (foreign, "wrong_server"),
        ("nonsense", "invalid_destination"),
        ("", "invalid_destination"),
        (
            "bcrt1p8wpt9v4frpf3tkn0srd97pksgsxc5hs52lafxwru9kgeephvs7rqjeprhg",
            "onchain_destination",
        ),
        ("alice@127.0.0.1:1", "lnurl_unreachable"),
    ];
    for (destination, code) in cases {
        send(json!({"destination": destination, "amount_sat": 1000}))
            .await
            .refused(400, code);
    }

    assert_eq!(payer.balance("spendable_sat").await, 50_000);
    assert_eq!(payer.history().await.len(), 1, "only the board");
    assert_conserved(&world, &[&payer, &payee]).await;
}

#[tokio::test]
async fn boards_and_onchain_payments_that_cannot_be_made_are_refused() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund(&world, 10_000).await;
    let board = async |amount: Value| {
        daemon
            .post("/boards/board-amount", json!({"amount_sat": amount}))
            .await
    };
    board(json!(0)).await.refused(400, "invalid_amount");
    board(json!(2_100_000_000_000_001u64))
        .await
        .refused(400, "invalid_amount");
    board(json!(329)).await.refused(400, "amount_too_small");
    board(json!(10_000))
        .await
        .refused(400, "insufficient_funds");

    let own = daemon.post_empty("/onchain/addresses/next").await.ok();
    let pay = async |to: &str, amount: u64| {
        daemon
            .post(
                "/onchain/send",
                json!({"destination": to, "amount_sat": amount}),
            )
            .await
    };
    pay(
        "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr",
        1000,
    )
    .await
    .refused(400, "wrong_network");
    pay("nonsense", 1000).await.refused(400, "invalid_address");
    pay(own["address"].as_str().unwrap(), 0)
        .await
        .refused(400, "invalid_amount");
    pay(own["address"].as_str().unwrap(), 329)
        .await
        .refused(400, "amount_too_small");
    pay(own["address"].as_str().unwrap(), 10_000)
        .await
        .refused(400, "insufficient_funds");
    assert_eq!(
        daemon.get("/onchain/balance").await.ok()["total_sat"],
        10_000
    );
    assert!(
        daemon
            .get("/boards/pending")
            .await
            .ok()
            .as_array()
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn things_that_do_not_exist_are_404() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    let unknown = format!("{}:0", "ab".repeat(32));
    let reply = daemon.get(&format!("/wallet/vtxos/{unknown}")).await;
    assert_eq!(reply.body["resources"], json!([unknown]));
    reply.refused(404, "unknown_vtxo");
    daemon
        .get(&format!("/wallet/vtxos/{unknown}/encoded"))
        .await
        .refused(404, "unknown_vtxo");
    daemon
        .get("/wallet/vtxos/nonsense")
        .await
        .refused(400, "invalid_vtxo_id");
    daemon
        .get("/wallet/addresses/index/7")
        .await
        .refused(404, "unknown_address_index");
    daemon
        .get("/wallet/addresses/index/seven")
        .await
        .refused(400, "invalid_path");
    daemon
        .get("/wallet/vtxos?all=maybe")
        .await
        .refused(400, "invalid_query");
    daemon
        .post("/history/99/metadata", json!({"a": 1}))
        .await
        .refused(404, "unknown_movement");
    daemon
        .get("/history?type=ark")
        .await
        .refused(400, "invalid_filter");
    daemon
        .get("/history?type=pigeon&value=x")
        .await
        .refused(400, "invalid_filter");
    daemon
        .get("/wallet/mnemonic")
        .await
        .refused(404, "mnemonic_not_exposed");
}
