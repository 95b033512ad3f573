//! What the daemon says to somebody who made a mistake: each message tells what to do next.

use serde_json::{Value, json};

use crate::support::{Daemon, Reply, World, assert_conserved, creation};

/// A request, and its refusal.
struct Mistake {
    method: &'static str,
    path: String,
    body: Value,
    status: u16,
    code: &'static str,
    /// What the message contains: what is wrong, and what to do.
    says: Vec<String>,
}

fn get(path: &str, status: u16, code: &'static str, says: &[&str]) -> Mistake {
    let (path, body) = (path.to_owned(), Value::Null);
    let says = says.iter().map(|part| (*part).to_owned()).collect();
    Mistake {
        method: "GET",
        path,
        body,
        status,
        code,
        says,
    }
}

fn post(path: &str, body: Value, status: u16, code: &'static str, says: &[&str]) -> Mistake {
    Mistake {
        method: "POST",
        body,
        ..get(path, status, code, says)
    }
}

fn send(destination: &str, code: &'static str, says: &[&str]) -> Mistake {
    let body = json!({"destination": destination, "amount_sat": 1_000});
    post("/wallet/send", body, 400, code, says)
}

async fn ask(daemon: &Daemon, mistake: &Mistake) -> Reply {
    let body = (!mistake.body.is_null()).then(|| mistake.body.clone());
    let answer = daemon.try_send(mistake.method, &mistake.path, body).await;
    answer.expect("an answer")
}

/// Makes each mistake, and answers what is wrong with the refusals.
async fn complaints(daemon: &Daemon, mistakes: Vec<Mistake>) -> Vec<String> {
    let mut wrong = Vec::new();
    for mistake in mistakes {
        let Reply { status, body, .. } = ask(daemon, &mistake).await;
        let message = body["message"].as_str().unwrap_or_default();
        let fits = status == mistake.status && body["code"] == mistake.code;
        if !fits || !mistake.says.iter().all(|part| message.contains(part)) {
            let Mistake {
                path, body: sent, ..
            } = &mistake;
            wrong.push(format!(
                "{path} {sent}\n  {status} {body}\n  should be {} {} with {:?}",
                mistake.status, mistake.code, mistake.says
            ));
        }
    }
    wrong
}

/// The text with the character at `position`, counted from 1, replaced by another one of bech32.
fn mistype(text: &str, position: usize) -> String {
    let other = if &text[position - 1..position] == "q" {
        "p"
    } else {
        "q"
    };
    format!("{}{other}{}", &text[..position - 1], &text[position..])
}

