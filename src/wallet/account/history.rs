//! Queries of the history (docs/protocol.md §7).

use crate::model::{HistoryPage, Movement};
use crate::store::movement;
use crate::wallet::{Result, Wallet};

impl Wallet {
    /// The movements that `page` selects, newest first.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn history(&self, page: HistoryPage) -> Result<Vec<Movement>> {
        let movements = self
            .store
            .read(move |connection| movement::list(connection, &page));
        Ok(movements.await?)
    }
}
