//! The steps that put the transactions of an exit on chain, one after the other.

use std::time::Duration;

use ark_lib::Vtxo;
use ark_lib::vtxo::Full;
use bitcoin::{OutPoint, Txid};

use super::child::{self, Built};
use super::look::{Frontier, Stage, View, look};
use super::{Exit, FINAL_DEPTH, end, mature, note, stored};
use crate::chain::{BroadcastError, TxStatus};
use crate::model::{
    ChildOrigin, ExitChild, ExitProblem, ExitRow, ExitTxOrigin, ExitTxStatus, OperationId,
    VtxoState,
};
use crate::store::{WriteTx, exit};
use crate::wallet::engine::Step;
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// The pause after the chain backend took a transaction that it does not list yet.
const BACKEND_LAG: Duration = Duration::from_secs(3);
/// The pause after the network refused a transaction at the highest fee rate.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

/// Puts the next transaction on chain.
pub(super) async fn publish(wallet: &Wallet, id: &OperationId) -> Result<Step<Exit>> {
    let (exit, vtxo) = note::load(wallet, id).await?;
    let record = wallet.vtxo(exit.vtxo).await?;
    if record.state == VtxoState::Spent {
        return end::overtaken(wallet, &exit).await;
    }
    let mut view = look(wallet, &exit, &vtxo).await?;
    let Some(frontier) = view.frontier.take() else {
        return mature::confirmed(wallet, &exit, &vtxo, &view).await;
    };
    if exit.cancel {
        let had_it = stored::child(wallet, frontier.txid)
            .await?
            .is_some_and(|it| it.accepted);
        let is_out = frontier.is_last && (frontier.stage == Stage::Mempool || had_it);
        return match is_out {
            false => end::canceled(wallet, &exit, &vtxo).await,
            true => note::refuse_cancel(wallet, exit, view.state()).await,
        };
    }
    let next = Publishing {
        wallet,
        exit,
        view,
        frontier,
        vtxo,
    };
    match next.frontier.stage {
        Stage::Hanging(status) => next.wait_for_anchor(status).await,
        Stage::Absent => next.put_out().await,
        Stage::Mempool => next.follow().await,
    }
}

/// An exit with the transaction that has to confirm next.
struct Publishing<'w> {
    wallet: &'w Wallet,
    exit: ExitRow,
    vtxo: Vtxo<Full>,
    view: View,
    frontier: Frontier,
}

