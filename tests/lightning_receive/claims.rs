//! What the wallet does from the grant to the claim, and what can come in between.

use arkwalletd_sandbox::ark::Params;
use serde_json::{Value, json};

use super::{charging_world, invoice_with, paid_msat};
use crate::support::{Daemon, World, assert_balanced, assert_history_adds_up, eventually, hash_of};

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
        let invoice = daemon.invoice(10_000).await;
        let action = json!({"type": "alter_grant", "change": change});
        let fault = world.fault(json!({"target": "lnrecv.grant", "times": 1, "action": action}));
        world.pays(&invoice).await;
        let path = format!("/lightning/receives/{}", hash_of(&invoice));
        let ended = eventually("the receive has ended", async || {
            let reply = daemon.get(&path).await;
            (reply.status == 404).then_some(reply)
        })
        .await;
        let message = ended.body["message"].as_str().unwrap().to_owned();
        assert!(message.contains(reason), "{change}: {message}");
        world.lightning_jobs().await;
        assert_eq!(
            paid_msat(&world, &invoice),
            None,
            "{change}: the preimage is out"
        );
        world.end_fault(fault);
    }
    assert_eq!(daemon.history().await.len(), 0);
    assert_eq!(world.lightning_ledger().network.received_msat, 0);
}

#[tokio::test]
async fn a_refused_claim_is_repeated_because_the_preimage_is_out() {
    // W4, H38
    let world = charging_world().await;
    let mut daemon = Daemon::with_wallet(&world).await;
    let retries = [("BARK_LIGHTNING_RECEIVE_CLAIM_RETRIES", "1")];
    daemon.stop().await;
    daemon.restart_with(None, &retries).await;
    let invoice = daemon.invoice(10_000).await;
    let refuse = json!({"type": "refuse_inputs"});
    let fault = world.fault(json!({"target": "lnrecv.preimage_seen", "action": refuse}));
    world.pays(&invoice).await;
    let raised = eventually("the operator is told", async || {
        let raised = daemon.attention().await;
        raised
            .into_iter()
            .find(|it| it["code"] == "lightning_claim_refused")
    })
    .await;
    let hash = hash_of(&invoice);
    assert_eq!(raised["subject"], format!("ln_recv.{hash}"));
    world.lightning_jobs().await;
    assert_eq!(
        paid_msat(&world, &invoice),
        Some(10_000_000),
        "the payer has the preimage"
    );
    let shown = daemon.receive_info(&hash).await;
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
    let invoice = daemon.invoice(10_000).await;
    let action = json!({"type": "status", "code": 13, "message": "vtxo pool is empty"});
    let target = "PrepareLightningReceiveClaim";
    world.fault(json!({"target": target, "times": 2, "action": action}));
    world.pays(&invoice).await;
    daemon.wait_for_spendable(9_880).await;
    assert_eq!(world.sandbox.ark.faults().calls_of(target), 3);
}

