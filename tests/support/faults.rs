//! Faults of a world's Ark server and chain. A fault that never acts proves nothing, so each has to fire before it is removed or the
//! world ends.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::world::World;

/// The faults that have to fire. Of those in one group, one is enough.
#[derive(Default)]
pub struct Expected {
    server: Groups,
    chain: Groups,
}

#[derive(Default)]
struct Groups(Mutex<Vec<Vec<u64>>>);

impl Groups {
    fn add(&self, ids: Vec<u64>) {
        self.lock().push(ids);
    }

    /// Asserts that each group with one of the removed faults has fired, and forgets it. `fired` are all faults with their counts.
    #[track_caller]
    fn end(
        &self,
        fired: &BTreeMap<u64, u32>,
        is_removed: impl Fn(u64) -> bool,
        faults: &dyn Debug,
    ) {
        for group in self
            .lock()
            .extract_if(.., |group| group.iter().any(|id| is_removed(*id)))
        {
            let times: u32 = group.iter().filter_map(|id| fired.get(id)).sum();
            assert!(times > 0, "none of {group:?} has ever fired: {faults:#?}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    /// Adds a fault of the Ark server, as `POST /control/faults` does; answers its id.
    pub fn fault(&self, rule: Value) -> u64 {
        let id = self.optional_fault(rule);
        self.expected.server.add(vec![id]);
        id
    }

    /// As [`fault`](Self::fault), for a fault that need not fire.
    pub fn optional_fault(&self, rule: Value) -> u64 {
        let rule = serde_json::from_value(rule).expect("a fault rule");
        let faults = self.sandbox.ark.faults();
        faults.add(rule).expect("a rule that can act")
    }

    /// Adds a fault of the chain behind the proxy, as `POST /control/chain-faults` does; answers its id.
    pub fn chain_fault(&self, rule: Value) -> u64 {
        let id = self.optional_chain_fault(rule);
        self.expected.chain.add(vec![id]);
        id
    }

    /// Adds faults of the chain of which at least one has to fire.
    pub fn one_of_chain_faults(&self, rules: impl IntoIterator<Item = Value>) {
        let ids = rules
            .into_iter()
            .map(|rule| self.optional_chain_fault(rule));
        self.expected.chain.add(ids.collect());
    }

    /// As [`chain_fault`](Self::chain_fault), for a fault that need not fire.
    pub fn optional_chain_fault(&self, rule: Value) -> u64 {
        let rule = serde_json::from_value(rule).expect("a fault rule");
        let added = self.sandbox.chain_proxy.add(rule);
        added.expect("a rule that can act")
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
    fn assert_server_faults_fired(&self, is_removed: impl Fn(u64) -> bool) {
        let faults = self.sandbox.ark.faults().active();
        let fired = faults.iter().map(|rule| (rule.id, rule.fired)).collect();
        self.expected.server.end(&fired, is_removed, &faults);
    }

    #[track_caller]
    fn assert_chain_faults_fired(&self, is_removed: impl Fn(u64) -> bool) {
        let faults = self.sandbox.chain_proxy.active();
        let fired = faults.iter().map(|rule| (rule.id, rule.fired)).collect();
        self.expected.chain.end(&fired, is_removed, &faults);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.missed_rounds() > 0 {
            println!("rounds that failed: {}", self.missed_rounds());
        }
        if !std::thread::panicking() {
            self.assert_server_faults_fired(|_| true);
            self.assert_chain_faults_fired(|_| true);
        }
    }
}
