//! Coins and a change index that no other transaction can select.

use std::sync::Arc;

use bitcoin::OutPoint;

use super::state::State;
use super::wallet::Shared;

/// Reserves coins and a change index, in memory only, until it is dropped.
pub(super) struct Reservation {
    shared: Arc<Shared>,
    coins: Vec<OutPoint>,
    change_index: Option<u32>,
}

impl Reservation {
    /// Reserves `coins` in `state`, which is that of `shared`.
    pub(super) fn new(
        shared: &Arc<Shared>,
        state: &mut State,
        coins: Vec<OutPoint>,
        change_index: Option<u32>,
    ) -> Reservation {
        state.reserved.extend(&coins);
        Reservation {
            shared: Arc::clone(shared),
            coins,
            change_index,
        }
    }

    /// Drops the reservation without making its change index available to another transaction.
    pub(super) fn keep_change_index(mut self) {
        self.change_index = None;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        for coin in &self.coins {
            state.reserved.remove(coin);
        }
        state.spare_change.extend(self.change_index);
    }
}
