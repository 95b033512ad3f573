//! Payments out of VTXOs to on-chain addresses.

use serde_json::json;

use super::telling::{Scene, Tale, Turn, booked};
use crate::support::eventually;

/// What each payment of an exact amount is worth.
const AMOUNT: u64 = 3_000;

/// What the mortal has at the beginning of the payments of an exact amount.
const FUNDS: u64 = 200_000;

/// What the VTXO is worth that goes on chain as a whole.
const WHOLE: u64 = 20_000;

/// A mortal with two VTXOs, at a server that can fund offboards.
async fn scene() -> Scene {
    let scene = Scene::new().await;
    scene.world.fund_server(2_000_000).await;
    scene.mortal.fund_and_board(&scene.world, 150_000).await;
    scene
        .mortal
        .fund_and_board(&scene.world, FUNDS - 150_000)
        .await;
    scene
}

/// The faucet's address.
fn address(scene: &Scene) -> String {
    scene.world.sandbox.faucet.address().to_string()
}

/// What a payment costs, the fee included.
async fn gross(scene: &Scene) -> u64 {
    let to = address(scene);
    let path = format!("/fees/send-onchain?amount_sat={AMOUNT}&address={to}");
    let quote = scene.mortal.get(&path).await.ok();
    quote["gross_amount_sat"].as_u64().unwrap()
}

/// The mortal pays an exact amount.
pub struct SendOnchain {
    scene: Scene,
    left: u64,
}

impl Tale for SendOnchain {
    async fn begin() -> SendOnchain {
        SendOnchain {
            scene: scene().await,
            left: FUNDS,
        }
    }

    fn scene(&mut self) -> &mut Scene {
        &mut self.scene
    }

    async fn tell(&mut self, turn: &Turn) {
        let scene = &mut self.scene;
        let gross = gross(scene).await;
        scene.arm_unsure(turn).await;
        let body = json!({"destination": address(scene), "amount_sat": AMOUNT});
        scene.ask("/wallet/send-onchain", body).await;
        scene.death(turn).await;
        scene.rise(turn).await;
        let before = vec![("successful".to_owned(), -gross.cast_signed())];
        if !turn.dies_at("offboard.started.before") {
            self.left -= gross;
            assert_eq!(booked(&scene.mortal, "send_onchain").await[..1], before);
        }
        scene.mortal.wait_for_spendable(self.left).await;
        assert_all_successful(scene, "send_onchain").await;
        scene.world.mine(1).await;
    }
}

async fn assert_all_successful(scene: &Scene, kind: &str) {
    let paid = booked(&scene.mortal, kind).await;
    let all = paid.iter().all(|(status, _)| status == "successful");
    assert!(all, "{paid:?}");
}

/// The mortal pays an exact amount, and the server refuses the split after an answer was lost. What it split before it
/// refuses is paid all the same.
pub struct SendOnchainRefused {
    scene: Scene,
    left: u64,
}

impl Tale for SendOnchainRefused {
    async fn begin() -> SendOnchainRefused {
        SendOnchainRefused {
            scene: scene().await,
            left: FUNDS,
        }
    }

    fn scene(&mut self) -> &mut Scene {
        &mut self.scene
    }

    async fn tell(&mut self, turn: &Turn) {
        let scene = &mut self.scene;
        let gross = gross(scene).await;
        scene.arm_unsure(turn).await;
        let target = "RequestArkoorCosign";
        let split = turn.loses(target);
        if !split {
            scene.fault(json!({"target": target, "times": 1, "action": {"type": "drop_before"}}));
        }
        let refusal = json!({"type": "status", "code": 3, "message": "no"});
        let skip = u32::from(!split);
        let refusal = scene.fault(json!({"target": target, "skip": skip, "action": refusal}));
        let body = json!({"destination": address(scene), "amount_sat": AMOUNT});
        if split && !turn.dies_at("offboard.doubted") {
            // It is never called off, so it does not die of that, and is only done when the server signs again.
            let refused_twice = async {
                eventually("it asks again and again", async || {
                    scene.mortal.post_empty("/wallet/sync").await.ok();
                    (scene.fired(refusal) > 1).then_some(())
                })
                .await;
                scene.world.sandbox.ark.faults().remove(refusal);
            };
            let asked = scene.ask("/wallet/send-onchain", body);
            let (answer, ()) = tokio::join!(asked, refused_twice);
            answer.expect("an answer").ok();
            scene.mortal.settled().await;
            scene.revive().await;
        } else {
            let answer = scene.ask("/wallet/send-onchain", body).await;
            scene.death(turn).await;
            if turn.is_deadly() {
                assert!(answer.is_none(), "{answer:?}");
            } else {
                answer.expect("an answer").refused(409, "server_refused");
            }
            if split {
                scene.calm();
            }
            scene.rise_in_misery(turn).await;
        }
        let told = booked(&scene.mortal, "send_onchain").await.swap_remove(0);
        if split {
            assert_eq!(told, ("successful".to_owned(), -gross.cast_signed()));
            self.left -= gross;
            scene.world.mine(1).await;
        } else {
            assert_eq!(told, ("failed".to_owned(), 0));
        }
        scene.mortal.wait_for_spendable(self.left).await;
    }
}

