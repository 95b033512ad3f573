//! Lightning under load: payments to the world and payments from it, many at a time. Nothing is mined meanwhile.

use std::time::{Duration, Instant};

use ark_lib::lightning::PaymentHash;
use arkwalletd_sandbox::ark::Params;
use arkwalletd_sandbox::lightning::{HoldStatus, InvoiceRequest, PaymentStatus};
use bitcoin::Amount;
use futures::StreamExt;
use futures::stream;
use lightning_invoice::Bolt11Invoice;
use serde_json::{Value, json};

use crate::process::{Daemon, Product};
use crate::times::Times;
use crate::world::World;
use crate::{READY, wallet};

/// Payments and receives.
const COUNT: usize = 500;
/// How many are under way at the same time.
const AT_A_TIME: usize = 32;
/// Receives one at a time.
const ALONE: usize = 50;
/// VTXOs that pay: more than are needed at the same time.
const BOARDS: u32 = 64;
/// The amount of each, in sat.
const BOARD: u64 = 50_000;
/// What each payment and each receive moves, in sat.
const AMOUNT: u64 = 1_003;
/// The server's VTXOs that receives are granted from: one for each.
const POOL: (u32, Amount) = (600, Amount::from_sat(2_000));
/// How long one of them may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a payment that was refused waits before it is requested again.
const PAUSE: Duration = Duration::from_millis(50);

/// A daemon and its world.
struct Scene {
    world: World,
    daemon: Daemon,
}

/// What a payment took, from the request.
struct Payment {
    answered: Duration,
    done: Duration,
    /// How often it was refused before it was accepted. An invoice can be requested again without being paid twice.
    refusals: u32,
}

/// What a receive took.
struct Receive {
    /// From the request to the invoice.
    invoice: Duration,
    /// From the moment when the server has accepted the payment to that when it has the preimage.
    claim: Duration,
    /// From the payment to the wallet's word that it is settled.
    done: Duration,
}

