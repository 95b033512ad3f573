//! The examples of the published documentation of the wallet's endpoints, as they stand there: each request is sent, and each answer
//! has the documented keys (docs/protocol.md §25).
//!
//! Only placeholders are filled in: addresses, ids, invoices, and the host of the examples.

mod reader;

use arkwalletd_sandbox::ark::Params;
use serde_json::{Value, json};

use self::reader::Reader;
use crate::support::{Daemon, SETTLE, World, creation};

const VTXOS: &str = r#"[
  {
    "vtxo": {
      "id": "0123456789abcdef...",
      "amount_sat": 50000,
      "expiry_height": 850000,
      "spec": "..."
    },
    "state": {
      "spendable": {}
    }
  }
]"#;

const ROUND: &str = r#"{
  "round_id": "abc123...",
  "status": "waiting_for_round",
  "created_at": "2026-03-03T10:00:00Z"
}"#;

const TWO_VTXOS: &str = r#"{
  "vtxos": [
    "0123456789abcdef...",
    "fedcba9876543210..."
  ]
}"#;

const TWO_VTXOS_AND_ADDRESS: &str = r#"{
  "vtxos": [
    "0123456789abcdef...",
    "fedcba9876543210..."
  ],
  "address": "bc1q..."
}"#;

const OFFBOARDED: &str = r#"{
  "offboard_txid": "abc123..."
}"#;

const SENT: &str = r#"{
  "message": "Payment sent successfully"
}"#;

const CREATE: &str = r#"{
  "ark_server": "https://ark.second.tech",
  "network": "mainnet",
  "chain_source": {
    "esplora": {
      "url": "https://mempool.space/api"
    }
  },
  "mnemonic": "word1 word2 ... word24",
  "birthday_height": 800000
}"#;

/// 24 words.
fn phrase() -> String {
    format!("{}art", "abandon ".repeat(23))
}

/// A daemon without authentication, and what the examples of a creation stand for.
async fn reader(world: &World) -> Reader {
    let mut daemon = Daemon::start_with(&["--no-auth"], &[]).await;
    daemon.use_token(None);
    let mut reader = Reader::new(daemon);
    reader.fill("https://ark.second.tech", &world.sandbox.ark_url);
    reader.fill("https://mempool.space/api", &world.sandbox.esplora_url);
    reader.fill("\"mainnet\"", "\"regtest\"");
    reader.fill("word1 word2 ... word24", phrase());
    reader
}

#[tokio::test]
async fn every_example_of_the_documentation_works() {
    // The examples name Esplora.
    let world = World::simulated(Params::free()).await;
    world.fund_server(1_000_000).await;
    let mut reader = reader(&world).await;
    let created = r#"{
  "fingerprint": "a1b2c3d4"
}"#;
    reader
        .example("POST /wallet/create", Some(CREATE), created)
        .await;
    let other = Daemon::with_wallet(&world).await;
    about_the_server(&mut reader).await;
    addresses(&mut reader).await;

    for sats in [60_000, 70_000, 90_000] {
        reader.daemon.fund_and_board(&world, sats).await;
    }
    other.fund_and_board(&world, 30_000).await;
    other
        .send(&reader.daemon.address().await, 20_000)
        .await
        .ok();
    reader.daemon.wait_for_spendable(240_000).await;
    lists(&mut reader).await;
    payments(&mut reader, &world, &other).await;
    refreshes(&mut reader).await;
    on_chain(&mut reader, &world).await;

    let outdated = reader.outdated();
    assert!(outdated.is_empty(), "{outdated:?}");
}

async fn about_the_server(reader: &mut Reader) {
    let connected = r#"{
  "connected": true
}"#;
    reader
        .example("GET /wallet/connected", None, connected)
        .await;
    let info = r#"{
  "network": "mainnet",
  "pubkey": "02...",
  "round_interval": 600,
  "vtxo_expiry_delta": 2016,
  "vtxo_exit_delta": 512,
  "board_fees": {
    "min_fee_sat": 1000,
    "base_fee_sat": 0,
    "ppm": 1000
  },
  "lightning": {
    "enabled": true,
    "cltv_expiry_delta": 144
  }
}"#;
    let info = reader.example("GET /wallet/ark-info", None, info).await;
    assert_eq!(info["pubkey"], info["server_pubkey"]);
    assert_eq!(info["round_interval_secs"], 3_600);
    assert_eq!(info["board_fees"], info["fees"]["board"]);
    let start = r#"{
  "start_time": "2026-03-03T15:30:00Z"
}"#;
    reader.example("GET /wallet/next-round", None, start).await;
}

