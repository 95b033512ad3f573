//! `kill -9` between the request and its answer, at each commit point of the start and after: the request that is repeated with its key
//! has exactly one effect (H70).

use serde_json::{Value, json};

use super::{AMOUNT, Request, movements, payee, rich};
use crate::crash::assert_killed;
use crate::support::{Books, Daemon, SETTLE, World, assert_conserved, eventually};

/// Kills the daemon while it serves a request, right before and right after each of these commit points, and repeats the request with
/// its key. Answers how often it was carried out: once for each key.
async fn kill_and_repeat(
    world: &World,
    daemon: &mut Daemon,
    points: &[&str],
    mut request: impl AsyncFnMut(&Daemon) -> Request,
) -> Vec<Value> {
    let mut answers = Vec::new();
    for point in points {
        for moment in ["before", "after"] {
            let point = format!("{point}.{moment}");
            let request = request(daemon).await;
            daemon.stop().await;
            daemon.restart(Some(&point)).await;
            daemon.wait_for_connected(true).await;
            daemon.post_empty("/onchain/sync").await.ok();
            // If the failpoint comes after the answer, the daemon is killed soon after.
            let body = request.body.as_ref();
            let first = daemon.try_post_once(&point, request.path, body).await.ok();
            assert_killed(daemon.wait_for_exit().await);
            daemon.restart(None).await;
            daemon.wait_for_connected(true).await;
            let answer = request.outcome(daemon, &point).await.ok();
            assert_eq!(request.send(daemon, &point).await.ok(), answer, "{point}");
            if let Some(first) = first {
                assert_eq!(first.ok(), answer, "{point}");
            }
            eventually("what is due is mined", async || {
                if !world.sandbox.chain.mempool().await.unwrap().is_empty() {
                    world.mine(1).await;
                }
                Some(())
            })
            .await;
            answers.push(answer);
        }
    }
    answers
}

#[tokio::test]
async fn a_payment_to_an_ark_address_is_made_once_over_kills() {
    let world = World::new().await;
    let mut payer = rich(&world, 200_000).await;
    let payee = Daemon::with_wallet(&world).await;
    let points = ["send.started", "send.cosigned", "send.delivered"];
    let made = kill_and_repeat(&world, &mut payer, &points, async |_| {
        let body = json!({"destination": payee.address().await, "amount_sat": AMOUNT});
        Request::new("/wallet/send", body)
    })
    .await;
    assert_eq!(made[0]["message"], "Payment sent successfully");
    payee.wait_for_spendable(AMOUNT * made.len() as u64).await;
    let found = movements(&payer, "send.cosigned.after").await;
    assert_eq!(found[0]["id"], made[3]["movement_id"]);
    payer.settled().await;
    assert_conserved(&world, &[&payer, &payee]).await;
}

/// Each answer of the server is lost once, the daemon is killed meanwhile, and the request is repeated.
#[tokio::test]
async fn a_payment_is_made_once_over_lost_answers_and_kills() {
    let world = World::new().await;
    let mut payer = rich(&world, 200_000).await;
    let payee = Daemon::with_wallet(&world).await;
    let mut paid = 0;
    for rpc in ["RequestArkoorCosign", "PostArkoorMessage"] {
        let body = json!({"destination": payee.address().await, "amount_sat": AMOUNT});
        let request = Request::new("/wallet/send", body);
        let lost = world.fault(json!({"target": rpc, "action": {"type": "drop_after"}}));
        tokio::select! {
            reply = request.send(&payer, rpc) => panic!("{reply:?}"),
            () = eventually("an answer is lost", async || {
                (world.fired(lost) > 0).then_some(())
            }) => {}
        }
        payer.kill().await;
        world.end_fault(lost);
        payer.restart(None).await;
        payer.wait_for_connected(true).await;
        request.outcome(&payer, rpc).await.ok();
        paid += AMOUNT;
        payee.wait_for_spendable(paid).await;
    }
    payer.settled().await;
    assert_conserved(&world, &[&payer, &payee]).await;
}

#[tokio::test]
async fn an_offer_is_paid_once_over_kills() {
    let world = World::new().await;
    let mut payer = rich(&world, 200_000).await;
    let points = [
        "lightning_send.started",
        "lightning_send.cosigned",
        "lightning_send.initiated",
    ];
    let made = kill_and_repeat(&world, &mut payer, &points, async |_| {
        let offer = world.issue_offer(None, SETTLE);
        let body = json!({"destination": offer, "amount_sat": AMOUNT});
        Request::new("/lightning/pay", body)
    })
    .await;
    eventually("the world has got the payments", async || {
        world.lightning_jobs().await;
        let sent = world.lightning_ledger().network.sent_msat;
        let due = AMOUNT * 1_000 * made.len() as u64;
        assert!(sent <= i64::try_from(due).unwrap(), "paid twice");
        (sent == i64::try_from(due).unwrap()).then_some(())
    })
    .await;
    payer.settled().await;
    assert_conserved(&world, &[&payer]).await;
}

