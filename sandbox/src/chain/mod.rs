//! The sandbox's regtest chain: real blocks, a mempool with the policy of a current node, and the handle that the rest of
//! the sandbox uses to read it, to broadcast and to mine.
//!
//! There are two kinds. The simulation lives in RAM behind one lock; with a directory, its blocks and mempool also survive a
//! restart, but what is on hold is forgotten when the process ends. Its blocks are valid for any node that runs regtest.
//! The other kind is a real regtest node, driven over its RPC. Both are read through a [`View`], so that the user of
//! a [`Chain`] need not know which kind it is.

mod accept;
mod auto;
mod block;
mod consensus;
mod disk;
pub mod esplora;
mod fee_floor;
mod ledger;
mod lock;
mod mempool;
mod node;
mod package;
mod replace;
mod sim;
mod standard;
#[cfg(test)]
pub(crate) mod testing;
mod truc;
mod types;
mod view;

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};

use bitcoin::{Block, BlockHash, FeeRate, OutPoint, Script, Transaction, Txid};
use tokio::sync::{Notify, watch};

use self::lock::lock;
use self::node::Node;
use self::sim::Sim;
pub use self::types::{
    Accepted, AutoMine, BitcoindConfig, ChainConfig, ChainTx, FeeRates, PackageOutcome, PackageTx,
    Reject, RejectKind, Reorg, Spender, Tip, Unspent,
};
use self::view::View;

/// A handle on the chain; clones share it.
#[derive(Clone)]
pub struct Chain(Arc<Shared>);

struct Shared {
    kind: Kind,
    tips: watch::Sender<Tip>,
    /// Wakes the miner when the mempool or its settings changed, or the chain was dropped.
    changed: Arc<Notify>,
}

enum Kind {
    Sim(Mutex<Sim>),
    Node(Node),
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.changed.notify_one();
    }
}

/// Access to the view of either kind.
enum Reading<'a> {
    Sim(MutexGuard<'a, Sim>),
    Node(MutexGuard<'a, View>),
}

impl Deref for Reading<'_> {
    type Target = View;

    fn deref(&self) -> &View {
        match self {
            Reading::Sim(sim) => &sim.view,
            Reading::Node(view) => view,
        }
    }
}

impl Chain {
    /// Opens the simulated chain that the directory holds or starts a new one. Must run inside a tokio runtime.
    pub fn start(config: ChainConfig) -> anyhow::Result<Chain> {
        Ok(Chain::run(Kind::Sim(Mutex::new(Sim::open(config)?))))
    }

    /// Connects to a regtest node and reads its chain. Of the configuration the directory and the lowest relayed rate do
    /// not count, and the fee rates stand in where the node has no estimate.
    ///
    /// # Errors
    /// When the node does not answer, does not run regtest, or has another policy than Ark needs.
    pub async fn connect(node: BitcoindConfig, config: ChainConfig) -> anyhow::Result<Chain> {
        let node = Node::connect(node, config).await?;
        let chain = Chain::run(Kind::Node(node));
        tokio::spawn(node::poll(Arc::downgrade(&chain.0)));
        Ok(chain)
    }

    fn run(kind: Kind) -> Chain {
        let (tips, _) = watch::channel(kind.read().ledger.tip());
        let changed = Arc::new(Notify::new());
        let shared = Arc::new(Shared {
            kind,
            tips,
            changed: changed.clone(),
        });
        changed.notify_one();
        tokio::spawn(auto::run(Arc::downgrade(&shared), changed));
        Chain(shared)
    }

