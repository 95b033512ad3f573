//! Each route that moves money: the same request with the same key has one effect and one answer.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{AMOUNT, Request, is_replayed, movements, payee, rich};
use crate::support::{
    Books, Daemon, Reply, SETTLE, World, assert_conserved, eventually, hash_of, rounds_of,
};

/// Sends a request twice with one key, then another one with the same key; answers the answer.
async fn assert_once(daemon: &Daemon, key: &str, request: &Request) -> Value {
    let first = request.send(daemon, key).await;
    assert!(!is_replayed(&first), "{first:?}");
    let first = first.ok();
    let again = request.send(daemon, key).await;
    assert!(is_replayed(&again), "{again:?}");
    assert_eq!(again.headers["content-type"], "application/json");
    assert_eq!(again.ok(), first, "{}", request.path);
    let mut other = request.body.clone().unwrap_or_else(|| json!({}));
    other["amount_sat"] = json!(4_321);
    let other = Request::new(request.path, other).send(daemon, key).await;
    other.refused(422, "idempotency_key_reused");
    first
}

/// The world's Lightning node has got this much, in sat.
async fn assert_got(world: &World, sats: u64) {
    eventually("the world has got the payments", async || {
        world.lightning_jobs().await;
        let sent = world.lightning_ledger().network.sent_msat;
        (sent == i64::try_from(sats * 1_000).unwrap()).then_some(())
    })
    .await;
}

/// An Ark address: without a key it is paid twice, with one once.
#[tokio::test]
async fn an_ark_address_is_paid_once_with_a_key() {
    let world = World::new().await;
    let payer = rich(&world, 100_000).await;
    let payee = Daemon::with_wallet(&world).await;
    let body = json!({"destination": payee.address().await, "amount_sat": AMOUNT});
    let request = Request::new("/wallet/send", body.clone());
    let answer = assert_once(&payer, "one", &request).await;
    let found = movements(&payer, "one").await;
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0]["id"], answer["movement_id"]);
    payee.wait_for_spendable(AMOUNT).await;
    for _ in 0..2 {
        payer.post("/wallet/send", body.clone()).await.ok();
    }
    payee.wait_for_spendable(3 * AMOUNT).await;
    let next = request.send(&payer, "two").await.ok();
    assert_ne!(next["movement_id"], answer["movement_id"]);
    payee.wait_for_spendable(4 * AMOUNT).await;
    payer.settled().await;
    assert_conserved(&world, &[&payer, &payee]).await;
}

/// Offers, LNURLs and Lightning addresses give a new invoice to each request (H70).
#[tokio::test]
async fn an_offer_an_lnurl_and_a_lightning_address_are_paid_once_with_a_key() {
    let world = World::new().await;
    let payer = rich(&world, 200_000).await;
    let host = world.sandbox.control_url.strip_prefix("http://").unwrap();
    let host = host.strip_suffix("/control").unwrap();
    let lnurl = arkwalletd_sandbox::lightning::lnurl::encode(&format!("http://{host}"), "alice");
    let destinations = [
        world.issue_offer(None, SETTLE),
        lnurl.unwrap(),
        format!("alice@{host}"),
    ];
    let mut paid = 0;
    for (number, destination) in destinations.iter().enumerate() {
        for path in ["/lightning/pay", "/wallet/send"] {
            let body = json!({"destination": destination, "amount_sat": AMOUNT});
            let key = format!("{number}-{}", path.len());
            let request = Request::new(path, body);
            let answer = assert_once(&payer, &key, &request).await;
            paid += AMOUNT;
            assert_got(&world, paid).await;
            let found = movements(&payer, &key).await;
            assert_eq!(found.len(), 1, "{found:#?}");
            assert_eq!(found[0]["id"], answer["movement_id"]);
        }
    }
    let invoice = world.issue(AMOUNT, SETTLE);
    let request = Request::new("/lightning/pay", json!({"destination": invoice.bolt11}));
    let answer = assert_once(&payer, "invoice", &request).await;
    assert_eq!(answer["payment_hash"], invoice.hash);
    assert_got(&world, paid + AMOUNT).await;
    payer.settled().await;
    assert_conserved(&world, &[&payer]).await;
}

/// What an address got, each payment by itself.
async fn received(world: &World, address: &str) -> Vec<u64> {
    Books::read(world).await.received(address)
}

