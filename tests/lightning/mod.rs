//! Lightning between wallets of one server and the world. Each outcome is judged by the ledgers of the world and of the Ark server.

mod each_other;
mod once;
mod orders;

use ark_lib::lightning::Preimage;
use serde_json::Value;

use crate::support::Daemon;

/// Requests a payment that is accepted; answers its hash.
async fn pay(daemon: &Daemon, destination: &str, sats: Option<u64>) -> String {
    let reply = daemon.pay(destination, sats).await;
    assert!(matches!(reply.status, 200 | 202), "{reply:?}");
    let hash = reply.body["payment_hash"].as_str();
    hash.expect("the hash of the payment").to_owned()
}

/// Waits until a payment has succeeded. The history and the payment have to show a preimage that fits the hash.
async fn assert_paid(daemon: &Daemon, hash: &str) -> Value {
    let movement = daemon.wait_for_movement(hash).await;
    assert_eq!(movement["status"], "successful", "{movement:#}");
    let info = daemon.wait_for_send_state(hash, "paid").await;
    assert_eq!(info["payment_hash"], hash);
    for preimage in [&info["preimage"], &movement["metadata"]["payment_preimage"]] {
        let text = preimage.as_str().expect("a preimage");
        let preimage: Preimage = text.parse().expect("a preimage");
        assert_eq!(preimage.compute_payment_hash().to_string(), hash);
    }
    movement
}

/// Waits until a receive has succeeded; answers its movement.
async fn assert_received(daemon: &Daemon, hash: &str) -> Value {
    let info = daemon.wait_for_receive_state(hash, "settled").await;
    assert_eq!(info["payment_hash"], hash);
    assert!(info["settled_at"].is_string(), "{info:#}");
    let movement = daemon.wait_for_movement(hash).await;
    assert_eq!(movement["status"], "successful", "{movement:#}");
    movement
}
