//! The watch over outputs that are on chain: which VTXOs have been exited, and how the server defends what is its own
//! (docs/protocol.md §32.10, §40.5).

mod config;
pub(super) mod control;
mod reaction;
pub(super) mod take;

use ark_lib::VtxoId;
use bitcoin::{OutPoint, Transaction, Txid};

pub use self::config::{WatchmanChange, WatchmanConfig};
use self::reaction::{OnChain, Reaction};
use super::state::Ark;
use super::status::RpcError;
use super::store::vtxo;

impl Ark {
    /// Notes the exits and reacts, now and at every new block, until this run ends.
    pub(super) async fn follow_outputs(&self) {
        let mut tips = self.chain.subscribe_tips();
        loop {
            if let Err(error) = self.note_exits().await {
                tracing::warn!(error = %format_args!("{error:#}"), "cannot look for exits");
            }
            let config = *self.watchman();
            if config.reactions
                && let Err(error) = self.run_watchman(config.sweeps).await
            {
                tracing::warn!(%error, "cannot react to outputs that are on chain");
            }
            tokio::select! {
                () = self.alive.cancelled() => return,
                changed = tips.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Compares every client's VTXO with the chain. A reorganisation can also undo an exit.
    async fn note_exits(&self) -> anyhow::Result<()> {
        if !self.watchman().tracking {
            return Ok(());
        }
        let known = self.store.exit_heights()?;
        let txids: Vec<Txid> = known.iter().map(|(id, _)| id.to_point().txid).collect();
        let heights = self.chain.heights(&txids).await?;
        let changed: Vec<(VtxoId, Option<u32>)> = known
            .into_iter()
            .zip(heights)
            .filter(|((_, noted), height)| noted != height)
            .map(|((id, _), height)| (id, height))
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        self.store.write(|db| {
            for (id, height) in changed {
                vtxo::set_exited(db, id, height)?;
            }
            Ok(())
        })
    }

    /// Reacts to all outputs that are on chain, and returns the transactions that were broadcast. What fails is tried again at the next
    /// block.
    pub(super) async fn run_watchman(&self, sweeps: bool) -> Result<Vec<Txid>, RpcError> {
        let _turn = self.turn().await;
        let mut sent = Vec::new();
        if self.alive.is_cancelled() {
            // A crash ends this run; its successor goes on.
            return Ok(sent);
        }
        let config = WatchmanConfig {
            sweeps,
            ..*self.watchman()
        };
        let tip = self.tip_height().await?.to_u32();
        for output in self.outputs_on_chain().await? {
            let Some(reaction) = self.reaction(&output, tip, config)? else {
                continue;
            };
            let id = output.record.vtxo.id();
            match self.react(&output, reaction).await {
                Ok(txid) => sent.extend(txid),
                Err(error) => {
                    tracing::warn!(%id, error = %format_args!("{error:#}"), "cannot react to an output that is on chain");
                }
            }
        }
        Ok(sent)
    }

    /// The outputs that the server answers for, as far as they are in the chain and unspent.
    async fn outputs_on_chain(&self) -> anyhow::Result<Vec<OnChain>> {
        let outputs: Vec<OutPoint> = self.store.outputs()?;
        let heights = self.chain.unspent_heights(&outputs).await?;
        let mut found = Vec::new();
        for (output, height) in outputs.into_iter().zip(heights) {
            if let Some(height) = height
                && let Some(record) = self.store.server_vtxo(output.into())?
            {
                found.push(OnChain { record, height });
            }
        }
        Ok(found)
    }

    async fn react(&self, output: &OnChain, reaction: Reaction) -> anyhow::Result<Option<Txid>> {
        match reaction {
            Reaction::Publish(next) => {
                let Some(tx) = self.broadcastable(next).await? else {
                    return Ok(None);
                };
                let txid = tx.compute_txid();
                let rate = self.chain.fee_rates().await?.fast;
                self.coins.submit_with_child(tx, rate).await??;
                Ok(Some(txid))
            }
            Reaction::Take { clause, preimage } => {
                let tx = take::take(
                    &output.record.vtxo,
                    (&clause, preimage),
                    &self.keys.server,
                    self.coins.key().script(),
                    self.chain.fee_rates().await?.regular,
                )?;
                match tx {
                    Some(tx) => Ok(Some(self.chain.submit(tx).await??)),
                    None => Ok(None),
                }
            }
        }
    }

    /// The transaction itself if all that it spends is confirmed; before that the connector that it needs, and `None` while something
    /// else is missing.
    async fn broadcastable(&self, tx: Transaction) -> anyhow::Result<Option<Transaction>> {
        for input in &tx.input {
            let parent = input.previous_output.txid;
            match self.chain.tx(parent).await? {
                Some(known) if known.block.is_some() => {}
                Some(_) => return Ok(None),
                None => return self.store.connector_tx(parent),
            }
        }
        Ok(Some(tx))
    }
}