/// A mortal with on-chain coins to board, at a server that can fund offboards.
async fn scene_with_coins() -> Scene {
    let scene = Scene::new().await;
    scene.world.fund_server(2_000_000).await;
    scene.mortal.fund(&scene.world, 1_000_000).await;
    scene
}

/// Asks for a VTXO to go on chain.
async fn ask_for_offboard(scene: &Scene, id: &str) {
    let body = json!({"vtxos": [id], "address": address(scene)});
    scene.ask("/wallet/offboard/vtxos", body).await;
}

/// Boards another VTXO, if there is none left.
async fn board(scene: &Scene) {
    if scene.mortal.vtxos().await.is_empty() {
        scene.mortal.post_empty("/onchain/sync").await.ok();
        scene.mortal.board(&scene.world, WHOLE).await;
    }
}

/// The last offboard took the whole VTXO on chain, and all before it succeeded, too.
async fn assert_offboarded(scene: &Scene) {
    eventually("the offboard is done", async || {
        scene.mortal.post_empty("/wallet/sync").await.ok();
        let history = scene.mortal.history().await;
        let pending = |movement: &serde_json::Value| movement["status"] == "pending";
        (!history.iter().any(pending)).then_some(())
    })
    .await;
    assert_all_successful(scene, "offboard").await;
    let last = booked(&scene.mortal, "offboard").await.swap_remove(0);
    assert_eq!(last.1, -WHOLE.cast_signed());
    scene.mortal.wait_for_spendable(0).await;
    scene.world.mine(1).await;
}

/// The mortal takes a VTXO on chain as a whole.
pub struct Offboard(Scene);

impl Tale for Offboard {
    async fn begin() -> Offboard {
        Offboard(scene_with_coins().await)
    }

    fn scene(&mut self) -> &mut Scene {
        &mut self.0
    }

    async fn tell(&mut self, turn: &Turn) {
        let scene = &mut self.0;
        board(scene).await;
        scene.arm_unsure(turn).await;
        let id = scene.mortal.vtxos().await.remove(0);
        ask_for_offboard(scene, &id).await;
        scene.death(turn).await;
        scene.rise(turn).await;
        if turn.dies_at("offboard.started.before") {
            assert_eq!(scene.mortal.vtxos().await, [id]);
        } else {
            assert_offboarded(scene).await;
        }
    }
}

/// The mortal takes a VTXO on chain, and the server forgets what it has prepared for that.
pub struct OffboardLost(Scene);

impl Tale for OffboardLost {
    async fn begin() -> OffboardLost {
        OffboardLost(scene_with_coins().await)
    }

    fn scene(&mut self) -> &mut Scene {
        &mut self.0
    }

    async fn tell(&mut self, turn: &Turn) {
        let scene = &mut self.0;
        board(scene).await;
        scene.arm_unsure(turn).await;
        let id = scene.mortal.vtxos().await.remove(0);
        // What is prepared again after a lost answer is forgotten, too.
        let times = if turn.loses("PrepareOffboard") { 2 } else { 1 };
        let forget = json!({"type": "forget"});
        scene.fault(json!({"target": "offboard.prepared", "times": times, "action": forget}));
        if turn.is_deadly() {
            ask_for_offboard(scene, &id).await;
            scene.death(turn).await;
        } else {
            let nudges = async {
                eventually("the offboard is done", async || {
                    scene.mortal.post_empty("/wallet/sync").await.ok();
                    scene.mortal.vtxos().await.is_empty().then_some(())
                })
                .await;
            };
            tokio::join!(ask_for_offboard(scene, &id), nudges);
        }
        scene.rise(turn).await;
        assert_offboarded(scene).await;
    }
}
