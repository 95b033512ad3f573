//! Lightning payments to the wallet (docs/protocol.md §4.7).

use arkwalletd_sandbox::ark::{LightningLedger, Params, charging_fees};
use lightning_invoice::Bolt11Invoice;
use serde_json::{Value, json};

use crate::support::{Daemon, World, assert_balanced};

const INVOICE: &str = "/lightning/receives/invoice";

/// The payment hash of an invoice.
pub fn hash_of(invoice: &str) -> String {
    let invoice: Bolt11Invoice = invoice.parse().expect("an invoice");
    invoice.payment_hash().to_string()
}

/// The world pays an invoice; the server's node holds the payment.
pub async fn world_pays(world: &World, invoice: &str) {
    let parsed = invoice.parse().expect("an invoice");
    let (network, height) = (world.sandbox.ark.lightning(), world.height().await);
    let paid = network.world_pays(&parsed, None, 0, height);
    paid.expect("the payment is held");
    jobs(world).await;
}

async fn jobs(world: &World) {
    let jobs = world.sandbox.ark.run_lightning_jobs().await;
    jobs.expect("the jobs are done");
}

/// What the world has paid for an invoice, in msat, once it has the preimage.
pub fn paid_msat(world: &World, invoice: &str) -> Option<u64> {
    let hash = hash_of(invoice).parse().expect("a hash");
    let hold = world.sandbox.ark.lightning().hold(hash).expect("a hold")?;
    hold.preimage.and(hold.paid_msat)
}

fn ledger(world: &World) -> LightningLedger {
    world.sandbox.ark.lightning_ledger().expect("a ledger")
}

/// An invoice of a daemon.
pub async fn invoice_of(daemon: &Daemon, sats: u64) -> String {
    invoice_with(daemon, json!({"amount_sat": sats})).await
}

async fn invoice_with(daemon: &Daemon, body: Value) -> String {
    let made = daemon.post(INVOICE, body).await.ok();
    made["invoice"].as_str().expect("an invoice").to_owned()
}

async fn info(daemon: &Daemon, identifier: &str) -> Value {
    let path = format!("/lightning/receives/{identifier}");
    daemon.get(&path).await.ok()
}

async fn charging_world() -> World {
    World::with(Params {
        fees: charging_fees(),
        ..Params::free()
    })
    .await
}

#[tokio::test]
async fn the_world_pays_an_invoice() {
    let world = charging_world().await;
    let daemon = Daemon::with_wallet(&world).await;
    let estimate = daemon.get("/fees/lightning/receive?amount_sat=50000").await;
    let fee = estimate.ok()["fee_sat"].as_u64().unwrap();
    assert_eq!(fee, 200, "100 and 2000 ppm");
    let body = json!({"amount_sat": 50_000, "description": "two teas", "external_id": "order 7"});
    let invoice = invoice_with(&daemon, body).await;
    let parsed: Bolt11Invoice = invoice.parse().unwrap();
    assert_eq!(parsed.amount_milli_satoshis(), Some(50_000_000));
    assert_eq!(parsed.description().to_string(), "two teas");
    let hash = hash_of(&invoice);

    let open = info(&daemon, &hash).await;
    assert_eq!(open["state"], "awaiting-payment");
    assert_eq!(open["payment_preimage"], Value::Null, "it is a secret");
    assert_eq!(open["external_id"], "order 7");
    let listed = daemon.get("/lightning/receives").await.ok();
    assert_eq!(listed, json!([open]));

    world_pays(&world, &invoice).await;
    daemon.wait_for_spendable(49_800).await;
    jobs(&world).await;
    assert_eq!(paid_msat(&world, &invoice), Some(50_000_000));
    let settled = info(&daemon, &hash).await;
    assert_eq!(settled["state"], "settled");
    assert_eq!(settled["settled_at"], settled["finished_at"]);
    let preimage = settled["payment_preimage"].as_str().unwrap();
    for identifier in [preimage, &invoice, &invoice.to_uppercase()] {
        assert_eq!(info(&daemon, identifier).await, settled, "{identifier}");
    }
    assert_eq!(daemon.get("/lightning/receives").await.ok(), json!([]));

    let movement = &daemon.history().await[0];
    let subsystem = json!({"name": "bark.lightning_receive", "kind": "receive"});
    assert_eq!(movement["subsystem"], subsystem);
    assert_eq!(movement["status"], "successful");
    assert_eq!(movement["intended_balance_sat"], 50_000);
    assert_eq!(movement["effective_balance_sat"], 49_800);
    assert_eq!(movement["offchain_fee_sat"], fee);
    let received =
        json!([{"destination": {"type": "invoice", "value": invoice}, "amount_sat": 50_000}]);
    assert_eq!(movement["received_on"], received);
    assert_eq!(movement["metadata"]["payment_hash"], hash);
    assert_eq!(movement["metadata"]["payment_preimage"], preimage);
    assert!(
        !movement["metadata"]["htlc_vtxos"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    assert_balanced(&world, &[&daemon], &[]).await;
    let ledger = ledger(&world);
    assert_eq!((ledger.granted_sat, ledger.earned_msat), (49_800, 200_000));
}
