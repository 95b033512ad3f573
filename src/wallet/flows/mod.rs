//! The flows: each moves money in steps that the [engine](crate::wallet::engine) takes. Here a row of the operation table is
//! handed to the flow of its kind.

pub(in crate::wallet) mod board;
pub(in crate::wallet) mod offboard;
pub(in crate::wallet) mod refresh;
pub(in crate::wallet) mod send;

use std::sync::Arc;

use self::board::Board;
use self::offboard::Offboard;
use self::refresh::Round;
use self::send::ArkoorSend;
use crate::model::{OperationId, OperationKind, OperationRow};
use crate::store::operation;
use crate::wallet::engine::resume;
use crate::wallet::{Result, Wallet};

impl Wallet {
    /// Drives all operations that a former run of the process left unfinished.
    pub(in crate::wallet) async fn resume_operations(self: &Arc<Wallet>) -> Result<()> {
        for row in self.store.read(operation::unfinished).await? {
            // One unreadable row must not keep the wallet from opening (H57).
            if let Err(error) = self.resume_operation(&row) {
                tracing::error!(operation = %row.id, ?error, "operation cannot be read; it is not resumed, and its VTXOs stay locked");
            }
        }
        Ok(())
    }

    /// Drives an operation that was [enlisted](crate::wallet::engine::enlist).
    pub(in crate::wallet) async fn take_up(self: &Arc<Wallet>, id: OperationId) -> Result<()> {
        let row = self
            .store
            .read(move |connection| operation::get(connection, &id))
            .await?;
        match row.filter(|row| row.outcome.is_none()) {
            Some(row) => self.resume_operation(&row),
            None => Ok(()),
        }
    }

    fn resume_operation(self: &Arc<Wallet>, row: &OperationRow) -> Result<()> {
        match row.kind {
            OperationKind::Board => resume::<Board>(self, row),
            OperationKind::ArkoorSend => resume::<ArkoorSend>(self, row),
            OperationKind::Round => resume::<Round>(self, row),
            OperationKind::Offboard => resume::<Offboard>(self, row),
        }
    }
}
