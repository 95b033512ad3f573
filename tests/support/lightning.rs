//! Lightning: what the world issues, pays, holds and refuses, and the requests of a wallet and what it says of its payments.

use std::sync::Arc;
use std::time::Duration;

use ark_lib::lightning::PaymentHash;
use arkwalletd_sandbox::ark::LightningLedger;
use arkwalletd_sandbox::lightning::{
    FailureReason, HoldStatus, InvoiceRequest, LightningNetwork, Outcome, PaymentStatus,
};
use lightning_invoice::Bolt11Invoice;
use serde_json::{Value, json};

use super::daemon::Daemon;
use super::http::Reply;
use super::wait::eventually;
use super::world::World;

/// How often faults may crash the server while it does what is due.
const MOST_CRASHES: u32 = 20;

/// The world takes a payment at once.
pub const SETTLE: Outcome = Outcome::Settle { delay_ms: 0 };

/// The world refuses a payment at once.
pub const FAIL: Outcome = Outcome::Fail {
    reason: FailureReason::DestinationRejected,
    delay_ms: 0,
};

/// An invoice of the world.
#[derive(Clone, Debug)]
pub struct Issued {
    /// As the payer gets it.
    pub bolt11: String,
    /// Its payment hash, in hex.
    pub hash: String,
    /// What proves its payment, in hex.
    pub preimage: String,
}

impl World {
    /// The node of the Ark server and the world's.
    pub fn lightning(&self) -> Arc<LightningNetwork> {
        self.sandbox.ark.lightning()
    }

    /// An invoice of the world of this amount, with this outcome of a payment.
    pub fn issue(&self, sats: u64, outcome: Outcome) -> Issued {
        self.issue_as(InvoiceRequest {
            amount_msat: Some(sats * 1_000),
            outcome,
            ..InvoiceRequest::default()
        })
    }

    /// An invoice of the world, as `POST /control/ln/invoice` issues it.
    pub fn issue_as(&self, request: InvoiceRequest) -> Issued {
        let network = self.lightning();
        let invoice = network.issue(request).expect("an invoice");
        let hash = PaymentHash::from(&invoice);
        let kept = network.world_invoice(hash).expect("the world remembers");
        Issued {
            bolt11: invoice.to_string(),
            hash: hash.to_string(),
            preimage: kept.expect("it is the world's").preimage.to_string(),
        }
    }

    /// A BOLT12 offer of the world; the payer chooses the amount if there is none.
    pub fn issue_offer(&self, sats: Option<u64>, outcome: Outcome) -> String {
        let offer = self
            .lightning()
            .issue_offer(sats.map(|sats| sats * 1_000), "tea", outcome);
        offer.expect("an offer").to_string()
    }

    /// Changes the outcome of payments of an invoice of the world.
    pub fn change_outcome(&self, hash: &str, outcome: Outcome) {
        let changed = self.lightning().change_outcome(parsed(hash), outcome);
        changed.expect("an invoice of the world");
    }

    /// What happens to payments of an invoice of the world.
    pub fn outcome(&self, hash: &str) -> Outcome {
        let invoice = self.lightning().world_invoice(parsed(hash));
        let invoice = invoice.expect("the network answers");
        invoice.expect("it is the world's").outcome
    }

    /// Waits until the world holds a payment.
    pub async fn wait_until_held(&self, hash: &str) {
        eventually("the world holds the payment", async || {
            (self.payment(hash)? == PaymentStatus::Pending).then_some(())
        })
        .await;
    }

    /// The world takes a payment that it holds, and the Ark server learns it.
    pub async fn settle_held(&self, hash: &str) {
        let settled = self.lightning().settle_payment(parsed(hash));
        settled.expect("the world holds the payment");
        self.lightning_jobs().await;
    }

    /// The world refuses a payment that it holds, and the Ark server learns it.
    pub async fn fail_held(&self, hash: &str) {
        let failed = self
            .lightning()
            .fail_payment(parsed(hash), FailureReason::DestinationRejected);
        failed.expect("the world holds the payment");
        self.lightning_jobs().await;
    }

    /// How the payment of an invoice of the world stands; `None` if it was never tried.
    pub fn payment(&self, hash: &str) -> Option<PaymentStatus> {
        let payment = self.lightning().payment(parsed(hash));
        Some(payment.expect("the network answers")?.status)
    }

    /// Whether the world got the payment of one of its invoices.
    pub fn got(&self, hash: &str) -> bool {
        matches!(self.payment(hash), Some(PaymentStatus::Complete(_)))
    }

    /// What the payer wrote to the LNURL that issued an invoice of the world.
    pub fn comment(&self, hash: &str) -> Option<String> {
        let invoice = self.lightning().world_invoice(parsed(hash));
        invoice.expect("the network answers")?.comment
    }

