//! Lightning payments and receives of the load.

use std::sync::PoisonError;
use std::time::Duration;

use arkwalletd_sandbox::lightning::{FailureReason, Outcome, PaymentStatus};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::json;

use super::load::{Attempt, Client, Dead, Way};
use super::{Shared, WALLETS};
use crate::support::hash_of;

impl Client<'_> {
    /// Pays an invoice of the world, which takes it, refuses it, or holds it for a while.
    pub(super) async fn pay_world(&mut self) -> Result<(), Dead> {
        let delay_ms = self.random.random_range(0..1_500);
        let outcome = match self.random.random_range(0..5) {
            0..2 => Outcome::Settle { delay_ms },
            2 => Outcome::Fail {
                reason: FailureReason::NoRoute,
                delay_ms,
            },
            _ => Outcome::Hold,
        };
        let sats = self.random.random_range(1_000..20_000);
        let to = self.shared.world.issue(sats, outcome).bolt11;
        let attempt = self.to(Way::World, &to, sats);
        let body = json!({"destination": to});
        self.attempt("ln pay world", "/lightning/pay", body, attempt)
            .await
    }

    /// Makes an invoice that another wallet or the world may pay.
    pub(super) async fn offer_invoice(&mut self) -> Result<(), Dead> {
        let sats: u64 = self.random.random_range(1_000..20_000);
        let body = json!({"amount_sat": sats});
        let path = "/lightning/receives/invoice";
        let (_, answer) = self.answer("ln invoice", "POST", path, Some(body)).await?;
        if let Some(invoice) = answer["invoice"].as_str() {
            let all = self.shared.invoices.lock();
            let mut all = all.unwrap_or_else(PoisonError::into_inner);
            all[self.number].push((invoice.to_owned(), sats));
        }
        Ok(())
    }

    /// Pays the invoice of a wallet, or lets the world pay it.
    pub(super) async fn pay_invoice(&mut self) -> Result<(), Dead> {
        let payee = self.random.random_range(0..WALLETS);
        let invoice = {
            let all = self.shared.invoices.lock();
            all.unwrap_or_else(PoisonError::into_inner)[payee].pop()
        };
        let Some((to, sats)) = invoice else {
            return self.offer_invoice().await;
        };
        if self.random.random() {
            return self.be_paid_by_world(to).await;
        }
        let attempt = self.to(Way::Invoice, &to, sats);
        let body = json!({"destination": to});
        self.attempt("ln pay invoice", "/lightning/pay", body, attempt)
            .await
    }

    async fn be_paid_by_world(&self, invoice: String) -> Result<(), Dead> {
        let bolt11 = invoice.parse().expect("a BOLT11 invoice");
        let height = self.shared.world.height().await;
        let paid = self
            .shared
            .world
            .lightning()
            .world_pays(&bolt11, None, 0, height);
        paid.expect("nobody else pays it");
        self.shared.count("ln paid by the world");
        let paid = self.shared.paid_by_world.lock();
        paid.unwrap_or_else(PoisonError::into_inner).push(invoice);
        Ok(())
    }
}

/// The world takes or refuses the payments that it holds, one at a time.
pub async fn resolve_held(shared: &Shared, mut random: StdRng) {
    while !shared.is_over() {
        let pause = random.random_range(200..1_500);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let held = held(shared);
        if let Some(hash) = held.first() {
            resolve(shared, hash, random.random()).await;
        }
    }
}

/// The world takes or refuses all payments that it holds.
pub async fn resolve_all(shared: &Shared) {
    for (number, hash) in held(shared).iter().enumerate() {
        resolve(shared, hash, number % 2 == 0).await;
    }
}

async fn resolve(shared: &Shared, hash: &str, take: bool) {
    if take {
        shared.world.settle_held(hash).await;
        shared.count("ln held and taken");
    } else {
        shared.world.fail_held(hash).await;
        shared.count("ln held and refused");
    }
}

/// The hashes of the payments that the world has to end.
fn held(shared: &Shared) -> Vec<String> {
    let attempts = shared.attempts.lock();
    let attempts = attempts.unwrap_or_else(PoisonError::into_inner);
    let to_world = attempts.iter().filter(|attempt| attempt.way == Way::World);
    let hashes = to_world.map(|attempt| hash_of(&attempt.to));
    hashes
        .filter(|hash| {
            shared.world.payment(hash) == Some(PaymentStatus::Pending)
                && shared.world.outcome(hash) == Outcome::Hold
        })
        .collect()
}

/// What the payee of a Lightning payment got, in sat, by the world's ledger.
pub fn got_by_world(shared: &Shared, attempt: &Attempt) -> Vec<u64> {
    let hash = hash_of(&attempt.to);
    let sats = attempt.sats.filter(|_| shared.world.got(&hash));
    sats.into_iter().collect()
}
