//! Payments over Lightning, made (docs/protocol.md §4.6). What the payee got is read from the books of the Lightning network.

use ark_lib::lightning::PaymentHash;
use arkwalletd_sandbox::ark::{Params, charging_fees};
use arkwalletd_sandbox::lightning::{FailureReason, InvoiceRequest, Outcome};
use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::{Daemon, Reply, World, eventually};

/// What each payer boards at the beginning, in sat.
const FUNDS: u64 = 100_000;

/// The amount of most payments, in sat.
const AMOUNT: u64 = 30_000;

/// More blocks than HTLCs live.
const PAST_EXPIRY: u32 = 130;

const REFUSED: Outcome = Outcome::Fail {
    reason: FailureReason::NoRoute,
    delay_ms: 0,
};

/// An invoice of the world.
struct Invoice {
    bolt11: String,
    hash: PaymentHash,
}

impl Invoice {
    async fn of(world: &World, request: InvoiceRequest) -> Invoice {
        let invoice = world.sandbox.ark.lightning().issue(request);
        let invoice = invoice.expect("an invoice");
        Invoice {
            bolt11: invoice.to_string(),
            hash: PaymentHash::from(&invoice),
        }
    }

    async fn ending(world: &World, outcome: Outcome) -> Invoice {
        let amount_msat = Some(AMOUNT * 1_000);
        Invoice::of(
            world,
            InvoiceRequest {
                amount_msat,
                outcome,
                ..InvoiceRequest::default()
            },
        )
        .await
    }

    fn settle(&self, world: &World) {
        let network = world.sandbox.ark.lightning();
        network.settle_payment(self.hash).expect("it is held");
    }
}

/// A world without fees and a payer with funds.
async fn world_and_payer() -> (World, Daemon) {
    let world = World::new().await;
    let payer = Daemon::with_wallet(&world).await;
    payer.fund_and_board(&world, FUNDS).await;
    (world, payer)
}

async fn request(payer: &Daemon, invoice: &Invoice) -> Reply {
    let body = json!({"destination": invoice.bolt11});
    payer.post("/lightning/pay", body).await
}

async fn status(payer: &Daemon, invoice: &Invoice) -> Value {
    let path = format!("/lightning/sends/{}", invoice.hash);
    payer.get(&path).await.ok()
}

/// Waits until a payment has this outcome.
async fn has_outcome(payer: &Daemon, invoice: &Invoice, outcome: &str) -> Value {
    eventually(&format!("the payment is {outcome}"), async || {
        let status = status(payer, invoice).await;
        (status["outcome"] == outcome).then_some(status)
    })
    .await
}

async fn sends(payer: &Daemon) -> Vec<Value> {
    let mut history = payer.history().await;
    history.retain(|movement| movement["subsystem"]["name"] == "bark.lightning_send");
    history
}

async fn has_attention(payer: &Daemon, code: &str) -> Value {
    eventually(&format!("{code} is shown"), async || {
        let facts = payer.attention().await;
        facts.into_iter().find(|fact| fact["code"] == code)
    })
    .await
}

/// Asserts what the world got in all, what the server took for it, and that the wallet owns exactly what the server owes.
async fn assert_books(world: &World, payer: &Daemon, paid: u64, fees: u64) {
    world.sandbox.ark.run_lightning_jobs().await.expect("jobs");
    payer.settled().await;
    let lightning = world.sandbox.ark.lightning_ledger().expect("a ledger");
    let paid = i64::try_from(paid).unwrap();
    let fees = i64::try_from(fees).unwrap();
    assert_eq!(lightning.network.sent_msat, paid * 1_000, "{lightning:?}");
    assert_eq!(lightning.taken_sat, paid + fees, "{lightning:?}");
    let ledger = world.sandbox.ark.ledger().expect("a ledger");
    let owed = (ledger.spendable.amount + ledger.unregistered.amount).to_sat();
    assert_eq!(payer.balance("spendable_sat").await, owed, "{ledger:?}");
}

