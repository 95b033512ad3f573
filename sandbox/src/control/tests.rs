//! What the control API does to the chain and the faucet, and how it refuses.

use serde_json::Value;

use super::*;
use crate::{Sandbox, SandboxHandle};

async fn quiet() -> SandboxHandle {
    let auto_mine = AutoMine {
        on: false,
        delay: Duration::ZERO,
    };
    Sandbox {
        auto_mine,
        ..Sandbox::default()
    }
    .start()
    .await
    .unwrap()
}

async fn ask(sandbox: &SandboxHandle, path: &str, body: Option<Value>) -> (u16, Value) {
    let url = format!("{}{path}", sandbox.control_url);
    let client = reqwest::Client::new();
    let request = match body {
        Some(body) => client.post(url).json(&body),
        None => client.get(url),
    };
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn the_faucet_pays_and_mines() {
    let sandbox = quiet().await;
    let to = crate::coin_wallet::CoinKey::derive(&[1; 32], "recipient")
        .address()
        .to_string();
    let body = json!({ "address": to, "amount_sat": 100_000, "mine": true });
    let (status, answer) = ask(&sandbox, "/faucet", Some(body)).await;
    assert_eq!((status, &answer["height"]), (200, &json!(121)), "{answer}");
    let (_, tx) = ask(
        &sandbox,
        &format!("/tx/{}", answer["txid"].as_str().unwrap()),
        None,
    )
    .await;
    assert_eq!(
        (&tx["height"], &tx["confirmations"]),
        (&json!(121), &json!(1))
    );
}

#[tokio::test]
async fn a_held_payment_waits_and_an_evicted_one_is_gone() {
    let sandbox = quiet().await;
    let script = sandbox.faucet.address().script_pubkey();
    let rate = FeeRate::from_sat_per_vb_u32(2);
    let txid = sandbox
        .faucet
        .pay(script, Amount::from_sat(5000), rate)
        .await
        .unwrap();
    ask(&sandbox, &format!("/tx/{txid}/hold"), Some(json!({}))).await;
    ask(&sandbox, "/mine", Some(json!({ "n": 2 }))).await;
    let (_, status) = ask(&sandbox, "/status", None).await;
    assert_eq!(status["chain"]["height"], 122);
    assert_eq!(status["chain"]["mempool"], json!([txid]));
    let (_, gone) = ask(&sandbox, &format!("/tx/{txid}/evict"), Some(json!({}))).await;
    assert_eq!(gone, json!([txid]));
    assert_eq!(ask(&sandbox, &format!("/tx/{txid}"), None).await.0, 404);
}

#[tokio::test]
async fn invalid_requests_get_a_message() {
    let sandbox = quiet().await;
    let mainnet = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4";
    let regtest = sandbox.faucet.address().to_string();
    for (path, body, status) in [
        (
            "/faucet",
            json!({ "address": mainnet, "amount_sat": 1 }),
            400,
        ),
        (
            "/faucet",
            json!({ "address": regtest, "amount_sat": 1 }),
            422,
        ),
        (
            "/faucet",
            json!({ "address": regtest, "amount_sat": u64::MAX }),
            422,
        ),
        ("/mine", json!({ "n": 1_000_000 }), 400),
        ("/mine", json!({ "blocks": 1 }), 400),
        ("/reorg", json!({ "depth": 1000 }), 422),
        ("/fees", json!({ "fast": -1 }), 400),
        ("/nowhere", json!({}), 404),
    ] {
        let (got, answer) = ask(&sandbox, path, Some(body)).await;
        assert_eq!(got, status, "{path}: {answer}");
        assert!(answer["message"].is_string(), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_reorganisation_can_drop_a_payment() {
    let sandbox = quiet().await;
    let script = sandbox.faucet.address().script_pubkey();
    let rate = FeeRate::from_sat_per_vb_u32(2);
    let txid = sandbox
        .faucet
        .pay(script, Amount::from_sat(5000), rate)
        .await
        .unwrap();
    sandbox.chain.mine(1).await.unwrap();
    let (_, answer) = ask(
        &sandbox,
        "/reorg",
        Some(json!({ "depth": 1, "drop": [txid] })),
    )
    .await;
    assert_eq!(answer["height"], 122);
    assert!(sandbox.chain.tx(txid).await.unwrap().is_none());
}

#[tokio::test]
async fn a_fee_spike_keeps_payments_waiting_or_drops_them() {
    let sandbox = quiet().await;
    let script = sandbox.faucet.address().script_pubkey();
    let rate = FeeRate::from_sat_per_vb_u32(2);
    let amount = Amount::from_sat(5000);
    let txid = sandbox.faucet.pay(script, amount, rate).await.unwrap();
    let spike = json!({ "min_mined": 20, "fast": 25 });
    let (status, _) = ask(&sandbox, "/fees", Some(spike)).await;
    assert_eq!(status, 200);
    sandbox.chain.mine(1).await.unwrap();
    assert_eq!(sandbox.chain.mempool().await.unwrap(), [txid]);
    let full = json!({ "min_mempool": 20 });
    let (status, _) = ask(&sandbox, "/fees", Some(full)).await;
    assert_eq!(status, 200);
    assert!(sandbox.chain.mempool().await.unwrap().is_empty());
}
