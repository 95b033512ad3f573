//! Payments over Lightning, made. The world's node is the payee: what it got is what was paid.

use std::sync::Arc;

use ark_lib::lightning::PaymentHash;
use arkwalletd_sandbox::lightning::{
    FailureReason, InvoiceRequest, LightningNetwork, Outcome, PaymentStatus,
};
use serde_json::{Value, json};

use super::matrix::{Case, Run};
use super::scene::Scene;
use crate::support::{Daemon, eventually};

/// The amount of each payment, in sat.
const AMOUNT: u64 = 7_000;

/// What the victim boards at the beginning, in sat.
const FUNDS: u64 = 500_000;

const SETTLE: Outcome = Outcome::Settle { delay_ms: 0 };
const REFUSE: Outcome = Outcome::Fail {
    reason: FailureReason::NoRoute,
    delay_ms: 0,
};

/// What a story has paid so far.
struct Paid {
    funds: u64,
    /// Amounts and fees, in sat.
    spent: u64,
    times: i64,
}

impl Paid {
    async fn nothing(scene: &Scene) -> Paid {
        Paid {
            funds: scene.victim.balance("spendable_sat").await,
            spent: 0,
            times: 0,
        }
    }

    /// Asserts that the newest payment of this hash has succeeded or not, and that the world got each payment once.
    async fn assert_one_more(&mut self, scene: &Scene, invoice: &Invoice, is_paid: bool) {
        scene.victim.settled().await;
        let movement = newest_of(&scene.victim, invoice).await;
        let status = if is_paid { "successful" } else { "failed" };
        assert_eq!(movement["status"], status, "{movement:#}");
        let effective = movement["effective_balance_sat"].as_i64().unwrap();
        if is_paid {
            self.times += 1;
            self.spent += u64::try_from(-effective).unwrap();
            let preimage = movement["metadata"]["payment_preimage"].as_str().unwrap();
            let preimage: ark_lib::lightning::Preimage = preimage.parse().unwrap();
            assert_eq!(preimage.compute_payment_hash(), invoice.hash);
        } else {
            assert_eq!(effective, 0, "{movement:#}");
        }
        self.assert_books(scene).await;
    }

    /// Asserts that the world got each payment once, that the server took no more for them than the wallet has booked, and that the
    /// wallet has the rest.
    async fn assert_books(&self, scene: &Scene) {
        let ark = &scene.world.sandbox.ark;
        ark.run_lightning_jobs().await.expect("the jobs run");
        let ledger = ark.lightning_ledger().expect("a ledger");
        let got = self.times * i64::try_from(AMOUNT).unwrap() * 1_000;
        assert_eq!(ledger.network.sent_msat, got, "{ledger:?}");
        assert_eq!(ledger.network.sending_msat, 0, "{ledger:?}");
        let spent = i64::try_from(self.spent).unwrap();
        assert_eq!(ledger.taken_sat, spent, "{ledger:?}");
        let left = self.funds - self.spent;
        scene.victim.wait_for_spendable(left).await;
        let owed = ark.ledger().expect("a ledger");
        let owed = owed.spendable.amount + owed.unregistered.amount;
        assert_eq!(owed.to_sat(), left);
    }
}

/// An invoice of the world.
struct Invoice {
    bolt11: String,
    hash: PaymentHash,
}

impl Invoice {
    fn ending(scene: &Scene, outcome: Outcome) -> Invoice {
        let issued = network(scene).issue(InvoiceRequest {
            amount_msat: Some(AMOUNT * 1_000),
            outcome,
            ..InvoiceRequest::default()
        });
        let issued = issued.expect("an invoice");
        Invoice {
            bolt11: issued.to_string(),
            hash: PaymentHash::from(&issued),
        }
    }

    fn body(&self) -> Value {
        json!({"destination": self.bolt11})
    }
}

fn network(scene: &Scene) -> Arc<LightningNetwork> {
    scene.world.sandbox.ark.lightning()
}

async fn newest_of(daemon: &Daemon, invoice: &Invoice) -> Value {
    let hash = invoice.hash.to_string();
    let history = daemon.history().await;
    let found = history
        .into_iter()
        .find(|movement| movement["metadata"]["payment_hash"] == hash);
    found.expect("there is a movement")
}

/// Keeps the outcome out of the mailbox, so that the victim has to ask for it.
fn withhold_outcomes(scene: &Scene) {
    let withhold = json!({"target": "lnsend.finished", "action": {"type": "withhold"}});
    scene.world.optional_fault(withhold);
}

/// The victim pays; the payment that was begun before a kill succeeds.
pub async fn pay(run: &mut Run) {
    let mut scene = Scene::new().await.with_wrong_ledger();
    scene.victim.fund_and_board(&scene.world, FUNDS).await;
    let mut paid = Paid::nothing(&scene).await;
    while let Some(case) = run.next_case(&mut scene).await {
        // The world takes it only when the victim has asked how it stands, so that each step is taken.
        let invoice = Invoice::ending(&scene, Outcome::Hold);
        scene.arm_unregistered_without_sync(&case).await;
        withhold_outcomes(&scene);
        let reply = scene.post("/lightning/pay", invoice.body()).await;
        if !case.kills() {
            reply.expect("a reply").ok();
        }
        let taken = network(&scene).change_outcome(invoice.hash, SETTLE);
        taken.expect("the world knows its invoice");
        scene.wait_for_kill(&case).await;
        if !case.kills() {
            scene.victim.settled().await;
        }
        scene.restart(&case).await;
        if case.kills_at("lightning_send.started.before") {
            let payment = network(&scene).payment(invoice.hash).unwrap();
            assert!(payment.is_none());
            paid.assert_books(&scene).await;
        } else {
            paid.assert_one_more(&scene, &invoice, true).await;
            // The same request again answers with the outcome.
            let again = scene.victim.post("/lightning/pay", invoice.body()).await;
            assert_eq!(again.ok()["state"], "paid");
            paid.assert_books(&scene).await;
        }
    }
}