async fn addresses(reader: &mut Reader) {
    let address = r#"{
  "address": "ark1..."
}"#;
    let next = reader
        .curl(
            "POST /wallet/addresses/next",
            "curl -X POST http://localhost:3000/api/v1/wallet/addresses/next",
            address,
        )
        .await;
    let first = reader
        .curl(
            "GET /wallet/addresses/index/0",
            "curl http://localhost:3000/api/v1/wallet/addresses/index/0",
            address,
        )
        .await;
    assert_eq!(next, first);
}

async fn lists(reader: &mut Reader) {
    let balance = r#"{
  "spendable_sat": 100000,
  "pending_round_sat": 0,
  "pending_lightning_outbound_sat": 0,
  "pending_lightning_inbound_sat": 0,
  "pending_board_sat": 0,
  "pending_exit_sat": 0
}"#;
    let line = "curl http://localhost:3000/api/v1/wallet/balance";
    let balance = reader.curl("GET /wallet/balance", line, balance).await;
    assert_eq!(
        balance["pending_round_sat"],
        balance["pending_in_round_sat"]
    );
    let line = "curl http://localhost:3000/api/v1/wallet/vtxos";
    let unspent = reader.curl("GET /wallet/vtxos", line, VTXOS).await;
    let line = "curl http://localhost:3000/api/v1/wallet/vtxos?all=true";
    let all = reader.curl("GET /wallet/vtxos", line, VTXOS).await;
    assert!(all.as_array().map(Vec::len) >= unspent.as_array().map(Vec::len));
    for vtxo in all.as_array().expect("a list") {
        assert_eq!(vtxo["vtxo"]["id"], vtxo["id"]);
        assert_eq!(vtxo["vtxo"]["amount_sat"], vtxo["amount_sat"]);
        let state = vtxo["state"]["type"].as_str().expect("a state");
        assert_eq!(vtxo["state"][state], json!({}));
    }
    reader.example("GET /wallet/vtxos", None, VTXOS).await;
    let history = r#"[
  {
    "movement_type": "arkoor_send",
    "timestamp": "2026-03-03T10:00:00Z",
    "amount_sat": -10000,
    "fee_sat": 100,
    "status": "completed",
    "inputs": ["vtxo_id_1"],
    "outputs": ["vtxo_id_2"]
  }
]"#;
    let history = reader.example("GET /wallet/history", None, history).await;
    assert_eq!(history[0]["movement_type"], "arkoor_receive");
    assert_eq!(history[0]["amount_sat"], 20_000);
}

async fn payments(reader: &mut Reader, world: &World, other: &Daemon) {
    let send = "POST /wallet/send";
    reader.fill(
        "ark1qpzry9x8gf2tvdw0s3jn54khce6mua7l...",
        other.address().await,
    );
    reader.fill("ark1...", other.address().await);
    let body = r#"{
  "destination": "ark1...",
  "amount_sat": 10000,
  "comment": "Coffee payment"
}"#;
    reader.example(send, Some(body), SENT).await;
    other.wait_for_spendable(20_000).await;
    let line = r#"curl -X POST http://localhost:3000/api/v1/wallet/send \
  -H "Content-Type: application/json" \
  -d '{
    "destination": "ark1qpzry9x8gf2tvdw0s3jn54khce6mua7l...",
    "amount_sat": 10000
  }'"#;
    reader.curl(send, line, SENT).await;
    other.wait_for_spendable(30_000).await;
    let line = r#"curl -X POST http://localhost:3000/api/v1/wallet/send \
  -H "Content-Type: application/json" \
  -d '{
    "destination": "lnbc100n1..."
  }'"#;
    let issued = world.issue(10_000, SETTLE);
    reader.fill("lnbc100n1...", &issued.bolt11);
    reader.curl(send, line, SENT).await;
    let line = r#"curl -X POST http://localhost:3000/api/v1/wallet/send \
  -H "Content-Type: application/json" \
  -d '{
    "destination": "alice@example.com",
    "amount_sat": 5000,
    "comment": "Thanks for the coffee!"
  }'"#;
    let host = world.sandbox.control_url.strip_prefix("http://");
    let host = host.and_then(|url| url.strip_suffix("/control"));
    reader.fill(
        "alice@example.com",
        format!("alice@{}", host.expect("a host")),
    );
    let paid = reader.curl(send, line, SENT).await;
    let hash = paid["payment_hash"].as_str().expect("a payment hash");
    reader.daemon.wait_for_send_state(hash, "paid").await;
    assert_eq!(
        world.comment(hash).as_deref(),
        Some("Thanks for the coffee!")
    );
    assert!(world.got(&issued.hash));
    let line = "curl -X POST http://localhost:3000/api/v1/wallet/sync";
    reader.curl("POST /wallet/sync", line, "").await;
    reader.daemon.wait_for_spendable(205_000).await;
}

