//! Faults of the Ark server: at chosen calls it misbehaves in a chosen way (docs/protocol.md §35.1).
//!
//! A fault targets either an RPC by name, and then acts on the transport around the handler, or a [`Hook`] inside a handler. Faults
//! and call counters belong to the test, so a restart of the server does not touch them.

mod action;
mod fault;
mod hook;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use crate::faults::{self, FaultList};

pub use action::{
    Action, GrantFault, InfoFault, InvoiceFault, OffboardFault, RecoveryFault, TreeFault,
};
pub use fault::Fault;
pub use hook::Hook;

/// How often a handler that a fault holds looks whether the fault is removed.
const REMOVAL_POLL: Duration = Duration::from_millis(5);

/// A fault that was added, and its counters.
pub type ActiveFault = faults::ActiveFault<Action>;

/// The faults, the number of calls so far, and the size of the largest ones. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    list: FaultList<Action>,
    calls: Arc<Mutex<BTreeMap<&'static str, u64>>>,
    largest: Arc<Mutex<BTreeMap<&'static str, usize>>>,
}

impl Faults {
    /// Adds a fault and returns its id.
    ///
    /// # Errors
    /// If the target does not exist or the action cannot act there, since the fault would silently never act.
    pub fn add(&self, fault: Fault) -> anyhow::Result<u64> {
        fault.check()?;
        Ok(self.list.add(fault))
    }

    /// Removes a fault; false if there is none with this id.
    pub fn remove(&self, id: u64) -> bool {
        self.list.remove(id)
    }

    /// Removes all faults. The call counters stay.
    pub fn clear(&self) {
        self.list.clear();
    }

    /// All faults, oldest first, including those whose `times` are used up.
    pub fn active(&self) -> Vec<ActiveFault> {
        self.list.active()
    }

    /// Number of calls of each RPC, by name, including calls that a fault kept from the handler.
    pub fn calls(&self) -> BTreeMap<&'static str, u64> {
        self.lock_calls().clone()
    }

    /// Number of calls of one RPC.
    pub fn calls_of(&self, rpc: &str) -> u64 {
        self.lock_calls().get(rpc).copied().unwrap_or(0)
    }

    /// The largest request of each RPC so far, in bytes, by name.
    pub fn largest_requests(&self) -> BTreeMap<&'static str, usize> {
        let largest = self.largest.lock().unwrap_or_else(PoisonError::into_inner);
        largest.clone()
    }

    /// Takes note of the size of a request in bytes.
    pub(super) fn measure(&self, rpc: &'static str, bytes: usize) {
        let mut largest = self.largest.lock().unwrap_or_else(PoisonError::into_inner);
        let known = largest.entry(rpc).or_default();
        *known = bytes.max(*known);
    }

    /// Counts a call.
    pub(super) fn count(&self, rpc: &'static str) {
        *self.lock_calls().entry(rpc).or_default() += 1;
    }

    /// The action that acts on this call of an RPC.
    pub(super) fn on_call(&self, rpc: &str) -> Option<Action> {
        self.fire(|fault| fault.targets_rpc(rpc) && !fault.action.cuts_streams())
    }

    /// The number of messages after which this stream breaks.
    pub fn on_stream(&self, rpc: &str) -> Option<usize> {
        match self.fire(|fault| fault.targets_rpc(rpc) && fault.action.cuts_streams()) {
            Some(Action::CutStreamAfter { messages }) => Some(messages),
            _ => None,
        }
    }

    /// The action that acts at this point of a handler.
    pub fn on_hook(&self, hook: Hook) -> Option<Action> {
        self.fire(|fault| fault.target == hook.name())
    }

    /// The action that acts at this point of a handler, and what resolves when its fault is removed.
    pub(super) fn on_hold(
        &self,
        hook: Hook,
    ) -> Option<(Action, impl Future<Output = ()> + Send + use<>)> {
        let due = self.list.fire(|fault| fault.target == hook.name())?;
        let (list, id) = (self.list.clone(), due.id);
        let removed = async move {
            while list.active().iter().any(|active| active.id == id) {
                sleep(REMOVAL_POLL).await;
            }
        };
        Some((due.fault.action, removed))
    }

    fn fire(&self, matches: impl Fn(&Fault) -> bool) -> Option<Action> {
        let due = self.list.fire(matches)?;
        Some(due.fault.action)
    }

    fn lock_calls(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Changes a signature into one that does not verify.
pub(super) fn corrupt_signature(signature: &mut [u8]) {
    if let Some(last) = signature.last_mut() {
        *last ^= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(target: &str, skip: u32, times: Option<u32>, action: Action) -> Fault {
        Fault {
            target: target.to_owned(),
            skip,
            times,
            action,
        }
    }

    #[test]
    fn a_fault_skips_calls_then_acts_then_is_used_up() {
        let faults = Faults::default();
        faults
            .add(fault("GetVtxo", 1, Some(2), Action::DropAfter))
            .unwrap();
        let acted: Vec<bool> = (0..5)
            .map(|_| faults.on_call("GetVtxo").is_some())
            .collect();
        assert_eq!(acted, [false, true, true, false, false]);
        assert!(faults.on_call("GetArkInfo").is_none());
    }

    #[test]
    fn the_oldest_due_fault_acts_and_a_star_matches_every_rpc() {
        let faults = Faults::default();
        let first = faults
            .add(fault("*", 0, Some(1), Action::DropBefore))
            .unwrap();
        faults
            .add(fault("Handshake", 0, None, Action::DropAfter))
            .unwrap();
        assert_eq!(faults.on_call("Handshake"), Some(Action::DropBefore));
        assert_eq!(faults.on_call("Handshake"), Some(Action::DropAfter));
        assert_eq!(faults.active()[1].seen, 2);
        assert!(faults.remove(first));
        assert!(!faults.remove(first));
        faults.clear();
        assert!(faults.on_call("Handshake").is_none());
    }

    #[test]
    fn streams_and_calls_do_not_use_up_each_others_faults() {
        let faults = Faults::default();
        faults
            .add(fault(
                "SubscribeMailbox",
                0,
                Some(1),
                Action::CutStreamAfter { messages: 2 },
            ))
            .unwrap();
        assert!(faults.on_call("SubscribeMailbox").is_none());
        assert_eq!(faults.on_stream("SubscribeMailbox"), Some(2));
        assert_eq!(faults.on_stream("SubscribeMailbox"), None);
    }
}
