use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use server_rpc::tonic::Code;
use tower::ServiceExt;

use super::*;

#[tokio::test]
async fn ark_info_matches_the_parameters() {
    let sandbox = Sandbox::start(Params::demo()).await;
    let rpc = sandbox.connect().await;
    let info = rpc.ark_info().await;
    let params = Params::demo();
    assert_eq!(info.server_pubkey, sandbox.server.server_pubkey());
    assert_eq!(info.fees, params.fees);
    assert_eq!(info.vtxo_lifetime, params.vtxo_lifetime);
    assert_eq!(info.min_board_amount, params.min_board_amount);
    let rate = rpc.offboard_feerate().await.unwrap();
    assert_eq!(rate, FeeRate::from_sat_per_vb_u32(2));
}

#[tokio::test]
async fn a_restart_keeps_port_keys_and_coins() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let vtxo = sandbox.board(&wallet, sat(1_000)).await;
    let address = sandbox.server.address();
    sandbox.server.restart().await;

    assert_eq!(sandbox.server.address(), address);
    let again = sandbox.wallet().await;
    assert_eq!(again.info, wallet.info);
    again.register([&vtxo]).await.unwrap();
    assert_eq!(sandbox.server.ledger().unwrap().spendable.count, 1);
    sandbox.server.stop().await;
    let refused = ServerConnection::builder()
        .address(address)
        .network(Network::Regtest)
        .connect()
        .await;
    assert!(refused.is_err());
}

#[tokio::test]
async fn a_directory_keeps_everything_for_the_next_process() {
    let sandbox = Sandbox::start(Params::free()).await;
    let directory = tempfile::tempdir().unwrap();
    let open = async || {
        let options = ArkServerOptions {
            chain: sandbox.chain.clone(),
            params: Params::free(),
            directory: Some(directory.path().to_owned()),
            seed: None,
            port: 0,
            admin_port: None,
        };
        ArkServer::start(options).await.unwrap()
    };
    let server = open().await;
    let before = Sandbox {
        chain: sandbox.chain.clone(),
        server,
    };
    let wallet = before.wallet().await;
    let vtxo = before.board(&wallet, sat(1_000)).await;
    let paid = wallet.pay(&vtxo, &[(wallet.key.public_key(), 1_000)]).await;
    before.server.stop().await;

    let after = Sandbox {
        chain: sandbox.chain.clone(),
        server: open().await,
    };
    let again = after.wallet().await;
    assert_eq!(again.info, wallet.info);
    again.register(&paid).await.unwrap();
    let ledger = after.server.ledger().unwrap();
    assert_eq!((ledger.spendable.count, ledger.spent.count), (1, 1));
}

#[tokio::test]
async fn contradicting_parameters_do_not_start() {
    let sandbox = Sandbox::start(Params::free()).await;
    let started = ArkServer::start(ArkServerOptions {
        chain: sandbox.chain.clone(),
        params: Params {
            max_user_invoice_cltv_delta: bitcoin_ext::BlockDelta::new(1),
            ..Params::free()
        },
        directory: None,
        seed: None,
        port: 0,
        admin_port: None,
    })
    .await;
    assert!(started.is_err());
}

#[tokio::test]
async fn a_request_above_4_mib_is_refused() {
    let sandbox = Sandbox::start(Params::free()).await;
    let client = sandbox.connect().await.client;
    let upload = |bytes: usize| {
        let request = protos::RegisterVtxoTransactionsRequest {
            vtxos: vec![vec![0; bytes]],
        };
        let mut client = client.clone();
        async move {
            let answer = client.register_vtxo_transactions(request).await;
            answer.unwrap_err().code()
        }
    };
    const MIB: usize = 1024 * 1024;
    assert_eq!(upload(4 * MIB - 100).await, Code::InvalidArgument);
    assert_eq!(upload(4 * MIB).await, Code::OutOfRange);
}

#[tokio::test]
async fn the_control_routes_speak_json() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let vtxo = sandbox.board(&wallet, sat(1_000)).await;
    let call = async |method: &str, path: &str, body: Value| -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .unwrap();
        let router = sandbox.server.control_router();
        let response = router.oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    };

    let fault = json!({ "target": "GetVtxo", "times": 1, "action": { "type": "drop_after" } });
    let (status, added) = call("POST", "/faults", fault).await;
    assert_eq!((status, &added), (StatusCode::OK, &json!({ "id": 1 })));
    let (_, faults) = call("GET", "/faults", json!(null)).await;
    assert_eq!(faults[0]["target"], "GetVtxo");
    let (status, _) = call("DELETE", "/faults/1", json!(null)).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let wrong = json!({ "target": "GetVtxo", "action": { "type": "crash" } });
    assert_eq!(
        call("POST", "/faults", wrong).await.0,
        StatusCode::BAD_REQUEST
    );

    let (_, shown) = call("GET", &format!("/vtxo/{}", vtxo.id()), json!(null)).await;
    assert_eq!(shown["state"], "spendable");
    assert_eq!(shown["amount_sat"], 1_000);
    let (_, ledger) = call("GET", "/ledger", json!(null)).await;
    assert_eq!(
        ledger["spendable"],
        json!({ "count": 1, "amount_sat": 1_000 })
    );
    let (_, calls) = call("GET", "/calls", json!(null)).await;
    assert_eq!(calls["RegisterBoardVtxo"], 1);
    let config = json!({ "submit_ms": 0, "sign_ms": 0 });
    let (status, _) = call("POST", "/round/config", config).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (_, outcome) = call("POST", "/round/trigger", json!({ "wait": true })).await;
    assert_eq!(outcome["result"], "failed");
    let (status, _) = call("POST", "/round/trigger", json!({})).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let (_, watchman) = call("GET", "/watchman", json!(null)).await;
    assert_eq!(
        (&watchman["delay"], &watchman["sweeps"]),
        (&json!(2), &json!(false))
    );
    let (status, _) = call("POST", "/watchman", json!({ "delay": 0 })).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (_, reacted) = call("POST", "/watchman/run", json!({ "sweeps": true })).await;
    assert_eq!(reacted, json!({ "txids": [] }));
    let (status, _) = call("POST", "/recovery", json!({ "calls": false })).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (status, _) = call("POST", "/restart", json!(null)).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
}
