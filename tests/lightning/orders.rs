//! Payments that succeed, fail, are held, expire and are given back, in several orders, with restarts in between. The books are
//! compared after each.

use arkwalletd_sandbox::lightning::{HoldStatus, Outcome};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::{assert_paid, assert_received, pay};
use crate::support::{Daemon, FAIL, SETTLE, World, assert_conserved, eventually, hash_of};

/// What each moves, in sat.
const AMOUNT: u64 = 2_000;

/// Blocks after which the HTLCs of a payment have expired for certain.
const EXPIRY: u32 = 150;

/// Seconds after which the server gives back a payment that its payee does not ask for.
const HOLD_WINDOW: u64 = 181;

/// One payment and its fate.
#[derive(Clone, Copy, Debug)]
enum Story {
    /// The world takes it at once.
    Taken,
    /// The world refuses it at once.
    Refused,
    /// The world holds it, and takes it.
    HeldAndTaken,
    /// The world holds it, and refuses it.
    HeldAndRefused,
    /// The world holds it until its HTLCs have expired.
    Expired,
    /// The payee, another wallet of the server, is away until the server gives the payment up.
    PayeeAway,
    /// The other wallet takes it.
    TakenByWallet,
    /// The world pays.
    Received,
    /// The world pays while the wallet is away.
    ReceivedLate,
    /// The world pays and gets it back, because the wallet is away for too long.
    MissedReceive,
}

const STORIES: [Story; 10] = [
    Story::Taken,
    Story::Refused,
    Story::HeldAndTaken,
    Story::HeldAndRefused,
    Story::Expired,
    Story::PayeeAway,
    Story::TakenByWallet,
    Story::Received,
    Story::ReceivedLate,
    Story::MissedReceive,
];

struct Scene {
    world: World,
    wallet: Daemon,
    other: Daemon,
    random: StdRng,
}

impl Scene {
    /// Kills the wallet's daemon and starts it again, every other time.
    async fn maybe_restart(&mut self) {
        if self.random.random() {
            println!("  restart");
            self.wallet.kill().await;
            self.wallet.restart(None).await;
        }
    }

    async fn tell(&mut self, story: Story) {
        println!("{story:?}");
        match story {
            Story::Taken => {
                let issued = self.world.issue(AMOUNT, SETTLE);
                pay(&self.wallet, &issued.bolt11, None).await;
                self.maybe_restart().await;
                assert_paid(&self.wallet, &issued.hash).await;
                assert!(self.world.got(&issued.hash));
            }
            Story::Refused => {
                let issued = self.world.issue(AMOUNT, FAIL);
                self.wallet.pay(&issued.bolt11, None).await;
                self.maybe_restart().await;
                self.assert_failed(&issued.hash).await;
            }
            Story::HeldAndTaken => {
                let hash = self.held().await;
                self.world.settle_held(&hash).await;
                self.maybe_restart().await;
                assert_paid(&self.wallet, &hash).await;
            }
            Story::HeldAndRefused => {
                let hash = self.held().await;
                self.world.fail_held(&hash).await;
                self.maybe_restart().await;
                self.assert_failed(&hash).await;
            }
            Story::Expired => {
                let hash = self.held().await;
                self.world.mine(EXPIRY).await;
                self.maybe_restart().await;
                self.assert_failed(&hash).await;
                self.world.fail_held(&hash).await;
            }
            Story::PayeeAway => self.payee_away().await,
            Story::TakenByWallet => {
                let invoice = self.other.invoice(AMOUNT).await;
                let hash = pay(&self.wallet, &invoice, None).await;
                self.maybe_restart().await;
                assert_received(&self.other, &hash).await;
                assert_paid(&self.wallet, &hash).await;
            }
            Story::Received => {
                let invoice = self.wallet.invoice(AMOUNT).await;
                self.world.pays(&invoice).await;
                self.maybe_restart().await;
                self.assert_received(&invoice).await;
            }
            Story::ReceivedLate => {
                let invoice = self.wallet.invoice(AMOUNT).await;
                self.wallet.kill().await;
                self.world.pays(&invoice).await;
                self.wallet.restart(None).await;
                self.assert_received(&invoice).await;
            }
            Story::MissedReceive => {
                let invoice = self.wallet.invoice(AMOUNT).await;
                self.wallet.kill().await;
                self.world.pays(&invoice).await;
                self.world.advance_clock(HOLD_WINDOW).await;
                self.wallet.restart(None).await;
                assert_eq!(self.world.hold(&hash_of(&invoice)), HoldStatus::Cancelled);
            }
        }
        self.compare_books().await;
    }

