//! Faults on demand: rules that make the server misbehave in a chosen way at a chosen call (spec §5.1).
//!
//! A rule targets either an RPC by name, and then acts on the transport around the handler, or a [`Hook`] inside a handler. Rules
//! and counters belong to the test, not to the server: a restart does not touch them.

mod hook;
mod rule;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::rules::{self, Rules};

pub use hook::Hook;
pub use rule::{Action, Rule};

/// A rule in force.
pub type ActiveRule = rules::ActiveRule<Action>;

/// The rules in force and the number of calls so far. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    rules: Rules<Action>,
    calls: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

impl Faults {
    /// Puts a rule in force and returns its id. Fails if the target does not exist or cannot do the action, since such a rule
    /// would silently never act.
    pub fn add(&self, rule: Rule) -> anyhow::Result<u64> {
        rule.check()?;
        Ok(self.rules.add(rule))
    }

    /// Withdraws a rule; false if there is none with this id.
    pub fn remove(&self, id: u64) -> bool {
        self.rules.remove(id)
    }

    /// Withdraws all rules. The call counters stay.
    pub fn clear(&self) {
        self.rules.clear();
    }

    /// The rules, oldest first, spent ones included.
    pub fn rules(&self) -> Vec<ActiveRule> {
        self.rules.active()
    }

    /// How often each RPC was called, by name; calls that a fault swallowed count too.
    pub fn calls(&self) -> BTreeMap<&'static str, u64> {
        self.lock_calls().clone()
    }

    /// How often one RPC was called.
    pub fn calls_of(&self, rpc: &str) -> u64 {
        self.lock_calls().get(rpc).copied().unwrap_or(0)
    }

    /// Counts a call.
    pub(super) fn count(&self, rpc: &'static str) {
        *self.lock_calls().entry(rpc).or_default() += 1;
    }

    /// What to do to this call of an RPC.
    pub(super) fn on_call(&self, rpc: &str) -> Option<Action> {
        self.fire(|rule| rule.targets_rpc(rpc) && !rule.action.cuts_streams())
    }

    /// After how many messages this stream has to break.
    pub fn on_stream(&self, rpc: &str) -> Option<usize> {
        match self.fire(|rule| rule.targets_rpc(rpc) && rule.action.cuts_streams()) {
            Some(Action::CutStreamAfter { messages }) => Some(messages),
            _ => None,
        }
    }

    /// What to do at this point of a handler.
    pub fn on_hook(&self, hook: Hook) -> Option<Action> {
        self.fire(|rule| rule.target == hook.name())
    }

    fn fire(&self, matches: impl Fn(&Rule) -> bool) -> Option<Action> {
        let due = self.rules.fire(matches)?;
        Some(due.rule.action)
    }

    fn lock_calls(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(target: &str, skip: u32, times: Option<u32>, action: Action) -> Rule {
        Rule {
            target: target.to_owned(),
            skip,
            times,
            action,
        }
    }

    #[test]
    fn a_rule_skips_then_acts_then_is_spent() {
        let faults = Faults::default();
        faults
            .add(rule("GetVtxo", 1, Some(2), Action::DropAfter))
            .unwrap();
        let acted: Vec<bool> = (0..5)
            .map(|_| faults.on_call("GetVtxo").is_some())
            .collect();
        assert_eq!(acted, [false, true, true, false, false]);
        assert!(faults.on_call("GetArkInfo").is_none());
    }

    #[test]
    fn the_first_due_rule_acts_and_a_star_matches_every_rpc() {
        let faults = Faults::default();
        let first = faults
            .add(rule("*", 0, Some(1), Action::DropBefore))
            .unwrap();
        faults
            .add(rule("Handshake", 0, None, Action::DropAfter))
            .unwrap();
        assert_eq!(faults.on_call("Handshake"), Some(Action::DropBefore));
        assert_eq!(faults.on_call("Handshake"), Some(Action::DropAfter));
        assert_eq!(faults.rules()[1].seen, 2);
        assert!(faults.remove(first));
        assert!(!faults.remove(first));
        faults.clear();
        assert!(faults.on_call("Handshake").is_none());
    }

    #[test]
    fn streams_and_calls_do_not_use_up_each_others_rules() {
        let faults = Faults::default();
        faults
            .add(rule(
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
