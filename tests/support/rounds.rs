//! Steps that tests of rounds and offboards share.

use std::str::FromStr;
use std::time::Duration;

use arkwalletd_sandbox::ark::{Params, charging_fees};
use arkwalletd_sandbox::chain::Reorg;
use arkwalletd_sandbox::coin_wallet::{CoinKey, CoinWallet};
use bitcoin::address::NetworkUnchecked;
use bitcoin::{Address, Amount, OutPoint, TxOut, Txid};
use serde_json::{Value, json};

use super::daemon::Daemon;
use super::wait::eventually;
use super::world::{MOST_MISSED, World};

/// A server whose rounds continue as soon as this many wallets have joined and signed.
pub fn rounds_of(participants: usize) -> Params {
    Params {
        round_participants: Some(participants),
        round_sign_time: Duration::from_secs(2),
        ..Params::free()
    }
}

/// The same, with the fees of a public server.
pub fn charging_rounds_of(participants: usize) -> Params {
    Params {
        fees: charging_fees(),
        ..rounds_of(participants)
    }
}

impl World {
    /// How often an RPC of the Ark server was called.
    pub fn calls_of(&self, rpc: &str) -> u64 {
        self.sandbox.ark.faults().calls_of(rpc)
    }

    /// What an address has received on chain, confirmed or not, in sat.
    pub async fn received(&self, address: &str) -> u64 {
        let address = Address::<NetworkUnchecked>::from_str(address)
            .expect("a bitcoin address")
            .assume_checked();
        let coins = self.sandbox.chain.unspent(&address.script_pubkey()).await;
        let values = coins.expect("the chain answers").into_iter();
        values
            .map(|coin| coin.output.value)
            .sum::<Amount>()
            .to_sat()
    }

    /// Whether chain or mempool hold a transaction.
    pub async fn knows(&self, txid: &str) -> bool {
        let txid = Txid::from_str(txid).expect("a transaction id");
        let found = self.sandbox.chain.tx(txid).await;
        found.expect("the chain answers").is_some()
    }

    /// Removes a transaction from the newest blocks by a reorganisation. A real node keeps it in its mempool, but does not mine it.
    pub async fn unconfirm(&self, txid: &str, depth: u32) {
        let dropped = Reorg::Drop(vec![Txid::from_str(txid).expect("a transaction id")]);
        let chain = &self.sandbox.chain;
        chain.reorg(depth, dropped).await.expect("it can be undone");
    }

    /// Waits until a transaction that was unconfirmed is in the mempool, and allows it to be mined.
    pub async fn let_in(&self, txid: &str) {
        let txid = Txid::from_str(txid).expect("a transaction id");
        let chain = &self.sandbox.chain;
        eventually("it is in the mempool", async || {
            let waiting = chain.mempool().await.expect("the chain answers");
            waiting.contains(&txid).then_some(())
        })
        .await;
        chain.unhold(txid).await.expect("it can be mined");
    }

    /// Replaces the newest block by others, in which the Ark server has spent an input of this transaction otherwise.
    pub async fn double_spend(&self, txid: &str) {
        let txid = Txid::from_str(txid).expect("a transaction id");
        let chain = &self.sandbox.chain;
        let known = async |txid| chain.tx(txid).await.expect("the chain answers");
        let mut rival = known(txid).await.expect("it is in the chain").tx;
        rival.input.truncate(1);
        let OutPoint { txid, vout } = rival.input[0].previous_output;
        let coin = known(txid).await.expect("it has a parent").tx.output[vout as usize].clone();
        rival.output = vec![TxOut {
            value: coin.value - Amount::from_sat(1_000),
            ..coin
        }];
        let server = CoinKey::derive(&self.seed, "ark server");
        let rival = CoinWallet::new(chain.clone(), server).sign(rival).await;
        let rival = Reorg::Replace(vec![rival.expect("it is the server's coin")]);
        chain.reorg(1, rival).await.expect("it can be replaced");
    }

    /// Runs rounds until one succeeds; panics after some that failed.
    pub async fn successful_round(&self) {
        for _ in 0..MOST_MISSED {
            if self.round().await {
                return;
            }
        }
        panic!("{MOST_MISSED} rounds failed");
    }
}

impl Daemon {
    /// The ids of its VTXOs.
    pub async fn vtxos(&self) -> Vec<String> {
        let all = self.get("/wallet/vtxos").await.ok();
        let ids = all.as_array().expect("a list").iter();
        ids.map(|vtxo| vtxo["id"].as_str().expect("an id").to_owned())
            .collect()
    }

    /// The rounds that it takes part in.
    pub async fn rounds(&self) -> Vec<Value> {
        let rounds = self.get("/wallet/rounds").await.ok();
        rounds.as_array().expect("a list").clone()
    }

    /// The newest movement of a kind.
    pub async fn movement(&self, kind: &str) -> Value {
        let history = self.history().await;
        let found = history
            .into_iter()
            .find(|movement| movement["subsystem"]["kind"] == kind);
        found.unwrap_or_else(|| panic!("no {kind}"))
    }

    /// The transaction of the newest refresh's round.
    pub async fn funding_txid(&self) -> Value {
        self.movement("refresh").await["metadata"]["funding_txid"].clone()
    }

    /// Waits until it has seen the last block.
    pub async fn wait_for_tip(&self, world: &World) {
        let height = world.height().await;
        eventually("the tip is known", async || {
            let tip = self.get("/bitcoin/tip").await.ok();
            (tip["tip_height"] == height).then_some(())
        })
        .await;
    }

    /// Confirms the last round, and waits until the refresh is completed.
    pub async fn finish_round(&self, world: &World) {
        world.mine(1).await;
        self.wait_without_rounds().await;
    }

    /// Waits until it takes part in no round any more.
    pub async fn wait_without_rounds(&self) {
        eventually("no round is pending", async || {
            self.rounds().await.is_empty().then_some(())
        })
        .await;
    }

    /// Requests a refresh of all VTXOs.
    pub async fn refresh_all(&self) -> Value {
        self.post_empty("/wallet/refresh/all").await.ok()
    }

    /// Requests a refresh of these VTXOs.
    pub async fn refresh(&self, vtxos: &[String]) -> Value {
        let body = json!({"vtxos": vtxos});
        self.post("/wallet/refresh/vtxos", body).await.ok()
    }
}
