//! The live VTXOs in memory: an immutable map that each commit replaces, so that a read takes no lock and touches no disk.
//!
//! The maps share their structure, so the cost of a commit depends on the rows that it changed, not on the size of the wallet.

use std::cmp::Reverse;
use std::ops::Bound;
use std::sync::Arc;

use ark_lib::VtxoId;
use bitcoin::Amount;
use bitcoin_ext::BlockHeight;

use crate::model::{VtxoRecord, VtxoState};

/// The order in which the API lists VTXOs: soonest to expire first, then the largest.
type ListKey = (BlockHeight, Reverse<Amount>, VtxoId);

/// Every VTXO that is neither spent nor claimed on chain, as of one commit.
#[derive(Clone, Default)]
pub struct LiveVtxos {
    listed: imbl::OrdMap<ListKey, Arc<VtxoRecord>>,
    generation: u64,
}

impl LiveVtxos {
    /// The first snapshot.
    pub(super) fn new(records: Vec<Arc<VtxoRecord>>) -> LiveVtxos {
        let listed = records.into_iter();
        LiveVtxos {
            listed: listed.map(|record| (list_key(&record), record)).collect(),
            generation: 0,
        }
    }

    /// The next snapshot: this one with `changed` rows put in, or taken out when they are spent or claimed.
    pub(super) fn with(&self, changed: Vec<Arc<VtxoRecord>>) -> LiveVtxos {
        let mut next = LiveVtxos {
            listed: self.listed.clone(),
            generation: self.generation + 1,
        };
        for record in changed {
            let key = list_key(&record);
            if record.state == VtxoState::Spent || record.claimed {
                next.listed.remove(&key);
            } else {
                next.listed.insert(key, record);
            }
        }
        next
    }

    /// All of them, in the order of the API: expiry ascending, then amount descending.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<VtxoRecord>> {
        self.listed.values()
    }

    /// Those that come after `record` in the order of the API.
    pub fn iter_after(&self, record: &VtxoRecord) -> impl Iterator<Item = &Arc<VtxoRecord>> {
        let after = (Bound::Excluded(list_key(record)), Bound::Unbounded);
        self.listed.range(after).map(|(_, record)| record)
    }

    /// The number of commits that changed a VTXO. A cache of something computed from the snapshot uses it as its key.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

fn list_key(record: &VtxoRecord) -> ListKey {
    (record.expiry_height, Reverse(record.amount), record.id)
}