#[tokio::test]
async fn an_invoice_is_paid_and_the_history_shows_the_proof() {
    let (world, payer) = world_and_payer().await;
    let invoice = Invoice::ending(&world, Outcome::default()).await;
    let never = status(&payer, &invoice).await;
    let unknown = json!({"payment_hash": invoice.hash.to_string(), "state": "unknown", "invoice": null, "preimage": null});
    assert_eq!(never, unknown);

    let paid = request(&payer, &invoice).await.ok();
    assert_eq!(paid["payment_hash"], invoice.hash.to_string());
    let status = has_outcome(&payer, &invoice, "paid").await;
    assert_eq!(status["state"], "paid");
    assert_eq!(status["movement_id"], paid["movement_id"]);
    let network = world.sandbox.ark.lightning();
    let known = network.world_invoice(invoice.hash).unwrap().unwrap();
    assert_eq!(status["preimage"], known.preimage.to_string());
    let by_invoice = format!("/lightning/sends/{}", invoice.bolt11);
    assert_eq!(payer.get(&by_invoice).await.ok(), status);

    let movement = payer.movement("send").await;
    assert_eq!(movement["id"], paid["movement_id"]);
    assert_eq!(movement["status"], "successful");
    assert_eq!(movement["intended_balance_sat"], -30_000);
    assert_eq!(movement["effective_balance_sat"], -30_000);
    let metadata = &movement["metadata"];
    assert_eq!(metadata["payment_hash"], invoice.hash.to_string());
    assert_eq!(metadata["payment_preimage"], status["preimage"]);
    assert_eq!(metadata["htlc_vtxos"].as_array().unwrap().len(), 1);
    let to = json!({"type": "invoice", "value": invoice.bolt11});
    assert_eq!(movement["sent_to"][0]["destination"], to);
    assert_eq!(payer.balance("pending_lightning_send_sat").await, 0);
    assert_books(&world, &payer, AMOUNT, 0).await;
    payer
        .get("/lightning/sends/nonsense")
        .await
        .refused(400, "invalid_payment_id");
}

#[tokio::test]
async fn wallet_send_pays_an_invoice_too() {
    let (world, payer) = world_and_payer().await;
    let invoice = Invoice::ending(&world, Outcome::default()).await;
    let body = json!({"destination": invoice.bolt11, "retry_for_secs": 0});
    let sent = payer.post("/wallet/send", body).await.ok();
    assert_eq!(sent["payment_hash"], invoice.hash.to_string());
    has_outcome(&payer, &invoice, "paid").await;
    assert_books(&world, &payer, AMOUNT, 0).await;
}

/// H47: what the estimate says is what the server gets; a lower ceiling, of the request or the operator, refuses before anything is
/// written.
#[tokio::test]
async fn the_fee_is_the_estimated_one_and_stays_below_the_ceilings() {
    let world = World::with(Params {
        fees: charging_fees(),
        ..Params::free()
    })
    .await;
    let mut payer = Daemon::with_wallet(&world).await;
    payer.fund_and_board(&world, FUNDS).await;
    let path = format!("/fees/lightning/pay?amount_sat={AMOUNT}");
    let estimate = payer.get(&path).await.ok();
    let fee = estimate["fee_sat"].as_u64().unwrap();
    assert!(fee > 75, "{estimate}");
    let invoice = Invoice::ending(&world, Outcome::default()).await;
    let body = json!({"destination": invoice.bolt11, "max_fee_sat": fee - 1});
    let reply = payer.post("/lightning/pay", body).await;
    let message = reply.refused(409, "fee_above_ceiling");
    assert!(message.contains("max_fee_sat"), "{message}");

    payer.stop().await;
    let low = [
        ("BARK_MAX_LIGHTNING_SEND_FEE_SAT", "10"),
        ("BARK_MAX_LIGHTNING_SEND_FEE_PPM", "0"),
    ];
    payer.restart_with(None, &low).await;
    payer.wait_for_connected(true).await;
    let reply = request(&payer, &invoice).await;
    let message = reply.refused(409, "fee_above_ceiling");
    assert!(message.contains("max_lightning_send_fee_sat"), "{message}");
    assert_eq!(sends(&payer).await, Vec::<Value>::new());
    payer.stop().await;
    payer.restart(None).await;
    payer.wait_for_connected(true).await;

    let body = json!({"destination": invoice.bolt11, "max_fee_sat": fee});
    payer.post("/lightning/pay", body).await.ok();
    has_outcome(&payer, &invoice, "paid").await;
    let movement = payer.movement("send").await;
    assert_eq!(movement["offchain_fee_sat"], fee);
    assert_eq!(movement["intended_balance_sat"], -30_000);
    let effective = -i64::try_from(AMOUNT + fee).unwrap();
    assert_eq!(movement["effective_balance_sat"], effective);
    assert_books(&world, &payer, AMOUNT, fee).await;
}

