//! What a daemon talks to: a chain and an Ark server.

use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arkwalletd_sandbox::ark::{Params, RoundOutcome};
use arkwalletd_sandbox::chain::AutoMine;
use arkwalletd_sandbox::testing::Bitcoind;
use arkwalletd_sandbox::{Sandbox, SandboxHandle};
use bitcoin::address::NetworkUnchecked;
use bitcoin::{Address, Amount, FeeRate};
use serde_json::{Value, json};

use super::faults::Expected;

/// Most rounds in a row that may fail in one world.
pub const MOST_MISSED: u32 = 12;

/// A chain, a faucet and an Ark server. Blocks are mined only when a test asks for them.
pub struct World {
    /// The running sandbox.
    pub sandbox: SandboxHandle,
    /// The real node under it, in the runs that have one.
    pub node: Option<Bitcoind>,
    /// The seed of the sandbox's keys.
    pub seed: [u8; 32],
    /// The faults that have to fire.
    pub(super) expected: Expected,
    missed: AtomicU32,
    missed_in_a_row: AtomicU32,
}

impl World {
    /// A world without fees.
    pub async fn new() -> World {
        World::with(Params::free()).await
    }

    /// A world whose server has these parameters.
    pub async fn with(ark: Params) -> World {
        World::start(ark, node_of_this_run()).await
    }

    /// A world on the simulated chain in every run, for tests of what a real node cannot be made to do.
    pub async fn simulated(ark: Params) -> World {
        World::start(ark, None).await
    }

    /// A world on a real node in every run.
    pub async fn on_node() -> World {
        World::start(Params::free(), Some(Bitcoind::start())).await
    }

    async fn start(ark: Params, node: Option<Bitcoind>) -> World {
        let auto_mine = AutoMine {
            on: false,
            delay: Duration::ZERO,
        };
        let bitcoind = node.as_ref().map(Bitcoind::config);
        let seed = rand::random();
        let sandbox = Sandbox {
            ark,
            auto_mine,
            bitcoind,
            seed: Some(seed),
            ..Sandbox::default()
        };
        World {
            sandbox: sandbox.start().await.expect("the sandbox starts"),
            node,
            seed,
            expected: Expected::default(),
            missed: AtomicU32::new(0),
            missed_in_a_row: AtomicU32::new(0),
        }
    }

    /// The chain source of a daemon, as `POST /wallet/create` takes it: the real node where there is one.
    pub fn chain_source(&self) -> Value {
        match &self.node {
            Some(node) => bitcoind_source(&node.url()),
            None => json!({"esplora": {"url": self.sandbox.esplora_url}}),
        }
    }

    /// The same chain through a proxy that fails on demand.
    pub fn faulty_chain_source(&self) -> Value {
        let url = self.sandbox.chain_proxy.url();
        match &self.node {
            Some(_) => bitcoind_source(url),
            None => json!({"esplora": {"url": url}}),
        }
    }

    /// The real node, with its cookie instead of a password.
    pub fn chain_source_with_cookie(&self) -> Value {
        let node = self.node.as_ref().expect("a world on a real node");
        let auth = json!({"cookie": {"cookie": node.cookie_file()}});
        json!({"bitcoind": {"bitcoind": node.url(), "bitcoind_auth": auth}})
    }

    /// Whether the chain is simulated; then it can forget transactions, which a real node cannot.
    pub fn is_simulated(&self) -> bool {
        self.node.is_none()
    }

    /// Mines blocks.
    pub async fn mine(&self, blocks: u32) {
        self.sandbox
            .chain
            .mine(blocks)
            .await
            .expect("blocks can be mined");
    }

    /// The height of the chain.
    pub async fn height(&self) -> u32 {
        self.sandbox
            .chain
            .tip()
            .await
            .expect("the chain has a tip")
            .height
    }

    /// Pays an on-chain address, without mining.
    pub async fn pay(&self, address: &str, sats: u64) {
        let address = Address::<NetworkUnchecked>::from_str(address)
            .expect("a bitcoin address")
            .assume_checked();
        let rate = FeeRate::from_sat_per_vb_u32(2);
        let paid = self
            .sandbox
            .faucet
            .pay(address.script_pubkey(), Amount::from_sat(sats), rate)
            .await;
        paid.expect("the faucet has coins");
    }

    /// Gives the Ark server coins to fund rounds and offboards with.
    pub async fn fund_server(&self, sats: u64) {
        let address = self.sandbox.ark.coin_address().to_string();
        for _ in 0..5 {
            self.pay(&address, sats).await;
        }
        self.mine(1).await;
    }

    /// Runs a round; answers whether it succeeded. Panics when too many fail in a row, not counting those in which nobody takes part.
    pub async fn round(&self) -> bool {
        let outcome = self.sandbox.ark.trigger_round().await;
        if matches!(outcome, Ok(RoundOutcome::Finished { .. })) {
            self.missed_in_a_row.store(0, Ordering::Relaxed);
            return true;
        }
        self.missed.fetch_add(1, Ordering::Relaxed);
        let is_empty = match &outcome {
            Ok(RoundOutcome::Failed { reason, .. }) => reason == "nobody takes part",
            _ => false,
        };
        if !is_empty {
            let in_a_row = self.missed_in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
            assert!(
                in_a_row <= MOST_MISSED,
                "{in_a_row} rounds in a row failed: {outcome:?}"
            );
        }
        false
    }

    /// Counts the rounds that fail in a row from now on.
    pub fn forget_missed_rounds(&self) {
        self.missed_in_a_row.store(0, Ordering::Relaxed);
    }

    /// How many rounds have failed.
    pub fn missed_rounds(&self) -> u32 {
        self.missed.load(Ordering::Relaxed)
    }
}

/// A node, in a run with `ARKWALLETD_TEST_CHAIN=bitcoind`.
fn node_of_this_run() -> Option<Bitcoind> {
    match std::env::var("ARKWALLETD_TEST_CHAIN").as_deref() {
        Ok("bitcoind") => Some(Bitcoind::start()),
        Ok("sandbox") | Err(_) => None,
        Ok(other) => panic!("ARKWALLETD_TEST_CHAIN is bitcoind or sandbox, not {other}"),
    }
}

/// A node that listens at `url`, directly or behind a proxy.
fn bitcoind_source(url: &str) -> Value {
    let auth = json!({"user-pass": {"user": Bitcoind::USER, "pass": Bitcoind::PASSWORD}});
    json!({"bitcoind": {"bitcoind": url, "bitcoind_auth": auth}})
}
