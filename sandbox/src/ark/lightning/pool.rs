//! The pool: VTXOs of the server itself, ready to be granted. Each is a board with the server on both sides.

use std::time::Duration;

use ark_lib::Vtxo;
use ark_lib::board::BoardBuilder;
use ark_lib::vtxo::Full;
use bitcoin::{Amount, OutPoint, Transaction, TxOut};
use bitcoin_ext::BlockHeight;

use super::super::state::Ark;
use super::super::store::{TxKind, VtxoState, pool, tx, vtxo};

/// How often the server looks whether the pool needs to be filled.
const REFILL_PERIOD: Duration = Duration::from_secs(60);
/// A denomination is filled up when fewer than this many tenths of its VTXOs are left.
const REFILL_BELOW_TENTHS: usize = 8;
/// From this depth on, a VTXO is not granted any more.
const MAX_DEPTH: u16 = 3;

impl Ark {
    /// Fills the pool unless this run has done so.
    pub(super) async fn fill_pool_once(&self) {
        if self.lightning.ram().pool_filled.is_none() {
            self.fill_pool().await;
        }
    }

    /// Fills the pool if it is time to. A pool that was never used stays empty, so that a server without Lightning spends nothing.
    pub(super) async fn refill_pool(&self) {
        let filled = self.lightning.ram().pool_filled;
        if filled.is_some_and(|at| at + REFILL_PERIOD <= self.now()) {
            self.fill_pool().await;
        }
    }

    pub(in super::super) async fn fill_pool(&self) {
        self.lightning.ram().pool_filled = Some(self.now());
        if let Err(error) = self.issue_missing().await {
            tracing::warn!(error = %format_args!("{error:#}"), "cannot fill the Lightning pool");
        }
    }

    /// The VTXOs that can be granted, the largest first.
    pub(super) async fn grantable(&self) -> anyhow::Result<Vec<Vtxo<Full>>> {
        let tip = self.chain.tip().await?.height;
        let life = self.params.ln_pool_lifetime.to_u32();
        let mut vtxos = self.store.pool(tip + life / 3)?;
        vtxos.retain(|vtxo| vtxo.exit_depth() < MAX_DEPTH);
        Ok(vtxos)
    }

    async fn issue_missing(&self) -> anyhow::Result<()> {
        let held = self.grantable().await?;
        let mut amounts = Vec::new();
        for (count, amount) in &self.params.ln_pool {
            let have = held.iter().filter(|vtxo| vtxo.amount() == *amount).count();
            let want = *count as usize;
            if have * 10 < want * REFILL_BELOW_TENTHS {
                amounts.extend(std::iter::repeat_n(*amount, want - have));
            }
        }
        if amounts.is_empty() {
            return Ok(());
        }
        self.issue_pool(&amounts).await
    }

    /// Issues VTXOs of these amounts with one transaction.
    async fn issue_pool(&self, amounts: &[Amount]) -> anyhow::Result<()> {
        let tip = self.chain.tip().await?.height;
        let expiry = BlockHeight::new(tip) + self.params.ln_pool_lifetime;
        let server = self.keys.server.public_key();
        let delta = self.params.vtxo_exit_delta;
        let builder = || BoardBuilder::new(self.keys.pool.public_key(), expiry, server, delta);
        let script = builder().funding_script_pubkey();
        let outputs = amounts.iter().map(|amount| TxOut {
            value: *amount,
            script_pubkey: script.clone(),
        });
        let rate = self.chain.fee_rates().await?.regular;
        let funded = self.coins.fund(outputs.collect(), rate).await?;
        let funding_tx = self.coins.sign(funded.tx).await?;
        let txid = funding_tx.compute_txid();
        let mut boards = Vec::new();
        for (amount, vout) in amounts.iter().zip(0..) {
            let utxo = OutPoint::new(txid, vout);
            boards.push(self.board_to_pool(builder(), *amount, utxo)?);
        }
        self.store
            .write(|db| store_pool(db, &funding_tx, &boards))?;
        self.broadcast_now().await;
        self.coins.release(funded.lock).await;
        Ok(())
    }

    fn board_to_pool(
        &self,
        builder: BoardBuilder<ark_lib::board::state::Preparing>,
        amount: Amount,
        utxo: OutPoint,
    ) -> anyhow::Result<Vtxo<Full>> {
        let expiry = builder.expiry_height;
        let builder = builder
            .set_funding_details(amount, Amount::ZERO, utxo)?
            .generate_user_nonces();
        let cosigned = BoardBuilder::new_for_cosign(
            self.keys.pool.public_key(),
            expiry,
            self.keys.server.public_key(),
            self.params.vtxo_exit_delta,
            amount,
            Amount::ZERO,
            utxo,
            *builder.user_pub_nonce(),
        )
        .server_cosign(&self.keys.server);
        Ok(builder.build_vtxo(&cosigned, &self.keys.pool)?)
    }
}

fn store_pool(
    db: &rusqlite::Transaction<'_>,
    funding_tx: &Transaction,
    boards: &[Vtxo<Full>],
) -> anyhow::Result<()> {
    tx::insert_signed(db, TxKind::PoolFunding, funding_tx)?;
    for board in boards {
        for item in board.transactions() {
            tx::insert_signed(db, TxKind::Virtual, &item.tx)?;
        }
        vtxo::insert(db, &board.clone().into(), VtxoState::Internal, None)?;
        pool::insert(db, board)?;
    }
    Ok(())
}
