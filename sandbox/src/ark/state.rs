//! The state that the handlers share: the parts that survive a restart, and the RAM of one run.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::anyhow;
use ark_lib::VtxoId;
use ark_lib::mailbox::MailboxIdentifier;
use bitcoin_ext::BlockHeight;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use super::faults::{Action, Faults, Hook};
use super::in_flight::InFlight;
use super::keys::Keys;
use super::lightning::Lightning;
use super::offboard::Offboards;
use super::params::Params;
use super::recovery::RecoveryCalls;
use super::round::{RoundConfig, Rounds};
use super::status::RpcError;
use super::store::{Store, VtxoRecord};
use super::watchman::WatchmanConfig;
use crate::chain::Chain;
use crate::clock::Clock;
use crate::coin_wallet::CoinWallet;

/// One run of the server. A restart builds the next one from the same store.
pub struct Ark {
    pub(super) chain: Chain,
    pub(super) params: Arc<Params>,
    pub(super) keys: Arc<Keys>,
    pub(super) store: Arc<Store>,
    pub(super) faults: Faults,
    /// When rounds happen; belongs to the test, so a restart does not touch it.
    pub(super) round_config: Arc<StdMutex<RoundConfig>>,
    /// What happens to VTXOs that are on chain; belongs to the test, too.
    watchman: Arc<StdMutex<WatchmanConfig>>,
    /// Whether the server has the calls for recovery; belongs to the test, too.
    pub(super) recovery_calls: Arc<RecoveryCalls>,
    /// Held by every call that changes something, so that checks and change are one step.
    turn: Arc<Mutex<()>>,

    /// Cancelled when this run ends.
    pub(super) alive: CancellationToken,
    /// When this run began.
    pub(super) started: SystemTime,
    /// Checkpoint of the newest mailbox message, to wake the subscribers.
    pub(super) newest_message: watch::Sender<u64>,
    /// The server's own coins.
    pub(super) coins: CoinWallet,
    /// The mailbox that was read last; faults post to it.
    pub(super) last_reader: StdMutex<Option<MailboxIdentifier>>,
    /// The round in progress.
    pub(super) rounds: Rounds,
    /// The offboards in progress.
    pub(super) offboards: Offboards,
    /// The inputs that requests are using.
    pub(super) in_flight: InFlight,
    /// The Lightning node, and the payments in progress.
    pub(super) lightning: Lightning,
}

impl Ark {
    /// The first run. `alive` ends it.
    pub(super) fn new(
        chain: Chain,
        params: Params,
        keys: Keys,
        store: Store,
        lightning: Lightning,
        alive: CancellationToken,
    ) -> Ark {
        let round_config = RoundConfig::from(&params);
        Ark {
            coins: CoinWallet::new(chain.clone(), keys.coins.clone()),
            chain,
            params: Arc::new(params),
            keys: Arc::new(keys),
            store: Arc::new(store),
            faults: Faults::default(),
            round_config: Arc::new(StdMutex::new(round_config)),
            watchman: Arc::default(),
            recovery_calls: Arc::default(),
            turn: Arc::default(),
            alive,
            started: SystemTime::now(),
            newest_message: watch::Sender::new(0),
            last_reader: StdMutex::default(),
            rounds: Rounds::default(),
            offboards: Offboards::default(),
            in_flight: InFlight::default(),
            lightning,
        }
    }

    /// The run after this one, with the same store and keys and fresh RAM.
    pub(super) fn next_run(&self, alive: CancellationToken) -> Ark {
        Ark {
            chain: self.chain.clone(),
            params: self.params.clone(),
            keys: self.keys.clone(),
            store: self.store.clone(),
            faults: self.faults.clone(),
            round_config: self.round_config.clone(),
            watchman: self.watchman.clone(),
            recovery_calls: self.recovery_calls.clone(),
            turn: self.turn.clone(),
            alive,
            started: SystemTime::now(),
            newest_message: watch::Sender::new(0),
            coins: CoinWallet::new(self.chain.clone(), self.keys.coins.clone()),
            last_reader: StdMutex::default(),
            rounds: Rounds::default(),
            offboards: Offboards::default(),
            in_flight: InFlight::default(),
            lightning: self.lightning.next_run(),
        }
    }

    /// What happens to VTXOs that are on chain.
    pub(super) fn watchman(&self) -> MutexGuard<'_, WatchmanConfig> {
        self.watchman.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no other call is changing anything.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Height of the chain.
    pub(super) async fn tip_height(&self) -> Result<BlockHeight, RpcError> {
        Ok(BlockHeight::new(self.chain.tip().await?.height))
    }

    /// Looks for a fault at `hook`. A crash happens here; the caller carries out any other action.
    pub(super) fn hook(&self, hook: Hook) -> Result<Option<Action>, RpcError> {
        match self.faults.on_hook(hook) {
            Some(Action::Crash) => Err(self.crash(hook)),
            action => Ok(action),
        }
    }

    /// Looks for a fault that holds the handler at `hook`, and returns what resolves when that fault is removed.
    pub(super) fn hold(
        &self,
        hook: Hook,
    ) -> Result<Option<impl Future<Output = ()> + Send + use<>>, RpcError> {
        match self.faults.on_hold(hook) {
            Some((Action::Crash, _)) => Err(self.crash(hook)),
            held => Ok(held.map(|(_, removed)| removed)),
        }
    }

    fn crash(&self, hook: Hook) -> RpcError {
        self.alive.cancel();
        anyhow!("crashed at {}", hook.name()).into()
    }

    /// Time since 1970 by the server's clock, which is the sandbox's clock unless a fault makes it wrong.
    pub(super) fn now(&self) -> Duration {
        self.skewed(self.lightning.network.clock().now())
    }

    /// The server's clock as clients see it. Time that a test let pass has passed for them, too, although the machine's clock does not
    /// show it; only a fault makes the clocks differ.
    pub(super) fn now_for_clients(&self) -> Duration {
        self.skewed(Clock::machine())
    }

    fn skewed(&self, now: Duration) -> Duration {
        let skew = match self.faults.on_hook(Hook::Clock) {
            Some(Action::SkewClock { seconds }) => seconds,
            _ => 0,
        };
        let by = Duration::from_secs(skew.unsigned_abs());
        if skew < 0 {
            now.saturating_sub(by)
        } else {
            now.saturating_add(by)
        }
    }

    /// The records of client VTXOs in the order of `ids`; if any is unknown, all unknown ones are named.
    pub(super) fn known<'a>(
        &self,
        ids: impl IntoIterator<Item = &'a VtxoId>,
    ) -> Result<Vec<VtxoRecord>, RpcError> {
        let mut records = Vec::new();
        let mut unknown = BTreeSet::new();
        for id in ids {
            match self.store.vtxo(*id)? {
                Some(record) => records.push(record),
                None => {
                    unknown.insert(*id);
                }
            }
        }
        if unknown.is_empty() {
            Ok(records)
        } else {
            Err(RpcError::unknown_vtxos(unknown))
        }
    }
}