#[tokio::test]
async fn a_grant_of_several_htlcs_is_claimed_as_a_whole() {
    let world = charging_world().await;
    let daemon = Daemon::with_wallet(&world).await;
    // More than the largest VTXO of the server's pool.
    let invoice = daemon.invoice(35_000).await;
    world.pays(&invoice).await;
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
        let invoice = daemon.invoice(10_000).await;
        let fault = world.fault(json!({"target": stage, "action": {"type": "drop_before"}}));
        world.pays(&invoice).await;
        // When it tries again, it has stored that the first try may have revealed the preimage: then it no longer gives up for want of time.
        eventually("the daemon gets that far, and tries again", async || {
            (world.fired(fault) > 1).then_some(())
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
    let invoice = daemon.invoice(10_000).await;
    let target = "PrepareLightningReceiveClaim";
    let fault = world.fault(json!({"target": target, "action": {"type": "drop_before"}}));
    world.pays(&invoice).await;
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
    // The server gives back within three minutes what nobody claims.
    world.advance_clock(240).await;
    assert_eq!(paid_msat(&world, &invoice), None);
    assert_eq!(daemon.history().await.len(), 0);
    assert_balanced(&world, &[&daemon], &[]).await;
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
    world.pays(&invoice).await;
    daemon.wait_for_spendable(10_000).await;
    // The same token has no second use; the VTXO serves as proof, and so it does without a token.
    for (body, sats) in [(body, 20_000), (json!({"amount_sat": 10_000}), 30_000)] {
        let invoice = invoice_with(&daemon, body).await;
        world.pays(&invoice).await;
        daemon.wait_for_spendable(sats).await;
    }
}

#[tokio::test]
async fn a_wallet_from_an_old_backup_has_again_what_it_has_claimed() {
    let world = charging_world().await;
    let mut daemon = Daemon::with_wallet(&world).await;
    let invoice = daemon.invoice(10_000).await;
    world.pays(&invoice).await;
    daemon.wait_for_spendable(9_880).await;
    daemon.stop().await;
    world.lightning_jobs().await;
    assert_eq!(paid_msat(&world, &invoice), Some(10_000_000));
    let database = rusqlite::Connection::open(daemon.folder().join("db.sqlite")).unwrap();
    let forget = "DELETE FROM operation; DELETE FROM movement_vtxo; DELETE FROM movement_destination; DELETE FROM movement;
         DELETE FROM vtxo; DELETE FROM vtxo_body; DELETE FROM event; DELETE FROM sqlite_sequence WHERE name = 'event';
         UPDATE lightning_receive SET accepted_at = NULL, ended_at = NULL, outcome = NULL";
    database.execute_batch(forget).unwrap();
    drop(database);
    daemon.restart(None).await;
    // Either the claim is repeated, or the recovery of what the newer copy has received is faster.
    world.mine(1).await;
    daemon.wait_for_spendable(9_880).await;
    daemon.settled().await;
    assert_history_adds_up(&daemon).await;
    assert_eq!(paid_msat(&world, &invoice), Some(10_000_000));
}

/// A daemon that was killed right before it would have sent the preimage of a payment, and so many blocks later that it must not.
async fn too_late_to_reveal() -> (World, Daemon, String) {
    let world = charging_world().await;
    let mut daemon = Daemon::with_wallet(&world).await;
    daemon.stop().await;
    daemon
        .restart(Some("lightning_receive.revealing.after"))
        .await;
    daemon.wait_for_connected(true).await;
    let invoice = daemon.invoice(10_000).await;
    world.pays(&invoice).await;
    daemon.wait_for_exit().await;
    world.mine(40).await;
    (world, daemon, invoice)
}

#[tokio::test]
async fn a_preimage_that_would_go_out_too_late_stays_secret() {
    // H9
    let (world, mut daemon, invoice) = too_late_to_reveal().await;
    daemon.restart(None).await;
    let log = "its preimage stays secret";
    eventually("it is too late", async || {
        daemon.log().contains(log).then_some(())
    })
    .await;
    let hash = hash_of(&invoice);
    assert_eq!(daemon.receive_info(&hash).await["state"], "htlcs-ready");
    assert_eq!(world.calls_of("ClaimLightningReceive"), 0);
    assert_eq!(paid_msat(&world, &invoice), None);
}

#[tokio::test]
async fn a_time_check_that_fails_reveals_nothing() {
    // H9: it is no failed claim, after which the preimage counts as known to the server.
    let (world, mut daemon, invoice) = too_late_to_reveal().await;
    let down = json!({"target": "CheckLightningReceive", "action": {"type": "drop_before"}});
    let fault = world.fault(down);
    daemon.restart(None).await;
    eventually("the check fails repeatedly", async || {
        (world.fired(fault) > 2).then_some(())
    })
    .await;
    world.end_fault(fault);
    eventually("the check succeeds", async || {
        let log = "too late to claim a Lightning payment safely";
        daemon.log().contains(log).then_some(())
    })
    .await;
    let hash = hash_of(&invoice);
    assert_eq!(daemon.receive_info(&hash).await["state"], "htlcs-ready");
    assert_eq!(world.calls_of("ClaimLightningReceive"), 0);
    assert_eq!(paid_msat(&world, &invoice), None);
}

#[tokio::test]
async fn a_claim_that_cannot_be_read_is_listed_with_the_others() {
    // H57
    let world = charging_world().await;
    let mut daemon = Daemon::with_wallet(&world).await;
    daemon.stop().await;
    let granted = Some("lightning_receive.revealing.after");
    daemon.restart(granted).await;
    daemon.wait_for_connected(true).await;
    let (paid, open) = (daemon.invoice(10_000).await, daemon.invoice(20_000).await);
    world.pays(&paid).await;
    daemon.wait_for_exit().await;
    let database = rusqlite::Connection::open(daemon.folder().join("db.sqlite")).unwrap();
    let sql = "UPDATE operation SET state = 'damaged' WHERE kind = 'lightning_receive'";
    assert_eq!(database.execute(sql, []).unwrap(), 1);
    daemon.restart(None).await;
    let listed = daemon.get("/lightning/receives").await.ok();
    assert_eq!(listed[0]["invoice"], paid);
    assert_eq!(listed[0]["state"], "preimage-revealed");
    assert_eq!(listed[1]["invoice"], open);
    assert_eq!(daemon.attention().await[0]["code"], "unreadable_operation");
}