/// The figures under their names.
pub async fn measure(product: Product) -> Vec<(String, f64)> {
    let params = Params {
        ln_pool: vec![POOL],
        ..Params::free()
    };
    let world = World::with(params).await;
    let url = world.sandbox.ark_url.clone();
    let mut daemon = wallet(&world, &url, product, (BOARDS, BOARD)).await;
    daemon.start(READY, &[]);
    while daemon.get("/wallet/connected").await["connected"] != true {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut scene = Scene { world, daemon };
    // The first receive waits for the pool.
    scene.receive().await;
    let mut rows = scene.receive_alone().await;
    rows.extend(scene.pay_many().await);
    rows.extend(scene.receive_many().await);
    scene.daemon.stop();
    rows
}

impl Scene {
    async fn receive_alone(&self) -> Vec<(String, f64)> {
        let mut claims = Vec::new();
        for _ in 0..ALONE {
            let receive = self.receive().await;
            claims.push(receive.expect("nothing disturbs it").claim);
        }
        shown(
            "payment accepted by the server to claimed",
            claims,
            "one at a time",
        )
    }

    async fn pay_many(&self) -> Vec<(String, f64)> {
        let begun = Instant::now();
        let payments = stream::iter(0..COUNT).map(|_| self.pay());
        let payments: Vec<Option<Payment>> = payments.buffer_unordered(AT_A_TIME).collect().await;
        let took = begun.elapsed();
        let done: Vec<Payment> = payments.into_iter().flatten().collect();
        let mut rows = counted("payments", done.len(), took);
        let refusals: u32 = done.iter().map(|payment| payment.refusals).sum();
        rows.push((
            format!("refusals of Lightning payments, {}", many()),
            f64::from(refusals),
        ));
        let answered = done.iter().map(|payment| payment.answered).collect();
        rows.extend(shown("payment answered", answered, &many()));
        let done = done.iter().map(|payment| payment.done).collect();
        rows.extend(shown("payment succeeded", done, &many()));
        rows
    }

    async fn receive_many(&self) -> Vec<(String, f64)> {
        let begun = Instant::now();
        let receives = stream::iter(0..COUNT).map(|_| self.receive());
        let receives: Vec<Option<Receive>> = receives.buffer_unordered(AT_A_TIME).collect().await;
        let took = begun.elapsed();
        let done: Vec<Receive> = receives.into_iter().flatten().collect();
        let mut rows = counted("receives", done.len(), took);
        let invoice = done.iter().map(|receive| receive.invoice).collect();
        rows.extend(shown("invoice issued", invoice, &many()));
        let claim = done.iter().map(|receive| receive.claim).collect();
        rows.extend(shown(
            "payment accepted by the server to claimed",
            claim,
            &many(),
        ));
        let done = done.iter().map(|receive| receive.done).collect();
        rows.extend(shown("payment received", done, &many()));
        rows
    }

    /// Pays the world; `None` if the wallet refuses, the world does not get the money, or the wallet does not say so in time.
    async fn pay(&self) -> Option<Payment> {
        let network = self.world.sandbox.ark.lightning();
        let request = InvoiceRequest {
            amount_msat: Some(AMOUNT * 1_000),
            ..InvoiceRequest::default()
        };
        let invoice = network.issue(request).expect("an invoice");
        let hash = PaymentHash::from(&invoice);
        let body = json!({"destination": invoice.to_string()});
        let begun = Instant::now();
        let mut refusals = 0;
        while let Err(refusal) = self.daemon.try_post("/lightning/pay", body.clone()).await {
            if begun.elapsed() > PATIENCE {
                eprintln!("a payment is refused: {refusal}");
                return None;
            }
            refusals += 1;
            tokio::time::sleep(PAUSE).await;
        }
        let answered = begun.elapsed();
        let path = format!("/lightning/sends/{hash}");
        self.wait_for(&path, "paid", begun).await?;
        let done = begun.elapsed();
        let payment = network.payment(hash).expect("the network answers")?;
        matches!(payment.status, PaymentStatus::Complete(_)).then_some(Payment {
            answered,
            done,
            refusals,
        })
    }

    /// Is paid by the world; `None` if the wallet does not claim it, or does not say so, in time.
    async fn receive(&self) -> Option<Receive> {
        let network = self.world.sandbox.ark.lightning();
        let begun = Instant::now();
        let body = json!({"amount_sat": AMOUNT});
        let made = self
            .daemon
            .try_post("/lightning/receives/invoice", body)
            .await;
        let invoice = begun.elapsed();
        let made = match made {
            Ok(made) => made,
            Err(refusal) => {
                eprintln!("an invoice is refused: {refusal}");
                return None;
            }
        };
        let bolt11 = made["invoice"].as_str().expect("an invoice");
        let bolt11: Bolt11Invoice = bolt11.parse().expect("a BOLT11 invoice");
        let hash = PaymentHash::from(&bolt11);
        let height = self.world.height().await;
        let mut changes = network.subscribe();
        let begun = Instant::now();
        let held = network.world_pays(&bolt11, None, 0, height);
        held.expect("nobody has paid it");
        let settled = async {
            loop {
                let hold = network.hold(hash).expect("the network answers");
                if hold.is_some_and(|hold| hold.status == HoldStatus::Settled) {
                    return;
                }
                changes.changed().await.expect("the network lasts");
            }
        };
        let settled = tokio::time::timeout(PATIENCE, settled).await;
        settled.ok()?;
        let path = format!("/lightning/receives/{hash}");
        self.wait_for(&path, "settled", begun).await?;
        let claim = self.world.sandbox.ark.claim_time(hash);
        Some(Receive {
            invoice,
            claim: claim.expect("the server answers")?,
            done: begun.elapsed(),
        })
    }

    /// Asks until the answer has this state; `None` if it does not get it in time.
    async fn wait_for(&self, path: &str, state: &str, begun: Instant) -> Option<Value> {
        loop {
            let info = self.daemon.get(path).await;
            if info["state"] == state {
                return Some(info);
            }
            if begun.elapsed() > PATIENCE {
                eprintln!("{path} does not become {state}: {info}");
                return None;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn many() -> String {
    format!("{AT_A_TIME} at a time")
}

/// How many there were per second, and how many of them did not come to an end.
fn counted(what: &str, done: usize, took: Duration) -> Vec<(String, f64)> {
    let number = |count: usize| u32::try_from(count).map_or(f64::MAX, f64::from);
    let rate = number(done) / took.as_secs_f64();
    let lost = number(COUNT - done);
    vec![
        (
            format!("Lightning {what} per second, {COUNT}, {}", many()),
            rate,
        ),
        (format!("Lightning {what} lost of {COUNT}"), lost),
    ]
}

/// Median and 95th percentile; nothing if there are no times.
fn shown(what: &str, times: Vec<Duration>, how: &str) -> Vec<(String, f64)> {
    let Times { p50, p95, .. } = match times.is_empty() {
        true => return Vec::new(),
        false => Times::of(times),
    };
    vec![
        (format!("Lightning {what}, {how}, ms, median"), p50),
        (format!("Lightning {what}, {how}, ms, p95"), p95),
    ]
}
