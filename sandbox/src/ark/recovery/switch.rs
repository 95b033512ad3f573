//! Whether the server has the calls for recovery.

use std::sync::atomic::{AtomicBool, Ordering};

use super::super::status::RpcError;

/// Belongs to the test, so a restart does not change it.
pub struct RecoveryCalls(AtomicBool);

impl Default for RecoveryCalls {
    fn default() -> RecoveryCalls {
        RecoveryCalls(AtomicBool::new(true))
    }
}

impl RecoveryCalls {
    /// Adds the calls to the server, or removes them.
    pub fn set(&self, offered: bool) {
        self.0.store(offered, Ordering::Relaxed);
    }

    /// Refuses a call that the server does not have.
    pub fn check(&self, call: &'static str) -> Result<(), RpcError> {
        if self.0.load(Ordering::Relaxed) {
            Ok(())
        } else {
            Err(RpcError::Unimplemented(call))
        }
    }
}
