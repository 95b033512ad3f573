//! Lightning payments to the wallet (docs/protocol.md §4.7).

use arkwalletd_sandbox::ark::{LightningLedger, Params, charging_fees};
use lightning_invoice::Bolt11Invoice;
use serde_json::{Value, json};

use crate::support::{Daemon, World, assert_balanced, eventually};

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

/// The time in which the wallet has to claim a payment.
const PROMPT: std::time::Duration = std::time::Duration::from_secs(1);

/// Makes the server refuse to say how far receives are, so that no poll can find a payment.
fn blind_the_poll(world: &World) -> u64 {
    let action = json!({"type": "status", "code": 14, "message": "no polls today"});
    world.fault(json!({"target": "CheckLightningReceive", "action": action}))
}

#[tokio::test]
async fn a_payment_is_claimed_within_a_second_without_the_poll() {
    // H44
    let world = charging_world().await;
    let daemon = Daemon::with_wallet(&world).await;
    let blinded = blind_the_poll(&world);
    for payments in 1..=3 {
        let invoice = invoice_of(&daemon, 10_000).await;
        let before = std::time::Instant::now();
        world_pays(&world, &invoice).await;
        eventually("the payment is claimed", async || {
            jobs(&world).await;
            paid_msat(&world, &invoice)
        })
        .await;
        daemon.wait_for_spendable(payments * 9_880).await;
        assert!(before.elapsed() < PROMPT, "{:?}", before.elapsed());
    }
    invoice_of(&daemon, 10_000).await;
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
    let invoice = invoice_of(&daemon, 10_000).await;
    eventually("the poll asks about the open invoice", async || {
        (polls() > 0).then_some(())
    })
    .await;
    world_pays(&world, &invoice).await;
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
        let invoice = invoice_of(&daemon, 5_000).await;
        world_pays(&world, &invoice).await;
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
    let invoice = invoice_of(&daemon, 5_000).await;
    payer
        .post("/lightning/pay", json!({"destination": invoice}))
        .await
        .ok();
    daemon.wait_for_spendable(5_000).await;
    eventually("barkd knows that it has paid", async || {
        jobs(&world).await;
        payer.post_empty("/wallet/sync").await.ok();
        (payer.balance("spendable_sat").await == 55_000).then_some(())
    })
    .await;
    let (taken, granted) = (ledger(&world).taken_sat, ledger(&world).granted_sat);
    assert_eq!((taken, granted), (5_000, 5_000));
}

#[tokio::test]
async fn sync_finds_a_payment_that_the_mailbox_does_not_tell() {
    let world = charging_world().await;
    let manual = [("BARK_DAEMON_MANUAL_SYNC", "true")];
    let daemon = Daemon::start_with(&[], &manual).await;
    daemon.create_wallet(&world).await;
    let invoice = invoice_of(&daemon, 10_000).await;
    world.fault(json!({"target": "lnrecv.accepted", "action": {"type": "withhold"}}));
    world_pays(&world, &invoice).await;
    assert_eq!(daemon.balance("spendable_sat").await, 0);
    daemon.post_empty("/wallet/sync").await.ok();
    daemon.wait_for_spendable(9_880).await;
    assert_balanced(&world, &[&daemon], &[]).await;
}

#[tokio::test]
async fn a_grant_that_is_not_worth_the_preimage_ends_the_receive() {
    // H9, H10, H38
    let world = charging_world().await;
    let daemon = Daemon::with_wallet(&world).await;
    let cases = [
        ("wrong_key", "belongs to another key"),
        ("wrong_hash", "another payment hash"),
        ("short_expiry", "expires before it can be claimed"),
        ("wrong_amount", "too little"),
    ];
    for (change, reason) in cases {
        let invoice = invoice_of(&daemon, 10_000).await;
        let action = json!({"type": "alter_grant", "change": change});
        let fault = world.fault(json!({"target": "lnrecv.grant", "times": 1, "action": action}));
        world_pays(&world, &invoice).await;
        let path = format!("/lightning/receives/{}", hash_of(&invoice));
        let ended = eventually("the receive has ended", async || {
            let reply = daemon.get(&path).await;
            (reply.status == 404).then_some(reply)
        })
        .await;
        let message = ended.body["message"].as_str().unwrap().to_owned();
        assert!(message.contains(reason), "{change}: {message}");
        jobs(&world).await;
        assert_eq!(
            paid_msat(&world, &invoice),
            None,
            "{change}: the preimage is out"
        );
        world.end_fault(fault);
    }
    assert_eq!(daemon.history().await.len(), 0);
    assert_eq!(ledger(&world).network.received_msat, 0);
}