/// The world refuses the payment, and the server does not give the HTLCs back at first.
pub async fn pay_failed(run: &mut Run) {
    let mut scene = Scene::new().await.with_wrong_ledger();
    scene.victim.fund_and_board(&scene.world, FUNDS).await;
    scene.complete_backup().await;
    let mut paid = Paid::nothing(&scene).await;
    while let Some(case) = run.next_case(&mut scene).await {
        let invoice = Invoice::ending(&scene, REFUSE);
        scene.arm(&case).await;
        withhold_outcomes(&scene);
        let too_early =
            json!({"type": "status", "code": 3, "message": "not eligible for revocation yet"});
        let skip = u32::from(case.loses(REVOCATION));
        let rule = json!({"target": REVOCATION, "skip": skip, "times": 1, "action": too_early});
        scene.fault(rule);
        scene.post("/lightning/pay", invoice.body()).await;
        scene.wait_for_kill(&case).await;
        if case.kills() {
            scene.restart_with_faults(&case).await;
        }
        paid.assert_one_more(&scene, &invoice, false).await;
        scene.end_faults();
        if !case.kills() {
            scene.restart(&case).await;
        }
        let payment = network(&scene).payment(invoice.hash).unwrap();
        let status = payment.map(|payment| payment.status);
        assert_eq!(status, Some(PaymentStatus::Failed(FailureReason::NoRoute)));
    }
}

const REVOCATION: &str = "RequestLightningPayHtlcRevocation";

/// The server refuses to sign the HTLCs. A payment that it has signed before it refuses is completed.
pub async fn pay_refused(run: &mut Run) {
    let mut scene = Scene::new().await.with_wrong_ledger();
    scene.victim.fund_and_board(&scene.world, FUNDS).await;
    scene.complete_backup().await;
    let mut paid = Paid::nothing(&scene).await;
    while let Some(case) = run.next_case(&mut scene).await {
        let invoice = Invoice::ending(&scene, SETTLE);
        scene.arm(&case).await;
        withhold_outcomes(&scene);
        let cosigned = case.loses(COSIGN);
        // It names the inputs; one that does not proves nothing while an earlier request may run (H60).
        let refuse = json!({"type": "status", "code": 3, "message": "no", "identifiers": scene.victim.vtxos().await});
        let skip = u32::from(cosigned);
        let refusal = scene.fault(json!({"target": COSIGN, "skip": skip, "action": refuse}));
        if cosigned && !case.kills_at("lightning_send.doubted") {
            complete_after_refusals(&mut scene, &invoice, refusal).await;
        } else {
            abort(&mut scene, &case, &invoice, cosigned).await;
        }
        scene.victim.settled().await;
        scene.let_refused_back().await;
        paid.assert_one_more(&scene, &invoice, cosigned).await;
    }
}

const COSIGN: &str = "RequestLightningPayHtlcCosign";

/// The payment is not aborted, so its failpoints are not reached, and goes on when the server signs again.
async fn complete_after_refusals(scene: &mut Scene, invoice: &Invoice, refusal: u64) {
    let refused_twice = async {
        eventually("the signatures are requested repeatedly", async || {
            (scene.world.fired(refusal) > 1).then_some(())
        })
        .await;
        scene.world.end_fault(refusal);
    };
    let request = scene.post("/lightning/pay", invoice.body());
    let (reply, ()) = tokio::join!(request, refused_twice);
    reply.expect("a reply").ok();
    scene.victim.settled().await;
    scene.restart_unkilled().await;
}

async fn abort(scene: &mut Scene, case: &Case, invoice: &Invoice, cosigned: bool) {
    let reply = scene.post("/lightning/pay", invoice.body()).await;
    scene.wait_for_kill(case).await;
    if case.kills() {
        assert!(reply.is_none(), "{reply:?}");
    } else {
        reply.expect("a reply").refused(409, "server_refused");
    }
    if cosigned {
        scene.end_faults();
    }
    scene.restart_with_faults(case).await;
}

/// The server takes the order without a node, and then knows nothing of it.
pub async fn pay_lost(run: &mut Run) {
    let mut scene = Scene::new().await.with_wrong_ledger();
    scene.victim.fund_and_board(&scene.world, FUNDS).await;
    scene.complete_backup().await;
    let mut paid = Paid::nothing(&scene).await;
    while let Some(case) = run.next_case(&mut scene).await {
        let invoice = Invoice::ending(&scene, SETTLE);
        scene.arm(&case).await;
        withhold_outcomes(&scene);
        network(&scene).set_online(false);
        let faults = scene.world.sandbox.ark.faults();
        let before = faults.calls_of(INITIATE);
        let orders = if case.loses(INITIATE) { 3 } else { 2 };
        scene.post("/lightning/pay", invoice.body()).await;
        scene.wait_for_kill(&case).await;
        if !case.kills() {
            eventually("the order is given again", async || {
                (faults.calls_of(INITIATE) - before >= orders).then_some(())
            })
            .await;
        }
        network(&scene).set_online(true);
        if !case.kills() {
            scene.victim.settled().await;
        }
        scene.restart(&case).await;
        paid.assert_one_more(&scene, &invoice, true).await;
    }
}

const INITIATE: &str = "InitiateLightningPayment";
