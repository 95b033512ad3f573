//! The third-party barkd 0.8.0, unchanged, over the sandbox's Lightning: the simulation is genuine.

use arkwalletd_sandbox::ark::LightningLedger;
use arkwalletd_sandbox::lightning::{FailureReason, InvoiceRequest, Outcome};
use serde_json::json;

use crate::support::{Daemon, World, eventually};

/// Waits until barkd has this much to spend.
async fn has(daemon: &Daemon, sats: u64) {
    eventually("barkd has the money", async || {
        daemon.post_empty("/wallet/sync").await.ok();
        (daemon.balance("spendable_sat").await == sats).then_some(())
    })
    .await;
}

async fn pay(daemon: &Daemon, destination: &str, amount: Option<u64>) {
    let body = json!({"destination": destination, "amount_sat": amount});
    daemon.post("/lightning/pay", body).await.ok();
}

fn ledger(world: &World) -> LightningLedger {
    world.sandbox.ark.lightning_ledger().expect("a ledger")
}

async fn invoice_of(daemon: &Daemon, sats: u64) -> String {
    let body = json!({"amount_sat": sats});
    let made = daemon.post("/lightning/receives/invoice", body).await.ok();
    made["invoice"].as_str().expect("an invoice").to_owned()
}

#[tokio::test]
async fn two_barkds_pay_each_other_and_the_world() {
    let world = World::new().await;
    let (payer, payee) = (Daemon::barkd(&world).await, Daemon::barkd(&world).await);
    for daemon in [&payer, &payee] {
        daemon.fund_and_board(&world, 60_000).await;
    }
    // barkd goes by a tip that is up to a second old, unless it has been told to sync. It asks for HTLCs that expire as early as it
    // can use them, so a payee that learns of a block between the request and the claim gives the payment up, and a payer that
    // is two blocks behind is refused. After this no block comes.
    for daemon in [&payer, &payee] {
        has(daemon, 60_000).await;
    }
    let network = world.sandbox.ark.lightning();

    let bolt11 = invoice_of(&payee, 5_000).await;
    pay(&payer, &bolt11, None).await;
    has(&payer, 55_000).await;
    has(&payee, 65_000).await;

    let request = InvoiceRequest {
        amount_msat: Some(4_000_000),
        ..InvoiceRequest::default()
    };
    let bolt11 = network.issue(request).expect("an invoice").to_string();
    pay(&payer, &bolt11, None).await;
    has(&payer, 51_000).await;

    let offer = network.issue_offer(None, "tea", Outcome::default());
    pay(&payer, &offer.expect("an offer").to_string(), Some(3_000)).await;
    has(&payer, 48_000).await;

    let bolt11 = invoice_of(&payee, 7_000).await;
    let bolt11 = bolt11.parse().expect("a BOLT11 invoice");
    let height = world.height().await;
    let paid = network.world_pays(&bolt11, None, 0, height);
    paid.expect("the payment is held");
    has(&payee, 72_000).await;

    for daemon in [&payer, &payee] {
        daemon.settled().await;
    }
    let jobs = world.sandbox.ark.run_lightning_jobs().await;
    jobs.expect("everything is settled");
    let ledger = ledger(&world);
    assert_eq!(ledger.taken_sat, 12_000, "5000, 4000 and 3000 sat");
    assert_eq!(ledger.granted_sat, 12_000, "5000 and 7000 sat");
    assert_eq!(ledger.granted_open_sat, 0);
    assert_eq!(ledger.network.sent_msat, 7_000_000);
    assert_eq!(ledger.network.received_msat, 7_000_000);
    assert_eq!(ledger.earned_msat, 0);
}

#[tokio::test]
async fn a_barkd_gets_its_money_back_when_the_world_refuses_it() {
    let world = World::new().await;
    let payer = Daemon::barkd(&world).await;
    payer.fund_and_board(&world, 60_000).await;
    has(&payer, 60_000).await;
    let network = world.sandbox.ark.lightning();
    let request = InvoiceRequest {
        amount_msat: Some(4_000_000),
        outcome: Outcome::Fail {
            reason: FailureReason::NoRoute,
            delay_ms: 0,
        },
        ..InvoiceRequest::default()
    };
    let bolt11 = network.issue(request).expect("an invoice").to_string();
    pay(&payer, &bolt11, None).await;
    has(&payer, 60_000).await;
    let ark = &world.sandbox.ark;
    assert_eq!(
        ark.faults().calls_of("RequestLightningPayHtlcRevocation"),
        1
    );
    assert_eq!(ledger(&world).earned_msat, 0);
}