#[tokio::test]
async fn payments_from_the_onchain_wallet_are_made_once_with_a_key() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund(&world, 300_000).await;
    let to = payee();
    let body = json!({"destination": to, "amount_sat": AMOUNT});
    assert_once(&daemon, "send", &Request::new("/onchain/send", body)).await;
    assert_eq!(received(&world, &to).await, [AMOUNT]);
    let two = format!("{to}:9000 sat");
    let body = json!({"destinations": [two, two]});
    assert_once(&daemon, "many", &Request::new("/onchain/send-many", body)).await;
    assert_eq!(received(&world, &to).await, [AMOUNT, 9_000, 9_000]);
    daemon.fund(&world, 50_000).await;
    let body = json!({"destination": to});
    let drain = Request::new("/onchain/drain", body);
    let drained = assert_once(&daemon, "drain", &drain).await;
    assert_eq!(received(&world, &to).await.len(), 4);
    daemon.fund(&world, 50_000).await;
    assert_eq!(drain.send(&daemon, "drain").await.ok(), drained);
    assert_eq!(received(&world, &to).await.len(), 4);
    assert!(movements(&daemon, "send").await.is_empty());
}

#[tokio::test]
async fn vtxos_are_taken_on_chain_once_with_a_key() {
    let world = World::new().await;
    let daemon = rich(&world, 100_000).await;
    daemon.fund_and_board(&world, 50_000).await;
    let to = payee();
    let body = json!({"destination": to, "amount_sat": AMOUNT});
    let request = Request::new("/wallet/send-onchain", body);
    let sent = assert_once(&daemon, "send", &request).await;
    assert_eq!(received(&world, &to).await, [AMOUNT]);
    daemon.settled().await;
    let found = movements(&daemon, "send").await;
    assert_eq!(found[0]["id"], sent["movement_id"]);
    let body = json!({"vtxos": [daemon.vtxos().await[0]], "address": to});
    let request = Request::new("/wallet/offboard/vtxos", body);
    assert_once(&daemon, "some", &request).await;
    assert_eq!(received(&world, &to).await.len(), 2);
    daemon.settled().await;
    let request = Request::new("/wallet/offboard/all", json!({"address": to}));
    let done = assert_once(&daemon, "all", &request).await;
    assert_eq!(received(&world, &to).await.len(), 3);
    daemon.settled().await;
    // What comes later is not taken.
    daemon.post_empty("/onchain/sync").await.ok();
    daemon.board(&world, 30_000).await;
    assert_eq!(request.send(&daemon, "all").await.ok(), done);
    assert_eq!(received(&world, &to).await.len(), 3);
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn boards_are_made_once_with_a_key() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund(&world, 200_000).await;
    let body = json!({"amount_sat": 30_000});
    let request = Request::new("/boards/board-amount", body);
    let first = assert_once(&daemon, "some", &request).await;
    world.mine(1).await;
    daemon.settled().await;
    assert_eq!(daemon.balance("spendable_sat").await, 30_000);
    // Also when it has ended.
    assert_eq!(request.send(&daemon, "some").await.ok(), first);
    assert_eq!(movements(&daemon, "some").await.len(), 1);
    daemon.post_empty("/onchain/sync").await.ok();
    let request = Request::new("/boards/board-all", None);
    let all = assert_once(&daemon, "all", &request).await;
    world.mine(1).await;
    daemon.settled().await;
    daemon.fund(&world, 50_000).await;
    assert_eq!(request.send(&daemon, "all").await.ok(), all);
    let history = daemon.history().await;
    assert_eq!(history.len(), 2, "{history:#?}");
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn refreshes_are_requested_once_with_a_key() {
    let world = World::with(rounds_of(1)).await;
    let (daemon, payee) = (
        rich(&world, 60_000).await,
        Daemon::with_wallet(&world).await,
    );
    payee.fund_and_board(&world, 20_000).await;
    let own = daemon.vtxos().await;
    payee.send(&daemon.address().await, 8_000).await.ok();
    daemon.wait_for_spendable(68_000).await;
    let received = daemon.vtxos().await;
    let received = received.iter().find(|id| !own.contains(id)).unwrap();
    let requests = [
        Request::new("/wallet/refresh/counterparty", None),
        Request::new("/wallet/refresh/vtxos", json!({"vtxos": own})),
        Request::new(
            "/wallet/refresh/delegated/vtxos",
            json!({"vtxos": [received]}),
        ),
        Request::new("/wallet/refresh/all", None),
    ];
    let mut ids = BTreeSet::new();
    for (number, request) in requests.iter().enumerate() {
        let key = format!("refresh-{number}");
        let round = assert_once(&daemon, &key, request).await;
        ids.insert(round["id"].as_u64().unwrap());
        let found = movements(&daemon, &key).await;
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(found[0]["id"], round["id"]);
    }
    assert_eq!(ids.len(), requests.len());
    let history = daemon.history().await;
    let refreshes = history.iter();
    let refreshes = refreshes.filter(|it| it["subsystem"]["kind"] == "refresh");
    assert_eq!(refreshes.count(), requests.len());
}

#[tokio::test]
async fn exits_are_started_and_claimed_once_with_a_key() {
    let world = World::new().await;
    let daemon = rich(&world, 60_000).await;
    daemon.fund_and_board(&world, 30_000).await;
    let vtxos = daemon.vtxos().await;
    let request = Request::new("/exits/start/vtxos", json!({"vtxos": [vtxos[0]]}));
    let started = assert_once(&daemon, "some", &request).await;
    assert_eq!(started["started"], json!([vtxos[0]]));
    assert_eq!(movements(&daemon, "some").await.len(), 1);
    let request = Request::new("/exits/start/all", None);
    let started = assert_once(&daemon, "all", &request).await;
    assert_eq!(started["started"], json!([vtxos[1]]));
    for vtxo in &vtxos {
        daemon.exit_until(&world, vtxo, "claimable").await;
    }
    let to = payee();
    let claim = json!({"destination": to, "vtxos": [vtxos[0]]});
    let request = Request::new("/exits/claim/vtxos", claim);
    assert_once(&daemon, "claim", &request).await;
    assert_eq!(movements(&daemon, "claim").await.len(), 1);
    let request = Request::new("/exits/claim/all", json!({"destination": to}));
    // Without a key the second one is refused, because nothing is left.
    assert_once(&daemon, "claim-all", &request).await;
    assert_eq!(received(&world, &to).await.len(), 2);
}

#[tokio::test]
async fn invoices_are_made_once_with_a_key() {
    let world = World::new().await;
    let daemon = rich(&world, 60_000).await;
    let request = Request::new("/lightning/receives/invoice", json!({"amount_sat": AMOUNT}));
    let made = assert_once(&daemon, "own", &request).await;
    let invoice = made["invoice"].as_str().unwrap();
    assert!(movements(&daemon, "own").await.is_empty());
    let other = Daemon::with_wallet(&world).await;
    let body = json!({"amount_sat": AMOUNT, "address": other.address().await});
    let path = "/lightning/receives/invoice/for-address";
    assert_once(&daemon, "for", &Request::new(path, body)).await;
    let open = daemon.get("/lightning/receives").await.ok();
    assert_eq!(open.as_array().unwrap().len(), 2, "{open:#}");
    world.pays(invoice).await;
    daemon
        .wait_for_receive_state(&hash_of(invoice), "settled")
        .await;
    let found = movements(&daemon, "own").await;
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0]["intended_balance_sat"], AMOUNT);
}

