//! The name of an attempt at a round.

use ark_lib::rounds::RoundEvent;
use serde::{Deserialize, Serialize};

/// An attempt at a round. A round whose participants do not all sign starts another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(in crate::wallet) struct AttemptId {
    pub(super) round: u64,
    pub(super) attempt: usize,
}

impl AttemptId {
    /// The attempt that an event belongs to; `None` for the failure of a whole round.
    pub(super) fn of(event: &RoundEvent) -> Option<AttemptId> {
        (!matches!(event, RoundEvent::Failed(_))).then(|| AttemptId {
            round: event.round_seq().inner(),
            attempt: event.attempt_seq(),
        })
    }
}