    /// The last known state of the chain.
    fn read(&self) -> Reading<'_> {
        self.0.kind.read()
    }

    /// The present state of the chain, after a refresh from the node if there is one.
    async fn current(&self) -> anyhow::Result<Reading<'_>> {
        self.refresh().await?;
        Ok(self.read())
    }

    /// Brings the view up to date with the node, if there is one.
    async fn refresh(&self) -> anyhow::Result<()> {
        if let Kind::Node(node) = &self.0.kind
            && node.refresh().await?
        {
            let view = self.read();
            self.announce(view.ledger.tip());
        }
        Ok(())
    }

    /// Wakes subscribers and the miner. The caller holds the view, so that tips arrive in order.
    fn announce(&self, tip: Tip) {
        self.0
            .tips
            .send_if_modified(|last| std::mem::replace(last, tip) != tip);
        self.0.changed.notify_one();
    }

    /// Changes a simulation, writes the change to disk, and wakes the subscribers.
    fn change<T>(&self, sim: &Mutex<Sim>, change: impl FnOnce(&mut Sim) -> T) -> anyhow::Result<T> {
        let mut sim = lock(sim);
        let result = change(&mut sim);
        let saved = sim.save();
        self.announce(sim.view.ledger.tip());
        saved.map(|()| result)
    }

    /// Refreshes the view after a change at the node.
    async fn done<T>(&self, result: anyhow::Result<T>) -> anyhow::Result<T> {
        self.refresh().await?;
        result
    }

    /// The simulation; fails on a real node, which does not support `what`.
    fn sim(&self, what: &str) -> anyhow::Result<&Mutex<Sim>> {
        match &self.0.kind {
            Kind::Sim(sim) => Ok(sim),
            Kind::Node(_) => {
                anyhow::bail!("a real node cannot {what}; only the simulated chain can")
            }
        }
    }

    /// The last block.
    pub async fn tip(&self) -> anyhow::Result<Tip> {
        Ok(self.current().await?.ledger.tip())
    }

    /// The hash of the block at a height; `None` above the tip.
    pub async fn block_hash(&self, height: u32) -> anyhow::Result<Option<BlockHash>> {
        let view = self.current().await?;
        Ok(view.ledger.tip_at(height).map(|at| at.hash))
    }

    /// The block at a height; `None` above the tip.
    pub async fn block(&self, height: u32) -> anyhow::Result<Option<Block>> {
        let view = self.current().await?;
        Ok(view.ledger.at(height).map(|at| at.block.clone()))
    }

    /// A transaction of the chain or the mempool.
    pub async fn tx(&self, txid: Txid) -> anyhow::Result<Option<ChainTx>> {
        let view = self.current().await?;
        let waiting = view.mempool.get(&txid).map(|entry| ChainTx {
            tx: entry.tx.clone(),
            block: None,
        });
        Ok(waiting.or_else(|| {
            let (tx, height, _) = view.ledger.tx(&txid)?;
            Some(ChainTx {
                tx: tx.clone(),
                block: view.ledger.tip_at(height),
            })
        }))
    }

    /// For each transaction the height of its block; `None` if it is not in the chain.
    pub async fn heights(&self, txids: &[Txid]) -> anyhow::Result<Vec<Option<u32>>> {
        let view = self.current().await?;
        let height = |txid| view.ledger.tx(txid).map(|(_, height, _)| height);
        Ok(txids.iter().map(height).collect())
    }

    /// For each output the height of its block; `None` if it is not in the chain, or spent in chain or mempool.
    pub async fn unspent_heights(
        &self,
        outpoints: &[OutPoint],
    ) -> anyhow::Result<Vec<Option<u32>>> {
        let view = self.current().await?;
        let height = |outpoint: &OutPoint| {
            let coin = view.ledger.coin(outpoint)?;
            view.mempool
                .spender(outpoint)
                .is_none()
                .then_some(coin.height)
        };
        Ok(outpoints.iter().map(height).collect())
    }

    /// The transaction that spends an output, in the chain or the mempool.
    pub async fn spender(&self, outpoint: OutPoint) -> anyhow::Result<Option<Spender>> {
        Ok(self.current().await?.spender(&outpoint))
    }

    /// The outputs of a script that nothing in chain or mempool spends, oldest first.
    pub async fn unspent(&self, script: &Script) -> anyhow::Result<Vec<Unspent>> {
        let script = ledger::script_hash(script);
        Ok(self.current().await?.unspent(&script))
    }

    /// The transactions of the mempool, parents before children.
    pub async fn mempool(&self) -> anyhow::Result<Vec<Txid>> {
        Ok(self.current().await?.mempool.in_order())
    }

    /// A channel that always holds the current tip.
    pub fn subscribe_tips(&self) -> watch::Receiver<Tip> {
        self.0.tips.subscribe()
    }

    /// Broadcasts a transaction. One that chain or mempool already hold is accepted again.
    pub async fn submit(&self, tx: Transaction) -> anyhow::Result<Result<Txid, Reject>> {
        match &self.0.kind {
            Kind::Sim(sim) => self.change(sim, |sim| sim.submit(&tx)),
            Kind::Node(node) => {
                self.refresh().await?;
                self.done(node.submit(&tx).await).await
            }
        }
    }

    /// Broadcasts parents and their child together (parents first), or a single transaction.
    pub async fn submit_package(&self, txs: Vec<Transaction>) -> anyhow::Result<PackageOutcome> {
        match &self.0.kind {
            Kind::Sim(sim) => self.change(sim, |sim| sim.submit_package(&txs)),
            Kind::Node(node) => self.done(node.submit_package(&txs).await).await,
        }
    }

    /// The fee estimates: those set, else those of the node.
    pub async fn fee_rates(&self) -> anyhow::Result<FeeRates> {
        match &self.0.kind {
            Kind::Sim(sim) => Ok(lock(sim).fee_rates),
            Kind::Node(node) => node.fee_rates().await,
        }
    }

    /// Mines blocks with the transactions of the mempool and returns their hashes, oldest first.
    pub async fn mine(&self, n: u32) -> anyhow::Result<Vec<BlockHash>> {
        match &self.0.kind {
            Kind::Sim(sim) => self.change(sim, |sim| (0..n).map(|_| sim.mine_block()).collect())?,
            Kind::Node(node) => self.done(node.mine(n).await).await,
        }
    }

    /// Mines blocks without transactions of the mempool and returns their hashes, oldest first.
    pub async fn mine_empty(&self, n: u32) -> anyhow::Result<Vec<BlockHash>> {
        match &self.0.kind {
            Kind::Sim(sim) => {
                self.change(sim, |sim| (0..n).map(|_| sim.mine_empty_block()).collect())?
            }
            Kind::Node(node) => self.done(node.mine_empty(n).await).await,
        }
    }

    /// Replaces the last `depth` blocks by one block more, and returns the hashes of the new blocks.
    ///
    /// A real node returns the transactions of the old blocks to its mempool and cannot evict them. There, [`Reorg::Drop`] holds its
    /// transactions instead.
    pub async fn reorg(&self, depth: u32, txs: Reorg) -> anyhow::Result<Vec<BlockHash>> {
        match &self.0.kind {
            Kind::Sim(sim) => self.change(sim, |sim| sim.reorg(depth, &txs))?,
            Kind::Node(node) => {
                self.refresh().await?;
                self.done(node.reorg(depth, &txs).await).await
            }
        }
    }

    /// Changes the fee estimates.
    pub async fn set_fee_rates(&self, rates: FeeRates) -> anyhow::Result<()> {
        match &self.0.kind {
            Kind::Sim(sim) => self.change(sim, |sim| sim.fee_rates = rates),
            Kind::Node(node) => {
                node.settings().fee_rates = Some(rates);
                Ok(())
            }
        }
    }

    /// The settings of automatic mining.
    pub async fn auto_mine(&self) -> anyhow::Result<AutoMine> {
        Ok(match &self.0.kind {
            Kind::Sim(sim) => lock(sim).auto_mine,
            Kind::Node(node) => node.settings().auto_mine,
        })
    }

    /// Changes the settings of automatic mining.
    pub async fn set_auto_mine(&self, auto: AutoMine) -> anyhow::Result<()> {
        match &self.0.kind {
            Kind::Sim(sim) => lock(sim).auto_mine = auto,
            Kind::Node(node) => node.settings().auto_mine = auto,
        }
        self.0.changed.notify_one();
        Ok(())
    }

    /// Keeps a transaction, and so its descendants, out of blocks. On the simulation the transaction need not be known yet.
    pub async fn hold(&self, txid: Txid) -> anyhow::Result<()> {
        match &self.0.kind {
            Kind::Sim(sim) => self.change(sim, |sim| {
                sim.held.insert(txid);
            }),
            Kind::Node(node) => {
                self.refresh().await?;
                node.hold(txid).await
            }
        }
    }

    /// Ends the hold of a transaction.
    pub async fn unhold(&self, txid: Txid) -> anyhow::Result<()> {
        match &self.0.kind {
            Kind::Sim(sim) => self.change(sim, |sim| {
                sim.held.remove(&txid);
            }),
            Kind::Node(node) => {
                node.unhold(txid).await?;
                self.0.changed.notify_one();
                Ok(())
            }
        }
    }

    /// Changes the lowest fee rate that the mempool relays, and by which a replacement must pay more. Simulation only.
    pub async fn set_min_relay_fee(&self, rate: FeeRate) -> anyhow::Result<()> {
        let sim = self.sim("change the lowest fee rate that it relays")?;
        self.change(sim, |sim| sim.min_relay_fee = rate)
    }

    /// Changes the lowest fee rate that is mined; packages count as a whole. Zero mines everything, as at first.
    pub async fn set_min_mined_fee(&self, rate: FeeRate) -> anyhow::Result<()> {
        match &self.0.kind {
            Kind::Sim(sim) => self.change(sim, |sim| sim.min_mined_fee = rate),
            Kind::Node(node) => {
                let mut settings = node.settings();
                settings.min_mined_fee = rate;
                settings.left_over = None;
                drop(settings);
                self.0.changed.notify_one();
                Ok(())
            }
        }
    }

    /// Changes the lowest fee rate that the mempool takes while it is full, and returns what it drops for that. Zero ends it.
    /// Simulation only.
    pub async fn set_min_mempool_fee(&self, rate: FeeRate) -> anyhow::Result<Vec<Txid>> {
        let sim = self.sim("be given a full mempool")?;
        self.change(sim, |sim| {
            sim.min_mempool_fee = rate;
            sim.view.mempool.remove_below(rate)
        })
    }

    /// Sets the clock that blocks are stamped by, in seconds since 1970; `None` returns to the machine's. Simulation only.
    pub async fn set_time(&self, time: Option<u32>) -> anyhow::Result<()> {
        let sim = self.sim("be given another time")?;
        self.change(sim, |sim| sim.time = time)
    }

    /// Removes a transaction and what spends it from the mempool; returns what was removed. Simulation only.
    pub async fn evict(&self, txid: Txid) -> anyhow::Result<Vec<Txid>> {
        let sim = self.sim("be made to forget a transaction")?;
        self.change(sim, |sim| sim.view.mempool.remove_with_descendants(&txid))
    }

    /// Refuses the next transaction or package with this text, whatever it is. Simulation only.
    pub async fn reject_next(&self, reason: String) -> anyhow::Result<()> {
        let sim = self.sim("be made to refuse a transaction")?;
        self.change(sim, |sim| sim.reject_next = Some(reason))
    }
}

impl Kind {
    fn read(&self) -> Reading<'_> {
        match self {
            Kind::Sim(sim) => Reading::Sim(lock(sim)),
            Kind::Node(node) => Reading::Node(node.view()),
        }
    }
}
