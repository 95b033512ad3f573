//! Boards.

use serde_json::json;

use super::matrix::Run;
use super::scene::{Scene, movements};
use crate::support::eventually;

/// The amount of each board, in sat.
const AMOUNT: u64 = 20_000;

/// What is left of it after the server's fee, in sat.
const NET: u64 = AMOUNT - 330;

/// The victim boards.
pub async fn board(run: &mut Run) {
    let mut scene = Scene::new().await;
    scene.victim.fund(&scene.world, 1_000_000).await;
    let mut times = 0;
    while let Some(case) = run.next_case(&mut scene).await {
        scene.arm(&case).await;
        let body = json!({"amount_sat": AMOUNT});
        let reply = scene.post("/boards/board-amount", body).await;
        let is_broadcast = !case.kills() || case.kills_at("board.registered");
        if is_broadcast {
            reply.expect("the board is accepted").ok();
            scene.world.mine(1).await;
        }
        scene.wait_for_kill(&case).await;
        scene.restart(&case).await;
        if !case.kills_at("board.started.before") {
            times += 1;
            if !is_broadcast {
                eventually("the funding transaction is broadcast", async || {
                    let mempool = scene.world.sandbox.chain.mempool().await.unwrap();
                    (!mempool.is_empty()).then_some(())
                })
                .await;
                scene.world.mine(1).await;
            }
        }
        let sum = NET * u64::try_from(times).unwrap();
        scene.victim.wait_for_spendable(sum).await;
        let boards = movements(&scene.victim, "board").await;
        let board = ("successful".to_owned(), NET.cast_signed());
        assert_eq!(boards, vec![board; times]);
        scene.victim.post_empty("/onchain/sync").await.ok();
    }
}

/// The victim boards, and the server refuses to cosign. The coins are free again.
pub async fn board_refused(run: &mut Run) {
    let mut scene = Scene::new().await;
    scene.victim.fund(&scene.world, 60_000).await;
    while let Some(case) = run.next_case(&mut scene).await {
        scene.arm(&case).await;
        let refusal = json!({"type": "status", "code": 3, "message": "no"});
        scene.fault(json!({"target": "RequestBoardCosign", "action": refusal}));
        let body = json!({"amount_sat": AMOUNT});
        let reply = scene.post("/boards/board-amount", body).await;
        assert_eq!(reply.is_none(), case.kills(), "{reply:?}");
        scene.wait_for_kill(&case).await;
        scene.restart_with_faults(&case).await;
        let boards = movements(&scene.victim, "board").await;
        assert_eq!(boards[0], ("failed".to_owned(), 0));
        scene.end_faults();
        // The wallet has one coin, which a drain takes.
        scene.victim.post_empty("/onchain/sync").await.ok();
        let to = scene.victim.post_empty("/onchain/addresses/next").await;
        let drain = json!({"destination": to.ok()["address"]});
        scene.victim.post("/onchain/drain", drain).await.ok();
        scene.world.mine(1).await;
        scene.victim.post_empty("/onchain/sync").await.ok();
    }
}
