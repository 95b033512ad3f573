//! The events beyond those of movements.

use serde_json::{Value, json};

use super::clients::Access;
use super::{newest, scene, types};
use crate::support::{Daemon, World, assert_conserved, eventually, hash_of};

/// Waits for the next event of these types after `cursor`.
async fn next(access: &Access, cursor: u64, types: &str) -> Value {
    let query = format!("after={cursor}&types={types}&limit=1");
    let mut events = access.wait(&query).await;
    assert!(!events.is_empty(), "{types} did not come in time");
    events.remove(0)
}

#[tokio::test]
async fn the_steps_of_an_operation_are_told_without_its_secrets() {
    let (world, payer) = scene().await;
    let payee = Daemon::with_wallet(&world).await;
    let access = Access::to(&payer);
    let before = newest(&access).await;
    payer.send(&payee.address().await, 20_000).await.ok();
    let query = format!("after={before}&types=operation-updated&timeout=0");
    let steps = access.wait(&query).await;
    let movement = payer.history().await[0]["id"].clone();
    let id = steps[0]["operation"]["id"].clone();
    let expected = |step, status| json!({"id": id, "kind": "arkoor_send", "step": step, "status": status, "movement_id": movement});
    let shown: Vec<&Value> = steps.iter().map(|event| &event["operation"]).collect();
    assert_eq!(shown[0], &expected("Sign", "running"));
    assert!(
        shown.contains(&&expected("Deliver", "running")),
        "{shown:?}"
    );
    assert_eq!(shown[shown.len() - 1], &expected("Deliver", "done"));
    assert_conserved(&world, &[&payer, &payee]).await;
}

#[tokio::test]
async fn no_event_has_a_preimage_that_is_still_secret() {
    let (world, daemon) = scene().await;
    let access = Access::to(&daemon);
    let before = newest(&access).await;
    let unpaid = hash_of(&daemon.invoice(2_000).await);
    let invoice = daemon.invoice(3_000).await;
    let hash = hash_of(&invoice);
    world.pays(&invoice).await;
    let settled = daemon.wait_for_receive_state(&hash, "settled").await;
    daemon.settled().await;
    let preimage = settled["payment_preimage"].as_str().unwrap();
    let events = access
        .wait(&format!("after={before}&types=all&timeout=0"))
        .await;
    let shows = |event: &Value| event.to_string().contains(preimage);
    let first = events
        .iter()
        .position(shows)
        .expect("the proof of the payment");
    assert_eq!(events[first]["movement"]["status"], "successful");
    assert!(!events[..first].iter().any(shows));
    assert!(types(&events[..first]).contains(&"operation-updated"));
    assert!(
        !events
            .iter()
            .any(|event| event.to_string().contains(&unpaid))
    );
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn what_needs_the_operator_is_told_when_it_begins_and_when_it_ends() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    world.fault(json!({"target": "clock", "action": {"type": "skew_clock", "seconds": 60}}));
    let access = Access::to(&daemon);
    let raised = next(&access, 0, "attention-raised").await;
    assert_eq!(daemon.attention().await, [raised["attention"].clone()]);
    assert_eq!(raised["attention"]["code"], "clock_skew");
    world.no_faults();
    let cleared = next(&access, super::id_of(&raised), "attention-cleared").await;
    assert_eq!(cleared["attention"]["code"], "clock_skew");
    assert_eq!(daemon.attention().await, Vec::<Value>::new());
    let both = access
        .wait("after=0&types=attention-raised,attention-cleared&timeout=0")
        .await;
    assert_eq!(both, [raised, cleared]);
}

#[tokio::test]
async fn a_lost_server_and_a_lost_chain_are_told_once() {
    let world = World::new().await;
    let daemon = Daemon::on_faulty_chain(&world).await;
    let access = Access::to(&daemon);
    let start = next(&access, 0, "server-connected").await;
    let start = super::id_of(&start).max(super::id_of(&next(&access, 0, "chain-connected").await));

    world.fault(json!({"target": "*", "action": {"type": "drop_before"}}));
    let lost = next(&access, start, "server-connected,server-disconnected").await;
    assert_eq!(lost["type"], "server-disconnected");
    world.no_faults();
    let back = next(
        &access,
        super::id_of(&lost),
        "server-connected,server-disconnected",
    )
    .await;
    assert_eq!(back["type"], "server-connected");

    let fault = world.chain_fault(json!({"target": "*", "action": {"type": "drop_before"}}));
    let lost = next(&access, start, "chain-connected,chain-lost").await;
    assert_eq!(lost["type"], "chain-lost");
    eventually("the chain stays away for a while", async || {
        (world.chain_faults_fired() >= 3).then_some(())
    })
    .await;
    world.end_chain_fault(fault);
    let back = next(&access, super::id_of(&lost), "chain-connected,chain-lost").await;
    assert_eq!(back["type"], "chain-connected");
}

#[tokio::test]
async fn a_vtxo_that_expires_soon_is_told_once() {
    let (world, mut daemon) = scene().await;
    let id = daemon.vtxos().await.remove(0);
    let detail = daemon.get(&format!("/wallet/vtxos/{id}")).await.ok();
    let expiry = u32::try_from(detail["expiry_height"].as_u64().unwrap()).unwrap();
    // 12 blocks in which a refresh is urgent, and 28 in which one takes it along.
    world.mine(expiry - 40 - world.height().await).await;
    daemon.wait_for_tip(&world).await;
    daemon.post_empty("/wallet/sync").await.ok();
    let access = Access::to(&daemon);
    let told = async |access: &Access| access.wait("after=0&types=vtxo-expiring&timeout=0").await;
    assert_eq!(told(&access).await, Vec::<Value>::new(), "not yet");
    world.mine(1).await;
    let event = next(&access, 0, "vtxo-expiring").await;
    let shown = json!({"id": id, "amount_sat": 50_000, "expiry_height": expiry});
    assert_eq!(event["vtxo"], shown);
    world.mine(1).await;
    daemon.wait_for_tip(&world).await;
    daemon.stop().await;
    daemon.restart(None).await;
    daemon.post_empty("/wallet/sync").await.ok();
    assert_eq!(told(&Access::to(&daemon)).await, [event]);
}