    /// A payment that the world holds.
    async fn held(&mut self) -> String {
        let issued = self.world.issue(AMOUNT, Outcome::Hold);
        let (wallet, world) = (&self.wallet, &self.world);
        // The answer may wait for the outcome, which is not known yet.
        tokio::select! {
            () = world.wait_until_held(&issued.hash) => {}
            hash = pay(wallet, &issued.bolt11, None) => assert_eq!(hash, issued.hash),
        }
        self.world.wait_until_held(&issued.hash).await;
        self.maybe_restart().await;
        issued.hash
    }

    async fn payee_away(&mut self) {
        let invoice = self.other.invoice(AMOUNT).await;
        let hash = hash_of(&invoice);
        self.other.kill().await;
        let calls = || {
            self.world
                .sandbox
                .ark
                .faults()
                .calls_of("InitiateLightningPayment")
        };
        let before = calls();
        let paid = self.wallet.pay(&invoice, None);
        let initiated = eventually("the payment is begun", async || {
            (calls() > before).then_some(())
        });
        let (reply, ()) = tokio::join!(paid, initiated);
        assert!(matches!(reply.status, 200 | 202), "{reply:?}");
        self.maybe_restart().await;
        self.world.advance_clock(HOLD_WINDOW).await;
        self.assert_failed(&hash).await;
        self.other.restart(None).await;
    }

    async fn assert_failed(&self, hash: &str) {
        let movement = self.wallet.wait_for_movement(hash).await;
        assert_eq!(movement["status"], "failed", "{movement:#}");
        assert_eq!(movement["effective_balance_sat"], 0, "{movement:#}");
    }

    /// Waits until the wallet has claimed a payment of the world, and the world has the preimage.
    async fn assert_received(&self, invoice: &str) {
        let hash = hash_of(invoice);
        assert_received(&self.wallet, &hash).await;
        self.world.lightning_jobs().await;
        assert_eq!(self.world.hold(&hash), HoldStatus::Settled);
    }

    async fn compare_books(&self) {
        for daemon in [&self.wallet, &self.other] {
            daemon.settled().await;
        }
        assert_conserved(&self.world, &[&self.wallet, &self.other]).await;
    }
}

/// The stories in an order, and with restarts, that follow from the seed.
async fn tell_all(seed: u64) {
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut stories = STORIES;
    stories.shuffle(&mut random);
    let world = World::new().await;
    let wallet = Daemon::with_wallet(&world).await;
    let other = Daemon::with_wallet(&world).await;
    wallet.fund_and_board(&world, 60_000).await;
    let mut scene = Scene {
        world,
        wallet,
        other,
        random,
    };
    for story in stories {
        scene.tell(story).await;
    }
    // Three went out, two came in, and everything else came back.
    scene.wallet.wait_for_spendable(60_000 - AMOUNT).await;
}

#[tokio::test]
async fn no_order_of_outcomes_and_restarts_loses_a_sat() {
    tell_all(1).await;
}

#[tokio::test]
async fn another_order_of_outcomes_and_restarts_loses_no_sat() {
    tell_all(2).await;
}

#[tokio::test]
async fn a_third_order_of_outcomes_and_restarts_loses_no_sat() {
    tell_all(3).await;
}