#[tokio::test]
async fn a_refused_claim_is_repeated_because_the_preimage_is_out() {
    // W4, H38
    let world = charging_world().await;
    let mut daemon = Daemon::with_wallet(&world).await;
    let retries = [("BARK_LIGHTNING_RECEIVE_CLAIM_RETRIES", "1")];
    daemon.stop().await;
    daemon.restart_with(None, &retries).await;
    let invoice = invoice_of(&daemon, 10_000).await;
    let refuse = json!({"type": "refuse_inputs"});
    let fault = world.fault(json!({"target": "lnrecv.preimage_seen", "action": refuse}));
    world_pays(&world, &invoice).await;
    let raised = eventually("the operator is told", async || {
        let raised = daemon.attention().await;
        raised
            .into_iter()
            .find(|it| it["code"] == "lightning_claim_refused")
    })
    .await;
    let hash = hash_of(&invoice);
    assert_eq!(raised["subject"], format!("ln_recv.{hash}"));
    jobs(&world).await;
    assert_eq!(
        paid_msat(&world, &invoice),
        Some(10_000_000),
        "the payer has the preimage"
    );
    let shown = info(&daemon, &hash).await;
    assert_eq!(shown["state"], "preimage-revealed");
    assert_eq!(shown["payment_preimage"], Value::Null);
    assert_eq!(
        daemon.balance("claimable_lightning_receive_sat").await,
        9_880
    );
    let path = format!("/lightning/receives/{hash}");
    let refused = daemon.try_send("DELETE", &path, None);
    refused.await.unwrap().refused(409, "receive_in_progress");

    // However late: nothing is abandoned.
    world.mine(100).await;
    daemon.stop().await;
    daemon.restart_with(None, &retries).await;
    world.end_fault(fault);
    daemon.wait_for_spendable(9_880).await;
    assert_eq!(daemon.balance("claimable_lightning_receive_sat").await, 0);
    assert_eq!(daemon.attention().await, Vec::<Value>::new());
    assert_balanced(&world, &[&daemon], &[]).await;
}

#[tokio::test]
async fn an_empty_pool_is_asked_again() {
    let world = charging_world().await;
    let daemon = Daemon::with_wallet(&world).await;
    let invoice = invoice_of(&daemon, 10_000).await;
    let action = json!({"type": "status", "code": 13, "message": "vtxo pool is empty"});
    let target = "PrepareLightningReceiveClaim";
    world.fault(json!({"target": target, "times": 2, "action": action}));
    world_pays(&world, &invoice).await;
    daemon.wait_for_spendable(9_880).await;
    assert_eq!(world.sandbox.ark.faults().calls_of(target), 3);
}

#[tokio::test]
async fn a_grant_of_several_htlcs_is_claimed_as_a_whole() {
    let world = charging_world().await;
    let daemon = Daemon::with_wallet(&world).await;
    // More than the largest VTXO of the server's pool.
    let invoice = invoice_of(&daemon, 35_000).await;
    world_pays(&world, &invoice).await;
    daemon.wait_for_spendable(34_830).await;
    let movement = &daemon.history().await[0];
    let htlcs = movement["metadata"]["htlc_vtxos"].as_array().unwrap().len();
    assert!(htlcs > 1);
    assert_eq!(movement["output_vtxos"].as_array().unwrap().len(), htlcs);
    assert_balanced(&world, &[&daemon], &[]).await;
}

#[tokio::test]
async fn blocks_between_the_payment_and_the_claim_do_no_harm() {
    // H9. The server allows ten blocks more than the claim needs. Nine pass before the grant, so that the first request for HTLCs is
    // refused because they would expire too late.
    let world = charging_world().await;
    let mut daemon = Daemon::with_wallet(&world).await;
    for (stage, blocks) in [
        ("PrepareLightningReceiveClaim", 9),
        ("ClaimLightningReceive", 8),
    ] {
        let before = daemon.balance("spendable_sat").await;
        let invoice = invoice_of(&daemon, 10_000).await;
        let fault = world.fault(json!({"target": stage, "action": {"type": "drop_before"}}));
        world_pays(&world, &invoice).await;
        eventually("the daemon gets that far", async || {
            (world.fired(fault) > 0).then_some(())
        })
        .await;
        daemon.stop().await;
        world.mine(blocks).await;
        world.end_fault(fault);
        daemon.restart(None).await;
        daemon.wait_for_spendable(before + 9_880).await;
    }
}

