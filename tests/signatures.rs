//! Messages signed with the key of an address (docs/protocol.md §1.6).

use std::str::FromStr;

use ark_lib::Address;
use serde_json::{Value, json};

use crate::support::{Daemon, World};

const MESSAGE: &str = "hello ark ⚓";

async fn sign(daemon: &Daemon, message: &str, address: &str) -> String {
    let body = json!({"message": message, "address": address});
    let answer = daemon.post("/message/sign", body).await.ok();
    answer["signature"]
        .as_str()
        .expect("a signature")
        .to_owned()
}

/// Whether a signature is one of the address or key that `signer` names.
async fn verifies(
    daemon: &Daemon,
    message: &str,
    signature: &str,
    (kind, signer): (&str, &str),
) -> bool {
    let body = json!({"message": message, "signature": signature, (kind): signer});
    let answer = daemon.post("/message/verify", body).await.ok();
    answer["valid"].as_bool().expect("a boolean")
}

/// The key that an address pays to.
fn key_of(address: &str) -> String {
    let address = Address::from_str(address).expect("an Ark address");
    address.policy().user_pubkey().to_string()
}

#[tokio::test]
async fn a_signature_is_valid_for_its_address_and_key_and_for_nothing_else() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    let (address, next) = (daemon.address().await, daemon.address().await);
    let key = key_of(&address);
    let signature = sign(&daemon, MESSAGE, &address).await;
    assert_eq!(signature.len(), 128);
    // Whoever verifies needs no wallet.
    let anybody = Daemon::start().await;
    for daemon in [&daemon, &anybody] {
        let by_address = ("address", address.as_str());
        assert!(verifies(daemon, MESSAGE, &signature, by_address).await);
        assert!(verifies(daemon, MESSAGE, &signature, ("pubkey", &key)).await);
        let upper = signature.to_uppercase();
        assert!(verifies(daemon, MESSAGE, &upper, by_address).await);
        assert!(!verifies(daemon, "hello ark", &signature, by_address).await);
        assert!(!verifies(daemon, MESSAGE, &signature, ("address", &next)).await);
        let next = key_of(&next);
        assert!(!verifies(daemon, MESSAGE, &signature, ("pubkey", &next)).await);
        let other = signature.replacen(|_: char| true, "", 2) + "00";
        assert!(!verifies(daemon, MESSAGE, &other, by_address).await);
    }
    // The empty message is a message too.
    let empty = sign(&daemon, "", &next).await;
    assert!(verifies(&anybody, "", &empty, ("address", &next)).await);
    assert!(!verifies(&anybody, MESSAGE, &empty, ("address", &next)).await);
}

#[tokio::test]
async fn only_addresses_of_the_wallet_sign() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    let other = Daemon::with_wallet(&world).await;
    let own = daemon.address().await;
    let sign = async |address: &str| {
        let body = json!({"message": MESSAGE, "address": address});
        daemon.post("/message/sign", body).await
    };
    let foreign = other.address().await;
    sign(&foreign).await.refused(400, "not_our_address");
    let onchain = daemon.post_empty("/onchain/addresses/next").await.ok();
    let onchain = onchain["address"].as_str().expect("an address");
    for address in [onchain, "", "tark1", "alice@example.com"] {
        sign(address).await.refused(400, "invalid_address");
    }
    let mistyped = format!("{}q{}", &own[..20], &own[21..]);
    let mistyped = if mistyped == own {
        own.replacen("pu", "pp", 1)
    } else {
        mistyped
    };
    let message = sign(&mistyped).await.refused(400, "invalid_address");
    assert!(message.contains("character"), "{message}");
    let without_wallet = Daemon::start().await;
    let body = json!({"message": MESSAGE, "address": own});
    let refused = without_wallet.post("/message/sign", body).await;
    refused.refused(422, "no_wallet");
}

#[tokio::test]
async fn a_verification_that_cannot_be_carried_out_is_refused() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    let address = daemon.address().await;
    let key = key_of(&address);
    let good = sign(&daemon, MESSAGE, &address).await;
    let verify = async |signature: &str, pubkey: Value, address: Value| {
        let body = json!({
            "message": MESSAGE, "signature": signature, "pubkey": pubkey, "address": address,
        });
        daemon.post("/message/verify", body).await
    };
    let (both, neither) = (
        verify(&good, json!(key), json!(address)).await,
        verify(&good, Value::Null, Value::Null).await,
    );
    both.refused(400, "invalid_signer");
    neither.refused(400, "invalid_signer");
    for signature in ["", "00", &good[2..], &format!("{good}00"), &"x".repeat(128)] {
        let refused = verify(signature, json!(key), Value::Null).await;
        refused.refused(400, "invalid_signature");
    }
    for pubkey in ["", "02", &key[2..], &"0".repeat(66), &"g".repeat(66)] {
        let refused = verify(&good, json!(pubkey), Value::Null).await;
        refused.refused(400, "invalid_pubkey");
    }
    for address in [
        "",
        "nonsense",
        "bcrt1p8wpt9v4frpf3tkn0srd97pksgsxc5hs52lafxwru9kgeephvs7rqjeprhg",
    ] {
        let refused = verify(&good, Value::Null, json!(address)).await;
        refused.refused(400, "invalid_address");
    }
    let incomplete = json!({"message": MESSAGE, "pubkey": key});
    let refused = daemon.post("/message/verify", incomplete).await;
    refused.refused(422, "invalid_body");
}

#[tokio::test]
async fn barkd_and_the_wallet_verify_each_other() {
    let world = World::new().await;
    let (ours, barkd) = (
        Daemon::with_wallet(&world).await,
        Daemon::barkd(&world).await,
    );
    for (signer, verifier) in [(&ours, &barkd), (&barkd, &ours)] {
        let address = signer.address().await;
        let signature = sign(signer, MESSAGE, &address).await;
        let by_address = ("address", address.as_str());
        assert!(verifies(verifier, MESSAGE, &signature, by_address).await);
        let key = key_of(&address);
        assert!(verifies(verifier, MESSAGE, &signature, ("pubkey", &key)).await);
        assert!(!verifies(verifier, "hello bark", &signature, by_address).await);
    }
}
