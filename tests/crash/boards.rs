//! Boards.

use serde_json::json;

use super::telling::{Scene, Tale, Turn, booked};
use crate::support::eventually;

/// What each board is worth.
const AMOUNT: u64 = 20_000;

/// The mortal boards.
pub struct Board {
    scene: Scene,
    times: usize,
}

impl Tale for Board {
    async fn begin() -> Board {
        let scene = Scene::new().await;
        scene.mortal.fund(&scene.world, 1_000_000).await;
        Board { scene, times: 0 }
    }

    fn scene(&mut self) -> &mut Scene {
        &mut self.scene
    }

    async fn tell(&mut self, turn: &Turn) {
        let scene = &mut self.scene;
        scene.arm(turn).await;
        let answer = scene
            .ask("/boards/board-amount", json!({"amount_sat": AMOUNT}))
            .await;
        let is_out = !turn.is_deadly() || turn.dies_at("board.registered");
        if is_out {
            answer.expect("the board is accepted").ok();
            scene.world.mine(1).await;
        }
        scene.death(turn).await;
        scene.rise(turn).await;
        if !turn.dies_at("board.started.before") {
            self.times += 1;
            if !is_out {
                eventually("the funding transaction is out", async || {
                    let mempool = scene.world.sandbox.chain.mempool().await.unwrap();
                    (!mempool.is_empty()).then_some(())
                })
                .await;
                scene.world.mine(1).await;
            }
        }
        let sum = AMOUNT * u64::try_from(self.times).unwrap();
        scene.mortal.wait_for_spendable(sum).await;
        let boards = booked(&scene.mortal, "board").await;
        let board = ("successful".to_owned(), AMOUNT.cast_signed());
        assert_eq!(boards, vec![board; self.times]);
        scene.mortal.post_empty("/onchain/sync").await.ok();
    }
}

/// The mortal boards, and the server refuses to sign.
pub struct BoardRefused(Scene);

impl Tale for BoardRefused {
    async fn begin() -> BoardRefused {
        let scene = Scene::new().await;
        scene.mortal.fund(&scene.world, 60_000).await;
        BoardRefused(scene)
    }

    fn scene(&mut self) -> &mut Scene {
        &mut self.0
    }

    async fn tell(&mut self, turn: &Turn) {
        let scene = &mut self.0;
        scene.arm(turn).await;
        let refusal = json!({"type": "status", "code": 3, "message": "no"});
        scene.fault(json!({"target": "RequestBoardCosign", "action": refusal}));
        let answer = scene
            .ask("/boards/board-amount", json!({"amount_sat": AMOUNT}))
            .await;
        assert_eq!(answer.is_none(), turn.is_deadly(), "{answer:?}");
        scene.death(turn).await;
        scene.rise_in_misery(turn).await;
        let boards = booked(&scene.mortal, "board").await;
        assert_eq!(boards[0], ("failed".to_owned(), 0));
        scene.calm();
        // The coins are free again: there is one, and all of it can be had.
        scene.mortal.post_empty("/onchain/sync").await.ok();
        let to = scene
            .mortal
            .post_empty("/onchain/addresses/next")
            .await
            .ok();
        let drain = json!({"destination": to["address"]});
        scene.mortal.post("/onchain/drain", drain).await.ok();
        scene.world.mine(1).await;
        scene.mortal.post_empty("/onchain/sync").await.ok();
    }
}
