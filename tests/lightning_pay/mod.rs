//! Payments over Lightning, made (docs/protocol.md §4.6). What the payee got is read from the books of the Lightning network.

mod failures;

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