#[tokio::test]
async fn without_a_token_or_a_wallet_the_answer_tells_how_to_get_one() {
    let mut daemon = Daemon::start().await;
    let phrase = json!({"network": "regtest", "mnemonic": "abandon abandon"});
    let no_server = json!({"network": "regtest"});
    let mistakes = vec![
        get(
            "/wallet/balance",
            422,
            "no_wallet",
            &["No wallet set", "POST /api/v1/wallet/create"],
        ),
        post(
            "/wallet/create",
            phrase,
            400,
            "invalid_mnemonic",
            &["words"],
        ),
        post(
            "/wallet/create",
            no_server,
            400,
            "missing_server",
            &["ark_server"],
        ),
        post(
            "/wallet/create",
            json!({"network": "bitcoin"}),
            422,
            "invalid_body",
            &["mainnet", "regtest"],
        ),
        get(
            "/wallet/balances",
            404,
            "unknown_path",
            &["/api/v1/wallet/balances", "/api-docs/openapi.json"],
        ),
    ];
    let mut wrong = complaints(&daemon, mistakes).await;
    daemon.use_token(None);
    let how = ["Authorization: Bearer", "secret show"];
    let missing = get(
        "/wallet",
        401,
        "missing_token",
        &["missing auth token", how[0], how[1]],
    );
    wrong.extend(complaints(&daemon, vec![missing]).await);
    daemon.use_token(Some(&"A".repeat(44)));
    let invalid = get(
        "/wallet",
        401,
        "invalid_token",
        &["invalid auth token", how[1]],
    );
    wrong.extend(complaints(&daemon, vec![invalid]).await);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn each_mistake_is_answered_with_what_to_do_next() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 20_000).await;
    let other = Daemon::with_wallet(&world).await;
    let to = other.address().await;
    let onchain = daemon.post_empty("/onchain/addresses/next").await.ok();
    let onchain = onchain["address"].as_str().expect("an address").to_owned();
    let mainnet = "ark1ptd4e9vezqqpmf7ah7q0kz94yn6q7tl275yssgwyc6wfx8qwaqj7u8eh970783r3zqypj0qruyh4u8yc3gmfqam9an2227n0rre45q39jts69ndu5nnj3umcjzg7qr";
    let foreign = "tark1ptd4e9vezqqpmf7ah7q0kz94yn6q7tl275yssgwyc6wfx8qwaqj7u8eh970783r3zqypj0qruyh4u8yc3gmfqam9an2227n0rre45q39jts69ndu5nnj3umc3l04v4";
    let invoice = "lnbc1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdpl2pkx2ctnv5sxxmmwwd5kgetjypeh2ursdae8g6twvus8g6rfwvs8qun0dfjkxaq9qrsgq357wnc5r2ueh7ck6q93dj32dlqnls087fxdwk8qakdyafkq3yap9us6v52vjjsrvywa6rt52cm9r9zqt8r2t7mlcwspyetp5h2tztugp9lfyql";
    let own_invoice = daemon.invoice(1_000).await;
    let unknown = format!("{}:0", "ab".repeat(32));
    let amount = |amount: Value| json!({"destination": to, "amount_sat": amount});
    let sat = ["sat", "1000"];
    let lists = "GET /api/v1/wallet/vtxos";
    let mistakes = vec![
        post(
            "/wallet/create",
            creation(&world, world.chain_source()),
            400,
            "wallet_exists",
            &["Wallet already set", "DELETE /api/v1/wallet", "--datadir"],
        ),
        // Addresses: which character, which network.
        send(
            &mistype(&to, 12),
            "invalid_destination",
            &["Ark address", "character 12"],
        ),
        send(
            &mistype(&to, to.len()),
            "invalid_destination",
            &[&format!("character {}", to.len())],
        ),
        send(
            &mistype(&to, 30).to_uppercase(),
            "invalid_destination",
            &["character 30"],
        ),
        send(
            &format!("{}b{}", &to[..20], &to[21..]),
            "invalid_destination",
            &["Ark address", "'b'"],
        ),
        send(
            &to[..to.len() - 1],
            "invalid_destination",
            &["Ark address", "copy it again"],
        ),
        send(
            &format!("{}{}", &to[..9], to[9..].to_uppercase()),
            "invalid_destination",
            &["upper and lower case"],
        ),
        send(
            &mistype(&onchain, 20),
            "invalid_destination",
            &["bitcoin address", "character 20"],
        ),
        send(
            &mistype(&own_invoice, 40),
            "invalid_destination",
            &["invoice", "character 40"],
        ),
        send(
            &format!(" {to}"),
            "invalid_destination",
            &["space", "character 1", "remove"],
        ),
        send(
            &format!("{to}\n"),
            "invalid_destination",
            &["line break", "remove"],
        ),
        send(
            &format!("bitcoin: {onchain}?amount=0.00001"),
            "invalid_destination",
            &["space", "remove"],
        ),
        send(
            &format!("bitcoin:{onchain}?amount=0.00001 "),
            "invalid_amount",
            &["space", "remove"],
        ),
        send(
            &format!("bitcoin:?amount=0.00001&ark={}", mistype(&to, 12)),
            "invalid_destination",
            &["character 12"],
        ),
        send(
            &format!("bitcoin:?ark={to}%20"),
            "invalid_destination",
            &["space", "remove"],
        ),
        send(
            mainnet,
            "wrong_network",
            &["mainnet", "regtest", "ask the payee"],
        ),
        send(
            invoice,
            "wrong_network",
            &["mainnet", "regtest", "ask the payee"],
        ),
        send(
            "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr",
            "wrong_network",
            &["regtest", "ask the payee"],
        ),
        send(foreign, "wrong_server", &["Ark server", "Lightning"]),
        send(
            &onchain,
            "onchain_destination",
            &["on-chain address", "POST /api/v1/wallet/send-onchain"],
        ),
        send(
            "nonsense",
            "invalid_destination",
            &["Ark address", "ask the payee"],
        ),
        post(
            "/wallet/send-onchain",
            json!({"destination": to, "amount_sat": 1_000}),
            400,
            "invalid_address",
            &["bitcoin address", "POST /api/v1/wallet/send"],
        ),
        post(
            "/wallet/send-onchain",
            json!({"destination": mistype(&onchain, 20), "amount_sat": 1_000}),
            400,
            "invalid_address",
            &["character 20"],
        ),
        post(
            "/onchain/send",
            json!({"destination": own_invoice, "amount_sat": 1_000}),
            400,
            "invalid_address",
            &["bitcoin address"],
        ),
        post(
            "/lightning/pay",
            json!({"destination": to, "amount_sat": 1_000}),
            400,
            "not_lightning",
            &["POST /api/v1/wallet/send"],
        ),
        post(
            "/lightning/receives/invoice/for-address",
            json!({"address": mistype(&to, 12), "amount_sat": 1_000}),
            400,
            "invalid_address",
            &["character 12"],
        ),
        post(
            "/message/sign",
            json!({"address": to, "message": "x"}),
            400,
            "not_our_address",
            &["POST /api/v1/wallet/addresses/next"],
        ),
        post(
            "/message/verify",
            json!({"message": "x", "signature": "00", "pubkey": "00"}),
            400,
            "invalid_signature",
            &["128 hex"],
        ),
        post(
            "/message/verify",
            json!({"message": "x", "signature": "00".repeat(64)}),
            400,
            "invalid_signer",
            &["pubkey", "address"],
        ),
        // Amounts are in sat.
        post(
            "/wallet/send",
            json!({"destination": to}),
            400,
            "missing_amount",
            &["amount_sat", "sat"],
        ),
        post(
            "/wallet/send",
            json!({"destination": to, "amount": 1_000}),
            400,
            "missing_amount",
            &["amount_sat"],
        ),
        post(
            "/wallet/send",
            amount(json!(0)),
            400,
            "invalid_amount",
            &["at least 1 sat"],
        ),
        post(
            "/wallet/send",
            amount(json!(2_100_000_000_000_001u64)),
            400,
            "invalid_amount",
            &["21 million"],
        ),
        post(
            "/wallet/send",
            amount(json!("1000")),
            422,
            "invalid_body",
            &sat,
        ),
        post(
            "/wallet/send",
            amount(json!(0.001)),
            422,
            "invalid_body",
            &sat,
        ),
        post("/wallet/send", amount(json!(-5)), 422, "invalid_body", &sat),
        post(
            "/wallet/send",
            amount(json!("0.001 BTC")),
            422,
            "invalid_body",
            &sat,
        ),
        post(
            "/boards/board-amount",
            json!({}),
            422,
            "invalid_body",
            &["amount_sat", "sat"],
        ),
        post(
            "/boards/board-amount",
            json!({"amount_sat": "1000"}),
            422,
            "invalid_body",
            &sat,
        ),
        get("/fees/board?amount_sat=0.1", 400, "invalid_query", &sat),
        get(
            "/fees/board?amount_sat=1000%20sat",
            400,
            "invalid_query",
            &sat,
        ),
        get("/fees/board", 400, "invalid_query", &["amount_sat"]),
        post(
            "/wallet/send",
            amount(json!(50_000)),
            400,
            "insufficient_funds",
            &["20000 sat"],
        ),
        post(
            "/onchain/send-many",
            json!({"destinations": [format!("{onchain}:1000")]}),
            400,
            "invalid_amount",
            &["sat"],
        ),
        post(
            "/onchain/send-many",
            json!({"destinations": [onchain]}),
            400,
            "invalid_destination",
            &["sat"],
        ),
        // Things that do not exist.
        get(
            &format!("/wallet/vtxos/{unknown}"),
            404,
            "unknown_vtxo",
            &[&unknown, lists],
        ),
        get(
            "/wallet/vtxos/nonsense",
            400,
            "invalid_vtxo_id",
            &["txid:vout", lists],
        ),
        post(
            "/wallet/refresh/vtxos",
            json!({"vtxos": [unknown]}),
            404,
            "unknown_vtxo",
            &[lists],
        ),
        post(
            "/wallet/refresh/vtxos",
            json!({"vtxos": []}),
            400,
            "no_vtxos",
            &[lists],
        ),
        post(
            "/exits/start/vtxos",
            json!({"vtxos": [unknown]}),
            404,
            "unknown_vtxo",
            &[lists],
        ),
        get(
            &format!("/exits/status/vtxo/{unknown}"),
            404,
            "unknown_exit",
            &["GET /api/v1/exits/status/all"],
        ),
        get(
            "/wallet/addresses/index/77",
            404,
            "unknown_address_index",
            &["POST /api/v1/wallet/addresses/next"],
        ),
        post(
            "/history/77/metadata",
            json!({}),
            404,
            "unknown_movement",
            &["GET /api/v1/history"],
        ),
        get(
            &format!("/lightning/receives/{}", "ab".repeat(32)),
            404,
            "unknown_receive",
            &["GET /api/v1/lightning/receives"],
        ),
        get(
            "/wallet/mnemonic",
            404,
            "mnemonic_not_exposed",
            &["--expose-mnemonic"],
        ),
        get("/history?type=ark", 400, "invalid_filter", &["value"]),
        post(
            "/history/1/metadata",
            json!([]),
            422,
            "invalid_body",
            &["object"],
        ),
        // The shape of requests.
        post(
            "/wallet/send",
            json!({"amount_sat": 1_000}),
            422,
            "invalid_body",
            &["destination", "/api-docs/openapi.json"],
        ),
        get("/history?limit=0", 400, "invalid_query", &["limit"]),
    ];
    let mut wrong = complaints(&daemon, mistakes).await;
    let without_body = daemon.post_empty("/wallet/send").await;
    let message = without_body.refused(415, "unsupported_media_type");
    if !message.contains("application/json") {
        wrong.push(message);
    }
    assert!(
        wrong.is_empty(),
        "{} are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert_eq!(daemon.balance("spendable_sat").await, 20_000);
    assert_conserved(&world, &[&daemon, &other]).await;
}
