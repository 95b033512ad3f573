//! Payments that fail, hang, or get lost, and what comes back.

use arkwalletd_sandbox::lightning::Outcome;
use serde_json::{Value, json};

use super::{
    AMOUNT, FUNDS, Invoice, PAST_EXPIRY, REFUSED, assert_books, has_attention, has_outcome,
    request, sends, status, world_and_payer,
};
use crate::support::{Daemon, World, eventually};

/// W6: what failed comes back, and the invoice can be paid again.
#[tokio::test]
async fn a_failed_payment_comes_back_and_is_made_again() {
    let (world, payer) = world_and_payer().await;
    let invoice = Invoice::ending(&world, REFUSED).await;
    request(&payer, &invoice).await;
    let failed = has_outcome(&payer, &invoice, "failed").await;
    assert_eq!(failed["state"], "unknown");
    assert!(failed["error"].is_string(), "{failed}");
    let movement = payer.movement("send").await;
    assert_eq!(movement["status"], "failed");
    assert_eq!(movement["effective_balance_sat"], 0);
    assert_eq!(movement["metadata"]["payment_preimage"], Value::Null);
    payer.wait_for_spendable(FUNDS).await;
    assert_books(&world, &payer, 0, 0).await;

    let network = world.sandbox.ark.lightning();
    let again = network.change_outcome(invoice.hash, Outcome::default());
    again.unwrap();
    let second = request(&payer, &invoice).await.ok();
    assert_ne!(second["movement_id"], movement["id"]);
    has_outcome(&payer, &invoice, "paid").await;
    let all = sends(&payer).await;
    let statuses: Vec<&Value> = all.iter().map(|movement| &movement["status"]).collect();
    assert_eq!(statuses, ["successful", "failed"]);
    assert_books(&world, &payer, AMOUNT, 0).await;
}

/// W8: a payment that is still under way when its HTLCs expire comes back then, not before.
#[tokio::test]
async fn a_payment_that_never_ends_comes_back_when_its_htlcs_expire() {
    let (world, payer) = world_and_payer().await;
    let invoice = Invoice::ending(&world, Outcome::Hold).await;
    request(&payer, &invoice).await.ok();
    world.mine(PAST_EXPIRY - 20).await;
    payer.wait_for_tip(&world).await;
    let faults = world.sandbox.ark.faults();
    assert_eq!(faults.calls_of("RequestLightningPayHtlcRevocation"), 0);
    world.mine(20).await;
    has_outcome(&payer, &invoice, "failed").await;
    payer.wait_for_spendable(FUNDS).await;
    assert_eq!(payer.movement("send").await["effective_balance_sat"], 0);
    assert_books(&world, &payer, 0, 0).await;
}

/// H45: the refusal to give the HTLCs back tells the preimage, and that settles the payment.
#[tokio::test]
async fn the_preimage_in_a_refusal_settles_the_payment() {
    let (world, payer) = world_and_payer().await;
    let invoice = Invoice::ending(&world, Outcome::Hold).await;
    request(&payer, &invoice).await.ok();
    // The server learns the preimage, and neither says so when it is asked, nor with the mailbox.
    let silent = json!({"target": "lnsend.finished", "action": {"type": "withhold"}});
    world.fault(silent);
    let unknown = json!({"target": "lnsend.check", "action": {"type": "not_found"}});
    world.fault(unknown);
    invoice.settle(&world);
    let paid = has_outcome(&payer, &invoice, "paid").await;
    assert!(paid["preimage"].is_string(), "{paid}");
    let faults = world.sandbox.ark.faults();
    assert!(faults.calls_of("RequestLightningPayHtlcRevocation") > 0);
    assert_eq!(payer.movement("send").await["status"], "successful");
    world.no_faults();
    assert_books(&world, &payer, AMOUNT, 0).await;
}