#[tokio::test]
async fn onchain_payments_are_made_once_over_kills() {
    let world = World::new().await;
    let mut daemon = rich(&world, 100_000).await;
    let to = payee();
    let mut paid = 0;
    let bodies = [
        (
            "/onchain/send",
            json!({"destination": to, "amount_sat": AMOUNT}),
        ),
        (
            "/onchain/send-many",
            json!({"destinations": [format!("{to}:{AMOUNT} sat")]}),
        ),
        ("/onchain/drain", json!({"destination": to})),
    ];
    for (path, body) in bodies {
        for moment in ["before", "after"] {
            daemon.fund(&world, 50_000).await;
            let point = format!("onchain.paid.{moment}");
            let key = format!("{path}-{moment}");
            let request = Request::new(path, body.clone());
            daemon.stop().await;
            daemon.restart(Some(&point)).await;
            let lost = daemon.try_post_once(&key, path, Some(&body)).await;
            assert!(lost.is_err(), "{lost:?}");
            assert_killed(daemon.wait_for_exit().await);
            daemon.restart(None).await;
            let answer = request.send(&daemon, &key).await.ok();
            assert_eq!(request.send(&daemon, &key).await.ok(), answer);
            daemon.post_empty("/onchain/sync").await.ok();
            paid += 1;
            let received = Books::read(&world).await.received(&to);
            assert_eq!(received.len(), paid, "{key}: {received:?}");
        }
    }
}

#[tokio::test]
async fn payments_on_chain_out_of_vtxos_are_made_once_over_kills() {
    let world = World::new().await;
    let mut daemon = rich(&world, 300_000).await;
    let to = payee();
    let points = [
        "offboard.started",
        "offboard.split",
        "offboard.prepared",
        "offboard.signed",
        "offboard.broadcast",
    ];
    let made = kill_and_repeat(&world, &mut daemon, &points, async |_| {
        let body = json!({"destination": to, "amount_sat": AMOUNT});
        Request::new("/wallet/send-onchain", body)
    })
    .await;
    daemon.settled().await;
    let received = Books::read(&world).await.received(&to);
    assert_eq!(received, vec![AMOUNT; made.len()]);
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn boards_are_made_once_over_kills() {
    let world = World::new().await;
    let mut daemon = Daemon::with_wallet(&world).await;
    daemon.fund(&world, 500_000).await;
    let points = ["board.started", "board.cosigned", "board.broadcast"];
    let made = kill_and_repeat(&world, &mut daemon, &points, async |daemon| {
        daemon.post_empty("/onchain/sync").await.ok();
        Request::new("/boards/board-amount", json!({"amount_sat": 20_000}))
    })
    .await;
    world.mine(1).await;
    daemon.settled().await;
    let boards = daemon.history().await;
    assert_eq!(boards.len(), made.len(), "{boards:#?}");
    daemon.wait_for_spendable(20_000 * made.len() as u64).await;
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn invoices_are_made_once_over_kills() {
    let world = World::new().await;
    let mut daemon = Daemon::with_wallet(&world).await;
    let points = ["lightning_receive.invoiced"];
    let made = kill_and_repeat(&world, &mut daemon, &points, async |_| {
        Request::new("/lightning/receives/invoice", json!({"amount_sat": AMOUNT}))
    })
    .await;
    let open = daemon.get("/lightning/receives").await.ok();
    assert_eq!(open.as_array().unwrap().len(), made.len(), "{open:#}");
}

#[tokio::test]
async fn refreshes_are_requested_once_over_kills() {
    let world = World::new().await;
    let mut daemon = rich(&world, 60_000).await;
    let made = kill_and_repeat(&world, &mut daemon, &["round.started"], async |_| {
        Request::new("/wallet/refresh/all", None)
    })
    .await;
    let rounds = daemon.get("/wallet/rounds").await.ok();
    assert_eq!(rounds.as_array().unwrap().len(), made.len(), "{rounds:#}");
}

#[tokio::test]
async fn exits_are_started_and_claimed_once_over_kills() {
    let world = World::new().await;
    let mut daemon = rich(&world, 60_000).await;
    daemon.fund_and_board(&world, 30_000).await;
    let vtxos = daemon.vtxos().await;
    let mut left = vtxos.clone();
    let started = kill_and_repeat(&world, &mut daemon, &["exit.started"], async |_| {
        left.pop().unwrap();
        let body = json!({"vtxos": &vtxos[left.len()..]});
        Request::new("/exits/start/vtxos", body)
    })
    .await;
    // The second request names both VTXOs, and the answer still says so after the kill.
    let skipped = json!([{"vtxo_id": vtxos[1], "reason": "it is exiting already"}]);
    assert_eq!(started[1]["started"], json!([vtxos[0]]));
    assert_eq!(started[1]["skipped"], skipped);
    for vtxo in &vtxos {
        daemon.exit_until(&world, vtxo, "claimable").await;
    }
    let (to, mut left) = (payee(), vtxos.clone());
    kill_and_repeat(&world, &mut daemon, &["exit.claim_signed"], async |_| {
        let body = json!({"destination": to, "vtxos": [left.pop().unwrap()]});
        Request::new("/exits/claim/vtxos", body)
    })
    .await;
    eventually("both claims are confirmed", async || {
        world.mine(1).await;
        daemon.progress().await;
        (Books::read(&world).await.received(&to).len() == 2).then_some(())
    })
    .await;
}
