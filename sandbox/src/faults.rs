//! Faults on demand: which call fails, and how often. What a fault does is its action, which the Ark server and the proxy before
//! the chain define for themselves.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// An action at chosen calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault<A> {
    /// The calls that it matches; `*` for all.
    pub target: String,
    /// Number of matching calls that pass before the first that fails.
    #[serde(default)]
    pub skip: u32,
    /// Number of calls that fail; unlimited if absent.
    #[serde(default)]
    pub times: Option<u32>,
    /// What happens to a call that fails.
    pub action: A,
}

/// A fault that was added, and its counters.
#[derive(Debug, Clone, Serialize)]
pub struct ActiveFault<A> {
    /// What [`FaultList::add`] returned.
    pub id: u64,
    /// The fault.
    #[serde(flatten)]
    pub fault: Fault<A>,
    /// Matching calls since the fault was added.
    pub seen: u32,
    /// Calls that failed because of it.
    pub fired: u32,
}

/// The faults that were added and not removed. Clones share them.
#[derive(Debug)]
pub struct FaultList<A>(Arc<Mutex<Inner<A>>>);

#[derive(Debug)]
struct Inner<A> {
    next_id: u64,
    active: Vec<ActiveFault<A>>,
}

impl<A> Default for FaultList<A> {
    fn default() -> FaultList<A> {
        FaultList(Arc::new(Mutex::new(Inner {
            next_id: 0,
            active: Vec::new(),
        })))
    }
}

impl<A> Clone for FaultList<A> {
    fn clone(&self) -> FaultList<A> {
        FaultList(Arc::clone(&self.0))
    }
}

impl<A: Clone> FaultList<A> {
    /// Adds a fault and returns its id.
    pub fn add(&self, fault: Fault<A>) -> u64 {
        let mut inner = self.lock();
        inner.next_id += 1;
        let id = inner.next_id;
        inner.active.push(ActiveFault {
            id,
            fault,
            seen: 0,
            fired: 0,
        });
        id
    }

    /// Removes a fault; false if there is none with this id.
    pub fn remove(&self, id: u64) -> bool {
        let mut inner = self.lock();
        let before = inner.active.len();
        inner.active.retain(|active| active.id != id);
        inner.active.len() < before
    }

    /// Removes all faults.
    pub fn clear(&self) {
        self.lock().active.clear();
    }

    /// All faults, oldest first, including those whose `times` are used up.
    pub fn active(&self) -> Vec<ActiveFault<A>> {
        self.lock().active.clone()
    }

    /// Counts a call for every fault that matches it, and returns the oldest one that is due.
    pub fn fire(&self, matches: impl Fn(&Fault<A>) -> bool) -> Option<ActiveFault<A>> {
        let mut inner = self.lock();
        let mut due = None;
        for active in &mut inner.active {
            if !matches(&active.fault) {
                continue;
            }
            active.seen += 1;
            let is_due = active.seen > active.fault.skip
                && active.fault.times.is_none_or(|times| active.fired < times);
            if is_due && due.is_none() {
                active.fired += 1;
                due = Some(active.clone());
            }
        }
        due
    }

    fn lock(&self) -> MutexGuard<'_, Inner<A>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
