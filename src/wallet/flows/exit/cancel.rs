//! The end of an exit that a person asks for.

use std::sync::Arc;

use ark_lib::VtxoId;

use super::list::unknown;
use crate::chain::TxStatus;
use crate::model::{ExitRow, ExitState};
use crate::store::{WriteTx, exit};
use crate::wallet::{Error, PATIENCE, Result, Wallet};

impl Wallet {
    /// Ends the exit of a VTXO, which stays as it is, and can be spent or exited again. Ending an exit that was ended already changes
    /// nothing.
    ///
    /// # Errors
    /// `unknown_exit`; `exit_not_cancelable` once the VTXO's own transaction is broadcast, or when the exit has ended otherwise;
    /// `chain_unavailable` when that cannot be found out.
    pub async fn cancel_exit(self: &Arc<Wallet>, vtxo: VtxoId) -> Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let row = self.last_exit(vtxo).await?;
            match &row.state {
                ExitState::Canceled => return Ok(()),
                ExitState::Start | ExitState::Processing { .. } => {}
                _ => return Err(too_late(vtxo)),
            }
            let own = vtxo.to_point().txid;
            if self.chain.status(own).await? != TxStatus::NotFound {
                return Err(too_late(vtxo));
            }
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            if left.is_zero() {
                return Err(Error::unavailable(
                    "chain_unavailable",
                    "the exit is canceled as soon as the chain backend answers, unless it is too late then; ask for its status",
                ));
            }
            let (exit, operation) = (row.id, row.operation);
            let write =
                move |tx: &mut WriteTx<'_>| -> Result<()> { Ok(exit::set_cancel(tx, exit, true)?) };
            self.store.write(write).await?;
            let rested = self.operations.nudge_some(&[operation], left).await;
            let row = self.last_exit(vtxo).await?;
            if rested && !row.cancel && !row.state.is_final() {
                return Err(too_late(vtxo));
            }
        }
    }

    async fn last_exit(&self, vtxo: VtxoId) -> Result<ExitRow> {
        let read = move |connection: &_| exit::last_of(connection, vtxo);
        self.store.read(read).await?.ok_or_else(|| unknown(vtxo))
    }
}

fn too_late(vtxo: VtxoId) -> Error {
    Error::bad_request(
        "exit_not_cancelable",
        format!(
            "the exit of VTXO {vtxo} can no longer be canceled: its last transaction is broadcast, or it has ended"
        ),
    )
}
