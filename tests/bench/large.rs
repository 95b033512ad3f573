//! What operations on a large wallet take: 2,000 VTXOs, whose chains are 11 transactions long.

use std::time::{Duration, Instant};

use arkwalletd_sandbox::ark::Params;
use serde_json::{Value, json};

use crate::creation;
use crate::fan_out::fan_out;
use crate::process::{Daemon, Product};
use crate::world::World;

/// VTXOs that the wallet has at least.
pub const VTXOS: u64 = 2_000;
/// Boards that they descend from.
pub const BOARDS: u64 = 2;
/// The amount of each board, in sat.
pub const BOARD: u64 = 1_024_000;
/// Inputs of the payment.
const PAID: u64 = 500;
/// Inputs of the refresh: the most that the wallet takes at once.
const REFRESHED: usize = 1_000;
/// Inputs of the offboard: the most that the server takes at once.
const OFFBOARDED: usize = 100;

/// The seconds that a payment, an offboard and a refresh take until their movements are successful, under their names.
pub async fn measure(payee: impl AsyncFn(&World) -> String) -> [(String, f64); 3] {
    let world = World::with(Params {
        round_participants: Some(1),
        ..Params::free()
    })
    .await;
    let to = payee(&world).await;
    let daemon = wallet(&world).await;
    let paid = PAID * (BOARDS * BOARD / 2_048);
    let request = json!({"destination": to, "amount_sat": paid});
    let payment = timed(&daemon, "/wallet/send", request).await;
    let request = json!({"vtxos": spendable(&daemon, OFFBOARDED).await});
    let offboard = timed(&daemon, "/wallet/offboard/vtxos", request).await;
    let request = json!({"vtxos": spendable(&daemon, REFRESHED).await});
    daemon.post("/wallet/refresh/vtxos", Some(request)).await;
    let begun = Instant::now();
    assert!(world.round().await, "the round failed");
    world.mine(1).await;
    settle(&daemon).await;
    let refresh = begun.elapsed();
    [
        (format!("payment of {PAID} VTXOs, s"), payment),
        (format!("offboard of {OFFBOARDED} VTXOs, s"), offboard),
        (format!("refresh of {REFRESHED} VTXOs, s"), refresh),
    ]
    .map(|(name, time)| {
        (
            format!("{name}, of a wallet of {VTXOS}"),
            time.as_secs_f64(),
        )
    })
}

/// A wallet of that many VTXOs, which runs.
pub async fn wallet(world: &World) -> Daemon {
    let mut daemon = Daemon::new(Product::Ours);
    daemon.start("/ping", &[("BARK_CHANGE_VTXO_SPLIT_FACTOR", "3")]);
    let request = creation(world, &world.sandbox.ark_url);
    daemon.post("/wallet/create", Some(request)).await;
    let address = daemon.post("/onchain/addresses/next", None).await;
    let address = address["address"].as_str().expect("an address");
    for _ in 0..BOARDS {
        world.pay(address, BOARD + 10_000).await;
    }
    world.mine(1).await;
    daemon.post("/onchain/sync", None).await;
    for _ in 0..BOARDS {
        let request = json!({"amount_sat": BOARD});
        daemon.post("/boards/board-amount", Some(request)).await;
        world.mine(1).await;
        settle(&daemon).await;
        daemon.post("/onchain/sync", None).await;
    }
    let owned = BOARDS * BOARD;
    let own = daemon.post("/wallet/addresses/next", None).await;
    let own = own["address"].as_str().expect("an address");
    let pay = async |sats| {
        let request = json!({"destination": own, "amount_sat": sats});
        daemon.post("/wallet/send", Some(request)).await;
    };
    let settle = async || {
        while daemon.get("/wallet/balance").await["spendable_sat"] != owned {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    fan_out(world, owned, BOARDS, VTXOS, pay, settle).await;
    daemon
}

async fn timed(daemon: &Daemon, path: &str, request: Value) -> Duration {
    let begun = Instant::now();
    daemon.post(path, Some(request)).await;
    settle(daemon).await;
    begun.elapsed()
}

/// Waits until no movement is pending.
async fn settle(daemon: &Daemon) {
    loop {
        let newest = daemon.get("/history?limit=1").await;
        if newest[0]["status"] == "successful" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The ids of that many spendable VTXOs.
async fn spendable(daemon: &Daemon, count: usize) -> Vec<Value> {
    let vtxos = daemon.get("/wallet/vtxos").await;
    let free = vtxos.as_array().expect("a list").iter();
    let free = free.filter(|vtxo| vtxo["state"]["type"] == "spendable");
    free.map(|vtxo| vtxo["id"].clone()).take(count).collect()
}
