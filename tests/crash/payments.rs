//! Out-of-round payments, made and received.

use serde_json::json;

use super::telling::{Scene, Tale, Turn, booked};
use crate::receiving::{board_txid, unconfirm_the_board};
use crate::support::eventually;

/// What each payment is worth.
const AMOUNT: u64 = 7_000;

/// What the payer has at the beginning.
const FUNDS: u64 = 500_000;

/// The body that makes a payment.
fn payment(to: &str) -> serde_json::Value {
    json!({"destination": to, "amount_sat": AMOUNT})
}

/// A payment of this status in the books of the payer.
fn sent(successful: bool) -> (String, i64) {
    let (status, balance) = if successful {
        ("successful", -AMOUNT.cast_signed())
    } else {
        ("failed", 0)
    };
    (status.to_owned(), balance)
}

/// The mortal pays.
pub struct Pay {
    scene: Scene,
    times: usize,
    paid: u64,
}

impl Tale for Pay {
    async fn begin() -> Pay {
        let scene = Scene::with_peer().await;
        scene.mortal.fund_and_board(&scene.world, FUNDS).await;
        Pay {
            scene,
            times: 0,
            paid: 0,
        }
    }

    fn scene(&mut self) -> &mut Scene {
        &mut self.scene
    }

    async fn tell(&mut self, turn: &Turn) {
        let scene = &mut self.scene;
        let to = scene.peer().address().await;
        scene.arm_unsure_and_idle(turn).await;
        let answer = scene.ask("/wallet/send", payment(&to)).await;
        assert_eq!(answer.is_none(), turn.is_deadly(), "{answer:?}");
        scene.death(turn).await;
        scene.rise(turn).await;
        if !turn.dies_at("send.started.before") {
            (self.paid, self.times) = (self.paid + AMOUNT, self.times + 1);
        }
        let sends = booked(&scene.mortal, "send").await;
        assert_eq!(sends, vec![sent(true); self.times]);
        scene.peer().wait_for_spendable(self.paid).await;
        scene.mortal.wait_for_spendable(FUNDS - self.paid).await;
    }
}

/// The mortal pays, and the server refuses to sign. What it signed before it refuses is paid all the same.
pub struct PayRefused {
    scene: Scene,
    paid: u64,
}

impl Tale for PayRefused {
    async fn begin() -> PayRefused {
        let mut scene = Scene::with_peer().await;
        scene.mortal.fund_and_board(&scene.world, FUNDS).await;
        scene.back_up().await;
        PayRefused { scene, paid: 0 }
    }

    fn scene(&mut self) -> &mut Scene {
        &mut self.scene
    }

    async fn tell(&mut self, turn: &Turn) {
        let scene = &mut self.scene;
        let to = scene.peer().address().await;
        scene.arm(turn).await;
        let refusal = json!({"type": "status", "code": 3, "message": "no"});
        let refusal = scene.fault(json!({"target": "RequestArkoorCosign", "action": refusal}));
        let signed = turn.loses("RequestArkoorCosign");
        if signed && !turn.dies_at("send.doubted") {
            // It is never called off, so it does not die of that, and is only done when the server signs again.
            let refused_twice = async {
                eventually("it asks again and again", async || {
                    (scene.fired(refusal) > 1).then_some(())
                })
                .await;
                scene.world.sandbox.ark.faults().remove(refusal);
            };
            let asked = scene.ask("/wallet/send", payment(&to));
            let (answer, ()) = tokio::join!(asked, refused_twice);
            answer.expect("an answer").ok();
            scene.mortal.settled().await;
            scene.revive().await;
        } else {
            let answer = scene.ask("/wallet/send", payment(&to)).await;
            scene.death(turn).await;
            if turn.is_deadly() {
                assert!(answer.is_none(), "{answer:?}");
            } else {
                answer.expect("an answer").refused(409, "server_refused");
            }
            if signed {
                scene.calm();
            }
            scene.rise_in_misery(turn).await;
        }
        let sends = booked(&scene.mortal, "send").await;
        assert_eq!(sends[0], sent(signed));
        if signed {
            self.paid += AMOUNT;
        }
        scene.peer().wait_for_spendable(self.paid).await;
        scene.mortal.wait_for_spendable(FUNDS - self.paid).await;
    }
}

/// The mortal is paid while it is away, and dies when it reads of it.
pub struct Receive {
    scene: Scene,
    times: usize,
}

impl Tale for Receive {
    async fn begin() -> Receive {
        let scene = Scene::with_peer().await;
        scene.peer().fund_and_board(&scene.world, FUNDS).await;
        Receive { scene, times: 0 }
    }

    fn scene(&mut self) -> &mut Scene {
        &mut self.scene
    }

    async fn tell(&mut self, turn: &Turn) {
        let scene = &mut self.scene;
        let to = scene.mortal.address().await;
        scene.mortal.stop().await;
        scene.peer().send(&to, AMOUNT).await.ok();
        self.times += 1;
        scene.arm_asleep(turn).await;
        scene.death(turn).await;
        scene.rise(turn).await;
        assert_received(scene, self.times).await;
    }
}

async fn assert_received(scene: &Scene, times: usize) {
    let sum = AMOUNT * u64::try_from(times).unwrap();
    scene.mortal.wait_for_spendable(sum).await;
    let receipt = ("successful".to_owned(), AMOUNT.cast_signed());
    let receipts = booked(&scene.mortal, "receive").await;
    assert_eq!(receipts, vec![receipt; times]);
}

/// The mortal is paid with a board that has fallen out of the chain, and dies when that is back.
pub struct ReceiveLate {
    scene: Scene,
    times: usize,
}

impl Tale for ReceiveLate {
    async fn begin() -> ReceiveLate {
        let scene = Scene::with_peer().await;
        scene.peer().fund(&scene.world, FUNDS).await;
        ReceiveLate { scene, times: 0 }
    }

    fn scene(&mut self) -> &mut Scene {
        &mut self.scene
    }

    async fn tell(&mut self, turn: &Turn) {
        let scene = &mut self.scene;
        let to = scene.mortal.address().await;
        let before = scene.mortal.balance("spendable_sat").await;
        scene.peer().post_empty("/onchain/sync").await.ok();
        scene.peer().board(&scene.world, AMOUNT).await;
        let txid = board_txid(scene.peer()).await;
        unconfirm_the_board(&scene.world, scene.peer()).await;
        scene.peer().send(&to, AMOUNT).await.ok();
        scene.mortal.post_empty("/wallet/sync/mailbox").await.ok();
        assert_eq!(scene.mortal.balance("spendable_sat").await, before);
        scene.arm(turn).await;
        scene.world.sandbox.chain.unhold(txid).await.unwrap();
        scene.world.mine(1).await;
        self.times += 1;
        scene.death(turn).await;
        scene.rise(turn).await;
        assert_received(scene, self.times).await;
    }
}
