use std::sync::Arc;
use std::time::Duration;

use ark_lib::SECP;
use ark_lib::lightning::{Bolt12InvoiceExt, Invoice, PaymentHash, Preimage};
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use bitcoin::secp256k1::{Keypair, rand::thread_rng};
use bitcoin::{Amount, Network};
use lightning_invoice::{Bolt11Invoice, Currency};
use serde_json::Value;
use tower::ServiceExt;

use super::*;

fn network() -> LightningNetwork {
    let key = || Keypair::new(&*SECP, &mut thread_rng());
    LightningNetwork::open(None, key(), key(), Clock::default()).unwrap()
}

fn hold_terms(network: &LightningNetwork, preimage: Preimage) -> InvoiceTerms {
    InvoiceTerms {
        hash: preimage.compute_payment_hash(),
        amount_msat: Some(5_000_000),
        description: Description::Text("coffee".to_owned()),
        created: network.clock().now(),
        expiry: Duration::from_secs(600),
        min_final_cltv: 56,
        currency: Currency::Regtest,
    }
}

#[test]
fn an_invoice_of_the_world_is_signed_and_says_what_was_asked() {
    let network = network();
    let request = InvoiceRequest {
        amount_msat: Some(1_234_000),
        description: Some("tea".to_owned()),
        min_final_cltv: Some(20),
        ..InvoiceRequest::default()
    };
    let invoice: Bolt11Invoice = network.issue(request).unwrap().to_string().parse().unwrap();
    assert_eq!(invoice.network(), Network::Regtest);
    assert_eq!(invoice.amount_milli_satoshis(), Some(1_234_000));
    assert_eq!(invoice.min_final_cltv_expiry_delta(), 20);
    assert_eq!(invoice.recover_payee_pub_key(), network.world_id());
    assert!(!invoice.would_expire(network.clock().now()));

    let odd = InvoiceRequest {
        wrong_network: true,
        expired: true,
        ..InvoiceRequest::default()
    };
    let odd = network.issue(odd).unwrap();
    assert_eq!(odd.network(), Network::Bitcoin);
    assert!(odd.would_expire(network.clock().now()));
}

#[test]
fn a_payment_ends_as_its_invoice_says() {
    let network = network();
    let status = |hash| network.payment(hash).unwrap().unwrap().status;
    let pay = |outcome| {
        let invoice = network.issue(InvoiceRequest {
            amount_msat: Some(1_000),
            outcome,
            ..InvoiceRequest::default()
        });
        let invoice = Invoice::Bolt11(invoice.unwrap());
        network.pay(&invoice, 0).unwrap();
        invoice
    };
    let now = pay(Outcome::default()).payment_hash();
    assert!(
        matches!(status(now), PaymentStatus::Complete(preimage) if preimage.compute_payment_hash() == now)
    );
    let slow = pay(Outcome::Settle { delay_ms: 5_000 }).payment_hash();
    assert_eq!(status(slow), PaymentStatus::Pending);
    network.clock().advance(Duration::from_secs(6));
    assert!(matches!(status(slow), PaymentStatus::Complete(_)));

    let reason = FailureReason::NoRoute;
    let failing = pay(Outcome::Fail {
        reason,
        delay_ms: 0,
    });
    assert_eq!(
        status(failing.payment_hash()),
        PaymentStatus::Failed(reason)
    );
    network
        .change_outcome(failing.payment_hash(), Outcome::Hold)
        .unwrap();
    network.pay(&failing, 0).unwrap();
    assert_eq!(status(failing.payment_hash()), PaymentStatus::Pending);
    assert_eq!(network.totals().unwrap().sent_msat, 2_000);
    network.settle_payment(failing.payment_hash()).unwrap();
    assert!(
        network
            .fail_payment(failing.payment_hash(), reason)
            .is_err()
    );
    assert_eq!(network.totals().unwrap().sent_msat, 3_000);
}

#[test]
fn a_stranger_and_an_expired_invoice_are_not_paid() {
    let (network, stranger) = (network(), network());
    let invoice = Invoice::Bolt11(stranger.issue(InvoiceRequest::default()).unwrap());
    network.pay(&invoice, 1_000).unwrap();
    let payment = network.payment(invoice.payment_hash()).unwrap().unwrap();
    assert_eq!(
        payment.status,
        PaymentStatus::Failed(FailureReason::NoRoute)
    );

    let invoice = Invoice::Bolt11(network.issue(InvoiceRequest::default()).unwrap());
    network.clock().advance(Duration::from_secs(4000));
    network.pay(&invoice, 1_000).unwrap();
    let payment = network.payment(invoice.payment_hash()).unwrap().unwrap();
    let late = PaymentStatus::Failed(FailureReason::InvoiceState);
    assert_eq!(payment.status, late);
    assert!(
        network
            .payment(PaymentHash::from([1; 32]))
            .unwrap()
            .is_none()
    );
}

#[test]
fn a_held_payment_is_settled_or_given_back() {
    let network = network();
    let preimage = Preimage::random();
    let hash = preimage.compute_payment_hash();
    let invoice = network.inject(hold_terms(&network, preimage)).unwrap();
    assert!(network.inject(hold_terms(&network, preimage)).is_err());
    assert!(network.settle(hash, preimage).is_err(), "nothing is held");
    for wrong in [4_999_999, 10_000_001] {
        assert!(network.world_pays(&invoice, Some(wrong), 0, 100).is_err());
    }
    assert_eq!(network.world_pays(&invoice, None, 2, 100).unwrap(), 158);
    assert!(network.world_pays(&invoice, None, 0, 100).is_err(), "twice");
    assert!(network.settle(hash, Preimage::random()).is_err());
    network.settle(hash, preimage).unwrap();
    network.settle(hash, preimage).unwrap();
    assert!(network.cancel(hash).is_err());
    assert_eq!(network.totals().unwrap().received_msat, 5_000_000);

    let other = Preimage::random();
    let invoice = network.inject(hold_terms(&network, other)).unwrap();
    network.world_pays(&invoice, None, 0, 100).unwrap();
    network.cancel_late(152).unwrap();
    assert_eq!(network.held().unwrap(), [other.compute_payment_hash()]);
    network.cancel_late(153).unwrap();
    assert!(network.held().unwrap().is_empty());
    assert!(network.settle(other.compute_payment_hash(), other).is_err());
}

