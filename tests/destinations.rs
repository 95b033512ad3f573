//! What `POST /wallet/send` takes, and what it refuses before anything is paid (docs/protocol.md §4.13, §4.13.1).

use std::time::{Duration, Instant};

use ark_lib::lightning::PaymentHash;
use arkwalletd_sandbox::ark::Params;
use arkwalletd_sandbox::lightning::{InvoiceRequest, Outcome, WorldInvoice, lnurl};
use bitcoin::Network;
use bitcoin::bech32::{self, Hrp, NoChecksum};
use bitcoin::constants::ChainHash;
use serde_json::{Value, json};

use crate::support::{Daemon, Reply, World, assert_conserved, eventually};

/// A wallet with 50 000 sat, and what it looks like before a request.
struct Scene {
    world: World,
    daemon: Daemon,
    before: Value,
}

impl Scene {
    async fn new() -> Scene {
        Scene::with(Params::free()).await
    }

    async fn with(params: Params) -> Scene {
        let world = World::with(params).await;
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

    /// Sends, and waits until the payee has the money. Answers the method in the history and the payee's invoice.
    async fn pays(&self, body: Value) -> (Value, WorldInvoice) {
        let path = "/wallet/send";
        self.pays_with(path, body).await
    }

    async fn pays_with(&self, path: &str, body: Value) -> (Value, WorldInvoice) {
        let answer = self.daemon.post(path, body).await.ok();
        let hash = answer["payment_hash"].as_str().expect("a payment hash");
        let status = format!("/lightning/sends/{hash}");
        eventually("the payment is paid", async || {
            let status = self.daemon.get(&status).await.ok();
            (status["state"] == "paid").then_some(())
        })
        .await;
        let hash: PaymentHash = hash.parse().expect("a hash");
        let network = self.world.sandbox.ark.lightning();
        let invoice = network.world_invoice(hash).expect("a database");
        let movement = self.daemon.movement("send").await;
        assert_eq!(movement["id"], answer["movement_id"]);
        assert_eq!(movement["status"], "successful");
        let method = movement["sent_to"][0]["destination"].clone();
        (method, invoice.expect("an invoice of the world"))
    }

    /// What the world got, in sat.
    fn received(&self) -> i64 {
        let ledger = self.world.sandbox.ark.lightning_ledger();
        ledger.expect("a ledger").network.sent_msat / 1_000
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

/// H41: the Ark server fetches the invoice for an offer, and may bring one of its own, or over another amount.
#[tokio::test]
async fn an_invoice_that_the_server_made_up_for_an_offer_is_refused() {
    let scene = Scene::new().await;
    let network = scene.world.sandbox.ark.lightning();
    let offer = network.issue_offer(None, "tea", Outcome::default());
    let body = json!({"destination": offer.expect("an offer").to_string(), "amount_sat": 1_000});
    for change in ["other_issuer", "other_amount"] {
        let action = json!({"type": "alter_invoice", "change": change});
        let fault = json!({"target": "lnsend.fetch_invoice", "times": 1, "action": action});
        scene.world.fault(fault);
        let refused = scene.send(body.clone()).await;
        refused.refused(400, "invalid_invoice");
    }
    assert_eq!(scene.world.faults_fired("lnsend.fetch_invoice"), 2);
    let lost =
        json!({"target": "FetchBolt12Invoice", "times": 1, "action": {"type": "drop_after"}});
    scene.world.fault(lost);
    let lost = scene.send(body.clone()).await;
    lost.refused(503, "server_unavailable");
    network.set_online(false);
    let unanswered = scene.send(body).await;
    unanswered.refused(400, "offer_unanswered");
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

/// The published examples: an invoice without an amount in the request, a Lightning address with a comment; and the other names of a
/// payee.
#[tokio::test]
async fn every_kind_of_lightning_payee_is_paid() {
    let scene = Scene::new().await;
    let of = |sats: u64| {
        let amount_msat = Some(sats * 1_000);
        scene.invoice(InvoiceRequest {
            amount_msat,
            ..InvoiceRequest::default()
        })
    };
    let invoice = of(1_000);
    let (method, _) = scene.pays(json!({"destination": invoice})).await;
    assert_eq!(method, json!({"type": "invoice", "value": invoice}));
    assert_eq!(scene.received(), 1_000);

    let alice = format!("alice@{}", scene.host());
    let comment = "Thanks for the coffee!";
    let body = json!({"destination": alice, "amount_sat": 5_000, "comment": comment});
    let (method, paid) = scene.pays(body).await;
    assert_eq!(method, json!({"type": "lightning-address", "value": alice}));
    assert_eq!(paid.comment.as_deref(), Some(comment));
    assert_eq!(scene.received(), 6_000);

    let lnurl = scene.lnurl("alice");
    let schemed = format!("lnurlp://{}/.well-known/lnurlp/alice", scene.host());
    let prefixed = format!("lightning:{}", lnurl.to_uppercase());
    for text in [&lnurl, &schemed, &prefixed] {
        let (method, _) = scene
            .pays(json!({"destination": text, "amount_sat": 500}))
            .await;
        assert_eq!(method, json!({"type": "lnurl", "value": lnurl}), "{text}");
    }
    assert_eq!(scene.received(), 7_500);

    let network = scene.world.sandbox.ark.lightning();
    let offer = |msat| {
        let offer = network.issue_offer(msat, "tea", Outcome::default());
        offer.expect("an offer").to_string()
    };
    let (priced, open) = (offer(Some(700_000)), offer(None));
    let (method, _) = scene.pays(json!({"destination": priced})).await;
    assert_eq!(method, json!({"type": "offer", "value": priced}));
    scene
        .pays(json!({"destination": open, "amount_sat": 800}))
        .await;
    assert_eq!(scene.received(), 9_000);

    let uri = format!(
        "bitcoin:?amount=0.00001&lightning={}",
        of(1_000).to_uppercase()
    );
    scene.pays(json!({"destination": uri})).await;
    let without_amount = scene.invoice(InvoiceRequest::default());
    let uri = format!("bitcoin:?amount=0.00002&lightning={without_amount}");
    scene
        .pays(json!({"destination": uri, "amount_sat": 2_000}))
        .await;
    assert_eq!(scene.received(), 12_000);

    // The first can be paid to the Ark address too; over Lightning is what was asked for.
    let own = scene.daemon.address().await;
    let uri = format!("bitcoin:?ark={own}&lightning={}", of(3_000));
    scene
        .pays_with("/lightning/pay", json!({"destination": uri}))
        .await;
    assert_eq!(scene.received(), 15_000);
    for destination in [own.clone(), format!("bitcoin:?ark={own}")] {
        let body = json!({"destination": destination, "amount_sat": 1_000});
        let refused = scene.daemon.post("/lightning/pay", body).await;
        refused.refused(400, "not_lightning");
    }
    assert_eq!(scene.daemon.balance("spendable_sat").await, 35_000);
}

#[tokio::test]
async fn an_expired_invoice_and_a_fee_above_the_callers_limit_lock_nothing() {
    let scene = Scene::with(Params {
        fees: Params::demo().fees,
        ..Params::free()
    })
    .await;
    let request = |expired| InvoiceRequest {
        amount_msat: Some(1_000_000),
        expired,
        ..InvoiceRequest::default()
    };
    let expired = scene.invoice(request(true));
    let body = json!({"destination": expired});
    scene.send(body).await.refused(400, "invoice_expired");
    let invoice = scene.invoice(request(false));
    let body = json!({"destination": invoice, "max_fee_sat": 0});
    scene.send(body).await.refused(409, "fee_above_ceiling");
    assert_eq!(books(&scene.daemon).await, scene.before);
}

/// A payee that fails the payment of its own invoice: the money comes back.
#[tokio::test]
async fn an_lnurl_whose_payment_fails_costs_nothing() {
    let scene = Scene::new().await;
    let body =
        json!({"destination": scene.lnurl("fail"), "amount_sat": 1_000, "retry_for_secs": 0});
    scene.send(body).await;
    scene.daemon.wait_for_spendable(50_000).await;
    scene.daemon.settled().await;
    assert_eq!(scene.daemon.movement("send").await["status"], "failed");
    assert_eq!(scene.received(), 0);
    assert_conserved(&scene.world, &[&scene.daemon]).await;
}
