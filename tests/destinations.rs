//! What `POST /wallet/send` takes, and what it refuses before anything is paid (docs/protocol.md §4.13, §4.14).

use std::time::{Duration, Instant};

use arkwalletd_sandbox::lightning::{InvoiceRequest, Outcome, lnurl};
use bitcoin::Network;
use bitcoin::bech32::{self, Hrp, NoChecksum};
use bitcoin::constants::ChainHash;
use serde_json::{Value, json};

use crate::support::{Daemon, Reply, World, assert_conserved};

/// A wallet with 50 000 sat, and what it looks like before a request.
struct Scene {
    world: World,
    daemon: Daemon,
    before: Value,
}

impl Scene {
    async fn new() -> Scene {
        let world = World::new().await;
        let daemon = Daemon::with_wallet(&world).await;
        daemon.fund_and_board(&world, 50_000).await;
        let before = books(&daemon).await;
        Scene {
            world,
            daemon,
            before,
        }
    }

    async fn send(&self, body: Value) -> Reply {
        self.daemon.post("/wallet/send", body).await
    }

    /// Asserts that nothing was paid, locked or recorded.
    async fn assert_untouched(&self) {
        assert_eq!(books(&self.daemon).await, self.before);
        let taken = self.world.sandbox.ark.lightning_ledger();
        assert_eq!(taken.expect("a ledger").taken_sat, 0);
        assert_conserved(&self.world, &[&self.daemon]).await;
    }

    /// The sandbox's host and port.
    fn host(&self) -> &str {
        let url = self.world.sandbox.control_url.strip_prefix("http://");
        let host = url.and_then(|url| url.strip_suffix("/control"));
        host.expect("a control API on this machine")
    }

    fn lnurl(&self, user: &str) -> String {
        lnurl::encode(&format!("http://{}", self.host()), user).expect("a short URL")
    }

    /// An invoice of the world.
    fn invoice(&self, request: InvoiceRequest) -> String {
        let network = self.world.sandbox.ark.lightning();
        network.issue(request).expect("an invoice").to_string()
    }
}

/// Balance, VTXOs and history.
async fn books(daemon: &Daemon) -> Value {
    let balance = daemon.get("/wallet/balance").await.ok();
    let vtxos = daemon.get("/wallet/vtxos").await.ok();
    json!([balance, vtxos, daemon.history().await])
}

/// An offer with these fields (BOLT12), for items without a number.
fn offer(chain: Network, currency: Option<&str>, amount: Option<u8>) -> String {
    let chain = ChainHash::using_genesis_block(chain);
    let mut fields = vec![2, 32];
    fields.extend_from_slice(chain.as_bytes());
    let mut add = |kind: u8, value: &[u8]| {
        fields.push(kind);
        fields.push(u8::try_from(value.len()).expect("a short field"));
        fields.extend_from_slice(value);
    };
    if let Some(currency) = currency {
        add(6, currency.as_bytes());
    }
    if let Some(amount) = amount {
        add(8, &[amount]);
    }
    add(10, b"tea");
    let issuer = bitcoin::secp256k1::constants::GENERATOR_X;
    add(22, &[&[2], &issuer[..]].concat());
    let hrp = Hrp::parse_unchecked("lno");
    bech32::encode::<NoChecksum>(hrp, &fields).expect("a short offer")
}

/// H41: what an LNURL server answers is checked. A server that misbehaves costs nothing but the time of one request.
#[tokio::test]
async fn lnurl_servers_that_misbehave_are_refused_within_the_deadline() {
    let scene = Scene::new().await;
    let asked = |user: &'static str| {
        let body = json!({"destination": scene.lnurl(user), "amount_sat": 1_000});
        scene.send(body)
    };
    let begun = Instant::now();
    let users = [
        ("wrong-amount", "lnurl_invalid_answer"),
        ("wrong-hash", "lnurl_invalid_answer"),
        ("redirect", "lnurl_address_forbidden"),
        ("huge", "lnurl_invalid_answer"),
        ("silent", "lnurl_unreachable"),
        ("error", "lnurl_refused"),
        ("nobody", "lnurl_refused"),
    ];
    let replies = futures::future::join_all(users.map(|(user, _)| asked(user))).await;
    assert!(begun.elapsed() < Duration::from_secs(15));
    let mut messages = Vec::new();
    for (reply, (user, code)) in replies.into_iter().zip(users) {
        messages.push(format!("{user}: {}", reply.refused(400, code)));
    }
    let messages = messages.join("\n");
    for part in [
        "wrong-amount: the payee's LNURL server gave an answer that cannot be used: its invoice is over another amount",
        "redirect: the payee's LNURL leads to 10.0.0.1",
        "error: the payee's LNURL server refused: this user always answers with an error",
    ] {
        assert!(messages.contains(part), "{messages}");
    }
    scene.assert_untouched().await;
}

