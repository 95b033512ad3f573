//! Automatic mining: a block follows after a delay when the mempool has a transaction to mine.
//!
//! There are no empty blocks on a timer, because lifetimes and timeouts of the Ark protocol count blocks, and an idle
//! chain must not let coins expire.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::lock::lock;
use super::{Chain, Kind, Shared};

/// Mines until the chain is dropped.
pub(super) async fn run(chain: Weak<Shared>, changed: Arc<Notify>) {
    loop {
        changed.notified().await;
        let Some(delay) = wanted(&chain).await else {
            if chain.strong_count() == 0 {
                return;
            }
            continue;
        };
        tokio::time::sleep(delay).await;
        // The settings may have changed meanwhile.
        if wanted(&chain).await.is_none() {
            continue;
        }
        let Some(chain) = chain.upgrade().map(Chain) else {
            return;
        };
        let before = chain.read().mempool.changes();
        let mined = chain.mine(1).await.map_err(|error| format!("{error:#}"));
        match (&chain.0.kind, mined) {
            (Kind::Sim(sim), Err(error)) => {
                tracing::error!(error, "could not mine a block, automatic mining is off");
                lock(sim).auto_mine.on = false;
            }
            (Kind::Node(_), Err(error)) => tracing::warn!(error, "could not mine a block"),
            // A node does not mine transactions below its minimum fee rate. Further blocks would be empty.
            (Kind::Node(node), Ok(_)) if chain.read().mempool.changes() == before => {
                node.settings().left_over = Some(before);
            }
            (_, Ok(_)) => {}
        }
    }
}

/// The delay after which a block is due, if one is.
async fn wanted(chain: &Weak<Shared>) -> Option<Duration> {
    let chain = Chain(chain.upgrade()?);
    let (auto, work) = match &chain.0.kind {
        Kind::Sim(sim) => {
            let sim = lock(sim);
            (sim.auto_mine, sim.auto_mine.on && sim.has_work())
        }
        Kind::Node(node) => {
            let auto = node.settings().auto_mine;
            (auto, auto.on && node.has_work().await)
        }
    };
    work.then_some(auto.delay)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::AutoMine;
    use crate::chain::testing::{SAT_PER_VB, config};
    use crate::coin_wallet::{CoinKey, CoinWallet};

    #[tokio::test]
    async fn a_payment_is_mined_once_the_miner_is_on() {
        let key = CoinKey::derive(&[6; 32], "auto");
        let chain = Chain::start(config(None, key.script())).unwrap();
        chain.mine(101).await.unwrap();
        let mut tips = chain.subscribe_tips();
        let coins = CoinWallet::new(chain.clone(), key.clone());
        let txid = coins
            .pay(key.script(), bitcoin::Amount::from_sat(5000), SAT_PER_VB)
            .await
            .unwrap();
        assert_eq!(
            tips.borrow_and_update().height,
            101,
            "it does not mine while it is off"
        );
        chain
            .set_auto_mine(AutoMine {
                on: true,
                delay: Duration::ZERO,
            })
            .await
            .unwrap();
        tips.changed().await.unwrap();
        let block = chain.tx(txid).await.unwrap().unwrap().block.unwrap();
        assert_eq!(block, *tips.borrow());
    }
}
