//! Steps with a daemon's wallet: fund, board, pay, and wait for the outcome.

use serde_json::{Value, json};

use super::daemon::Daemon;
use super::fan_out::fan_out;
use super::http::Reply;
use super::wait::eventually;
use super::world::World;

/// Whether this is the movement of an exit.
pub fn is_exit(movement: &Value) -> bool {
    movement["subsystem"]["name"] == "bark.exit"
}

impl Daemon {
    /// One number of the off-chain balance.
    pub async fn balance(&self, part: &str) -> u64 {
        let balance = self.get("/wallet/balance").await.ok();
        balance[part]
            .as_u64()
            .unwrap_or_else(|| panic!("no {part} in {balance:#}"))
    }

    /// A fresh Ark address.
    pub async fn address(&self) -> String {
        let answer = self.post_empty("/wallet/addresses/next").await.ok();
        answer["address"].as_str().expect("an address").to_owned()
    }

    /// The facts that wait for the operator, oldest first.
    pub async fn attention(&self) -> Vec<Value> {
        let wallet = self.get("/wallet").await.ok();
        wallet["attention"].as_array().expect("a list").clone()
    }

    /// The history, newest first.
    pub async fn history(&self) -> Vec<Value> {
        self.get("/history")
            .await
            .ok()
            .as_array()
            .expect("a list")
            .clone()
    }

    /// Puts coins into the on-chain wallet.
    pub async fn fund(&self, world: &World, sats: u64) {
        let address = self.post_empty("/onchain/addresses/next").await.ok();
        world
            .pay(address["address"].as_str().expect("an address"), sats)
            .await;
        world.mine(1).await;
        self.post_empty("/onchain/sync").await.ok();
    }

    /// Boards from the on-chain wallet, and waits until the coins can be spent.
    pub async fn board(&self, world: &World, sats: u64) {
        self.post("/boards/board-amount", json!({"amount_sat": sats}))
            .await
            .ok();
        world.mine(1).await;
        self.settled().await;
    }

    /// Funds and boards with plenty left for on-chain fees.
    pub async fn fund_and_board(&self, world: &World, sats: u64) {
        self.fund(world, sats + 20_000).await;
        self.board(world, sats).await;
    }

    /// Waits until no board and no movement is pending. An exit lasts as long as its output is not claimed, and is not waited for.
    pub async fn settled(&self) {
        eventually("nothing is pending any more", async || {
            let boards = self.get("/boards/pending").await.ok();
            let pending = self
                .history()
                .await
                .iter()
                .any(|movement| movement["status"] == "pending" && !is_exit(movement));
            (boards.as_array().is_some_and(Vec::is_empty) && !pending).then_some(())
        })
        .await;
    }

    /// Pays an Ark address.
    pub async fn send(&self, to: &str, sats: u64) -> Reply {
        self.post(
            "/wallet/send",
            json!({"destination": to, "amount_sat": sats}),
        )
        .await
    }

    /// Makes many VTXOs of few, by payments to itself; see [`fan_out`].
    pub async fn fan_out(&self, world: &World, owned: u64, have: u64, wanted: u64) -> u64 {
        let own = self.address().await;
        let pay = async |sats| {
            let reply = self.send(&own, sats).await;
            assert!(matches!(reply.status, 200 | 202), "{reply:?}");
        };
        let settle = async || self.wait_for_spendable(owned).await;
        let made = fan_out(world, owned, have, wanted, pay, settle).await;
        self.settled().await;
        made
    }

    /// Waits until this much can be spent. Its patience begins anew whenever that amount changes.
    pub async fn wait_for_spendable(&self, sats: u64) {
        let mut last = None;
        while last != Some(sats) {
            last = eventually(&format!("{sats} sat can be spent"), async || {
                let now = Some(self.balance("spendable_sat").await);
                (now != last).then_some(now)
            })
            .await;
        }
    }

    /// Waits until the daemon reports that the Ark server is connected, or that it is not.
    pub async fn wait_for_connected(&self, connected: bool) {
        eventually(&format!("connected: {connected}"), async || {
            (self.get("/wallet/connected").await.ok()["connected"] == connected).then_some(())
        })
        .await;
    }
}
