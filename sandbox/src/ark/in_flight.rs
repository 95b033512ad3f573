//! The inputs that requests are using at this moment. A second request for one of them is refused at once (H60).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ark_lib::VtxoId;

use super::status::RpcError;

/// The inputs in use. Clones share them.
#[derive(Clone, Default)]
pub struct InFlight(Arc<Mutex<BTreeSet<VtxoId>>>);

/// Inputs in use; dropping it frees them.
pub struct InputLock {
    in_flight: InFlight,
    ids: Vec<VtxoId>,
}

impl InFlight {
    /// Takes these inputs, or fails if another request has one of them.
    pub fn lock(&self, ids: &[VtxoId]) -> Result<InputLock, RpcError> {
        let mut taken = self.taken();
        if let Some(id) = ids.iter().find(|id| taken.contains(id)) {
            return Err(RpcError::Locked(*id));
        }
        taken.extend(ids);
        Ok(InputLock {
            in_flight: self.clone(),
            ids: ids.to_vec(),
        })
    }

    /// Whether a request is using this input.
    pub fn holds(&self, id: VtxoId) -> bool {
        self.taken().contains(&id)
    }

    fn taken(&self) -> MutexGuard<'_, BTreeSet<VtxoId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InputLock {
    fn drop(&mut self) {
        let mut taken = self.in_flight.taken();
        for id in &self.ids {
            taken.remove(id);
        }
    }
}
