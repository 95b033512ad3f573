//! What the server does by itself: it notices payments, settles, ends what took too long, and looks how its payments stand.

use std::time::Duration;

use tokio::time::sleep;

use super::super::faults::{Action, Hook};
use super::super::state::Ark;
use super::super::status::RpcError;
use super::super::store::{Attempt, Receive, ReceiveStatus, receive};
use super::ram::Check;
use crate::lightning::{HoldStatus, PaymentStatus};

/// How long a call to the node lasts that pays.
const CALL: Duration = Duration::from_secs(60);
/// From this age on, an attempt without a call is looked at.
const CHECK_AGE: Duration = Duration::from_secs(75);
/// The time between two looks; it doubles up to the second value.
const CHECK_PERIOD: Duration = Duration::from_secs(10);
const MAX_CHECK_PERIOD: Duration = Duration::from_secs(600);
/// How often the jobs run while something is unfinished.
const TICK: Duration = Duration::from_millis(200);

impl Ark {
    /// Runs the jobs after each change, and regularly while something is unfinished, until this run ends.
    pub(in super::super) async fn follow_lightning(&self) {
        let mut tips = self.chain.subscribe_tips();
        let mut clock = self.lightning.network.clock().subscribe();
        let mut network = self.lightning.network.subscribe();
        let mut changed = self.lightning.changed.subscribe();
        loop {
            if let Err(error) = self.run_lightning_jobs().await {
                tracing::warn!(%error, "a Lightning job failed");
            }
            let is_busy = self.has_unfinished_payments();
            tokio::select! {
                () = self.alive.cancelled() => return,
                tip = tips.changed() => if tip.is_err() { return },
                _ = clock.changed() => {}
                _ = network.changed() => {}
                _ = changed.changed() => {}
                () = sleep(TICK), if is_busy => {}
            }
        }
    }

    fn has_unfinished_payments(&self) -> bool {
        let attempts = self.store.open_attempts();
        let receives = self.store.unfinished_receives();
        attempts.is_ok_and(|open| !open.is_empty()) || receives.is_ok_and(|open| !open.is_empty())
    }

    /// Does everything that is due.
    pub(in super::super) async fn run_lightning_jobs(&self) -> Result<(), RpcError> {
        let _turn = self.turn().await;
        if self.alive.is_cancelled() {
            // A crash ends this run; its successor goes on.
            return Ok(());
        }
        let tip = self.tip_height().await?.to_u32();
        self.lightning.network.cancel_late(tip)?;
        self.notice_payments(tip)?;
        self.read_preimages().await?;
        self.settle_receives()?;
        self.end_late_receives()?;
        for attempt in self.store.open_attempts()? {
            self.follow_attempt(&attempt)?;
        }
        self.refill_pool().await;
        Ok(())
    }

    /// Accepts the payments that the node holds. One that is noticed too late is cancelled here, and stays held there.
    fn notice_payments(&self, tip: u32) -> Result<(), RpcError> {
        let network = &self.lightning.network;
        if !network.is_online() || !network.is_noticing() {
            return Ok(());
        }
        for hash in network.held()? {
            let Some(hold) = network.hold(hash)? else {
                continue;
            };
            let Some(known) = self.store.receive(hash)? else {
                continue;
            };
            if known.status != ReceiveStatus::Created || hold.status != HoldStatus::Accepted {
                continue;
            }
            let lowest = hold.lowest_expiry.unwrap_or_default();
            if lowest + 1 < tip + hold.min_final_cltv {
                self.mark_canceled(hash)?;
                continue;
            }
            let now = self.now();
            self.store
                .write(|db| receive::mark_accepted(db, hash, lowest, now, false))?;
            self.lightning.wake();
            self.push_incoming(hash)?;
        }
        Ok(())
    }

    /// Settles the claimed receives one after the other. One that cannot be settled blocks those behind it.
    fn settle_receives(&self) -> Result<(), RpcError> {
        for receive in self.store.receives_to_settle()? {
            if let Err(error) = self.settle_receive(&receive) {
                tracing::warn!(%error, "cannot settle a Lightning receive");
                return Ok(());
            }
        }
        Ok(())
    }

    fn settle_receive(&self, receive: &Receive) -> Result<(), RpcError> {
        let hash = receive.hash;
        if self.hook(Hook::LnSettle)? == Some(Action::Withhold) {
            return Err(anyhow::anyhow!("the node does not answer").into());
        }
        let preimage = self.store.settlement(hash)?;
        let preimage = preimage.ok_or_else(|| anyhow::anyhow!("the preimage is gone"))?;
        if receive.linked {
            self.take_htlcs(hash)?;
            self.push_finished(hash, Some(preimage), None)?;
        } else {
            self.lightning.network.settle(hash, preimage)?;
        }
        self.store
            .write(|db| receive::set_status(db, hash, ReceiveStatus::Settled))?;
        self.lightning.wake();
        Ok(())
    }

    /// Ends receives that nobody prepared in time, and those whose invoice has expired, whatever their state.
    fn end_late_receives(&self) -> Result<(), RpcError> {
        let now = self.now();
        for receive in self.store.unfinished_receives()? {
            let is_unprepared = receive.status == ReceiveStatus::Accepted
                && receive
                    .accepted
                    .is_some_and(|at| at + self.params.ln_hold_window <= now);
            if is_unprepared || receive.expires <= now {
                self.time_out(&receive)?;
            }
        }
        Ok(())
    }

    /// Looks how a payment stands at the node: at once while the call lasts, later only from time to time. The attempts between two
    /// clients have no payment there.
    fn follow_attempt(&self, attempt: &Attempt) -> Result<(), RpcError> {
        let network = &self.lightning.network;
        if attempt.linked || !network.is_online() {
            return Ok(());
        }
        let now = self.now();
        let age = now.saturating_sub(attempt.started);
        let is_called = self.lightning.ram().calls.contains(&attempt.number);
        if !is_called && !self.is_check_due(attempt, age, now) {
            return Ok(());
        }
        let status = network.payment(attempt.hash)?.map(|payment| payment.status);
        if is_called {
            let is_over = age >= CALL || !matches!(status, Some(PaymentStatus::Pending));
            if !is_over {
                return Ok(());
            }
            self.lightning.ram().calls.remove(&attempt.number);
            if self.hook(Hook::LnOutcome)? == Some(Action::Withhold) {
                return Ok(());
            }
        }
        match status {
            Some(PaymentStatus::Complete(preimage)) => self.succeed(attempt.hash, preimage),
            Some(PaymentStatus::Failed(reason)) => {
                self.fail_attempt(attempt.number, attempt.hash, Some(reason))
            }
            None => self.fail_attempt(attempt.number, attempt.hash, None),
            Some(PaymentStatus::Pending) => Ok(()),
        }
    }

    /// Whether an attempt without a call is looked at now; if so, the next look is later.
    fn is_check_due(&self, attempt: &Attempt, age: Duration, now: Duration) -> bool {
        if age < CHECK_AGE {
            return false;
        }
        let mut ram = self.lightning.ram();
        let check = ram.checks.get(&attempt.number).copied();
        let times = check.map_or(0, |check| check.times);
        if check.is_some_and(|check| now < check.at) {
            return false;
        }
        let period = CHECK_PERIOD.saturating_mul(2_u32.saturating_pow(times));
        let next = Check {
            at: now + period.min(MAX_CHECK_PERIOD),
            times: times + 1,
        };
        ram.checks.insert(attempt.number, next);
        true
    }
}