/// The fee of a payment out of several VTXOs of different ages is the estimated one, too, and suffices for the server.
#[tokio::test]
async fn several_vtxos_pay_the_estimated_fee() {
    let world = World::with(Params {
        fees: charging_fees(),
        ..Params::free()
    })
    .await;
    let payer = Daemon::with_wallet(&world).await;
    for sats in [20_000, 35_000, 50_000] {
        payer.fund_and_board(&world, sats).await;
        world.mine(60).await;
    }
    payer.wait_for_tip(&world).await;
    let path = format!("/fees/lightning/pay?amount_sat={AMOUNT}");
    let estimate = payer.get(&path).await.ok();
    assert_eq!(estimate["vtxos_spent"].as_array().unwrap().len(), 2);
    let invoice = Invoice::ending(&world, Outcome::default()).await;
    request(&payer, &invoice).await.ok();
    has_outcome(&payer, &invoice, "paid").await;
    let movement = payer.movement("send").await;
    assert_eq!(movement["offchain_fee_sat"], estimate["fee_sat"]);
    assert_eq!(
        movement["metadata"]["htlc_vtxos"].as_array().unwrap().len(),
        2
    );
    let fee = estimate["fee_sat"].as_u64().unwrap();
    assert_books(&world, &payer, AMOUNT, fee).await;
}

/// H2: one payment hash, one payment: at the same time, later, and after a restart.
#[tokio::test]
async fn fifty_requests_at_once_and_fifty_later_pay_once() {
    let (world, mut payer) = world_and_payer().await;
    let invoice = Invoice::ending(&world, Outcome::default()).await;
    let at_once = (0..50).map(|_| request(&payer, &invoice));
    let mut movement = None;
    for reply in join_all(at_once).await {
        let paid = reply.ok();
        let id = paid["movement_id"].as_u64();
        assert_eq!(*movement.get_or_insert(id), id, "{paid}");
    }
    let preimage = has_outcome(&payer, &invoice, "paid").await["preimage"].clone();
    for round in 0..50 {
        if round == 25 {
            payer.stop().await;
            payer.restart(None).await;
        }
        let paid = request(&payer, &invoice).await.ok();
        assert_eq!(paid["state"], "paid");
        assert_eq!(paid["preimage"], preimage);
        assert_eq!(paid["movement_id"].as_u64(), movement.unwrap());
    }
    let initiated = world.sandbox.ark.faults();
    assert_eq!(initiated.calls_of("InitiateLightningPayment"), 1);
    assert_eq!(sends(&payer).await.len(), 1);
    assert_books(&world, &payer, AMOUNT, 0).await;
}

