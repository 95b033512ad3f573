//! Exits that begin by themselves (docs/protocol.md §4.9): of VTXOs that somebody else puts on chain, and of those that an unfinished
//! operation holds and may not save before they expire.
//!
//! Each flow says which of its VTXOs are endangered, from the chain and the state of the operation alone. So a pass can be repeated, and
//! a restart loses nothing. The flow goes on until a VTXO is exited, and then ends by itself.

use std::collections::HashSet;
use std::sync::Arc;

use ark_lib::VtxoId;
use bitcoin_ext::BlockHeight;

use super::board;
use super::exit::ExitCause;
use super::lightning::pay::{self, LightningSend};
use super::lightning::receive;
use super::offboard::{self, Offboard};
use super::refresh;
use super::send::ArkoorSend;
use crate::model::{OperationKind, OperationRow};
use crate::store::{exit, operation};
use crate::wallet::coins::watch::Endangered;
use crate::wallet::engine::state_of;
use crate::wallet::engine::steps::arkoor::Signing;
use crate::wallet::engine::steps::exited::{Exited, exited, last_call, savable};
use crate::wallet::{Result, Wallet};

/// The inputs of an operation that only an exit can save if the server never answers, when its step has failed so often.
fn stuck_inputs(row: &OperationRow, attempts: u32) -> Result<Vec<VtxoId>> {
    let inputs = |signing: Option<&Signing>| {
        let stuck = signing.map(|signing| signing.stuck(attempts));
        stuck.unwrap_or_default().to_vec()
    };
    Ok(match row.kind {
        OperationKind::ArkoorSend => inputs(state_of::<ArkoorSend>(row)?.signing()),
        OperationKind::Offboard => state_of::<Offboard>(row)?.stuck(attempts).to_vec(),
        OperationKind::LightningSend => inputs(state_of::<LightningSend>(row)?.signing()),
        _ => Vec::new(),
    })
}

impl Wallet {
    /// Compares the wallet's VTXOs with the chain, once per block, and begins the exits that nobody asked for.
    ///
    /// # Errors
    /// `chain_unavailable`, or the database's.
    pub async fn watch_chain(self: &Arc<Wallet>) -> Result<()> {
        let Endangered { on_chain, exposed } = self.watch_vtxos().await?;
        let begun = async {
            self.exit_at_once(on_chain, ExitCause::OnChain).await?;
            self.exit_at_once(exposed, ExitCause::NearExpiry).await?;
            self.rescue().await
        };
        let begun = begun.await;
        if begun.is_err() {
            self.watch_again();
        }
        begun
    }

    /// Exits what unfinished operations may not save in time.
    async fn rescue(self: &Arc<Wallet>) -> Result<()> {
        let Some(tip) = self.chain.last_tip() else {
            return Ok(());
        };
        for row in self.store.read(operation::unfinished).await? {
            match self.endangered_by(&row, tip.height).await {
                Ok(vtxos) => self.exit_at_once(vtxos, ExitCause::Protocol).await?,
                Err(error) => {
                    tracing::warn!(operation = %row.id, %error, "cannot find out whether an operation endangers its VTXOs");
                }
            }
        }
        Ok(())
    }

    async fn endangered_by(&self, row: &OperationRow, tip: BlockHeight) -> Result<Vec<VtxoId>> {
        match row.kind {
            OperationKind::Board => board::endangered(self, row, tip).await,
            OperationKind::Round => refresh::endangered(self, row, tip).await,
            OperationKind::LightningReceive => receive::endangered(self, row, tip).await,
            OperationKind::LightningSend => match self.endangered_inputs(row, tip).await? {
                inputs if inputs.is_empty() => pay::endangered(self, row, tip).await,
                inputs => Ok(inputs),
            },
            OperationKind::ArkoorSend => self.endangered_inputs(row, tip).await,
            OperationKind::Offboard => offboard::endangered(self, row, tip).await,
            OperationKind::Exit | OperationKind::Recovery => Ok(Vec::new()),
        }
    }

    /// The stuck inputs of an operation that have to be exited.
    async fn endangered_inputs(&self, row: &OperationRow, tip: BlockHeight) -> Result<Vec<VtxoId>> {
        // An operation that waits for the exits of the others has no failures.
        let begun = stuck_inputs(row, 1)?;
        if exited(self, &begun).await? != Exited::None {
            return savable(self, &begun).await;
        }
        last_call(self, &stuck_inputs(row, row.attempts)?, tip).await
    }

    /// The inputs of operations that wait for an answer of the server: about a spend that it may have signed, or about an offboard. Only
    /// an exit can save them if that answer never comes.
    ///
    /// # Errors
    /// The database's.
    pub(in crate::wallet) async fn stuck_inputs(&self) -> Result<HashSet<VtxoId>> {
        let rows = self.store.read(operation::unfinished).await?;
        // An operation that cannot be read is shown elsewhere (H57).
        let inputs = rows
            .iter()
            .filter_map(|row| stuck_inputs(row, row.attempts).ok());
        Ok(inputs.flatten().collect())
    }

    /// Begins the exits of these VTXOs, except those that are exiting already.
    async fn exit_at_once(self: &Arc<Wallet>, vtxos: Vec<VtxoId>, cause: ExitCause) -> Result<()> {
        if vtxos.is_empty() {
            return Ok(());
        }
        let read = self.store.read(move |connection| {
            let mut idle = Vec::new();
            for vtxo in vtxos {
                if exit::live_of(connection, vtxo)?.is_none() {
                    idle.push(vtxo);
                }
            }
            Ok::<_, crate::wallet::Error>(idle)
        });
        let begun = self.begin_exits(read.await?, cause, Vec::new()).await?;
        if !begun.started.is_empty() {
            tracing::warn!(vtxos = ?begun.started.iter().map(|exit| exit.vtxo).collect::<Vec<_>>(), ?cause, "exits began by themselves");
        }
        Ok(())
    }
}
