//! What the recovery of a large wallet from its seed takes.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::creation;
use crate::large::{BOARD, BOARDS, VTXOS, wallet};
use crate::process::{Daemon, Product};
use crate::world::World;

/// How often the memory is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// The figures of both products under their names, ours first.
pub async fn measure() -> Vec<(String, f64, f64)> {
    let world = World::new().await;
    let mut lost = wallet(&world).await;
    // What the server lacks of the wallet is uploaded.
    lost.post("/wallet/sync", None).await;
    let words = std::fs::read_to_string(lost.folder().join("mnemonic"));
    let words = words.expect("it has a wallet");
    lost.stop();
    let ours = recover(&world, Product::Ours, words.trim()).await;
    eprintln!("arkwalletd, recovery: {ours:#?}");
    let theirs = recover(&world, Product::Barkd, words.trim()).await;
    let names = ["s", "peak memory, MiB", "calls to the Ark server"];
    let rows = names.into_iter().zip(ours.into_iter().zip(theirs));
    rows.map(|(name, (ours, theirs))| {
        let name = format!("recovery of {VTXOS} VTXOs from the seed, {name}");
        (name, ours, theirs)
    })
    .collect()
}

/// Seconds, MiB and calls until all can be spent.
async fn recover(world: &World, product: Product, words: &str) -> [f64; 3] {
    let mut daemon = Daemon::new(product);
    daemon.start("/ping", &[]);
    let mut request = creation(world, &world.sandbox.ark_url);
    request["mnemonic"] = json!(words);
    request["birthday_height"] = json!(1);
    let calls = || world.sandbox.ark.faults().calls().values().sum::<u64>();
    let (before, begun, mut peak) = (calls(), Instant::now(), 0.0_f64);
    {
        let recovered = async {
            daemon.post("/wallet/create", Some(request)).await;
            while daemon.get("/wallet/balance").await["spendable_sat"] != BOARDS * BOARD {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::pin!(recovered);
        while tokio::time::timeout(LOOK, &mut recovered).await.is_err() {
            peak = peak.max(daemon.resident());
        }
    }
    let taken = begun.elapsed().as_secs_f64();
    let peak = peak.max(daemon.resident()) / 1024.0;
    let made = calls() - before;
    daemon.stop();
    #[allow(clippy::cast_precision_loss, reason = "it is far below 2^52")]
    let made = made as f64;
    [taken, peak, made]
}
