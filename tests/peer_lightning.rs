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
