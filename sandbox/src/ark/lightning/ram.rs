//! What the server keeps in RAM about Lightning payments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ark_lib::lightning::PaymentHash;
use tokio::sync::watch;

use crate::lightning::LightningNetwork;

/// The Lightning node, and what the server keeps in RAM about payments.
pub struct Lightning {
    pub(in super::super) network: Arc<LightningNetwork>,
    ram: Mutex<Ram>,
    /// Changes when an attempt or a receive does, to wake those who wait for its end.
    pub(super) changed: watch::Sender<u64>,
}

/// What a restart forgets.
#[derive(Default)]
pub(super) struct Ram {
    /// The attempts whose call to the node has not returned.
    pub(super) calls: BTreeSet<i64>,
    /// When an attempt without a call is looked at again, and how often it was.
    pub(super) checks: BTreeMap<i64, Check>,
    /// The receives whose HTLCs are being granted.
    pub(super) preparing: BTreeSet<PaymentHash>,
    /// When the pool was filled.
    pub(super) pool_filled: Option<Duration>,
}

/// The next look at an attempt.
#[derive(Clone, Copy)]
pub(super) struct Check {
    pub(super) at: Duration,
    pub(super) times: u32,
}

impl Lightning {
    /// The state of the first run.
    pub fn new(network: Arc<LightningNetwork>) -> Lightning {
        Lightning {
            network,
            ram: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }

    /// The state of the next run: the same node.
    pub fn next_run(&self) -> Lightning {
        Lightning::new(self.network.clone())
    }

    pub(super) fn ram(&self) -> MutexGuard<'_, Ram> {
        self.ram.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes those who wait for the end of an attempt or a receive, and the jobs.
    pub(super) fn wake(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}
