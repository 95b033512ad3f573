//! `kill -9` at each commit point, right before and right after it, also after a reply of the server got lost: the operation
//! completes or is cleanly undone, no sat is lost, and nothing is paid twice.
//!
//! [`scenario`] assigns every commit point to a story in which it is reached; a new commit point does not compile without a line
//! there. Each test tells one story over and over, with a process that dies at the next point.

use arkwalletd::wallet::CommitPoint;
use serde_json::json;

use crate::receiving::{board_txid, unconfirm_the_board};
use crate::support::{Daemon, World, assert_conserved, eventually};

/// What has to happen for a commit point to be reached.
#[derive(Clone, Copy, PartialEq)]
pub enum Story {
    /// The payer pays with coins that the server may not know yet.
    Pay,
    /// The payer pays, and the server refuses to sign.
    PayRefused,
    /// The payer boards.
    Board,
    /// The payer boards, and the server refuses.
    BoardRefused,
    /// The payee is paid.
    Receive,
    /// The payee is paid with coins whose anchor is not confirmed; then it is.
    ReceiveLate,
    /// Coins that the server may not know yet are refreshed in a round.
    Refresh,
    /// The tree of a round is not what was asked for; the next one is.
    RefreshMissed,
    /// The server refuses a coin of a refresh.
    RefreshRefused,
    /// A refresh is left with the server.
    Delegate,
    /// A coin of a delegated refresh is spent before the round.
    DelegateShrunk,
    /// An on-chain address is paid an exact amount.
    SendOnchain,
    /// An on-chain address is paid, and the server refuses after it did not answer.
    SendOnchainRefused,
    /// The server forgets an offboard that our forfeits went to.
    OffboardLost,
}

fn story(point: CommitPoint) -> Story {
    match point {
        CommitPoint::SendStarted
        | CommitPoint::SendInputsRegistered
        | CommitPoint::SendCosigned
        | CommitPoint::SendDelivered => Story::Pay,
        CommitPoint::SendDoubted | CommitPoint::SendAborted => Story::PayRefused,
        CommitPoint::BoardStarted
        | CommitPoint::BoardCosigned
        | CommitPoint::BoardBroadcast
        | CommitPoint::BoardRegistered => Story::Board,
        CommitPoint::BoardAborted => Story::BoardRefused,
        CommitPoint::ReceiveStored => Story::Receive,
        CommitPoint::ReceiveReleased => Story::ReceiveLate,
        CommitPoint::RoundStarted
        | CommitPoint::RoundInputsRegistered
        | CommitPoint::RoundJoining
        | CommitPoint::RoundJoined
        | CommitPoint::RoundCosigned
        | CommitPoint::RoundSigned
        | CommitPoint::RoundIssued
        | CommitPoint::RoundSeen
        | CommitPoint::RoundForfeiting
        | CommitPoint::RoundUnlocked
        | CommitPoint::RoundOutputsRegistered => Story::Refresh,
        CommitPoint::RoundMissed => Story::RefreshMissed,
        CommitPoint::RoundAborted => Story::RefreshRefused,
        CommitPoint::RoundDelegated => Story::Delegate,
        CommitPoint::RoundShrunk => Story::DelegateShrunk,
        CommitPoint::OffboardStarted
        | CommitPoint::OffboardInputsRegistered
        | CommitPoint::OffboardSplit
        | CommitPoint::OffboardReady
        | CommitPoint::OffboardPrepared
        | CommitPoint::OffboardSigned
        | CommitPoint::OffboardBroadcast
        | CommitPoint::OffboardSettled => Story::SendOnchain,
        CommitPoint::OffboardDoubted | CommitPoint::OffboardAborted => Story::SendOnchainRefused,
        CommitPoint::OffboardSessionLost => Story::OffboardLost,
    }
}

/// The failpoints of a story: both sides of each of its commit points.
pub fn failpoints(of: Story) -> impl Iterator<Item = String> {
    let points = CommitPoint::ALL
        .iter()
        .filter(move |point| story(**point) == of);
    points.flat_map(|point| ["before", "after"].map(|moment| format!("{}.{moment}", point.name())))
}

/// The daemons of a story; the first pays the second.
struct Scene {
    world: World,
    payer: Daemon,
    payee: Daemon,
}

impl Scene {
    async fn new() -> Scene {
        let world = World::new().await;
        let (payer, payee) = (
            Daemon::with_wallet(&world).await,
            Daemon::with_wallet(&world).await,
        );
        payer.fund_and_board(&world, 500_000).await;
        Scene {
            world,
            payer,
            payee,
        }
    }

    /// The reply to the next call of this RPC gets lost.
    fn lose_reply(&self, rpc: Option<&str>) {
        self.world.no_faults();
        if let Some(rpc) = rpc {
            self.world
                .fault(json!({"target": rpc, "times": 1, "action": {"type": "drop_after"}}));
        }
    }

    /// All books are right.
    async fn check(&self) {
        self.world.no_faults();
        self.payer.settled().await;
        assert_conserved(&self.world, &[&self.payer, &self.payee]).await;
    }
}

