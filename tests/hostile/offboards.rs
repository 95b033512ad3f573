//! Offboards whose transaction is not what was ordered, and answers to forfeits that are missing or wrong.

use serde_json::{Value, json};

use super::scene;
use crate::support::{assert_conserved, eventually};

/// Asserts for offboards and for payments of an exact amount: if the server prepares another transaction than was ordered, no
/// forfeit leaves, and the same VTXOs can be used when the fault is over.
async fn assert_no_forfeit(change: &str) {
    for exact in [false, true] {
        let (world, daemon) = scene().await;
        let to = world.sandbox.faucet.address().to_string();
        let before = world.received(&to).await;
        let (path, body) = if exact {
            let body = json!({"destination": to, "amount_sat": 60_000});
            ("/wallet/send-onchain", body)
        } else {
            ("/wallet/offboard/all", json!({"address": to}))
        };
        let fault = json!({"type": "alter_offboard", "change": change});
        world.fault(json!({"target": "offboard.prepared", "times": 1, "action": fault}));
        let reply = daemon.post(path, body.clone()).await;
        let message = reply.refused(409, "server_refused");
        assert!(message.contains("not what was ordered"), "{message}");
        assert_eq!(world.calls_of("FinishOffboard"), 0);
        daemon.wait_for_spendable(80_000).await;
        assert_eq!(daemon.balance("pending_offboard_sat").await, 0);
        let failed = &daemon.history().await[0];
        assert_eq!(failed["status"], "failed");
        assert_eq!(failed["effective_balance_sat"], 0);
        assert_conserved(&world, &[&daemon]).await;

        // The session that holds the coins is forgotten.
        world.sandbox.ark.restart().await;
        daemon.post_empty("/wallet/sync").await.ok();
        daemon.wait_for_connected(true).await;
        daemon.post(path, body).await.ok();
        daemon.settled().await;
        let paid = &daemon.history().await[0];
        assert_eq!(paid["status"], "successful");
        let spent = paid["effective_balance_sat"].as_i64().unwrap();
        let fee = paid["offchain_fee_sat"].as_i64().unwrap();
        let arrived = world.received(&to).await - before;
        assert_eq!(i64::try_from(arrived).unwrap(), -spent - fee);
        assert_eq!(world.calls_of("FinishOffboard"), 1);
        assert_conserved(&world, &[&daemon]).await;
    }
}

/// §4.16, offboard prepare: the amount.
#[tokio::test]
async fn an_offboard_that_pays_less_gets_no_forfeit() {
    assert_no_forfeit("wrong_amount").await;
}

/// §4.16, offboard prepare: the script.
#[tokio::test]
async fn an_offboard_to_another_script_gets_no_forfeit() {
    assert_no_forfeit("wrong_script").await;
}

/// §4.16, offboard prepare: without a connector the forfeits would be valid at once.
#[tokio::test]
async fn an_offboard_without_a_connector_gets_no_forfeit() {
    assert_no_forfeit("missing_connector").await;
}

/// H30.
#[tokio::test]
async fn an_offboard_without_a_nonce_for_each_vtxo_gets_no_forfeit() {
    assert_no_forfeit("missing_nonce").await;
}

/// Asserts that with these faults after the forfeits the offboard is paid once, and its VTXOs are never released.
async fn assert_paid_once(faults: &[Value]) {
    let (world, daemon) = scene().await;
    let to = daemon.post_empty("/onchain/addresses/next").await.ok()["address"].clone();
    let to = to.as_str().unwrap();
    let faults: Vec<u64> = faults
        .iter()
        .map(|fault| world.fault(fault.clone()))
        .collect();
    let offboard = daemon.post("/wallet/offboard/all", json!({"address": to}));
    let watch = async {
        eventually("the forfeits are sent, and the faults act", async || {
            let act = faults.iter().all(|fault| world.fired(*fault) > 0);
            (act && world.calls_of("FinishOffboard") > 0).then_some(())
        })
        .await;
        assert_eq!(daemon.balance("spendable_sat").await, 0);
        let movement = daemon.movement("offboard").await;
        assert_ne!(movement["status"], "failed", "{movement:#}");
        world.no_faults();
        eventually("the transaction is broadcast", async || {
            daemon.post_empty("/wallet/sync").await.ok();
            (world.received(to).await > 0).then_some(())
        })
        .await;
    };
    let (reply, ()) = tokio::join!(offboard, watch);
    assert!([200, 202].contains(&reply.status), "{:#}", reply.body);
    world.mine(1).await;
    daemon.settled().await;
    let paid = daemon.movement("offboard").await;
    assert_eq!(paid["effective_balance_sat"], -80_000);
    let fee = paid["offchain_fee_sat"].as_u64().unwrap();
    assert_eq!(world.received(to).await, 80_000 - fee);
    assert_conserved(&world, &[&daemon]).await;
}

/// H28.
#[tokio::test]
async fn forfeits_that_are_taken_without_an_answer_release_nothing() {
    assert_paid_once(&[
        json!({"target": "FinishOffboard", "action": {"type": "drop_after"}}),
        json!({"target": "offboard.persisted", "action": {"type": "withhold"}}),
    ])
    .await;
}

/// H3, H28.
#[tokio::test]
async fn forfeits_that_the_server_has_forgotten_release_nothing() {
    let forget = json!({"type": "forget"});
    assert_paid_once(&[json!({"target": "offboard.prepared", "times": 1, "action": forget})]).await;
}

/// §4.16, offboard finish.
#[tokio::test]
async fn another_transaction_for_the_forfeits_is_not_taken_for_the_payment() {
    let fault = json!({"type": "other_txid"});
    assert_paid_once(&[json!({"target": "offboard.persisted", "times": 1, "action": fault})]).await;
}

/// H29.
#[tokio::test]
async fn a_payment_that_the_server_does_not_broadcast_is_broadcast_by_us() {
    let fault = json!({"type": "withhold"});
    assert_paid_once(&[json!({"target": "offboard.persisted", "times": 1, "action": fault})]).await;
}
