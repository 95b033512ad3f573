//! Lightning payments to the wallet (docs/protocol.md §4.7).

mod claims;

use arkwalletd_sandbox::ark::{Params, charging_fees};
use lightning_invoice::Bolt11Invoice;
use serde_json::{Value, json};

use crate::support::{Daemon, World, assert_balanced, eventually, hash_of};

const INVOICE: &str = "/lightning/receives/invoice";

/// What the world has paid for an invoice, in msat, once it has the preimage.
pub fn paid_msat(world: &World, invoice: &str) -> Option<u64> {
    let hash = hash_of(invoice).parse().expect("a hash");
    let hold = world.sandbox.ark.lightning().hold(hash).expect("a hold")?;
    hold.preimage.and(hold.paid_msat)
}

async fn invoice_with(daemon: &Daemon, body: Value) -> String {
    let made = daemon.post(INVOICE, body).await.ok();
    made["invoice"].as_str().expect("an invoice").to_owned()
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

    let open = daemon.receive_info(&hash).await;
    assert_eq!(open["state"], "awaiting-payment");
    assert_eq!(open["payment_preimage"], Value::Null, "it is a secret");
    assert_eq!(open["external_id"], "order 7");
    let listed = daemon.get("/lightning/receives").await.ok();
    assert_eq!(listed, json!([open]));

    world.pays(&invoice).await;
    daemon.wait_for_spendable(49_800).await;
    world.lightning_jobs().await;
    assert_eq!(paid_msat(&world, &invoice), Some(50_000_000));
    let settled = daemon.receive_info(&hash).await;
    assert_eq!(settled["state"], "settled");
    assert_eq!(settled["settled_at"], settled["finished_at"]);
    let preimage = settled["payment_preimage"].as_str().unwrap();
    for identifier in [preimage, &invoice, &invoice.to_uppercase()] {
        assert_eq!(
            daemon.receive_info(identifier).await,
            settled,
            "{identifier}"
        );
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
    let ledger = world.lightning_ledger();
    assert_eq!((ledger.granted_sat, ledger.earned_msat), (49_800, 200_000));
}

/// Shorter than the interval at which the mailbox is read without a message of its stream.
const AT_ONCE: std::time::Duration = std::time::Duration::from_secs(20);

/// Makes the server refuse to say how far receives are, so that no poll can find a payment.
fn blind_the_poll(world: &World) -> u64 {
    let action = json!({"type": "status", "code": 14, "message": "no polls today"});
    world.fault(json!({"target": "CheckLightningReceive", "action": action}))
}

#[tokio::test]
async fn a_payment_is_claimed_at_once_without_the_poll() {
    // H44
    let world = charging_world().await;
    let daemon = Daemon::with_wallet(&world).await;
    let blinded = blind_the_poll(&world);
    for payments in 1..=3 {
        let invoice = daemon.invoice(10_000).await;
        let before = std::time::Instant::now();
        world.pays(&invoice).await;
        eventually("the payment is claimed", async || {
            world.lightning_jobs().await;
            paid_msat(&world, &invoice)
        })
        .await;
        daemon.wait_for_spendable(payments * 9_880).await;
        assert!(before.elapsed() < AT_ONCE, "{:?}", before.elapsed());
    }
    daemon.invoice(10_000).await;
    eventually("the poll asks, and learns nothing", async || {
        (world.fired(blinded) > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_poll_asks_nothing_while_no_invoice_is_open() {
    let world = charging_world().await;
    let daemon = Daemon::with_wallet(&world).await;
    let polls = || world.sandbox.ark.faults().calls_of("CheckLightningReceive");
    let invoice = daemon.invoice(10_000).await;
    eventually("the poll asks about the open invoice", async || {
        (polls() > 0).then_some(())
    })
    .await;
    world.pays(&invoice).await;
    daemon.wait_for_spendable(9_880).await;
    let asked = polls();
    // Two later heartbeats of the connection, one second apart, prove that time has passed.
    let heartbeats = || world.sandbox.ark.faults().calls_of("GetArkInfo");
    let until = heartbeats() + 4;
    eventually("some seconds pass", async || {
        (heartbeats() >= until).then_some(())
    })
    .await;
    assert_eq!(polls(), asked);
}

#[tokio::test]
async fn what_fails_for_one_invoice_does_not_keep_the_others_back() {
    // W27
    let world = charging_world().await;
    let manual = [("BARK_DAEMON_MANUAL_SYNC", "true")];
    let daemon = Daemon::start_with(&[], &manual).await;
    daemon.create_wallet(&world).await;
    world.fault(json!({"target": "lnrecv.accepted", "action": {"type": "withhold"}}));
    for _ in 0..3 {
        let invoice = daemon.invoice(5_000).await;
        world.pays(&invoice).await;
    }
    let action = json!({"type": "status", "code": 13, "message": "not now"});
    world.fault(json!({"target": "CheckLightningReceive", "times": 1, "action": action}));
    daemon.post_empty("/wallet/sync").await.ok();
    daemon.wait_for_spendable(2 * 4_890).await;
    daemon.post_empty("/wallet/sync").await.ok();
    daemon.wait_for_spendable(3 * 4_890).await;
    assert_balanced(&world, &[&daemon], &[]).await;
}

#[tokio::test]
async fn barkd_pays_an_invoice_of_this_wallet() {
    let world = World::new().await;
    let (daemon, payer) = (
        Daemon::with_wallet(&world).await,
        Daemon::barkd(&world).await,
    );
    payer.fund_and_board(&world, 60_000).await;
    eventually("barkd has the money", async || {
        payer.post_empty("/wallet/sync").await.ok();
        (payer.balance("spendable_sat").await == 60_000).then_some(())
    })
    .await;
    let invoice = daemon.invoice(5_000).await;
    payer
        .post("/lightning/pay", json!({"destination": invoice}))
        .await
        .ok();
    daemon.wait_for_spendable(5_000).await;
    eventually("barkd knows that it has paid", async || {
        world.lightning_jobs().await;
        payer.post_empty("/wallet/sync").await.ok();
        (payer.balance("spendable_sat").await == 55_000).then_some(())
    })
    .await;
    let (taken, granted) = (
        world.lightning_ledger().taken_sat,
        world.lightning_ledger().granted_sat,
    );
    assert_eq!((taken, granted), (5_000, 5_000));
}

#[tokio::test]
async fn sync_finds_a_payment_that_the_mailbox_does_not_tell() {
    let world = charging_world().await;
    let manual = [("BARK_DAEMON_MANUAL_SYNC", "true")];
    let daemon = Daemon::start_with(&[], &manual).await;
    daemon.create_wallet(&world).await;
    let invoice = daemon.invoice(10_000).await;
    world.fault(json!({"target": "lnrecv.accepted", "action": {"type": "withhold"}}));
    world.pays(&invoice).await;
    assert_eq!(daemon.balance("spendable_sat").await, 0);
    daemon.post_empty("/wallet/sync").await.ok();
    daemon.wait_for_spendable(9_880).await;
    assert_balanced(&world, &[&daemon], &[]).await;
}

#[tokio::test]
async fn a_canceled_invoice_is_not_paid() {
    let world = charging_world().await;
    let daemon = Daemon::with_wallet(&world).await;
    let invoice = daemon.invoice(10_000).await;
    let path = format!("/lightning/receives/{}", hash_of(&invoice));
    for _ in 0..2 {
        let reply = daemon.try_send("DELETE", &path, None).await.unwrap();
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    daemon.get(&path).await.refused(404, "receive_ended");
    assert_eq!(daemon.get("/lightning/receives").await.ok(), json!([]));
    let network = world.sandbox.ark.lightning();
    let height = world.height().await;
    let refused = network.world_pays(&invoice.parse().unwrap(), None, 0, height);
    assert!(refused.is_err(), "the node gives the payment back");

    // The server holds a payment of which the wallet has not heard.
    let invoice = daemon.invoice(10_000).await;
    let path = format!("/lightning/receives/{}", hash_of(&invoice));
    let unheard = world.fault(json!({"target": "lnrecv.accepted", "action": {"type": "withhold"}}));
    world.pays(&invoice).await;
    let reply = daemon.try_send("DELETE", &path, None).await.unwrap();
    assert_eq!(reply.status, 409, "{reply:?}");
    daemon.wait_for_spendable(9_880).await;
    let reply = daemon.try_send("DELETE", &path, None).await.unwrap();
    reply.refused(409, "receive_ended");
    world.end_fault(unheard);

    let unknown = format!("/lightning/receives/{}", "ab".repeat(32));
    for method in ["GET", "DELETE"] {
        let reply = daemon.try_send(method, &unknown, None).await.unwrap();
        reply.refused(404, "unknown_receive");
        let reply = daemon.try_send(method, "/lightning/receives/nonsense", None);
        reply.await.unwrap().refused(400, "invalid_identifier");
    }
}

#[tokio::test]
async fn an_invoice_with_an_expiry_of_its_own_is_withdrawn() {
    let world = charging_world().await;
    let daemon = Daemon::with_wallet(&world).await;
    let invoice = invoice_with(&daemon, json!({"amount_sat": 10_000, "expiry_secs": 1})).await;
    let path = format!("/lightning/receives/{}", hash_of(&invoice));
    eventually("the server has withdrawn it", async || {
        let calls = world.sandbox.ark.faults();
        (calls.calls_of("CancelLightningReceive") > 0).then_some(())
    })
    .await;
    daemon.get(&path).await.refused(404, "receive_ended");
    let height = world.height().await;
    let network = world.sandbox.ark.lightning();
    let refused = network.world_pays(&invoice.parse().unwrap(), None, 0, height);
    assert!(refused.is_err(), "the node gives the payment back");
}

#[tokio::test]
async fn what_cannot_be_received_is_refused_when_the_invoice_is_asked_for() {
    let world = World::with(Params {
        fees: charging_fees(),
        max_vtxo_amount: Some(bitcoin::Amount::from_sat(1_000_000)),
        max_ln_receive_amount: Some(bitcoin::Amount::from_sat(500_000)),
        ..Params::free()
    })
    .await;
    let ceilings = [
        ("BARK_MAX_LIGHTNING_RECEIVE_FEE_SAT", "700"),
        ("BARK_MAX_LIGHTNING_RECEIVE_FEE_PPM", "0"),
    ];
    let daemon = Daemon::start_with(&[], &ceilings).await;
    daemon.create_wallet(&world).await;
    let long = "x".repeat(640);
    let cases = [
        (json!({"amount_sat": 0}), 400, "invalid_amount"),
        (json!({"amount_sat": 430}), 400, "amount_too_small"),
        (json!({"amount_sat": 1_000_001}), 400, "amount_too_large"),
        (json!({"amount_sat": 500_001}), 409, "fee_above_ceiling"),
        (
            json!({"amount_sat": 10_000, "description": long}),
            400,
            "description_too_long",
        ),
        (
            json!({"amount_sat": 10_000, "expiry_secs": 0}),
            400,
            "invalid_expiry",
        ),
        (
            json!({"amount_sat": 10_000, "external_id": long}),
            400,
            "external_id_too_long",
        ),
        (
            json!({"amount_sat": 10_000, "description_hash": "ab"}),
            400,
            "description_hash_not_supported",
        ),
    ];
    for (body, status, code) in cases {
        let reply = daemon.post(INVOICE, body).await;
        reply.refused(status, code);
    }
    let path = "/lightning/receives/invoice/for-address";
    let nonsense = json!({"amount_sat": 10_000, "address": "tark1nonsense"});
    daemon
        .post(path, nonsense)
        .await
        .refused(400, "invalid_address");
    assert_eq!(
        world.sandbox.ark.faults().calls_of("StartLightningReceive"),
        0
    );

    let cheap = Daemon::with_wallet(&world).await;
    let reply = cheap.post(INVOICE, json!({"amount_sat": 500_001})).await;
    reply.refused(400, "amount_too_large");
    // A server without a limit: BOLT 11 has one.
    let unlimited = World::new().await;
    let daemon = Daemon::with_wallet(&unlimited).await;
    let most = json!({"amount_sat": 1_844_674_407_370_956_u64});
    let reply = daemon.post(INVOICE, most).await;
    reply.refused(400, "amount_too_large");
    cheap.invoice(500_000).await;
}

#[tokio::test]
async fn an_invoice_whose_answer_is_lost_is_made_again_with_another_hash() {
    // H8
    let world = charging_world().await;
    let daemon = Daemon::with_wallet(&world).await;
    let target = "StartLightningReceive";
    let lost = world.fault(json!({"target": target, "times": 1, "action": {"type": "drop_after"}}));
    let reply = daemon.post(INVOICE, json!({"amount_sat": 10_000})).await;
    reply.refused(503, "server_unavailable");
    world.end_fault(lost);
    assert_eq!(daemon.get("/lightning/receives").await.ok(), json!([]));
    let invoice = daemon.invoice(10_000).await;
    world.pays(&invoice).await;
    daemon.wait_for_spendable(9_880).await;
}

#[tokio::test]
async fn an_invoice_for_an_ark_address_pays_that_address() {
    // H37
    let world = charging_world().await;
    let (daemon, payee) = (
        Daemon::with_wallet(&world).await,
        Daemon::with_wallet(&world).await,
    );
    let address = payee.address().await;
    let body = json!({"amount_sat": 10_000, "address": address, "description": "tea"});
    let path = "/lightning/receives/invoice/for-address";
    let made = daemon.post(path, body).await.ok();
    let invoice = made["invoice"].as_str().unwrap().to_owned();
    let hash = hash_of(&invoice);
    let post = "PostArkoorMessage";
    let fault = world.fault(json!({"target": post, "action": {"type": "drop_before"}}));
    world.pays(&invoice).await;
    eventually("it is claimed, and not delivered", async || {
        (world.fired(fault) > 0).then_some(())
    })
    .await;
    assert_eq!(daemon.receive_info(&hash).await["state"], "delivering");
    assert_eq!(daemon.balance("spendable_sat").await, 0);
    world.end_fault(fault);
    // The payee takes nothing that hangs from an unconfirmed transaction.
    world.mine(1).await;
    payee.wait_for_spendable(9_880).await;
    daemon.settled().await;
    let movement = &daemon.history().await[0];
    assert_eq!(movement["status"], "successful");
    assert_eq!(movement["effective_balance_sat"], 0);
    assert_eq!(movement["offchain_fee_sat"], 120);
    let sent = json!([{"destination": {"type": "ark", "value": address}, "amount_sat": 9_880}]);
    assert_eq!(movement["sent_to"], sent);
    assert_eq!(daemon.receive_info(&hash).await["state"], "settled");
    assert_balanced(&world, &[&daemon, &payee], &[]).await;
}