/// The failpoint was reached: the process died of SIGKILL.
pub async fn assert_killed(daemon: &mut Daemon, failpoint: &str) {
    use std::os::unix::process::ExitStatusExt;
    let status = daemon.death().await;
    assert_eq!(status.signal(), Some(9), "{failpoint}: {status}");
}

/// The statuses and effective balances of a daemon's movements of a kind, newest first.
pub async fn booked(daemon: &Daemon, kind: &str) -> Vec<(String, i64)> {
    daemon.settled().await;
    let history = daemon.history().await;
    let of_kind = history
        .iter()
        .filter(|movement| movement["subsystem"]["kind"] == kind);
    of_kind
        .map(|movement| {
            (
                movement["status"].as_str().unwrap().to_owned(),
                movement["effective_balance_sat"].as_i64().unwrap(),
            )
        })
        .collect()
}

#[tokio::test]
async fn a_payer_may_die_anywhere() {
    pay(None).await;
}

#[tokio::test]
async fn a_payer_may_die_anywhere_and_the_upload_of_chains_goes_unanswered() {
    pay(Some("RegisterVtxoTransactions")).await;
}

#[tokio::test]
async fn a_payer_may_die_anywhere_and_the_signature_gets_lost() {
    pay(Some("RequestArkoorCosign")).await;
}

#[tokio::test]
async fn a_payer_may_die_anywhere_and_the_delivery_goes_unanswered() {
    pay(Some("PostArkoorMessage")).await;
}

async fn pay(lost: Option<&str>) {
    let mut scene = Scene::new().await;
    let to = scene.payee.address().await;
    let (mut paid, mut times) = (0, 0);
    for failpoint in failpoints(Story::Pay) {
        println!("{failpoint}, lost reply: {lost:?}");
        forget_registrations(&mut scene, &failpoint).await;
        scene.lose_reply(lost);
        let body = json!({"destination": to, "amount_sat": 7_000});
        let asked = scene
            .payer
            .try_send("POST", "/wallet/send", Some(body))
            .await;
        assert_killed(&mut scene.payer, &failpoint).await;
        assert!(asked.is_err(), "{failpoint}: {asked:?}");
        scene.payer.restart(None).await;
        if failpoint != "send.started.before" {
            (paid, times) = (paid + 7_000, times + 1);
        }
        let sends = booked(&scene.payer, "send").await;
        assert_eq!(
            sends,
            vec![("successful".to_owned(), -7_000); times],
            "{failpoint}"
        );
        scene.payee.wait_for_spendable(paid).await;
        scene.payer.wait_for_spendable(500_000 - paid).await;
    }
    scene.check().await;
}

/// Restarts the payer as if its coins came from a backup: it does not know whether the server has their chains, and as
/// syncing is left to the API, nobody finds out before they are spent.
async fn forget_registrations(scene: &mut Scene, failpoint: &str) {
    scene.payer.stop().await;
    let database = rusqlite::Connection::open(scene.payer.folder().join("db.sqlite")).unwrap();
    database
        .execute_batch("UPDATE vtxo SET registered = 0")
        .unwrap();
    drop(database);
    let manual = [("BARK_DAEMON_MANUAL_SYNC", "true")];
    scene.payer.restart_with(Some(failpoint), &manual).await;
    scene.payer.wait_for_connected(true).await;
}

#[tokio::test]
async fn a_payer_may_die_while_it_is_refused() {
    let mut scene = Scene::new().await;
    let to = scene.payee.address().await;
    for failpoint in failpoints(Story::PayRefused) {
        println!("{failpoint}");
        scene.payer.stop().await;
        scene.payer.restart(Some(&failpoint)).await;
        scene.payer.wait_for_connected(true).await;
        let refusal = json!({"type": "status", "code": 3, "message": "no"});
        scene
            .world
            .fault(json!({"target": "RequestArkoorCosign", "action": refusal}));
        let body = json!({"destination": to, "amount_sat": 7_000});
        let asked = scene
            .payer
            .try_send("POST", "/wallet/send", Some(body))
            .await;
        assert_killed(&mut scene.payer, &failpoint).await;
        assert!(asked.is_err(), "{failpoint}: {asked:?}");
        scene.payer.restart(None).await;
        assert_eq!(
            booked(&scene.payer, "send").await[0],
            ("failed".to_owned(), 0),
            "{failpoint}"
        );
        assert_eq!(
            scene.payer.balance("spendable_sat").await,
            500_000,
            "{failpoint}"
        );
        scene.world.no_faults();
    }
    scene.payer.send(&to, 500_000).await.ok();
    scene.payee.wait_for_spendable(500_000).await;
    scene.check().await;
}

#[tokio::test]
async fn a_boarder_may_die_anywhere() {
    board(None).await;
}

#[tokio::test]
async fn a_boarder_may_die_anywhere_and_the_signature_gets_lost() {
    board(Some("RequestBoardCosign")).await;
}

#[tokio::test]
async fn a_boarder_may_die_anywhere_and_the_registration_goes_unanswered() {
    board(Some("RegisterBoardVtxo")).await;
}

