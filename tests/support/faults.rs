//! Faults of a world's Ark server and chain. A fault that never acts proves nothing, so each has to fire before it is removed or the
//! world ends.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::world::World;

/// The faults that a test explicitly allows not to fire, by their ids.
#[derive(Default)]
pub struct Optional {
    server: Mutex<HashSet<u64>>,
    chain: Mutex<HashSet<u64>>,
}

impl World {
    /// Adds a fault of the Ark server, as `POST /control/faults` does; answers its id.
    pub fn fault(&self, rule: Value) -> u64 {
        let rule = serde_json::from_value(rule).expect("a fault rule");
        let faults = self.sandbox.ark.faults();
        faults.add(rule).expect("a rule that can act")
    }

    /// As [`fault`](Self::fault), for a fault that need not fire.
    pub fn optional_fault(&self, rule: Value) -> u64 {
        let id = self.fault(rule);
        allow(&self.optional.server, id);
        id
    }

    /// Adds a fault of the chain behind the proxy, as `POST /control/chain-faults` does; answers its id.
    pub fn chain_fault(&self, rule: Value) -> u64 {
        let rule = serde_json::from_value(rule).expect("a fault rule");
        let added = self.sandbox.chain_proxy.add(rule);
        added.expect("a rule that can act")
    }

    /// As [`chain_fault`](Self::chain_fault), for a fault that need not fire.
    pub fn optional_chain_fault(&self, rule: Value) -> u64 {
        let id = self.chain_fault(rule);
        allow(&self.optional.chain, id);
        id
    }

    /// How often faults of the Ark server with this target have acted.
    pub fn faults_fired(&self, target: &str) -> u32 {
        let faults = self.sandbox.ark.faults().active();
        let of_target = faults.iter().filter(|active| active.fault.target == target);
        of_target.map(|active| active.fired).sum()
    }

    /// How often chain faults have acted in total.
    pub fn chain_faults_fired(&self) -> u32 {
        let rules = self.sandbox.chain_proxy.active();
        rules.iter().map(|active| active.fired).sum()
    }

    /// How often one fault of the Ark server has acted.
    pub fn fired(&self, id: u64) -> u32 {
        let rules = self.sandbox.ark.faults().active();
        let rule = rules.iter().find(|rule| rule.id == id);
        rule.map_or(0, |rule| rule.fired)
    }

    /// Removes a fault of the Ark server, which has to have fired.
    #[track_caller]
    pub fn end_fault(&self, id: u64) {
        self.assert_server_faults_fired(|rule| rule == id);
        self.sandbox.ark.faults().remove(id);
    }

    /// Removes all faults of the Ark server; each has to have fired.
    #[track_caller]
    pub fn no_faults(&self) {
        self.assert_server_faults_fired(|_| true);
        self.sandbox.ark.faults().clear();
    }

    /// Removes a fault of the chain, which has to have fired.
    #[track_caller]
    pub fn end_chain_fault(&self, id: u64) {
        self.assert_chain_faults_fired(|rule| rule == id);
        self.sandbox.chain_proxy.remove(id);
    }

    /// Removes all faults of the chain; each has to have fired.
    #[track_caller]
    pub fn no_chain_faults(&self) {
        self.assert_chain_faults_fired(|_| true);
        self.sandbox.chain_proxy.clear();
    }

    #[track_caller]
    fn assert_server_faults_fired(&self, which: impl Fn(u64) -> bool) {
        for rule in self.sandbox.ark.faults().active() {
            let may_rest = is_allowed(&self.optional.server, rule.id) || !which(rule.id);
            assert!(
                rule.fired > 0 || may_rest,
                "it never fired: {:?}",
                rule.fault
            );
        }
    }

    #[track_caller]
    fn assert_chain_faults_fired(&self, which: impl Fn(u64) -> bool) {
        for rule in self.sandbox.chain_proxy.active() {
            let may_rest = is_allowed(&self.optional.chain, rule.id) || !which(rule.id);
            assert!(
                rule.fired > 0 || may_rest,
                "it never fired: {:?}",
                rule.fault
            );
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.assert_server_faults_fired(|_| true);
            self.assert_chain_faults_fired(|_| true);
        }
    }
}

fn allow(optional: &Mutex<HashSet<u64>>, id: u64) {
    let mut ids = optional.lock().unwrap_or_else(PoisonError::into_inner);
    ids.insert(id);
}

fn is_allowed(optional: &Mutex<HashSet<u64>>, id: u64) -> bool {
    let ids = optional.lock().unwrap_or_else(PoisonError::into_inner);
    ids.contains(&id)
}
