//! Misbehaviour on demand: rules that say at which call it comes, and how often. What it consists of is told by whoever
//! misbehaves, the Ark server or the proxy before the chain.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// Do this at that call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule<A> {
    /// Which calls; `*` for all of them.
    pub target: String,
    /// Calls to let through first.
    #[serde(default)]
    pub skip: u32,
    /// How often to act; without end if absent.
    #[serde(default)]
    pub times: Option<u32>,
    /// What to do.
    pub action: A,
}

/// A rule in force.
#[derive(Debug, Clone, Serialize)]
pub struct ActiveRule<A> {
    /// What [`Rules::add`] returned.
    pub id: u64,
    /// The rule.
    #[serde(flatten)]
    pub rule: Rule<A>,
    /// Calls that matched the target since the rule was added.
    pub seen: u32,
    /// How often it acted.
    pub fired: u32,
}

/// The rules in force. Clones share them.
#[derive(Debug)]
pub struct Rules<A>(Arc<Mutex<Inner<A>>>);

#[derive(Debug)]
struct Inner<A> {
    next_id: u64,
    active: Vec<ActiveRule<A>>,
}

impl<A> Default for Rules<A> {
    fn default() -> Rules<A> {
        Rules(Arc::new(Mutex::new(Inner {
            next_id: 0,
            active: Vec::new(),
        })))
    }
}

impl<A> Clone for Rules<A> {
    fn clone(&self) -> Rules<A> {
        Rules(Arc::clone(&self.0))
    }
}

impl<A: Clone> Rules<A> {
    /// Puts a rule in force and returns its id.
    pub fn add(&self, rule: Rule<A>) -> u64 {
        let mut inner = self.lock();
        inner.next_id += 1;
        let id = inner.next_id;
        inner.active.push(ActiveRule {
            id,
            rule,
            seen: 0,
            fired: 0,
        });
        id
    }

    /// Withdraws a rule; false if there is none with this id.
    pub fn remove(&self, id: u64) -> bool {
        let mut inner = self.lock();
        let before = inner.active.len();
        inner.active.retain(|active| active.id != id);
        inner.active.len() < before
    }

    /// Withdraws all rules.
    pub fn clear(&self) {
        self.lock().active.clear();
    }

    /// The rules, oldest first, spent ones included.
    pub fn active(&self) -> Vec<ActiveRule<A>> {
        self.lock().active.clone()
    }

    /// Counts the call for every rule that matches; answers the first one that is due.
    pub fn fire(&self, matches: impl Fn(&Rule<A>) -> bool) -> Option<ActiveRule<A>> {
        let mut inner = self.lock();
        let mut due = None;
        for active in &mut inner.active {
            if !matches(&active.rule) {
                continue;
            }
            active.seen += 1;
            let is_due = active.seen > active.rule.skip
                && active.rule.times.is_none_or(|times| active.fired < times);
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