async fn board(lost: Option<&str>) {
    let mut scene = Scene::new().await;
    scene.payer.fund(&scene.world, 1_000_000).await;
    let (mut spendable, mut times) = (500_000, 1);
    for failpoint in failpoints(Story::Board) {
        println!("{failpoint}, lost reply: {lost:?}");
        scene.payer.stop().await;
        scene.payer.restart(Some(&failpoint)).await;
        scene.payer.wait_for_connected(true).await;
        scene.lose_reply(lost);
        let body = json!({"amount_sat": 20_000});
        let asked = scene
            .payer
            .try_send("POST", "/boards/board-amount", Some(body))
            .await;
        let registers = failpoint.starts_with("board.registered");
        if registers {
            asked.expect("the board is accepted").ok();
            scene.world.mine(1).await;
        }
        assert_killed(&mut scene.payer, &failpoint).await;
        scene.payer.restart(None).await;
        if failpoint != "board.started.before" {
            (spendable, times) = (spendable + 20_000, times + 1);
            if !registers {
                eventually("the funding transaction is out", async || {
                    (!scene
                        .world
                        .sandbox
                        .chain
                        .mempool()
                        .await
                        .unwrap()
                        .is_empty())
                    .then_some(())
                })
                .await;
                scene.world.mine(1).await;
            }
        }
        scene.payer.wait_for_spendable(spendable).await;
        let boards = booked(&scene.payer, "board").await;
        assert_eq!(boards.len(), times, "{failpoint}: {boards:?}");
        assert!(
            boards.iter().all(|(status, _)| status == "successful"),
            "{failpoint}: {boards:?}"
        );
        scene.payer.post_empty("/onchain/sync").await.ok();
    }
    scene.check().await;
}

#[tokio::test]
async fn a_boarder_may_die_while_it_is_refused() {
    let mut scene = Scene::new().await;
    scene.payer.fund(&scene.world, 60_000).await;
    for failpoint in failpoints(Story::BoardRefused) {
        println!("{failpoint}");
        scene.payer.stop().await;
        scene.payer.restart(Some(&failpoint)).await;
        scene.payer.wait_for_connected(true).await;
        let refusal = json!({"type": "status", "code": 3, "message": "no"});
        scene
            .world
            .fault(json!({"target": "RequestBoardCosign", "action": refusal}));
        let body = json!({"amount_sat": 20_000});
        let asked = scene
            .payer
            .try_send("POST", "/boards/board-amount", Some(body))
            .await;
        assert_killed(&mut scene.payer, &failpoint).await;
        assert!(asked.is_err(), "{failpoint}: {asked:?}");
        scene.payer.restart(None).await;
        assert_eq!(
            booked(&scene.payer, "board").await[0],
            ("failed".to_owned(), 0),
            "{failpoint}"
        );
        scene.world.no_faults();
    }
    // The coins are free again: nearly all of them can be boarded now.
    scene.payer.post_empty("/onchain/sync").await.ok();
    scene.payer.board(&scene.world, 70_000).await;
    scene.payer.wait_for_spendable(570_000).await;
    scene.check().await;
}

#[tokio::test]
async fn a_payee_may_die_while_it_is_paid() {
    let mut scene = Scene::new().await;
    let to = scene.payee.address().await;
    let mut received = 0;
    for lost in [None, Some("ReadMailbox"), Some("SubscribeMailbox")] {
        for failpoint in failpoints(Story::Receive) {
            println!("{failpoint}, lost reply: {lost:?}");
            scene.payee.stop().await;
            scene.payer.send(&to, 7_000).await.ok();
            received += 7_000;
            scene.lose_reply(lost);
            scene.payee.restart_to_die(&failpoint);
            assert_killed(&mut scene.payee, &failpoint).await;
            scene.payee.restart(None).await;
            scene.payee.wait_for_spendable(received).await;
            let receipts = booked(&scene.payee, "receive").await;
            assert_eq!(
                receipts,
                vec![("successful".to_owned(), 7_000); receipts.len()],
                "{failpoint}"
            );
        }
    }
    assert_eq!(booked(&scene.payee, "receive").await.len(), 6);
    scene.check().await;
}

#[tokio::test]
async fn a_payee_may_die_while_a_payment_is_released_from_quarantine() {
    for failpoint in failpoints(Story::ReceiveLate) {
        println!("{failpoint}");
        let mut scene = Scene::new().await;
        let to = scene.payee.address().await;
        let txid = board_txid(&scene.payer).await;
        unconfirm_the_board(&scene.world, &scene.payer).await;
        scene.payer.send(&to, 7_000).await.ok();
        scene.payee.post_empty("/wallet/sync/mailbox").await.ok();
        assert_eq!(scene.payee.balance("spendable_sat").await, 0);
        scene.payee.stop().await;
        scene.payee.restart(Some(&failpoint)).await;
        scene.world.sandbox.chain.unhold(txid).await.unwrap();
        scene.world.mine(1).await;
        assert_killed(&mut scene.payee, &failpoint).await;
        scene.payee.restart(None).await;
        scene.payee.wait_for_spendable(7_000).await;
        assert_eq!(
            booked(&scene.payee, "receive").await,
            [("successful".to_owned(), 7_000)]
        );
        scene.check().await;
    }
}
