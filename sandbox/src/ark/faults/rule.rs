//! What a fault rule says.

use anyhow::ensure;
use serde::{Deserialize, Serialize};
use server_rpc::lookup_grpc_method;

use super::Hook;
use crate::ark::info::InfoFault;
use crate::ark::offboard::OffboardFault;
use crate::ark::round::TreeFault;
use crate::rules;

/// Matches every RPC.
const EVERY_RPC: &str = "*";
/// The RPCs whose handlers ask whether their stream has to break.
const STREAMS: [&str; 2] = ["SubscribeMailbox", "SubscribeRounds"];
const SERVICES: [&str; 2] = ["bark_server.ArkService", "mailbox_server.MailboxService"];

/// A rule whose target is an RPC by name (`RequestArkoorCosign`), `*` for all of them, or a hook (`arkoor.persisted`).
pub type Rule = rules::Rule<Action>;

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// RPC: the handler runs later.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// RPC: the handler does not run and the caller sees a broken connection. For `*` and without end, the server is gone.
    DropBefore,
    /// RPC: the handler runs and its answer is lost.
    DropAfter,
    /// RPC: the handler does not run and the caller sees this status.
    Status {
        /// Number of the gRPC code, such as 3 for `InvalidArgument`.
        code: i32,
        /// The text.
        message: String,
        /// Ids to attach, if any.
        #[serde(default)]
        identifiers: Vec<String>,
    },
    /// Streaming RPC: the stream breaks after so many messages.
    CutStreamAfter {
        /// Messages that still get through.
        messages: usize,
    },
    /// Hook: the server restarts, and the call ends with `Internal`.
    Crash,
    /// Hook: one partial signature does not verify.
    WrongSignature,
    /// Hook: the last partial signature is left out.
    MissingSignature,
    /// Hook: the inputs are refused, with their ids.
    RefuseInputs,
    /// Hook: an upload is acknowledged but lost, together with what was uploaded before; a prepared offboard is forgotten.
    Forget,
    /// Hook: what should come now never comes. A post is acknowledged and not delivered, a transaction stored and not broadcast,
    /// an event not sent, a preimage not told.
    Withhold,
    /// Hook: the post is delivered twice; the first output of a round is told in the place of each.
    Duplicate,
    /// Hook: the round fails.
    FailRound,
    /// Hook: the tree of the round is not what the clients asked for.
    AlterTree {
        /// The change.
        change: TreeFault,
    },
    /// Hook: the transaction has another id than announced.
    OtherTxid,
    /// Hook: what is prepared for an offboard is not what the client asked for.
    AlterOffboard {
        /// The change.
        change: OffboardFault,
    },
    /// Hook: the server says something else about itself.
    ReplaceArkInfo {
        /// What is replaced.
        field: InfoFault,
    },
    /// Hook: the server denies all knowledge.
    NotFound,
    /// Hook: the preimage does not fit the hash.
    WrongPreimage,
}

impl Action {
    /// Whether it acts on the messages of a stream and not on the call.
    pub(super) fn cuts_streams(&self) -> bool {
        matches!(self, Action::CutStreamAfter { .. })
    }

    fn acts_on_rpc(&self, rpc: &str) -> bool {
        match self {
            Action::CutStreamAfter { .. } => STREAMS.contains(&rpc),
            Action::Delay { .. }
            | Action::DropBefore
            | Action::DropAfter
            | Action::Status { .. } => true,
            _ => false,
        }
    }
}

impl Rule {
    pub(super) fn targets_rpc(&self, rpc: &str) -> bool {
        self.target == EVERY_RPC || self.target == rpc
    }

    /// Whether the target exists and can do what the rule asks for.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let fits = match Hook::ALL
            .into_iter()
            .find(|hook| hook.name() == self.target)
        {
            Some(hook) => hook.accepts(&self.action),
            None => {
                ensure!(
                    self.target == EVERY_RPC || is_rpc(&self.target),
                    "there is no RPC or hook named {}",
                    self.target
                );
                self.action.acts_on_rpc(&self.target)
            }
        };
        ensure!(fits, "{} cannot do {:?}", self.target, self.action);
        Ok(())
    }
}

fn is_rpc(name: &str) -> bool {
    SERVICES
        .iter()
        .any(|service| lookup_grpc_method(&format!("/{service}/{name}")).0 != "unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_read_as_plain_json() {
        let rule: Rule = serde_json::from_str(
            r#"{"target": "RequestArkoorCosign", "skip": 1, "times": 2,
                "action": {"type": "status", "code": 3, "message": "no", "identifiers": ["a:0"]}}"#,
        )
        .unwrap();
        rule.check().unwrap();
        assert_eq!((rule.skip, rule.times), (1, Some(2)));
        let short: Rule =
            serde_json::from_str(r#"{"target": "*", "action": {"type": "drop_before"}}"#).unwrap();
        assert_eq!((short.skip, short.times), (0, None));
    }

    #[test]
    fn a_rule_that_could_never_act_is_refused() {
        let check = |target: &str, action| {
            Rule {
                target: target.to_owned(),
                skip: 0,
                times: None,
                action,
            }
            .check()
            .is_ok()
        };
        assert!(check("arkoor.persisted", Action::Crash));
        assert!(check("PostArkoorMessage", Action::DropAfter));
        assert!(!check("arkoor.persisted", Action::DropAfter));
        assert!(!check("mailbox.post", Action::WrongSignature));
        assert!(!check("GetVtxo", Action::Crash));
        assert!(!check("GetVtxo", Action::CutStreamAfter { messages: 1 }));
        assert!(!check("GetVtxoo", Action::DropAfter));
        assert!(!check("arkoor.persistet", Action::Crash));
    }
}