#[test]
fn an_offer_gives_a_new_valid_invoice_each_time() {
    let network = network();
    let offer = network
        .issue_offer(Some(2_000_000), "beer", Outcome::default())
        .unwrap();
    let first = network.fetch_invoice(&offer, 2_000_000).unwrap();
    let second = network.fetch_invoice(&offer, 2_000_000).unwrap();
    assert_ne!(first.payment_hash(), second.payment_hash());
    first
        .validate_issuance(&offer, Amount::from_sat(2_000))
        .unwrap();
    assert!(network.fetch_invoice(&offer, 1_999_000).is_err());

    let text = Invoice::Bolt12(first).to_string();
    let invoice: Invoice = text.parse().unwrap();
    assert_eq!(invoice.network(), Network::Regtest);
    network.pay(&invoice, 0).unwrap();
    let payment = network.payment(invoice.payment_hash()).unwrap().unwrap();
    assert_eq!(payment.amount_msat, 2_000_000);
    assert!(matches!(payment.status, PaymentStatus::Complete(_)));

    let strange = super::tests::network()
        .issue_offer(None, "x", Outcome::default())
        .unwrap();
    assert!(network.fetch_invoice(&strange, 1_000).is_err());
}

#[test]
fn a_directory_keeps_invoices_and_payments() {
    let directory = tempfile::tempdir().unwrap();
    let key = Keypair::new(&*SECP, &mut thread_rng());
    let open =
        || LightningNetwork::open(Some(directory.path()), key, key, Clock::default()).unwrap();
    let first = open();
    let invoice = Invoice::Bolt11(first.issue(InvoiceRequest::default()).unwrap());
    first.pay(&invoice, 7_000).unwrap();
    drop(first);
    let payment = open().payment(invoice.payment_hash()).unwrap().unwrap();
    assert_eq!(payment.amount_msat, 7_000);
    assert!(matches!(payment.status, PaymentStatus::Complete(_)));
}

async fn get(network: &Arc<LightningNetwork>, path: &str) -> (StatusCode, Vec<u8>) {
    let request = Request::builder()
        .uri(path)
        .header("host", "127.0.0.1:3002")
        .body(Body::empty())
        .unwrap();
    let response = lnurl::router(network.clone())
        .oneshot(request)
        .await
        .unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, body.to_vec())
}

#[tokio::test]
async fn an_lnurl_gives_an_invoice_with_a_comment() {
    let network = Arc::new(network());
    let (_, body) = get(&network, "/.well-known/lnurlp/alice").await;
    let terms: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(terms["tag"], "payRequest");
    let callback = terms["callback"].as_str().unwrap();
    let path = callback.strip_prefix("http://127.0.0.1:3002").unwrap();

    let (_, body) = get(&network, &format!("{path}?amount=21000&comment=hi")).await;
    let answer: Value = serde_json::from_slice(&body).unwrap();
    let invoice: Bolt11Invoice = answer["pr"].as_str().unwrap().parse().unwrap();
    assert_eq!(invoice.amount_milli_satoshis(), Some(21_000));
    let known = network.world_invoice(PaymentHash::from(&invoice)).unwrap();
    assert_eq!(known.unwrap().comment.as_deref(), Some("hi"));

    for wrong in [
        "amount=1",
        &format!("amount=9999&comment={}", "x".repeat(141)),
    ] {
        let (_, body) = get(&network, &format!("{path}?{wrong}")).await;
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(answer["status"], "ERROR");
    }
}

#[tokio::test]
async fn each_malicious_user_misbehaves_in_its_way() {
    let network = Arc::new(network());
    let issue = async |user: &str| -> Bolt11Invoice {
        let (_, body) = get(&network, &format!("/lnurlp/{user}/callback?amount=1000")).await;
        let answer: Value = serde_json::from_slice(&body).unwrap();
        answer["pr"].as_str().unwrap().parse().unwrap()
    };
    assert_eq!(
        issue("wrong-amount").await.amount_milli_satoshis(),
        Some(2_000)
    );
    let hash = |invoice: Bolt11Invoice| format!("{:?}", invoice.description());
    assert_ne!(hash(issue("wrong-hash").await), hash(issue("alice").await));
    let (status, _) = get(&network, "/.well-known/lnurlp/redirect").await;
    assert_eq!(status, StatusCode::FOUND);
    let (_, body) = get(&network, "/.well-known/lnurlp/huge").await;
    assert_eq!(body.len(), 10 * 1024 * 1024);
    for user in ["error", "nobody"] {
        let (_, body) = get(&network, &format!("/.well-known/lnurlp/{user}")).await;
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(answer["status"], "ERROR", "{user}");
    }
    let silent = get(&network, "/.well-known/lnurlp/silent");
    assert!(futures::FutureExt::now_or_never(silent).is_none());
    let text = lnurl::encode("http://127.0.0.1:3002", "alice").unwrap();
    assert!(text.starts_with("lnurl1"));
}
