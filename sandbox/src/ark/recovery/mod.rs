//! The calls by which a wallet finds its VTXOs again (docs/protocol.md §32.9). Real servers before 0.8 have none of them.

mod by_ids;
mod by_xpub;
pub(super) mod control;

use std::sync::atomic::{AtomicBool, Ordering};

use super::state::Ark;
use super::status::RpcError;

/// Whether the server has these calls. It belongs to the test, so a restart does not change it.
pub(super) struct RecoveryCalls(AtomicBool);

impl Default for RecoveryCalls {
    fn default() -> RecoveryCalls {
        RecoveryCalls(AtomicBool::new(true))
    }
}

impl RecoveryCalls {
    /// Adds the calls to the server, or removes them.
    pub(super) fn set(&self, offered: bool) {
        self.0.store(offered, Ordering::Relaxed);
    }
}

impl Ark {
    /// Refuses a call that the server does not have.
    fn check_recovery_offered(&self, call: &'static str) -> Result<(), RpcError> {
        if self.recovery_calls.0.load(Ordering::Relaxed) {
            Ok(())
        } else {
            Err(RpcError::Unimplemented(call))
        }
    }
}
