//! Payments in every direction that succeed.

use std::time::Duration;

use arkwalletd_sandbox::ark::{Params, charging_fees};
use serde_json::json;

use super::{assert_paid, assert_received, pay};
use crate::support::{Daemon, SETTLE, World, assert_balanced, assert_conserved, hash_of};

/// In which a payment is claimed after the server has accepted it.
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn two_wallets_and_the_world_pay_each_other() {
    let world = World::new().await;
    let alice = Daemon::with_wallet(&world).await;
    let bob = Daemon::with_wallet(&world).await;
    for daemon in [&alice, &bob] {
        daemon.fund_and_board(&world, 60_000).await;
    }

    // Between the wallets, both ways.
    for (payer, payee, sats) in [(&alice, &bob, 5_000), (&bob, &alice, 2_000)] {
        let invoice = payee.invoice(sats).await;
        let hash = pay(payer, &invoice, None).await;
        assert_eq!(hash, hash_of(&invoice));
        let received = assert_received(payee, &hash).await;
        assert_eq!(received["effective_balance_sat"], sats);
        let sent = assert_paid(payer, &hash).await;
        let to = json!({"type": "invoice", "value": invoice});
        assert_eq!(sent["sent_to"][0]["destination"], to);
        assert_eq!(sent["sent_to"][0]["amount_sat"], sats);
    }

    // To the world: an invoice, an offer without amount, an LNURL with a comment.
    let issued = world.issue(4_000, SETTLE);
    let hash = pay(&alice, &issued.bolt11, None).await;
    assert_eq!(hash, issued.hash);
    let sent = assert_paid(&alice, &hash).await;
    assert_eq!(sent["metadata"]["payment_preimage"], issued.preimage);
    assert!(world.got(&hash));

    let offer = world.issue_offer(None, SETTLE);
    let hash = pay(&bob, &offer, Some(3_000)).await;
    let sent = assert_paid(&bob, &hash).await;
    assert_eq!(sent["sent_to"][0]["destination"]["value"], offer);
    assert!(world.got(&hash));
    // Paying an offer again is another payment.
    let offer = world.issue_offer(Some(1_000), SETTLE);
    let (first, second) = (pay(&bob, &offer, None).await, pay(&bob, &offer, None).await);
    assert_ne!(first, second);
    assert_paid(&bob, &first).await;
    assert_paid(&bob, &second).await;

    let lnurl = world.sandbox.lnurl.as_str();
    let body = json!({"destination": lnurl, "amount_sat": 1_500, "comment": "for the tea"});
    let answer = alice.post("/lightning/pay", body).await;
    assert!(matches!(answer.status, 200 | 202), "{answer:?}");
    let hash = answer.body["payment_hash"].as_str().expect("a hash");
    assert_paid(&alice, hash).await;
    assert_eq!(world.comment(hash).as_deref(), Some("for the tea"));
    assert!(world.got(hash));

    // From the world.
    let invoice = bob.invoice(7_000).await;
    world.pays(&invoice).await;
    let received = assert_received(&bob, &hash_of(&invoice)).await;
    assert_eq!(received["effective_balance_sat"], 7_000);
    let claim = world.claim_time(&hash_of(&invoice));
    assert!(claim.is_some_and(|time| time < SECOND), "{claim:?}");

    alice
        .wait_for_spendable(60_000 - 5_000 + 2_000 - 4_000 - 1_500)
        .await;
    bob.wait_for_spendable(60_000 + 5_000 - 2_000 - 3_000 - 2_000 + 7_000)
        .await;
    for daemon in [&alice, &bob] {
        daemon.settled().await;
    }
    let network = world.lightning_ledger().network;
    assert_eq!(network.sent_msat, (4_000 + 3_000 + 2_000 + 1_500) * 1_000);
    assert_conserved(&world, &[&alice, &bob]).await;
    assert_balanced(&world, &[&alice, &bob], &[]).await;
    assert_eq!(world.lightning_ledger().network.received_msat, 7_000_000);
}

#[tokio::test]
async fn lightning_costs_what_was_estimated() {
    let params = Params {
        fees: charging_fees(),
        ..Params::free()
    };
    let world = World::with(params).await;
    let alice = Daemon::with_wallet(&world).await;
    let bob = Daemon::with_wallet(&world).await;
    alice.fund_and_board(&world, 200_000).await;

    let invoice = bob.invoice(50_000).await;
    let send = alice.get("/fees/lightning/pay?amount_sat=50000").await.ok();
    let receive = bob.get("/fees/lightning/receive?amount_sat=50000").await;
    let receive = receive.ok();
    assert!(send["fee_sat"].as_u64() > Some(0), "{send:#}");
    assert!(receive["fee_sat"].as_u64() > Some(0), "{receive:#}");

    let hash = pay(&alice, &invoice, None).await;
    let received = assert_received(&bob, &hash).await;
    let sent = assert_paid(&alice, &hash).await;
    assert_eq!(sent["offchain_fee_sat"], send["fee_sat"]);
    assert_eq!(sent["sent_to"][0]["amount_sat"], 50_000);
    assert_eq!(received["offchain_fee_sat"], receive["fee_sat"]);
    assert_eq!(received["effective_balance_sat"], receive["net_amount_sat"]);

    let issued = world.issue(20_000, SETTLE);
    let hash = pay(&alice, &issued.bolt11, None).await;
    assert_paid(&alice, &hash).await;
    for daemon in [&alice, &bob] {
        daemon.settled().await;
    }
    assert_conserved(&world, &[&alice, &bob]).await;
}
