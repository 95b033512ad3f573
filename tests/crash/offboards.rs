//! Payments out of VTXOs to on-chain addresses.

use serde_json::{Value, json};

use super::matrix::Run;
use super::scene::{Scene, last_fee, movements};
use crate::support::eventually;

/// The amount of each payment of an exact amount, in sat.
const AMOUNT: u64 = 3_000;

/// What is boarded for a VTXO that is offboarded as a whole, in sat.
const BOARDED: u64 = 20_000;

/// A victim with two VTXOs, and a server that can fund offboards.
async fn scene_with_vtxos() -> Scene {
    let scene = Scene::new().await;
    scene.world.fund_server(2_000_000).await;
    for sats in [150_000, 50_000] {
        scene.victim.fund_and_board(&scene.world, sats).await;
    }
    scene
}

/// A victim with on-chain coins to board, and a server that can fund offboards.
async fn scene_with_coins() -> Scene {
    let scene = Scene::new().await;
    scene.world.fund_server(2_000_000).await;
    scene.victim.fund(&scene.world, 1_000_000).await;
    scene
}

/// The cost of a payment with its fee, in sat.
async fn gross(scene: &Scene, to: &str) -> u64 {
    let path = format!("/fees/send-onchain?amount_sat={AMOUNT}&address={to}");
    let quote = scene.victim.get(&path).await.ok();
    quote["gross_amount_sat"].as_u64().unwrap()
}

async fn assert_all_successful(scene: &Scene, kind: &str) {
    let paid = movements(&scene.victim, kind).await;
    let all = paid.iter().all(|(status, _)| status == "successful");
    assert!(all, "{paid:?}");
}

/// The victim pays an exact amount.
pub async fn send_onchain(run: &mut Run) {
    let mut scene = scene_with_vtxos().await;
    let mut left = scene.victim.balance("spendable_sat").await;
    while let Some(case) = run.next_case(&mut scene).await {
        let to = scene.payee();
        let gross = gross(&scene, &to).await;
        scene.arm_unregistered(&case).await;
        let body = json!({"destination": to, "amount_sat": AMOUNT});
        scene.post("/wallet/send-onchain", body).await;
        scene.wait_for_kill(&case).await;
        scene.restart(&case).await;
        let is_paid = !case.kills_at("offboard.started.before");
        if is_paid {
            left -= gross;
            let last = movements(&scene.victim, "send_onchain").await;
            assert_eq!(last[0], ("successful".to_owned(), -gross.cast_signed()));
        }
        scene.victim.wait_for_spendable(left).await;
        assert_all_successful(&scene, "send_onchain").await;
        scene.assert_paid(to, is_paid.then_some(AMOUNT)).await;
    }
}

/// The victim pays an exact amount, and the server refuses the split after an answer was lost. A payment whose split it has
/// cosigned before it refuses is completed.
pub async fn send_onchain_refused(run: &mut Run) {
    let mut scene = scene_with_vtxos().await;
    let mut left = scene.victim.balance("spendable_sat").await;
    while let Some(case) = run.next_case(&mut scene).await {
        let to = scene.payee();
        let gross = gross(&scene, &to).await;
        scene.arm_unregistered(&case).await;
        let target = "RequestArkoorCosign";
        let cosigned = case.loses(target);
        if !cosigned {
            scene.fault(json!({"target": target, "times": 1, "action": {"type": "drop_before"}}));
        }
        // It names the inputs; one that does not proves nothing while an earlier request may run (H60).
        let skip = u32::from(cosigned);
        let refuse = json!({"type": "refuse_inputs"});
        let refusal =
            scene.fault(json!({"target": "arkoor.checked", "skip": skip, "action": refuse}));
        let body = json!({"destination": to, "amount_sat": AMOUNT});
        if cosigned && !case.kills_at("offboard.doubted") {
            // The payment is not aborted, so those failpoints are not reached, and ends when the server cosigns again.
            let refused_twice = async {
                eventually("the cosignature is requested repeatedly", async || {
                    scene.victim.post_empty("/wallet/sync").await.ok();
                    (scene.world.fired(refusal) > 1).then_some(())
                })
                .await;
                scene.world.end_fault(refusal);
            };
            let request = scene.post("/wallet/send-onchain", body);
            let (reply, ()) = tokio::join!(request, refused_twice);
            reply.expect("a reply").ok();
            scene.victim.settled().await;
            scene.restart_unkilled().await;
        } else {
            let reply = scene.post("/wallet/send-onchain", body).await;
            scene.wait_for_kill(&case).await;
            if case.kills() {
                assert!(reply.is_none(), "{reply:?}");
            } else {
                reply.expect("a reply").refused(409, "server_refused");
            }
            if cosigned {
                scene.end_faults();
            }
            scene.restart_with_faults(&case).await;
        }
        let last = movements(&scene.victim, "send_onchain").await;
        if cosigned {
            assert_eq!(last[0], ("successful".to_owned(), -gross.cast_signed()));
            left -= gross;
        } else {
            assert_eq!(last[0], ("failed".to_owned(), 0));
        }
        scene.let_refused_back().await;
        scene.victim.wait_for_spendable(left).await;
        scene.assert_paid(to, cosigned.then_some(AMOUNT)).await;
    }
}

