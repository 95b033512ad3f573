//! Steps with exits: start them, let them go on block by block, read their status.

use ark_lib::vtxo::Full;
use ark_lib::{ProtocolEncoding, Vtxo};
use bitcoin::Transaction;
use bitcoin::hex::FromHex;
use serde_json::{Value, json};

use crate::support::{Daemon, World};

/// Blocks after which an exit has to have reached the state that a test waits for.
const MOST_BLOCKS: u32 = 60;

impl Daemon {
    /// Starts the exits of these VTXOs.
    pub async fn exit(&self, vtxos: &[String]) -> Value {
        let body = json!({"vtxos": vtxos});
        self.post("/exits/start/vtxos", body).await.ok()
    }

    /// Lets all exits go as far as they can at this block.
    pub async fn progress(&self) -> Value {
        self.post("/exits/progress", json!({"wait": true}))
            .await
            .ok()
    }

    /// The exit of a VTXO, with everything that is shown of it.
    pub async fn exit_of(&self, vtxo: &str) -> Value {
        let path = format!("/exits/status/vtxo/{vtxo}?history=true&transactions=true");
        self.get(&path).await.ok()
    }

    /// The state of the exit of a VTXO.
    pub async fn exit_state(&self, vtxo: &str) -> String {
        kind(&self.exit_of(vtxo).await["state"])
    }

    /// The VTXOs of a list of exits, such as `live`.
    pub async fn exits(&self, list: &str) -> Vec<String> {
        let exits = self.get(&format!("/exits/status/{list}")).await.ok();
        let exits = exits.as_array().expect("a list").iter();
        exits
            .map(|exit| exit["vtxo_id"].as_str().expect("an id").to_owned())
            .collect()
    }

    /// The VTXO as the wallet lists it.
    pub async fn vtxo(&self, id: &str) -> Value {
        self.get(&format!("/wallet/vtxos/{id}")).await.ok()
    }

    /// The state of a VTXO. The oldest published document does not know `exited`, so the answer is not compared with it.
    pub async fn vtxo_state(&self, id: &str) -> String {
        let url = format!("http://127.0.0.1:{}/api/v1/wallet/vtxos/{id}", self.port());
        let request = reqwest::Client::new().get(url).bearer_auth(self.token());
        let answer = request.send().await.expect("an answer");
        let vtxo: Value = answer.json().await.expect("it is JSON");
        kind(&vtxo["state"])
    }

    /// Claims all exits to an address of the on-chain wallet, and waits until that of `vtxo` is claimed; answers the address.
    pub async fn claim_all(&self, world: &World, vtxo: &str) -> String {
        let to = self.post_empty("/onchain/addresses/next").await.ok();
        let to = to["address"].as_str().expect("an address").to_owned();
        let claim = json!({"destination": to});
        self.post("/exits/claim/all", claim).await.ok();
        self.exit_until(world, vtxo, "claimed").await;
        to
    }

    /// Lets the exits go on, block by block, until that of `vtxo` is in this state.
    pub async fn exit_until(&self, world: &World, vtxo: &str, state: &str) -> Value {
        for _ in 0..MOST_BLOCKS {
            self.progress().await;
            let exit = self.exit_of(vtxo).await;
            if kind(&exit["state"]) == state {
                return exit;
            }
            self.next_block(world).await;
        }
        panic!("not {state}: {:#}", self.exit_of(vtxo).await);
    }

    /// Mines a block, and waits until the daemon has seen it.
    pub async fn next_block(&self, world: &World) {
        world.mine(1).await;
        self.wait_for_tip(world).await;
    }

    /// Pays itself everything, so that its VTXOs hang from a longer chain; answers the only one.
    pub async fn pay_itself(&self, sats: u64, times: usize) -> String {
        for _ in 0..times {
            let own = self.address().await;
            self.send(&own, sats).await.ok();
            self.wait_for_spendable(sats).await;
        }
        self.only_vtxo().await
    }

    /// Its only VTXO.
    pub async fn only_vtxo(&self) -> String {
        let vtxos = self.vtxos().await;
        assert_eq!(vtxos.len(), 1, "{vtxos:?}");
        vtxos.into_iter().next().expect("one")
    }
}

impl World {
    /// From now on the Ark server answers no request.
    pub fn stop_server(&self) {
        self.optional_fault(json!({"target": "*", "action": {"type": "drop_before"}}));
    }
}

/// The name of a state.
pub fn kind(state: &Value) -> String {
    state["type"].as_str().expect("a state").to_owned()
}

/// The names of the states of a history, without repetitions.
pub fn kinds(history: &Value) -> Vec<String> {
    let states = history.as_array().expect("a list").iter().map(kind);
    let mut kinds: Vec<String> = states.collect();
    kinds.dedup();
    kinds
}

/// The transactions of a VTXO's exit, from the top.
pub async fn transactions_of(daemon: &Daemon, vtxo: &str) -> Vec<Transaction> {
    let encoded = daemon.get(&format!("/wallet/vtxos/{vtxo}/encoded")).await;
    let encoded = encoded.ok();
    let hex = encoded["encoded"].as_str().expect("the VTXO in hex");
    let bytes = Vec::<u8>::from_hex(hex).expect("hex");
    let vtxo = Vtxo::<Full>::deserialize(&bytes).expect("a VTXO");
    vtxo.transactions().map(|item| item.tx).collect()
}