/// Only a preimage that fits the hash counts. Until one comes, the operator learns that the server's word proves nothing.
#[tokio::test]
async fn a_wrong_preimage_settles_nothing() {
    let (world, payer) = world_and_payer().await;
    let invoice = Invoice::ending(&world, Outcome::Hold).await;
    request(&payer, &invoice).await.ok();
    world.fault(json!({"target": "lnsend.finished", "action": {"type": "withhold"}}));
    world.fault(json!({"target": "lnsend.check", "action": {"type": "wrong_preimage"}}));
    invoice.settle(&world);
    let fact = has_attention(&payer, "wrong_preimage").await;
    assert_eq!(fact["subject"], format!("ln_pay.{}", invoice.hash));
    let pending = status(&payer, &invoice).await;
    assert_eq!(pending["outcome"], "pending");
    assert_eq!(payer.balance("pending_lightning_send_sat").await, AMOUNT);
    world.no_faults();
    has_outcome(&payer, &invoice, "paid").await;
    assert_eq!(payer.attention().await, Vec::<Value>::new());
    assert_books(&world, &payer, AMOUNT, 0).await;
}

/// The server takes the order while it has no node, and then knows nothing of it: it gets the order again.
#[tokio::test]
async fn an_order_that_the_server_forgets_is_given_again() {
    let (world, payer) = world_and_payer().await;
    let invoice = Invoice::ending(&world, Outcome::default()).await;
    let network = world.sandbox.ark.lightning();
    network.set_online(false);
    request(&payer, &invoice).await.ok();
    network.set_online(true);
    has_outcome(&payer, &invoice, "paid").await;
    let faults = world.sandbox.ark.faults();
    assert_eq!(faults.calls_of("InitiateLightningPayment"), 2);
    assert_books(&world, &payer, AMOUNT, 0).await;
}

#[tokio::test]
async fn an_order_that_the_server_forgets_for_ever_comes_back() {
    let (world, payer) = world_and_payer().await;
    let invoice = Invoice::ending(&world, Outcome::default()).await;
    world.sandbox.ark.lightning().set_online(false);
    request(&payer, &invoice).await.ok();
    has_outcome(&payer, &invoice, "failed").await;
    let faults = world.sandbox.ark.faults();
    assert_eq!(faults.calls_of("InitiateLightningPayment"), 4);
    payer.wait_for_spendable(FUNDS).await;
    assert_books(&world, &payer, 0, 0).await;
}

/// The server refuses to give the coins of a failed payment back: they stay locked, and the operator learns it.
#[tokio::test]
async fn coins_that_do_not_come_back_are_shown_to_the_operator() {
    let (world, payer) = world_and_payer().await;
    let refusal = json!({"type": "status", "code": 3, "message": "no"});
    world.fault(json!({"target": "RequestLightningPayHtlcRevocation", "action": refusal}));
    let invoice = Invoice::ending(&world, REFUSED).await;
    request(&payer, &invoice).await;
    let fact = has_attention(&payer, "lightning_payment_stuck").await;
    assert_eq!(fact["subject"], format!("ln_pay.{}", invoice.hash));
    assert_eq!(status(&payer, &invoice).await["state"], "revocation-stuck");
    assert_eq!(payer.balance("pending_lightning_send_sat").await, AMOUNT);
    world.no_faults();
    has_outcome(&payer, &invoice, "failed").await;
    assert_eq!(payer.attention().await, Vec::<Value>::new());
    payer.wait_for_spendable(FUNDS).await;
    assert_books(&world, &payer, 0, 0).await;
}

/// The server holds back the coins of a payment whose time is over: the operator learns it, and the payment is followed on.
#[tokio::test]
async fn coins_that_are_overdue_are_shown_to_the_operator() {
    let (world, payer) = world_and_payer().await;
    let invoice = Invoice::ending(&world, Outcome::Hold).await;
    request(&payer, &invoice).await.ok();
    let early = json!({"type": "status", "code": 3, "message": "not eligible for revocation yet"});
    world.fault(json!({"target": "RequestLightningPayHtlcRevocation", "action": early}));
    world.mine(PAST_EXPIRY).await;
    has_attention(&payer, "lightning_payment_stuck").await;
    assert_eq!(payer.balance("pending_lightning_send_sat").await, AMOUNT);
    invoice.settle(&world);
    has_outcome(&payer, &invoice, "paid").await;
    assert_eq!(payer.attention().await, Vec::<Value>::new());
    world.no_faults();
    assert_books(&world, &payer, AMOUNT, 0).await;
}

