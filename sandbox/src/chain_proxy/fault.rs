//! What a fault about the chain says.

use anyhow::ensure;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::faults;

/// A fault whose target is a path of the Esplora API (`/tx/*/outspend/*`, where `*` stands for one segment), a method of the node's
/// RPC (`getrawtransaction`), or `*` for everything.
pub type Fault = faults::Fault<Action>;
/// A fault in force.
pub type ActiveFault = faults::ActiveFault<Action>;

/// What a fault does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// The request is passed on later.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// The request is not passed on and the connection breaks. For `*` and without end, the chain source is gone.
    DropBefore,
    /// The request is passed on and its answer is lost: the connection breaks.
    DropAfter,
    /// The connection breaks in the middle of the answer's body.
    Cut,
    /// The answer is the one that the same request got when it came first after the fault was added: time stands still.
    Stale,
    /// The request is not passed on and this is the answer.
    Answer {
        /// The HTTP status.
        #[serde(default = "ok")]
        code: u16,
        /// The body: a string as it is, anything else as JSON. An RPC call's id is added to an object, and a batch gets the object
        /// once for each of its calls.
        #[serde(default)]
        body: Value,
    },
}

fn ok() -> u16 {
    200
}

impl Fault {
    /// Whether the fault can ever act; `has_node` says whether there is an RPC to act on.
    pub(super) fn check(&self, has_node: bool) -> anyhow::Result<()> {
        let target = self.target.as_str();
        if target != "*" && !target.starts_with('/') {
            ensure!(
                target.chars().all(|c| c.is_ascii_lowercase()) && !target.is_empty(),
                "a target is a path, an RPC method or *, not {target:?}"
            );
            ensure!(has_node, "there is no node whose {target} could fail");
        }
        if let Action::Answer { code, .. } = self.action {
            ensure!(
                (200..=599).contains(&code),
                "{code} is no status of an answer"
            );
        }
        Ok(())
    }

    /// Whether the fault is about this call: a path without methods, or the RPC methods of a request.
    pub(super) fn targets(&self, path: &str, methods: &[String]) -> bool {
        if self.target == "*" {
            return true;
        }
        if methods.is_empty() {
            fits(&self.target, path)
        } else {
            methods.contains(&self.target)
        }
    }
}

fn fits(pattern: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(wanted), Some(given)) if wanted == "*" || wanted == given => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fault(target: &str, action: Value) -> Fault {
        serde_json::from_value(json!({ "target": target, "action": action })).unwrap()
    }

    #[test]
    fn a_star_in_a_path_stands_for_one_segment() {
        for (pattern, path, expected) in [
            ("/tx", "/tx", true),
            ("/tx", "/tx/00", false),
            ("/tx/*", "/tx/00", true),
            ("/tx/*", "/tx", false),
            ("/tx/*", "/tx/00/raw", false),
            ("/tx/*/outspend/*", "/tx/00/outspend/1", true),
            ("/blocks", "/block", false),
        ] {
            assert_eq!(fits(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn methods_and_paths_do_not_mix() {
        let cut = || json!({"type": "cut"});
        let batch = ["getblock".to_owned(), "gettxout".to_owned()];
        assert!(fault("gettxout", cut()).targets("/", &batch));
        assert!(!fault("/", cut()).targets("/", &batch));
        assert!(!fault("gettxout", cut()).targets("/gettxout", &[]));
        assert!(fault("*", cut()).targets("/", &batch) && fault("*", cut()).targets("/tx", &[]));
    }

    #[test]
    fn a_rule_that_could_never_act_is_refused() {
        let cut = || json!({"type": "cut"});
        assert!(fault("/tx", cut()).check(false).is_ok());
        assert!(fault("getblock", cut()).check(true).is_ok());
        assert!(fault("getblock", cut()).check(false).is_err());
        assert!(fault("GET /tx", cut()).check(true).is_err());
        assert!(fault("", cut()).check(true).is_err());
        let answer = |code: u16| fault("*", json!({"type": "answer", "code": code}));
        assert!(answer(503).check(false).is_ok());
        assert!(answer(7).check(false).is_err());
    }
}