impl Publishing<'_> {
    /// Waits until what the VTXO hangs from is confirmed.
    async fn wait_for_anchor(self, status: TxStatus) -> Result<Step<Exit>> {
        let anchor = self.vtxo.chain_anchor();
        if status == TxStatus::NotFound
            && let Some(transaction) = stored::anchor(self.wallet, anchor.txid).await?
        {
            match self.wallet.chain.conflict_depth(&transaction).await? {
                0 => {}
                depth if depth >= FINAL_DEPTH => {
                    return end::swept(self.wallet, &self.exit, anchor).await;
                }
                _ => {
                    let problem = self.swept();
                    return self.wait(Some(problem)).await;
                }
            }
        }
        self.wait(None).await
    }

    /// Broadcasts the transaction with its child, which is built first if there is none.
    async fn put_out(self) -> Result<Step<Exit>> {
        if let Some(step) = self.taken_by_another().await? {
            return Ok(step);
        }
        match stored::child(self.wallet, self.frontier.txid).await? {
            Some(child) if child.body.is_some() => self.broadcast(child).await,
            other => {
                let rate = child::wanted_rate(self.wallet, &self.exit).await;
                self.build(rate, other).await
            }
        }
    }

    /// Follows the transaction in the mempool: takes note of the child that pays for it there, and replaces one that pays too little.
    async fn follow(self) -> Result<Step<Exit>> {
        let known = stored::child(self.wallet, self.frontier.txid).await?;
        let listed = match self.frontier.anchor {
            Some(anchor) => self.wallet.chain.spender(anchor).await?,
            None => None,
        };
        let listed = listed.map(|spend| spend.txid);
        match (known, listed) {
            // A replacement that the network has not had yet.
            (Some(ours), listed) if !ours.accepted && Some(ours.txid) != listed => {
                self.broadcast(ours).await
            }
            (Some(child), Some(listed)) if child.txid == listed && child.accepted => {
                self.bump_or_wait(child).await
            }
            (Some(child), Some(listed)) if child.txid == listed => self.accepted(child).await,
            (_, Some(listed)) => self.adopt(listed).await,
            (Some(child), None) => self.broadcast(child).await,
            (None, None) => {
                let rate = child::wanted_rate(self.wallet, &self.exit).await;
                self.build(rate, None).await
            }
        }
    }

    /// Replaces the child in the mempool when a higher fee is called for.
    async fn bump_or_wait(mut self, child: ExitChild) -> Result<Step<Exit>> {
        let rate = child::wanted_rate(self.wallet, &self.exit).await;
        self.show(child.txid, child.origin);
        if !child::pays_less(&self.frontier.parent, &child, rate) {
            return self.wait(None).await;
        }
        match child::build(self.wallet, &self.frontier.parent, rate, Some(child)).await? {
            Built::Step(step) => Ok(step),
            // The one in the mempool stays.
            Built::Problem(problem) => self.wait(Some(problem)).await,
        }
    }

    async fn build(
        self,
        rate: bitcoin::FeeRate,
        replaced: Option<ExitChild>,
    ) -> Result<Step<Exit>> {
        match child::build(self.wallet, &self.frontier.parent, rate, replaced).await? {
            Built::Step(step) => Ok(step),
            Built::Problem(problem) => self.wait(Some(problem)).await,
        }
    }

    async fn broadcast(self, child: ExitChild) -> Result<Step<Exit>> {
        let Some(body) = child.body.clone() else {
            return Ok(Step::AwaitNudge(BACKEND_LAG));
        };
        let package = [self.frontier.parent.clone(), body];
        match self.wallet.chain.broadcast_package(&package).await {
            Ok(()) => self.accepted(child).await,
            Err(BroadcastError::Unavailable(reason)) => {
                Err(Error::unavailable("chain_unavailable", reason))
            }
            Err(BroadcastError::MissingOrSpent) => self.missing(child).await,
            Err(BroadcastError::FeeTooLow(reason)) => self.enrich(child, reason).await,
            Err(BroadcastError::Rejected(reason)) if is_about_fees(&reason) => {
                self.enrich(child, reason).await
            }
            Err(BroadcastError::Rejected(reason)) => self.refused(reason).await,
        }
    }

    /// The network has the transaction and its child.
    async fn accepted(mut self, child: ExitChild) -> Result<Step<Exit>> {
        self.show(child.txid, child.origin);
        if child.accepted {
            return match self.wait(None).await? {
                Step::AwaitBlock => Ok(Step::AwaitNudge(BACKEND_LAG)),
                step => Ok(step),
            };
        }
        let parent = self.frontier.txid;
        tracing::info!(vtxo = %self.exit.vtxo, %parent, child = %child.txid, fee = ?child.fee, "transaction of an exit broadcast");
        self.published(move |tx| {
            let now = exit::child(tx, parent)?;
            if now.is_some_and(|now| now.txid == child.txid) {
                let accepted = true;
                exit::put_child(tx, parent, &ExitChild { accepted, ..child })?;
            }
            Ok(())
        })
        .await
    }

    /// Takes note of a child that is in the mempool in place of ours (H27).
    async fn adopt(mut self, listed: Txid) -> Result<Step<Exit>> {
        // Only then the on-chain wallet knows its own.
        self.wallet.onchain.sync().await?;
        let child = child::found(self.wallet, listed).await?;
        self.show(child.txid, child.origin);
        let parent = self.frontier.txid;
        let onchain = self.wallet.onchain.clone();
        tracing::info!(vtxo = %self.exit.vtxo, %parent, child = %child.txid, origin = ?child.origin, "a child in the mempool pays for a transaction of an exit");
        self.published(move |tx| {
            exit::put_child(tx, parent, &child)?;
            if child.origin != ChildOrigin::Wallet {
                onchain.release(tx, &child::holder(parent))?;
            }
            Ok(())
        })
        .await
    }

    /// Writes that the transaction is in the mempool, and what is known of its child.
    async fn published(
        self,
        of_child: impl FnOnce(&mut WriteTx<'_>) -> Result<()> + Send + 'static,
    ) -> Result<Step<Exit>> {
        let state = self.view.state();
        note::write(
            self.wallet,
            CommitPoint::ExitPublished,
            Exit::Publish,
            self.exit,
            state,
            None,
            of_child,
        )
        .await
    }

    /// Goes on after the network misses an input: of the transaction, or of the child.
    async fn missing(self, child: ExitChild) -> Result<Step<Exit>> {
        if self
            .wallet
            .chain
            .status(self.frontier.txid)
            .await?
            .is_confirmed()
        {
            return Ok(Step::AwaitNudge(Duration::ZERO));
        }
        if let Some(step) = self.taken_by_another().await? {
            return Ok(step);
        }
        let Some(body) = &child.body else {
            return Ok(Step::AwaitNudge(BACKEND_LAG));
        };
        if self.wallet.chain.conflict_depth(body).await? == 0 {
            return self
                .refused("an input is missing or already spent".to_owned())
                .await;
        }
        // The coins that pay were spent otherwise.
        tracing::warn!(parent = %self.frontier.txid, child = %child.txid, "the coins of a child are spent; building another one");
        child::dropped(self.wallet, self.frontier.txid, child.txid)
    }

    /// Builds a richer child after the network found the fee too low, up to the ceiling.
    async fn enrich(self, child: ExitChild, reason: String) -> Result<Step<Exit>> {
        let most = child::ceiling(self.wallet, &self.exit);
        let Some(rate) = child::richer(&self.frontier.parent, &child, most) else {
            return self.refused(reason).await;
        };
        tracing::info!(parent = %self.frontier.txid, %reason, %rate, "the network wants a higher fee for a transaction of an exit");
        self.build(rate, Some(child)).await
    }

    /// Waits after the network has refused the transaction.
    async fn refused(self, reason: String) -> Result<Step<Exit>> {
        if let Some(anchor) = self.frontier.anchor
            && self.frontier.stage == Stage::Mempool
            && let Some(listed) = self.wallet.chain.spender(anchor).await?
            && stored::child(self.wallet, self.frontier.txid)
                .await?
                .is_none_or(|known| known.txid != listed.txid)
        {
            return self.adopt(listed.txid).await;
        }
        let problem = ExitProblem::ExitPackageBroadcastFailure {
            txid: self.frontier.txid,
            error: reason,
        };
        match self.wait(Some(problem)).await? {
            Step::AwaitBlock => Ok(Step::AwaitNudge(REFUSED_PAUSE)),
            step => Ok(step),
        }
    }

    /// What follows if a confirmed transaction of somebody else spends what this one spends.
    async fn taken_by_another(&self) -> Result<Option<Step<Exit>>> {
        let spent: Vec<OutPoint> = self
            .frontier
            .parent
            .input
            .iter()
            .map(|input| input.previous_output)
            .collect();
        let depth = self
            .wallet
            .chain
            .conflict_depth(&self.frontier.parent)
            .await?;
        Ok(match (depth, spent.first()) {
            (0, _) | (_, None) => None,
            (depth, Some(spent)) if depth >= FINAL_DEPTH => {
                Some(end::swept(self.wallet, &self.exit, *spent).await?)
            }
            _ => {
                let exit = self.exit.clone();
                let problem = Some(self.swept());
                Some(
                    note::wait(self.wallet, Exit::Publish, exit, self.view.state(), problem)
                        .await?,
                )
            }
        })
    }

    fn swept(&self) -> ExitProblem {
        ExitProblem::VtxoSwept {
            vtxo: self.exit.vtxo,
        }
    }

    /// Shows the transaction as one that is in the mempool.
    fn show(&mut self, child_txid: Txid, origin: ChildOrigin) {
        let origin = match origin {
            ChildOrigin::Wallet => ExitTxOrigin::Wallet { confirmed_in: None },
            ChildOrigin::Mempool | ChildOrigin::Block => ExitTxOrigin::Mempool,
        };
        let status = ExitTxStatus::AwaitingConfirmation { child_txid, origin };
        self.view.set(self.frontier.txid, status);
    }

    /// Writes what has changed, or waits for the next block.
    async fn wait(self, problem: Option<ExitProblem>) -> Result<Step<Exit>> {
        note::wait(
            self.wallet,
            Exit::Publish,
            self.exit,
            self.view.state(),
            problem,
        )
        .await
    }
}

/// Whether a node refuses a transaction because of its fee.
fn is_about_fees(reason: &str) -> bool {
    let reason = reason.to_lowercase();
    [
        "min fee not met",
        "min relay fee",
        "mempool min fee",
        "fee not met",
    ]
    .iter()
    .any(|text| reason.contains(text))
}