/// Requests that a VTXO is offboarded.
async fn post_offboard(scene: &Scene, id: &str, to: &str) {
    let body = json!({"vtxos": [id], "address": to});
    scene.post("/wallet/offboard/vtxos", body).await;
}

/// Boards a VTXO, if there is none.
async fn board_if_empty(scene: &Scene) {
    if scene.victim.vtxos().await.is_empty() {
        scene.victim.post_empty("/onchain/sync").await.ok();
        scene.victim.board(&scene.world, BOARDED).await;
    }
}

/// Asserts that the last offboard took the whole VTXO, that its payee got what the fee left, and that all before it succeeded.
async fn assert_offboarded(scene: &mut Scene, to: String, whole: u64) {
    eventually("no movement is pending", async || {
        scene.victim.post_empty("/wallet/sync").await.ok();
        let history = scene.victim.history().await;
        let pending = |movement: &Value| movement["status"] == "pending";
        (!history.iter().any(pending)).then_some(())
    })
    .await;
    assert_all_successful(scene, "offboard").await;
    let last = movements(&scene.victim, "offboard").await;
    assert_eq!(last[0].1, -whole.cast_signed());
    scene.victim.wait_for_spendable(0).await;
    let fee = last_fee(&scene.victim, "offboard").await;
    assert!(fee > 0);
    scene.assert_paid(to, Some(whole - fee)).await;
}

/// The victim offboards a whole VTXO.
pub async fn offboard(run: &mut Run) {
    let mut scene = scene_with_coins().await;
    while let Some(case) = run.next_case(&mut scene).await {
        board_if_empty(&scene).await;
        scene.arm_unregistered(&case).await;
        let id = scene.victim.vtxos().await.remove(0);
        let (to, whole) = (scene.payee(), scene.victim.balance("spendable_sat").await);
        post_offboard(&scene, &id, &to).await;
        scene.wait_for_kill(&case).await;
        scene.restart(&case).await;
        if case.kills_at("offboard.started.before") {
            assert_eq!(scene.victim.vtxos().await, [id]);
            scene.assert_paid(to, None).await;
        } else {
            assert_offboarded(&mut scene, to, whole).await;
        }
    }
}

/// The victim offboards a VTXO, and the server forgets the session that it has prepared for it.
pub async fn offboard_session_lost(run: &mut Run) {
    let mut scene = scene_with_coins().await;
    while let Some(case) = run.next_case(&mut scene).await {
        board_if_empty(&scene).await;
        scene.arm_unregistered(&case).await;
        let id = scene.victim.vtxos().await.remove(0);
        let (to, whole) = (scene.payee(), scene.victim.balance("spendable_sat").await);
        // A session that is prepared again after a lost answer is forgotten as well.
        let times = if case.loses("PrepareOffboard") { 2 } else { 1 };
        let forget = json!({"type": "forget"});
        scene.fault(json!({"target": "offboard.prepared", "times": times, "action": forget}));
        if case.kills() {
            post_offboard(&scene, &id, &to).await;
            scene.wait_for_kill(&case).await;
        } else {
            let sync_until_done = eventually("the offboard is done", async || {
                scene.victim.post_empty("/wallet/sync").await.ok();
                scene.victim.vtxos().await.is_empty().then_some(())
            });
            tokio::join!(post_offboard(&scene, &id, &to), sync_until_done);
        }
        scene.restart(&case).await;
        assert_offboarded(&mut scene, to, whole).await;
    }
}