    /// The world pays an invoice of a wallet: the Ark server's node holds the payment, and the server has noticed it.
    pub async fn pays(&self, bolt11: &str) {
        self.pays_with(bolt11, 0).await;
    }

    /// As [`pays`](Self::pays), with HTLCs that expire this many blocks later than the invoice asks for, or earlier.
    pub async fn pays_with(&self, bolt11: &str, cltv_extra: i32) {
        let invoice = bolt11.parse().expect("a BOLT11 invoice");
        let height = self.height().await;
        let held = self
            .lightning()
            .world_pays(&invoice, None, cltv_extra, height);
        held.expect("the payment is held");
        self.lightning_jobs().await;
    }

    /// How the invoice of a wallet stands at the Ark server's node.
    pub fn hold(&self, hash: &str) -> HoldStatus {
        let hold = self.lightning().hold(parsed(hash));
        let hold = hold.expect("the network answers");
        hold.expect("an invoice of a wallet").status
    }

    /// How long a wallet took to reveal the preimage after the Ark server had accepted the payment, by the server's clock.
    pub fn claim_time(&self, hash: &str) -> Option<Duration> {
        let time = self.sandbox.ark.claim_time(parsed(hash));
        time.expect("the server answers")
    }

    /// The Ark server does what is due: notices payments, settles, and ends what took too long.
    pub async fn lightning_jobs(&self) {
        // A fault that crashes the server ends one run; the next one goes on from there.
        let mut jobs = self.sandbox.ark.run_lightning_jobs().await;
        for _ in 0..MOST_CRASHES {
            if jobs.is_ok() {
                break;
            }
            jobs = self.sandbox.ark.run_lightning_jobs().await;
        }
        jobs.expect("the jobs run");
    }

    /// The clock of the Ark server and of the world goes ahead of the wallets' by this many seconds more.
    pub async fn advance_clock(&self, seconds: u64) {
        let clock = self.lightning();
        clock.clock().advance(Duration::from_secs(seconds));
        self.lightning_jobs().await;
    }

    /// What all Lightning payments moved.
    pub fn lightning_ledger(&self) -> LightningLedger {
        let ledger = self.sandbox.ark.lightning_ledger();
        ledger.expect("the server has a ledger")
    }
}

impl Daemon {
    /// Pays an invoice, offer, Lightning address or LNURL.
    pub async fn pay(&self, destination: &str, sats: impl Into<Option<u64>>) -> Reply {
        let body = json!({"destination": destination, "amount_sat": sats.into()});
        self.post("/lightning/pay", body).await
    }

    /// A BOLT11 invoice of the wallet.
    pub async fn invoice(&self, sats: u64) -> String {
        let body = json!({"amount_sat": sats});
        let made = self.post("/lightning/receives/invoice", body).await.ok();
        made["invoice"].as_str().expect("an invoice").to_owned()
    }

    /// What the wallet says of a payment of this hash (`LightningSendInfo`).
    pub async fn send_info(&self, hash: &str) -> Value {
        self.get(&format!("/lightning/sends/{hash}")).await.ok()
    }

    /// What the wallet says of the payment of one of its invoices (`LightningReceiveInfo`).
    pub async fn receive_info(&self, identifier: &str) -> Value {
        let path = format!("/lightning/receives/{identifier}");
        self.get(&path).await.ok()
    }

    /// Waits until a payment is in this state; answers its description.
    pub async fn wait_for_send_state(&self, hash: &str, state: &str) -> Value {
        eventually(&format!("the payment is {state}"), async || {
            let info = self.send_info(hash).await;
            (info["state"] == state).then_some(info)
        })
        .await
    }

    /// Waits until a receive is in this state; answers its description.
    pub async fn wait_for_receive_state(&self, identifier: &str, state: &str) -> Value {
        eventually(&format!("the receive is {state}"), async || {
            let info = self.receive_info(identifier).await;
            (info["state"] == state).then_some(info)
        })
        .await
    }

    /// The movements of the payments, or of the receives, with this hash, newest first.
    pub async fn movements_of(&self, hash: &str) -> Vec<Value> {
        let mut history = self.history().await;
        history.retain(|movement| movement["metadata"]["payment_hash"] == hash);
        history
    }

    /// Waits until the only movement of this hash is no longer pending; answers it.
    pub async fn wait_for_movement(&self, hash: &str) -> Value {
        eventually("the movement has ended", async || {
            let movements = self.movements_of(hash).await;
            assert!(movements.len() <= 1, "{movements:#?}");
            let only = movements.into_iter().next()?;
            (only["status"] != "pending").then_some(only)
        })
        .await
    }
}

/// The payment hash of a BOLT11 invoice, in hex.
pub fn hash_of(bolt11: &str) -> String {
    let invoice: Bolt11Invoice = bolt11.parse().expect("a BOLT11 invoice");
    PaymentHash::from(&invoice).to_string()
}

fn parsed(hash: &str) -> PaymentHash {
    hash.parse().expect("a payment hash")
}
