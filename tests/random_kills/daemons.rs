//! A wallet whose daemon is killed again and again.

use std::cell::Cell;
use std::time::Duration;

use arkwalletd::CommitPoint;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::sync::Notify;

use super::Shared;
use super::load::Client;
use crate::crash::assert_killed;
use crate::support::{Daemon, World, creation};

/// Clients that send requests to a daemon at the same time.
const CLIENTS: usize = 2;

/// The coins of a wallet at the beginning, in sat.
const FUNDS: u64 = 2_000_000;

/// A daemon, and the choices of its kills.
pub struct Wallet {
    pub daemon: Daemon,
    number: usize,
    random: StdRng,
}

/// The end of a daemon's process, as its clients learn of it.
#[derive(Default)]
pub struct Death {
    is_dead: Cell<bool>,
    noticed: Notify,
}

impl Death {
    /// Whether no request can be sent any more.
    pub fn has_come(&self) -> bool {
        self.is_dead.get()
    }

    /// Takes note of a connection that broke.
    pub fn notice(&self) {
        self.is_dead.set(true);
        self.noticed.notify_one();
    }
}

impl Wallet {
    /// A wallet with on-chain coins.
    pub async fn start(world: &World, number: usize, seed: u64) -> Wallet {
        let daemon = Daemon::start().await;
        let request = creation(world, world.faulty_chain_source());
        daemon.post("/wallet/create", request).await.ok();
        daemon.fund_and_board(world, FUNDS / 2).await;
        daemon.fund(world, FUNDS / 2).await;
        Wallet {
            daemon,
            number,
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// Runs the daemon under load, kills it and starts it again until the load is over.
    pub async fn live(&mut self, shared: &Shared) {
        while !shared.is_over() {
            self.live_once(shared).await;
            while !self.start_again(shared).await {
                shared.count("killed at a commit point at its start");
            }
        }
    }

    /// Sends requests to the daemon until it is killed, by time or by its failpoint.
    async fn live_once(&mut self, shared: &Shared) {
        let death = Death::default();
        let until = Duration::from_millis(self.random.random_range(100..9_000));
        let clients: Vec<Client> = (0..CLIENTS)
            .map(|_| {
                Client::new(
                    shared,
                    &self.daemon,
                    self.number,
                    &death,
                    self.random.random(),
                )
            })
            .collect();
        let killed_in_time = async {
            let in_time = tokio::time::timeout(until, death.noticed.notified()).await;
            if in_time.is_err() {
                death.notice();
                self.daemon.kill_now();
            }
            in_time.is_err()
        };
        let load = futures::future::join_all(clients.into_iter().map(Client::run));
        let (in_time, _) = tokio::join!(killed_in_time, load);
        assert_killed(self.daemon.wait_for_exit().await);
        shared.count(if in_time {
            "killed at a random time"
        } else {
            "killed at a commit point"
        });
    }

    /// Starts the daemon again with a random failpoint; false if that killed it before it was ready.
    async fn start_again(&mut self, shared: &Shared) -> bool {
        let pause = self.random.random_range(0..800);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        shared.count("restart");
        let failpoint = self.failpoint();
        self.daemon.restart_unless_killed(&failpoint).await
    }

    /// Kills at a random commit point when it is reached for the first, second or third time.
    fn failpoint(&mut self) -> String {
        let point = CommitPoint::ALL.choose(&mut self.random);
        let point = point.expect("there are some").name();
        let moment = ["before", "after"][self.random.random_range(0..2)];
        let skip = self.random.random_range(0..3);
        format!("{point}.{moment}={skip}*off->return")
    }

    /// Starts the daemon again without a failpoint.
    pub async fn start_for_good(&mut self) {
        self.daemon.kill().await;
        self.daemon.restart(None).await;
    }

    /// Starts the daemon again so that it begins nothing without a request.
    pub async fn start_idle(&mut self) {
        self.daemon.kill().await;
        let idle = [("BARK_DAEMON_MANUAL_SYNC", "true")];
        self.daemon.restart_with(None, &idle).await;
    }
}