/// H2: an invoice that the payer gives the amount for is paid with one amount only.
#[tokio::test]
async fn one_payment_hash_is_not_paid_with_two_amounts() {
    let (world, payer) = world_and_payer().await;
    let invoice = Invoice::of(&world, InvoiceRequest::default()).await;
    let pay = async |sats: u64| {
        let body = json!({"destination": invoice.bolt11, "amount_sat": sats});
        payer.post("/lightning/pay", body).await
    };
    let amounts = [AMOUNT, AMOUNT + 1, AMOUNT, AMOUNT + 1];
    let replies = join_all(amounts.map(pay)).await;
    let paid = replies.iter().position(|reply| reply.status == 200);
    let amount = amounts[paid.expect("one is paid")];
    for (reply, asked) in replies.into_iter().zip(amounts) {
        if asked == amount {
            reply.ok();
        } else {
            reply.refused(409, "amount_differs");
        }
    }
    has_outcome(&payer, &invoice, "paid").await;
    assert_eq!(sends(&payer).await.len(), 1);
    assert_books(&world, &payer, amount, 0).await;
}

#[tokio::test]
async fn an_expired_invoice_is_refused_unless_it_is_paid() {
    let (world, payer) = world_and_payer().await;
    let expired = InvoiceRequest {
        amount_msat: Some(AMOUNT * 1_000),
        expired: true,
        ..InvoiceRequest::default()
    };
    let expired = Invoice::of(&world, expired).await;
    request(&payer, &expired)
        .await
        .refused(400, "invoice_expired");
    assert_eq!(status(&payer, &expired).await["state"], "unknown");
    let short = InvoiceRequest {
        amount_msat: Some(AMOUNT * 1_000),
        expiry_s: Some(5),
        ..InvoiceRequest::default()
    };
    let short = Invoice::of(&world, short).await;
    request(&payer, &short).await.ok();
    has_outcome(&payer, &short, "paid").await;
    let unpaid = InvoiceRequest {
        amount_msat: Some(AMOUNT * 1_000),
        expiry_s: Some(1),
        ..InvoiceRequest::default()
    };
    let unpaid = Invoice::of(&world, unpaid).await;
    // Both have the daemon's clock, so this ends when the invoices have expired.
    eventually("the invoices expire", async || {
        let parsed: lightning_invoice::Bolt11Invoice = short.bolt11.parse().unwrap();
        parsed.is_expired().then_some(())
    })
    .await;
    assert_eq!(request(&payer, &short).await.ok()["state"], "paid");
    request(&payer, &unpaid)
        .await
        .refused(400, "invoice_expired");
    assert_books(&world, &payer, AMOUNT, 0).await;
}

#[tokio::test]
async fn a_held_payment_is_shown_and_settles_while_the_daemon_is_stopped() {
    let (world, mut payer) = world_and_payer().await;
    let invoice = Invoice::ending(&world, Outcome::Hold).await;
    let first = request(&payer, &invoice).await.ok();
    assert_eq!(first["state"], "payment-initiated");
    assert!(first.get("preimage").is_none(), "{first}");
    assert_eq!(request(&payer, &invoice).await.ok(), first);
    assert_eq!(payer.balance("pending_lightning_send_sat").await, AMOUNT);
    assert_eq!(payer.balance("spendable_sat").await, FUNDS - AMOUNT);
    payer.stop().await;
    invoice.settle(&world);
    payer.restart(None).await;
    has_outcome(&payer, &invoice, "paid").await;
    assert_books(&world, &payer, AMOUNT, 0).await;
}

/// The push of the mailbox alone settles a payment: the server's answers say nothing.
#[tokio::test]
async fn the_push_settles_a_payment_that_the_server_does_not_speak_of() {
    let (world, payer) = world_and_payer().await;
    let invoice = Invoice::ending(&world, Outcome::Hold).await;
    request(&payer, &invoice).await.ok();
    world.fault(json!({"target": "CheckLightningPayment", "action": {"type": "drop_before"}}));
    eventually("the wallet asks in vain", async || {
        (world.faults_fired("CheckLightningPayment") > 0).then_some(())
    })
    .await;
    invoice.settle(&world);
    has_outcome(&payer, &invoice, "paid").await;
    world.no_faults();
    assert_books(&world, &payer, AMOUNT, 0).await;
}

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
