//! The control API of the Lightning network.

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;

impl Sandbox {
    async fn control(&self, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .unwrap();
        let response = self.server.control_router().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }
}

#[tokio::test]
async fn the_world_can_be_paid_and_told_what_to_do() {
    let (sandbox, wallet) = start(Params::free()).await;
    let hold = json!({ "amount_msat": 1_000_000, "outcome": { "type": "hold" } });
    let (status, issued) = sandbox.control("POST", "/ln/invoice", hold).await;
    assert_eq!(status, StatusCode::OK);
    let invoice: Invoice = issued["bolt11"].as_str().unwrap().parse().unwrap();
    let hash = invoice.payment_hash();
    wallet.try_to_pay(&sandbox, &invoice, 1_000).await;
    assert!(wallet.is_pending(hash).await);
    let settle = json!({ "payment_hash": hash.to_string() });
    let (status, _) = sandbox.control("POST", "/ln/settle", settle.clone()).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert!(wallet.is_paid(hash).await);
    let (status, _) = sandbox.control("POST", "/ln/settle", settle).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let path = format!("/ln/invoice/{hash}");
    let (_, shown) = sandbox.control("GET", &path, json!(null)).await;
    assert_eq!(shown["payment"]["status"], "complete");
    assert_eq!(shown["paid_msat"], 1_000_000);
    let (_, ledger) = sandbox.control("GET", "/ln/ledger", json!(null)).await;
    assert_eq!(ledger["taken_sat"], 1_000);
    assert_eq!(ledger["sent_msat"], 1_000_000);

    let failing = json!({ "amount_msat": 1_000_000, "outcome": { "type": "hold" } });
    let (_, issued) = sandbox.control("POST", "/ln/invoice", failing).await;
    let invoice: Invoice = issued["bolt11"].as_str().unwrap().parse().unwrap();
    wallet.try_to_pay(&sandbox, &invoice, 1_000).await;
    let hash = invoice.payment_hash();
    let fail = json!({ "payment_hash": hash.to_string(), "reason": "no_route" });
    sandbox.control("POST", "/ln/fail", fail).await;
    assert!(wallet.has_failed(hash).await);
    let offer = json!({ "description": "beer" });
    let (_, offer) = sandbox.control("POST", "/ln/offer", offer).await;
    assert!(offer["offer"].as_str().unwrap().starts_with("lno1"));
}

#[tokio::test]
async fn the_world_pays_and_time_passes() {
    let (sandbox, wallet) = start(Params::free()).await;
    let hash = Preimage::random().compute_payment_hash();
    let invoice = wallet.start(hash, 5_000).await.unwrap();
    let deaf = json!({ "noticing": false });
    sandbox.control("POST", "/ln/node", deaf).await;
    let pay = json!({ "invoice": invoice, "cltv_extra": 3 });
    let (status, paid) = sandbox.control("POST", "/ln/pay", pay.clone()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(paid["lowest_expiry"], sandbox.tip().await + MIN_CLTV + 9);
    assert_eq!(
        wallet.receive_status(hash).await,
        LightningReceiveStatus::Created
    );
    let hearing = json!({ "noticing": true });
    sandbox.control("POST", "/ln/node", hearing).await;
    assert_eq!(
        wallet.receive_status(hash).await,
        LightningReceiveStatus::Accepted
    );
    let (status, _) = sandbox.control("POST", "/ln/pay", pay).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let advance = json!({ "seconds": 181 });
    let (status, _) = sandbox.control("POST", "/clock/advance", advance).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(
        wallet.receive_status(hash).await,
        LightningReceiveStatus::Canceled
    );
    let path = format!("/ln/pay/{hash}");
    let (_, shown) = sandbox.control("GET", &path, json!(null)).await;
    assert_eq!(shown["status"], "cancelled");
}
