//! Taking the lock of a chain's state.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a state, also after a panic: every change is checked before it is applied, so the state is consistent.
pub(super) fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
