//! Unilateral exits of the load, and how they are brought to their end.

use rand::Rng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use super::Shared;
use super::load::{Client, Dead};
use crate::support::Daemon;

/// Exits of a wallet that are under way at the same time, beside those that begin by themselves.
const MOST: usize = 3;

/// The least fee rate of the network, in sat/kvB.
const LEAST_RATE: u64 = 1_000;

impl Client<'_> {
    /// Starts the exit of a VTXO.
    pub(super) async fn exit(&mut self) -> Result<(), Dead> {
        if self.live_exits().await?.len() >= MOST {
            return Ok(());
        }
        let vtxos = self.some_vtxos(1).await?;
        if vtxos.is_empty() {
            return Ok(());
        }
        let body = json!({"vtxos": vtxos});
        self.send("exit start", "/exits/start/vtxos", body).await
    }

    /// Lets exits go on, or claims them.
    pub(super) async fn serve_exits(&mut self) -> Result<(), Dead> {
        if self.random.random_ratio(2, 3) {
            let body = json!({"wait": self.random.random::<bool>()});
            return self.send("exit progress", "/exits/progress", body).await;
        }
        let path = "/onchain/addresses/next";
        let (_, answer) = self.answer("look", "POST", path, None).await?;
        let Some(to) = answer["address"].as_str() else {
            return Ok(());
        };
        let body = json!({"destination": to});
        self.send("exit claim", "/exits/claim/all", body).await
    }

    /// Ends an exit that may be over, or past its end.
    pub(super) async fn cancel_exit(&mut self) -> Result<(), Dead> {
        let live = self.live_exits().await?;
        let Some(vtxo) = live.choose(&mut self.random) else {
            return Ok(());
        };
        let path = format!("/exits/cancel/{vtxo}");
        self.send("exit cancel", &path, None).await
    }

    async fn live_exits(&self) -> Result<Vec<String>, Dead> {
        let path = "/exits/status/live";
        let (_, exits) = self.answer("look", "GET", path, None).await?;
        let exits = exits.as_array().into_iter().flatten();
        let ids = exits.filter_map(|exit| exit["vtxo_id"].as_str());
        Ok(ids.map(str::to_owned).collect())
    }
}

/// Lets the exits of a wallet go as far as they can at this block, pays for them, and claims them.
pub async fn bring_home(shared: &Shared, daemon: &Daemon) {
    if daemon.exits("live").await.is_empty() {
        return;
    }
    let facts = daemon.attention().await;
    if facts.iter().any(|fact| fact["code"] == "exit_underfunded") {
        daemon.fund(&shared.world, 500_000).await;
    }
    daemon.post("/exits/progress", json!({})).await.ok();
    let to = daemon.post_empty("/onchain/addresses/next").await.ok();
    let claim = json!({"destination": to["address"], "fee_rate": LEAST_RATE});
    let claimed = daemon.post("/exits/claim/all", claim).await;
    let code = claimed.body["code"].as_str();
    assert!(
        matches!(
            code,
            None | Some("nothing_claimable" | "exit_changed" | "amount_too_small")
        ),
        "{claimed:?}"
    );
}

/// Whether something that is under way belongs to an exit.
pub fn is_of_exit(what: &Value) -> bool {
    let of_operation = |text: &str| text.starts_with("exit ") || text.starts_with("held: ");
    what["subsystem"]["name"] == "bark.exit" || what.as_str().is_some_and(of_operation)
}
