//! Mixed load on several wallets of one world, with `kill -9` of their daemons and faults of server and chain at random times. Then
//! the faults end, everything settles, and no sat may be missing and no payment may have arrived twice.
//!
//! The seed decides which requests, kills and faults there are and how long each pause is. It is printed first, and
//! `ARKWALLETD_SEED` sets it. The scheduling of the processes is not repeated, so one seed visits similar, not equal, histories.

mod daemons;
mod exits;
mod faults;
mod lightning;
mod load;
mod settle;
mod verdict;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use arkwalletd_sandbox::ark::{Params, charging_fees};
use bitcoin::Amount;
use bitcoin_ext::BlockDelta;
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

use crate::support::World;
use daemons::Wallet;
use load::Attempt;

/// The number of wallets.
const WALLETS: usize = 4;

/// Faults of the server at a time.
const SERVER_FAULTS: usize = 3;

/// The length of the load in the ordinary run.
const SHORT: Duration = Duration::from_secs(25);

/// The length of the load at length; `ARKWALLETD_RANDOM_KILLS_SECS` sets another.
const LONG: Duration = Duration::from_secs(600);

/// How much longer the load may last on a busy machine, until each of [`NEEDED`] has happened.
const EXTENSION: Duration = Duration::from_secs(60);

/// What has to happen in a run, by the beginnings of its names in the report.
const NEEDED: [&str; 11] = [
    "killed",
    "server fault",
    "chain fault",
    "pay ",
    "board ",
    "refresh ",
    "exit start",
    "exit progress",
    "ln pay world",
    "ln pay invoice",
    "ln paid by the world",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_sat_is_lost_by_random_kills() {
    run(seed().unwrap_or(9), SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes ten minutes; tests/run --full runs it"]
async fn no_sat_is_lost_by_random_kills_at_length() {
    let seconds = number_from("ARKWALLETD_RANDOM_KILLS_SECS");
    let length = seconds.map_or(LONG, Duration::from_secs);
    run(seed().unwrap_or_else(rand::random), length).await;
}

fn seed() -> Option<u64> {
    number_from("ARKWALLETD_SEED")
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a whole number"))
}

/// What the parts of a run share.
struct Shared {
    world: World,
    /// When the load ends, if everything has happened by then that a run has to have.
    end: Instant,
    /// Addresses that have not been paid yet, by the number of their wallet.
    addresses: Mutex<Vec<Vec<String>>>,
    /// Invoices that have not been paid yet, with their amounts in sat, by the number of their wallet.
    invoices: Mutex<Vec<Vec<(String, u64)>>>,
    /// Invoices of wallets that the world has paid.
    paid_by_world: Mutex<Vec<String>>,
    /// Every payment that was requested.
    attempts: Mutex<Vec<Attempt>>,
    /// How often what happened, for the report.
    counts: Mutex<BTreeMap<String, u64>>,
}

impl Shared {
    fn count(&self, what: impl Into<String>) {
        self.count_times(what, 1);
    }

    fn count_times(&self, what: impl Into<String>, times: u64) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(what.into()).or_default() += times;
    }

    fn counted(&self, prefix: &str) -> u64 {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let found = counts.iter().filter(|(what, _)| what.starts_with(prefix));
        found.map(|(_, times)| times).sum()
    }

    /// One of the things that a run has to have and that has not happened yet.
    fn missing(&self) -> Option<&'static str> {
        let mut needed = NEEDED.into_iter();
        needed.find(|needed| self.counted(needed) == 0)
    }

    fn is_over(&self) -> bool {
        let now = Instant::now();
        now >= self.end && (now >= self.end + EXTENSION || self.missing().is_none())
    }
}

/// A server with fees and a round every few seconds.
fn params() -> Params {
    Params {
        vtxo_lifetime: BlockDelta::new(200),
        max_vtxo_exit_depth: 60,
        round_interval: Duration::from_secs(4),
        round_submit_time: Duration::from_millis(700),
        round_sign_time: Duration::from_millis(1500),
        ln_pool: vec![(20, Amount::from_sat(50_000))],
        fees: charging_fees(),
        ..Params::free()
    }
}

async fn run(seed: u64, length: Duration) {
    println!("seed {seed}; ARKWALLETD_SEED={seed} repeats it");
    let mut random = StdRng::seed_from_u64(seed);
    let world = World::with(params()).await;
    let mut wallets = Vec::new();
    for number in 0..WALLETS {
        wallets.push(Wallet::start(&world, number, random.random()).await);
    }
    let shared = Shared {
        world,
        end: Instant::now() + length,
        addresses: Mutex::new(vec![Vec::new(); WALLETS]),
        invoices: Mutex::new(vec![Vec::new(); WALLETS]),
        paid_by_world: Mutex::default(),
        attempts: Mutex::default(),
        counts: Mutex::default(),
    };
    let lives = wallets.iter_mut().map(|wallet| wallet.live(&shared));
    let faults_of_the_server: Vec<_> = (0..SERVER_FAULTS)
        .map(|_| faults::of_the_server(&shared, StdRng::seed_from_u64(random.random())))
        .collect();
    tokio::join!(
        join_all(lives),
        join_all(faults_of_the_server),
        faults::of_the_chain(&shared, StdRng::seed_from_u64(random.random())),
        mine(&shared, StdRng::seed_from_u64(random.random())),
        lightning::resolve_held(&shared, StdRng::seed_from_u64(random.random())),
    );
    settle::settle(&shared, &mut wallets).await;
    report(&shared);
    verdict::tell_exceptions(&wallets);
    verdict::judge(&shared, &wallets).await;
    println!("seed {seed}: no sat is missing");
    let missing = shared.missing();
    assert!(missing.is_none(), "{missing:?} never happened");
}

/// Mines blocks at random times.
async fn mine(shared: &Shared, mut random: StdRng) {
    while !shared.is_over() {
        let pause = random.random_range(700..2_500);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        shared.world.mine(1).await;
        shared.count("block");
    }
}

fn report(shared: &Shared) {
    let counts = shared.counts.lock().unwrap_or_else(PoisonError::into_inner);
    for (what, times) in counts.iter() {
        println!("{times:>7}  {what}");
    }
}