async fn refreshes(reader: &mut Reader) {
    let vtxos = reader.daemon.vtxos().await;
    reader.fill("0123456789abcdef...", &vtxos[0]);
    reader.fill("fedcba9876543210...", &vtxos[1]);
    let refreshed = reader
        .example("POST /wallet/refresh/vtxos", Some(TWO_VTXOS), ROUND)
        .await;
    assert_eq!(refreshed["round_id"], refreshed["id"].to_string());
    reader
        .example("POST /wallet/refresh/all", None, ROUND)
        .await;
    let line = "curl -X POST http://localhost:3000/api/v1/wallet/refresh/all";
    reader.curl("POST /wallet/refresh/all", line, ROUND).await;
    reader
        .example("POST /wallet/refresh/counterparty", None, ROUND)
        .await;
    let rounds = format!("[{ROUND}]");
    reader.example("GET /wallet/rounds", None, &rounds).await;
}

async fn on_chain(reader: &mut Reader, world: &World) {
    let import = r#"{
  "vtxos": [
    "0a1b2c3d...",
    "4e5f6a7b..."
  ]
}"#;
    let imported = r#"[
  {
    "vtxo": {
      "id": "0123456789abcdef...",
      "amount_sat": 50000,
      "expiry_height": 850000
    },
    "state": {
      "spendable": {}
    }
  }
]"#;
    let vtxos = reader.daemon.vtxos().await;
    for (placeholder, id) in ["0a1b2c3d...", "4e5f6a7b..."].into_iter().zip(&vtxos) {
        let encoded = reader
            .daemon
            .get(&format!("/wallet/vtxos/{id}/encoded"))
            .await
            .ok();
        reader.fill(placeholder, encoded["encoded"].as_str().expect("hex"));
    }
    reader
        .example("POST /wallet/import-vtxo", Some(import), imported)
        .await;

    let faucet = world.sandbox.faucet.address().to_string();
    reader.fill("bc1q...", &faucet);
    reader.fill("bc1qxy2kgdygjrsqtzq2n0yrf2493p83kkfjhx0wlh", &faucet);
    let spare = vtxos.len() - 2;
    reader.fill("0123456789abcdef...", &vtxos[spare]);
    reader.fill("fedcba9876543210...", &vtxos[spare + 1]);
    let line = r#"curl -X POST http://localhost:3000/api/v1/wallet/send-onchain \
  -H "Content-Type: application/json" \
  -d '{
    "destination": "bc1qxy2kgdygjrsqtzq2n0yrf2493p83kkfjhx0wlh",
    "amount_sat": 50000
  }'"#;
    let before = world.received(&faucet).await;
    reader
        .curl("POST /wallet/send-onchain", line, OFFBOARDED)
        .await;
    assert_eq!(world.received(&faucet).await, before + 50_000);
    let offboard = "POST /wallet/offboard/vtxos";
    reader
        .example(offboard, Some(TWO_VTXOS_AND_ADDRESS), OFFBOARDED)
        .await;
    let body = r#"{
  "address": "bc1q..."
}"#;
    reader
        .example("POST /wallet/offboard/all", Some(body), OFFBOARDED)
        .await;
}