/// How many requests come at once.
const AT_ONCE: usize = 20;

/// Sends a request many times at once with one key: each answer is the same, or says that it is being carried out.
async fn at_once(daemon: &Daemon, key: &str, request: &Request) {
    let requests = (0..AT_ONCE).map(|_| request.send(daemon, key));
    let replies = futures::future::join_all(requests).await;
    let refused = |reply: &Reply| reply.body["code"] == "idempotency_in_progress";
    let (waiting, answered): (Vec<_>, Vec<_>) = replies.into_iter().partition(refused);
    for reply in waiting {
        assert_eq!(reply.headers["retry-after"], "1");
        assert!(reply.body["message"].is_string());
        reply.refused(409, "idempotency_in_progress");
    }
    let answers: BTreeSet<String> = answered
        .into_iter()
        .map(|reply| reply.ok().to_string())
        .collect();
    assert_eq!(answers.len(), 1, "{}: {answers:?}", request.path);
    let last = request.outcome(daemon, key).await.ok();
    assert_eq!(Some(&last.to_string()), answers.first());
}

#[tokio::test]
async fn many_requests_at_once_with_one_key_have_one_effect() {
    let world = World::new().await;
    let payer = rich(&world, 200_000).await;
    let payee_daemon = Daemon::with_wallet(&world).await;
    let to = payee();
    let address = payee_daemon.address().await;
    let body = json!({"destination": address, "amount_sat": AMOUNT});
    at_once(&payer, "ark", &Request::new("/wallet/send", body)).await;
    payee_daemon.wait_for_spendable(AMOUNT).await;
    let body = json!({"destination": world.issue_offer(None, SETTLE), "amount_sat": AMOUNT});
    at_once(&payer, "offer", &Request::new("/lightning/pay", body)).await;
    assert_got(&world, AMOUNT).await;
    let body = json!({"destination": to, "amount_sat": AMOUNT});
    at_once(
        &payer,
        "onchain",
        &Request::new("/onchain/send", body.clone()),
    )
    .await;
    assert_eq!(received(&world, &to).await, [AMOUNT]);
    at_once(&payer, "out", &Request::new("/wallet/send-onchain", body)).await;
    assert_eq!(received(&world, &to).await, [AMOUNT, AMOUNT]);
    let body = json!({"amount_sat": 20_000});
    payer.post_empty("/onchain/sync").await.ok();
    at_once(&payer, "board", &Request::new("/boards/board-amount", body)).await;
    world.mine(1).await;
    payer.settled().await;
    let boards = payer.history().await;
    let boards = boards
        .iter()
        .filter(|it| it["subsystem"]["kind"] == "board");
    assert_eq!(boards.count(), 2);
    assert_conserved(&world, &[&payer, &payee_daemon]).await;
}