/// W9: the answer to the cosigning is lost, and the server does not give it again because the HTLCs would expire too early by then.
/// The inputs are spent at the server, so they stay locked.
#[tokio::test]
async fn inputs_that_the_server_took_without_an_answer_stay_locked() {
    let (world, payer) = world_and_payer().await;
    let lost = json!({"target": "RequestLightningPayHtlcCosign", "times": 1, "action": {"type": "drop_after"}});
    world.fault(lost);
    let down = json!({"target": "RequestLightningPayHtlcCosign", "skip": 1, "action": {"type": "drop_before"}});
    let down = world.fault(down);
    let invoice = Invoice::ending(&world, Outcome::default()).await;
    let (_, ()) = tokio::join!(request(&payer, &invoice), async {
        eventually("the cosigning is tried again", async || {
            (world.fired(down) > 0).then_some(())
        })
        .await;
        world.mine(30).await;
        world.no_faults();
        has_attention(&payer, "inputs_in_doubt").await;
    });
    let state = status(&payer, &invoice).await;
    assert_eq!(state["state"], "inputs-locked", "{state:#}");
    assert_eq!(payer.balance("spendable_sat").await, 0);
    assert_eq!(payer.balance("pending_lightning_send_sat").await, FUNDS);
    let ledger = world.sandbox.ark.lightning_ledger().unwrap();
    assert_eq!((ledger.taken_sat, ledger.network.sent_msat), (0, 0));
}

/// The wallet's tip is too old for the server, which refuses the only request: the payment goes on with later HTLCs.
#[tokio::test]
async fn a_payment_with_an_old_tip_goes_on_with_later_htlcs() {
    let world = World::new().await;
    let payer = Daemon::on_faulty_chain(&world).await;
    payer.fund_and_board(&world, FUNDS).await;
    payer.wait_for_tip(&world).await;
    let outage = world.chain_fault(json!({"target": "*", "action": {"type": "drop_before"}}));
    world.mine(30).await;
    let invoice = Invoice::ending(&world, Outcome::default()).await;
    let refused = json!({"target": "RequestLightningPayHtlcCosign", "times": 1, "action": {"type": "delay", "ms": 0}});
    let asked = world.fault(refused);
    let (reply, ()) = tokio::join!(request(&payer, &invoice), async {
        eventually("the tip is asked for", async || {
            let refused = world.fired(asked) > 0;
            (refused && world.chain_faults_fired() > 0).then_some(())
        })
        .await;
        world.end_chain_fault(outage);
    });
    assert!(matches!(reply.status, 200 | 202), "{reply:?}");
    has_outcome(&payer, &invoice, "paid").await;
    let faults = world.sandbox.ark.faults();
    assert_eq!(faults.calls_of("RequestLightningPayHtlcCosign"), 2);
    assert_books(&world, &payer, AMOUNT, 0).await;
}

/// The invoice is being paid by somebody else: the server refuses to cosign, and the inputs are free again.
#[tokio::test]
async fn an_invoice_that_somebody_else_pays_is_refused_without_loss() {
    let (world, first) = world_and_payer().await;
    let second = Daemon::with_wallet(&world).await;
    second.fund_and_board(&world, FUNDS).await;
    let invoice = Invoice::ending(&world, Outcome::Hold).await;
    request(&first, &invoice).await.ok();
    let message = request(&second, &invoice)
        .await
        .refused(409, "server_refused");
    assert!(message.contains("already in progress"), "{message}");
    second.wait_for_spendable(FUNDS).await;
    invoice.settle(&world);
    has_outcome(&first, &invoice, "paid").await;
    let message = request(&second, &invoice)
        .await
        .refused(409, "server_refused");
    assert!(message.contains("already been paid"), "{message}");
    second.wait_for_spendable(FUNDS).await;
    assert_eq!(first.balance("spendable_sat").await, FUNDS - AMOUNT);
}

/// A lost answer of each call is asked for again, and pays once.
#[tokio::test]
async fn a_lost_order_is_not_given_twice() {
    for action in ["drop_after", "drop_before"] {
        let (world, payer) = world_and_payer().await;
        let lost =
            json!({"target": "InitiateLightningPayment", "times": 1, "action": {"type": action}});
        world.fault(lost);
        let invoice = Invoice::ending(&world, REFUSED).await;
        request(&payer, &invoice).await;
        has_outcome(&payer, &invoice, "failed").await;
        world.no_faults();
        // Had the wallet given the order again after it was carried out, the server would have made a second attempt.
        let expected = if action == "drop_after" { 1 } else { 2 };
        let faults = world.sandbox.ark.faults();
        assert_eq!(faults.calls_of("InitiateLightningPayment"), expected);
        assert_books(&world, &payer, 0, 0).await;
    }
}
