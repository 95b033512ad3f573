//! Out-of-round payments, sent and received.

use serde_json::{Value, json};

use super::matrix::Run;
use super::scene::{Scene, movements, receipts};
use crate::receiving::{board_txid, unconfirm_the_board};
use crate::support::eventually;

/// The amount of each payment, in sat.
const AMOUNT: u64 = 7_000;

/// What the payer boards at the beginning, in sat.
const FUNDS: u64 = 500_000;

/// The fee of a board of that amount, in sat: the least one.
const BOARD_FEE: u64 = 330;

/// The body of a payment.
fn payment(to: &str) -> Value {
    json!({"destination": to, "amount_sat": AMOUNT})
}

/// The payer's movement of a payment.
fn sent(is_paid: bool) -> (String, i64) {
    let (status, balance) = if is_paid {
        ("successful", -AMOUNT.cast_signed())
    } else {
        ("failed", 0)
    };
    (status.to_owned(), balance)
}

/// The victim pays.
pub async fn pay(run: &mut Run) {
    let mut scene = Scene::with_peer().await;
    scene.victim.fund_and_board(&scene.world, FUNDS).await;
    let funds = scene.victim.balance("spendable_sat").await;
    let (mut paid, mut times) = (0, 0);
    while let Some(case) = run.next_case(&mut scene).await {
        let to = scene.peer().address().await;
        scene.arm_unregistered_without_sync(&case).await;
        let reply = scene.post("/wallet/send", payment(&to)).await;
        assert_eq!(reply.is_none(), case.kills(), "{reply:?}");
        scene.wait_for_kill(&case).await;
        scene.restart(&case).await;
        let is_paid = !case.kills_at("send.started.before");
        if is_paid {
            (paid, times) = (paid + AMOUNT, times + 1);
        }
        let sends = movements(&scene.victim, "send").await;
        assert_eq!(sends, vec![sent(true); times]);
        scene.peer().wait_for_spendable(paid).await;
        let got = receipts(scene.peer(), &to).await;
        assert_eq!(got, vec![AMOUNT; usize::from(is_paid)]);
        scene.victim.wait_for_spendable(funds - paid).await;
    }
}

/// The victim pays, and the server refuses to cosign. A payment that it has cosigned before it refuses is completed.
pub async fn pay_refused(run: &mut Run) {
    let mut scene = Scene::with_peer().await;
    scene.victim.fund_and_board(&scene.world, FUNDS).await;
    scene.complete_backup().await;
    let funds = scene.victim.balance("spendable_sat").await;
    let mut paid = 0;
    while let Some(case) = run.next_case(&mut scene).await {
        let to = scene.peer().address().await;
        scene.arm(&case).await;
        let cosigned = case.loses("RequestArkoorCosign");
        // It names the inputs; one that does not proves nothing while an earlier request may run (H60).
        let skip = u32::from(cosigned);
        let refuse = json!({"type": "refuse_inputs"});
        let refusal =
            scene.fault(json!({"target": "arkoor.checked", "skip": skip, "action": refuse}));
        if cosigned && !case.kills_at("send.doubted") {
            // The payment is not aborted, so those failpoints are not reached, and ends when the server cosigns again.
            let refused_twice = async {
                eventually("the cosignature is requested repeatedly", async || {
                    (scene.world.fired(refusal) > 1).then_some(())
                })
                .await;
                scene.world.end_fault(refusal);
            };
            let request = scene.post("/wallet/send", payment(&to));
            let (reply, ()) = tokio::join!(request, refused_twice);
            reply.expect("a reply").ok();
            scene.victim.settled().await;
            scene.restart_unkilled().await;
        } else {
            let reply = scene.post("/wallet/send", payment(&to)).await;
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
        let sends = movements(&scene.victim, "send").await;
        assert_eq!(sends[0], sent(cosigned));
        if cosigned {
            paid += AMOUNT;
        }
        scene.peer().wait_for_spendable(paid).await;
        let got = receipts(scene.peer(), &to).await;
        assert_eq!(got, vec![AMOUNT; usize::from(cosigned)]);
        scene.let_refused_back().await;
        scene.victim.wait_for_spendable(funds - paid).await;
    }
}

/// The victim is paid while it is stopped, and killed when it reads the message.
pub async fn receive(run: &mut Run) {
    let mut scene = Scene::with_peer().await;
    scene.peer().fund_and_board(&scene.world, FUNDS).await;
    let mut times = 0;
    while let Some(case) = run.next_case(&mut scene).await {
        let to = scene.victim.address().await;
        scene.victim.stop().await;
        scene.peer().send(&to, AMOUNT).await.ok();
        times += 1;
        scene.arm_from_start(&case).await;
        scene.wait_for_kill(&case).await;
        scene.restart(&case).await;
        assert_received(&scene, &to, times).await;
    }
}

/// The victim is paid with a board whose transaction a reorganisation has removed, and killed when it is confirmed again.
pub async fn receive_unconfirmed(run: &mut Run) {
    let mut scene = Scene::with_peer().await;
    scene.peer().fund(&scene.world, FUNDS).await;
    let mut times = 0;
    while let Some(case) = run.next_case(&mut scene).await {
        let to = scene.victim.address().await;
        let before = scene.victim.balance("spendable_sat").await;
        scene.peer().post_empty("/onchain/sync").await.ok();
        scene.peer().board(&scene.world, AMOUNT + BOARD_FEE).await;
        let txid = board_txid(scene.peer()).await;
        unconfirm_the_board(&scene.world, scene.peer()).await;
        scene.peer().send(&to, AMOUNT).await.ok();
        scene.victim.post_empty("/wallet/sync/mailbox").await.ok();
        assert_eq!(scene.victim.balance("spendable_sat").await, before);
        scene.arm(&case).await;
        scene.world.sandbox.chain.unhold(txid).await.unwrap();
        scene.world.mine(1).await;
        times += 1;
        scene.wait_for_kill(&case).await;
        scene.restart(&case).await;
        assert_received(&scene, &to, times).await;
    }
}

/// Asserts that the victim was paid so many times, and once on this address.
async fn assert_received(scene: &Scene, to: &str, times: usize) {
    let sum = AMOUNT * u64::try_from(times).unwrap();
    scene.victim.wait_for_spendable(sum).await;
    let receipt = ("successful".to_owned(), AMOUNT.cast_signed());
    let receipts = movements(&scene.victim, "receive").await;
    assert_eq!(receipts, vec![receipt; times]);
    assert_eq!(super::scene::receipts(&scene.victim, to).await, [AMOUNT]);
}