/// The documented statuses of mistakes.
#[tokio::test]
async fn the_documented_errors_have_their_status() {
    let world = World::new().await;
    let mut daemon = Daemon::with_wallet(&world).await;
    let other = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 20_000).await;
    other.fund_and_board(&world, 20_000).await;
    let own = daemon.vtxos().await.remove(0);
    let foreign = other.vtxos().await.remove(0);
    let encoded = other
        .get(&format!("/wallet/vtxos/{foreign}/encoded"))
        .await
        .ok();
    let ark = other.address().await;
    let mistakes = [
        (
            "/wallet/create",
            creation(&world, world.chain_source()),
            400,
        ),
        (
            "/wallet/send",
            json!({"destination": "nonsense", "amount_sat": 10_000}),
            400,
        ),
        ("/wallet/send", json!({"destination": ark}), 400),
        ("/wallet/refresh/vtxos", json!({"vtxos": []}), 400),
        (
            "/wallet/refresh/vtxos",
            json!({"vtxos": ["0123456789abcdef..."]}),
            400,
        ),
        (
            "/wallet/refresh/vtxos",
            json!({"vtxos": [own, foreign]}),
            404,
        ),
        ("/wallet/refresh/counterparty", Value::Null, 404),
        ("/wallet/offboard/vtxos", json!({"vtxos": []}), 400),
        (
            "/wallet/offboard/vtxos",
            json!({"vtxos": ["0123456789abcdef..."]}),
            400,
        ),
        (
            "/wallet/offboard/vtxos",
            json!({"vtxos": [own], "address": "bc1q..."}),
            400,
        ),
        ("/wallet/offboard/vtxos", json!({"vtxos": [foreign]}), 404),
        (
            "/wallet/import-vtxo",
            json!({"vtxos": ["0a1b2c3d..."]}),
            400,
        ),
        (
            "/wallet/import-vtxo",
            json!({"vtxos": [encoded["encoded"]]}),
            400,
        ),
    ];
    for (path, body, status) in mistakes {
        let body = (!body.is_null()).then_some(body);
        let answer = daemon.try_send("POST", path, body.clone()).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, status, "{path} {body:?}: {:#}", answer.body);
    }
    let none = json!({"type": "status", "code": 5, "message": "no round"});
    world.fault(json!({"target": "NextRoundTime", "times": 1, "action": none}));
    daemon
        .get("/wallet/next-round")
        .await
        .refused(404, "no_round");
    // Not connected since the start.
    daemon.stop().await;
    let away = json!({"type": "status", "code": 14, "message": "away"});
    world.fault(json!({"target": "*", "action": away}));
    daemon.restart(None).await;
    for path in ["/wallet/ark-info", "/wallet/next-round"] {
        daemon.get(path).await.refused(404, "never_connected");
    }
}

/// The shapes of a chain source. The node does not answer, so nothing is created.
#[tokio::test]
async fn the_documented_chain_sources_are_understood() {
    let world = World::simulated(Params::free()).await;
    let user_pass = r#"{
  "bitcoind": {
    "bitcoind": "http://localhost:8332",
    "bitcoind_auth": {
      "user-pass": {
        "user": "bitcoin",
        "pass": "password"
      }
    }
  }
}"#;
    let cookie = r#"{
  "bitcoind": {
    "bitcoind": "http://localhost:8332",
    "bitcoind_auth": {
      "cookie": {
        "cookie": "/path/to/.cookie"
      }
    }
  }
}"#;
    let mut reader = reader(&world).await;
    reader.fill("localhost:8332", "127.0.0.1:1");
    for source in [user_pass, cookie] {
        let source: Value = serde_json::from_str(&reader.filled(source)).expect("JSON");
        let body = creation(&world, source).to_string();
        let refused = reader.request("POST", "/wallet/create", Some(&body)).await;
        refused.refused(503, "chain_unavailable");
    }
    let body = r#"{
  "ark_server": "https://ark.second.tech",
  "network": "mainnet",
  "chain_source": {
    "esplora": {
      "url": "https://mempool.space/api"
    }
  },
  "birthday_height": 800000
}"#;
    let created = reader.request("POST", "/wallet/create", Some(body)).await;
    created.ok();
}