#[tokio::test]
async fn a_payment_whose_htlcs_expire_too_soon_is_given_back() {
    // H9
    let world = charging_world().await;
    let mut daemon = Daemon::with_wallet(&world).await;
    let invoice = invoice_of(&daemon, 10_000).await;
    let target = "PrepareLightningReceiveClaim";
    let fault = world.fault(json!({"target": target, "action": {"type": "drop_before"}}));
    world_pays(&world, &invoice).await;
    eventually("the daemon asks for HTLCs", async || {
        (world.fired(fault) > 0).then_some(())
    })
    .await;
    daemon.stop().await;
    world.mine(40).await;
    world.end_fault(fault);
    daemon.restart(None).await;
    let path = format!("/lightning/receives/{}", hash_of(&invoice));
    eventually("the receive has ended", async || {
        (daemon.get(&path).await.status == 404).then_some(())
    })
    .await;
    assert_eq!(paid_msat(&world, &invoice), None);
    assert_eq!(daemon.history().await.len(), 0);
    assert_balanced(&world, &[&daemon], &[]).await;
}

#[tokio::test]
async fn a_canceled_invoice_is_not_paid() {
    let world = charging_world().await;
    let daemon = Daemon::with_wallet(&world).await;
    let invoice = invoice_of(&daemon, 10_000).await;
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
    let invoice = invoice_of(&daemon, 10_000).await;
    let path = format!("/lightning/receives/{}", hash_of(&invoice));
    let unheard = world.fault(json!({"target": "lnrecv.accepted", "action": {"type": "withhold"}}));
    world_pays(&world, &invoice).await;
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
    invoice_of(&cheap, 500_000).await;
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
    let invoice = invoice_of(&daemon, 10_000).await;
    world_pays(&world, &invoice).await;
    daemon.wait_for_spendable(9_880).await;
}

#[tokio::test]
async fn a_server_that_wants_a_proof_gets_a_vtxo_or_a_token() {
    let world = World::with(Params {
        ln_receive_anti_dos_required: true,
        ln_receive_tokens: vec!["once".to_owned()],
        ..Params::free()
    })
    .await;
    let daemon = Daemon::with_wallet(&world).await;
    let body = json!({"amount_sat": 10_000, "token": "once"});
    let invoice = invoice_with(&daemon, body.clone()).await;
    world_pays(&world, &invoice).await;
    daemon.wait_for_spendable(10_000).await;
    // The same token has no second use; the VTXO serves as proof, and so it does without a token.
    for (body, sats) in [(body, 20_000), (json!({"amount_sat": 10_000}), 30_000)] {
        let invoice = invoice_with(&daemon, body).await;
        world_pays(&world, &invoice).await;
        daemon.wait_for_spendable(sats).await;
    }
}

#[tokio::test]
async fn a_wallet_from_an_old_backup_claims_again_what_it_has_claimed() {
    let world = charging_world().await;
    let mut daemon = Daemon::with_wallet(&world).await;
    let invoice = invoice_of(&daemon, 10_000).await;
    world_pays(&world, &invoice).await;
    daemon.wait_for_spendable(9_880).await;
    daemon.stop().await;
    jobs(&world).await;
    assert_eq!(paid_msat(&world, &invoice), Some(10_000_000));
    let database = rusqlite::Connection::open(daemon.folder().join("db.sqlite")).unwrap();
    let forget = "DELETE FROM operation; DELETE FROM movement_vtxo; DELETE FROM movement_destination; DELETE FROM movement;
         DELETE FROM vtxo; DELETE FROM vtxo_body;
         UPDATE lightning_receive SET accepted_at = NULL, ended_at = NULL, outcome = NULL";
    database.execute_batch(forget).unwrap();
    drop(database);
    daemon.restart(None).await;
    daemon.wait_for_spendable(9_880).await;
    assert_balanced(&world, &[&daemon], &[]).await;
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
    world_pays(&world, &invoice).await;
    eventually("it is claimed, and not delivered", async || {
        (info(&daemon, &hash).await["state"] == "delivering").then_some(())
    })
    .await;
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
    assert_eq!(info(&daemon, &hash).await["state"], "settled");
    assert_balanced(&world, &[&daemon, &payee], &[]).await;
}
