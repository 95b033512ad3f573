//! Payments over Lightning, made (docs/protocol.md §4.6). What the payee got is read from the books of the Lightning network.

use arkwalletd_sandbox::lightning::InvoiceRequest;
use serde_json::{Value, json};

use crate::support::{Daemon, World, eventually};

/// Asks the world for an invoice.
fn invoice(world: &World, request: InvoiceRequest) -> String {
    let network = world.sandbox.ark.lightning();
    network.issue(request).expect("an invoice").to_string()
}

fn of_sats(sats: u64) -> InvoiceRequest {
    InvoiceRequest {
        amount_msat: Some(sats * 1_000),
        ..InvoiceRequest::default()
    }
}

async fn pay(payer: &Daemon, invoice: &str) -> Value {
    let body = json!({"destination": invoice});
    payer.post("/lightning/pay", body).await.ok()
}

async fn status(payer: &Daemon, id: &str) -> Value {
    payer.get(&format!("/lightning/sends/{id}")).await.ok()
}

/// Waits until a payment has this outcome.
async fn has_outcome(payer: &Daemon, id: &str, outcome: &str) -> Value {
    eventually(&format!("the payment is {outcome}"), async || {
        let status = status(payer, id).await;
        (status["outcome"] == outcome).then_some(status)
    })
    .await
}

fn sent_msat(world: &World) -> i64 {
    let ledger = world.sandbox.ark.lightning_ledger();
    ledger.expect("a ledger").network.sent_msat
}

#[tokio::test]
async fn an_invoice_is_paid_and_the_history_shows_the_proof() {
    let world = World::new().await;
    let payer = Daemon::with_wallet(&world).await;
    payer.fund_and_board(&world, 100_000).await;
    let invoice = invoice(&world, of_sats(30_000));
    let paid = pay(&payer, &invoice).await;
    let hash = paid["payment_hash"].as_str().unwrap();
    let status = has_outcome(&payer, &invoice, "paid").await;
    assert_eq!(status["state"], "paid");
    assert_eq!(status["payment_hash"], hash);
    assert_eq!(status["movement_id"], paid["movement_id"]);
    assert_eq!(sent_msat(&world), 30_000_000);
    let movement = payer.movement("send").await;
    assert_eq!(movement["id"], paid["movement_id"]);
    assert_eq!(movement["status"], "successful");
    assert_eq!(movement["subsystem"]["name"], "bark.lightning_send");
    assert_eq!(movement["intended_balance_sat"], -30_000);
    assert_eq!(movement["effective_balance_sat"], -30_000);
    assert_eq!(movement["metadata"]["payment_hash"], hash);
    assert_eq!(movement["metadata"]["payment_preimage"], status["preimage"]);
    assert_eq!(
        movement["metadata"]["htlc_vtxos"].as_array().unwrap().len(),
        1
    );
    let to = json!({"type": "invoice", "value": invoice});
    assert_eq!(movement["sent_to"][0]["destination"], to);
    assert_eq!(payer.balance("spendable_sat").await, 70_000);
    assert_eq!(payer.balance("pending_lightning_send_sat").await, 0);
}
