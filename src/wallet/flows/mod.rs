//! The flows: each moves money in steps that the [engine](crate::wallet::engine) takes. Here a row of the operation table is
//! handed to the flow of its kind.

pub(in crate::wallet) mod board;
pub(in crate::wallet) mod exit;
pub(in crate::wallet) mod lightning;
pub(in crate::wallet) mod offboard;
pub(in crate::wallet) mod refresh;
mod rescue;
pub(in crate::wallet) mod send;

use std::sync::Arc;

use self::board::Board;
use self::exit::Exit;
use self::lightning::pay::LightningSend;
use self::lightning::receive::LightningReceive;
use self::offboard::Offboard;
use self::refresh::Round;
use self::send::ArkoorSend;
use crate::model::{Attention, OperationId, OperationKind, OperationRow};
use crate::store::operation;
use crate::wallet::engine::resume;
use crate::wallet::recovery::Recovery;
use crate::wallet::{Result, Wallet};

/// The code of the fact that an operation cannot be read; its subject is the operation's id.
const UNREADABLE: &str = "unreadable_operation";

impl Wallet {
    /// Drives all unfinished operations that are not driven yet: those of a former run of the process, and those that a recovery has found.
    pub(in crate::wallet) async fn resume_operations(self: &Arc<Wallet>) -> Result<()> {
        let raised = self.attention().await?;
        for row in self.store.read(operation::unfinished).await? {
            if self.operations.kind(&row.id).is_some() {
                continue;
            }
            let subject = row.id.to_string();
            // One unreadable row must not keep the wallet from opening (H57).
            let Err(error) = self.resume_operation(&row) else {
                if raised
                    .iter()
                    .any(|it| it.code == UNREADABLE && it.subject == subject)
                {
                    self.clear(UNREADABLE, subject).await?;
                }
                continue;
            };
            tracing::warn!(operation = %row.id, ?error, "operation cannot be read");
            self.raise(Attention {
                code: UNREADABLE.into(),
                subject,
                message: "This operation cannot be read. It is not resumed, and its VTXOs stay locked.".into(),
                what_to_do: "Start the release of arkwalletd that wrote it, or report this with the log. Keep the database.".into(),
            })
            .await?;
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
            OperationKind::LightningSend => resume::<LightningSend>(self, row),
            OperationKind::LightningReceive => resume::<LightningReceive>(self, row),
            OperationKind::Exit => resume::<Exit>(self, row),
            OperationKind::Recovery => resume::<Recovery>(self, row),
        }
    }
}
