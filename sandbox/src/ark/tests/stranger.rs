//! Somebody else who takes a VTXO on chain.

use std::sync::Arc;

use ark_lib::VtxoId;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::coin_wallet::{CoinKey, CoinWallet};

impl Sandbox {
    /// Lets a stranger publish the path of a VTXO.
    pub(super) async fn publish(&self, id: VtxoId, request: Value) -> (StatusCode, Value) {
        let coins = CoinWallet::new(self.chain.clone(), CoinKey::derive(&[9; 32], "stranger"));
        if coins.balance().await.unwrap().confirmed == Amount::ZERO {
            for _ in 0..3 {
                let output = TxOut {
                    value: sat(50_000),
                    script_pubkey: coins.address().script_pubkey(),
                };
                self.mine_tx(&self.payment_to(output).await).await;
            }
        }
        let request = Request::builder()
            .method("POST")
            .uri(format!("/vtxo/{id}/publish"))
            .header("content-type", "application/json")
            .body(Body::from(request.to_string()))
            .unwrap();
        let router = self.server.stranger_router(Arc::new(coins));
        let response = router.oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }
}

#[tokio::test]
async fn a_path_is_published_as_far_as_asked() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let board = sandbox.board(&wallet, sat(20_000)).await;
    let me = wallet.key.public_key();
    let paid = wallet.pay(&board, &[(me, 20_000)]).await.remove(0);
    let txids: Vec<String> = paid
        .transactions()
        .map(|item| item.tx.compute_txid().to_string())
        .collect();

    let one = json!({ "steps": 1 });
    let (status, answer) = sandbox.publish(paid.id(), one).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer, json!({ "txids": [txids[0]], "complete": false }));
    let waiting = json!({ "mine": false });
    let (_, answer) = sandbox.publish(paid.id(), waiting.clone()).await;
    assert_eq!(answer, json!({ "txids": [txids[1]], "complete": false }));
    let (_, answer) = sandbox.publish(paid.id(), waiting).await;
    assert_eq!(answer, json!({ "txids": [], "complete": false }));
    let (_, answer) = sandbox.publish(paid.id(), json!({})).await;
    assert_eq!(answer, json!({ "txids": [txids[2]], "complete": true }));
    let payment = wallet.payment(&paid, &[(me, 20_000)]);
    let status = wallet.cosign(&payment).await.unwrap_err();
    assert!(status.message().contains("has exited onchain"), "{status}");
}

#[tokio::test]
async fn an_unsigned_path_or_an_unknown_vtxo_is_refused() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let board = sandbox.board(&wallet, sat(20_000)).await;
    let payment = wallet.payment(&board, &[(new_key().public_key(), 20_000)]);
    let response = wallet.cosign(&payment).await.unwrap();
    let unregistered = wallet.finish(payment, response).unwrap().remove(0);
    let (status, answer) = sandbox.publish(unregistered.id(), json!({})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let message = answer["message"].as_str().unwrap();
    assert!(message.contains("no signed form"), "{message}");
    let unknown = VtxoId::from_slice(&[1; 36]).unwrap();
    let (status, _) = sandbox.publish(unknown, json!({})).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}
