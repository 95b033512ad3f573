//! Which calls a fault matches, and whether it can act there.

use anyhow::ensure;
use server_rpc::lookup_grpc_method;

use super::{Action, Hook};
use crate::faults;

/// Matches every RPC.
const EVERY_RPC: &str = "*";
const SERVICES: [&str; 2] = ["bark_server.ArkService", "mailbox_server.MailboxService"];

/// A fault whose target is the name of an RPC (`RequestArkoorCosign`), `*` for all RPCs, or the name of a hook
/// (`arkoor.persisted`).
pub type Fault = faults::Fault<Action>;

impl Fault {
    pub(super) fn targets_rpc(&self, rpc: &str) -> bool {
        self.target == EVERY_RPC || self.target == rpc
    }

    /// Fails if the target does not exist or the action cannot act there.
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
    fn faults_read_as_plain_json() {
        let fault: Fault = serde_json::from_str(
            r#"{"target": "RequestArkoorCosign", "skip": 1, "times": 2,
                "action": {"type": "status", "code": 3, "message": "no", "identifiers": ["a:0"]}}"#,
        )
        .unwrap();
        fault.check().unwrap();
        assert_eq!((fault.skip, fault.times), (1, Some(2)));
        let short: Fault =
            serde_json::from_str(r#"{"target": "*", "action": {"type": "drop_before"}}"#).unwrap();
        assert_eq!((short.skip, short.times), (0, None));
    }

    #[test]
    fn a_fault_that_cannot_act_is_refused() {
        let check = |target: &str, action| {
            Fault {
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