#[tokio::test]
async fn an_lnurl_takes_only_the_amounts_and_comments_that_it_names() {
    let scene = Scene::new().await;
    let alice = format!("alice@{}", scene.host());
    for destination in [scene.lnurl("alice"), alice] {
        scene
            .send(json!({"destination": destination}))
            .await
            .refused(400, "missing_amount");
        let too_much = json!({"destination": destination, "amount_sat": 100_000_001});
        let message = scene
            .send(too_much)
            .await
            .refused(400, "amount_out_of_range");
        assert!(message.contains("from 1 to 100000000 sat"), "{message}");
        let comment = "x".repeat(141);
        let body = json!({"destination": destination, "amount_sat": 1_000, "comment": comment});
        let message = scene.send(body).await.refused(400, "comment_too_long");
        assert!(message.contains("140 characters"), "{message}");
    }
    for destination in [
        "alice@10.0.0.1",
        "alice@[fd00::1]",
        "lnurlp://169.254.169.254/latest",
    ] {
        scene
            .send(json!({"destination": destination, "amount_sat": 1_000}))
            .await
            .refused(400, "lnurl_address_forbidden");
    }
    scene.assert_untouched().await;
}

/// W26: no offer makes the daemon panic, whatever its chain and currency.
#[tokio::test]
async fn offers_that_cannot_be_paid_are_refused() {
    let scene = Scene::new().await;
    let regtest = Network::Regtest;
    let cases = [
        (
            offer(Network::Bitcoin, None, None),
            Some(1_000),
            "wrong_network",
        ),
        (
            offer(Network::Signet, None, Some(100)),
            None,
            "wrong_network",
        ),
        (offer(regtest, None, None), None, "missing_amount"),
        (offer(regtest, Some("EUR"), Some(5)), None, "missing_amount"),
        // The issuer of this one does not exist.
        (
            offer(regtest, Some("EUR"), Some(5)),
            Some(1_000),
            "offer_unanswered",
        ),
        (offer(regtest, None, None), Some(1_000), "offer_unanswered"),
    ];
    for (destination, amount, code) in cases {
        let body = json!({"destination": destination, "amount_sat": amount});
        scene.send(body).await.refused(400, code);
    }
    let network = scene.world.sandbox.ark.lightning();
    let tea = network.issue_offer(Some(7_000_000), "tea", Outcome::default());
    let tea = tea.expect("an offer").to_string();
    let too_little = json!({"destination": tea, "amount_sat": 6_999});
    scene.send(too_little).await.refused(400, "amount_mismatch");
    let comment = json!({"destination": tea, "comment": "hi"});
    scene
        .send(comment)
        .await
        .refused(400, "comment_not_supported");
    scene.assert_untouched().await;
}

#[tokio::test]
async fn invoices_that_cannot_be_paid_are_refused() {
    let scene = Scene::new().await;
    let of = |amount_msat| InvoiceRequest {
        amount_msat,
        ..InvoiceRequest::default()
    };
    let foreign = InvoiceRequest {
        wrong_network: true,
        ..of(Some(1_000_000))
    };
    let invoice = scene.invoice(of(Some(1_000_000)));
    let cases = [
        (
            json!({"destination": scene.invoice(foreign)}),
            "wrong_network",
        ),
        (
            json!({"destination": scene.invoice(of(None))}),
            "missing_amount",
        ),
        (
            json!({"destination": scene.invoice(of(Some(499)))}),
            "invalid_amount",
        ),
        (
            json!({"destination": invoice, "amount_sat": 999}),
            "amount_mismatch",
        ),
        (
            json!({"destination": invoice, "amount_sat": 2_000}),
            "amount_mismatch",
        ),
        (
            json!({"destination": invoice, "comment": "hi"}),
            "comment_not_supported",
        ),
    ];
    for (body, code) in cases {
        scene.send(body).await.refused(400, code);
    }
    let uri = format!("bitcoin:?amount=0.00002&lightning={invoice}");
    let body = json!({"destination": uri});
    scene.send(body).await.refused(400, "amount_mismatch");
    let body = json!({"destination": uri, "amount_sat": 1_000});
    scene.send(body).await.refused(400, "amount_mismatch");
    scene.assert_untouched().await;
}

/// A comment is for payees that can read it. The published examples send one to an Ark address too.
#[tokio::test]
async fn an_ark_payment_ignores_the_comment_and_may_come_as_a_uri() {
    let scene = Scene::new().await;
    let payee = Daemon::with_wallet(&scene.world).await;
    let to = payee.address().await;
    let body = json!({"destination": to, "amount_sat": 10_000, "comment": "Coffee payment"});
    scene.send(body).await.ok();
    payee.wait_for_spendable(10_000).await;
    let uri = format!("BITCOIN:?AMOUNT=0.00002&ARK={}", to.to_uppercase());
    scene.send(json!({"destination": uri})).await.ok();
    payee.wait_for_spendable(12_000).await;
    assert_eq!(
        scene.daemon.history().await[0]["sent_to"][0]["destination"],
        json!({"type": "ark", "value": to})
    );
    assert_conserved(&scene.world, &[&scene.daemon, &payee]).await;
}
