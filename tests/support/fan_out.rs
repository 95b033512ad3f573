//! Makes a wallet of many VTXOs: each generation of payments to itself makes four VTXOs of each one, two transactions deeper.

use serde_json::json;

use super::world::World;

/// Pays from each of `have` VTXOs of equal amounts, of `owned` sat together, a quarter back to the wallet, until there are at least
/// `wanted`. The wallet has to split its change into three pieces. `pay` pays an amount to the wallet itself; `settle` waits until all
/// payments of a generation have arrived. Answers how many VTXOs there are.
pub async fn fan_out(
    world: &World,
    owned: u64,
    mut have: u64,
    wanted: u64,
    pay: impl AsyncFn(u64),
    settle: impl AsyncFn(),
) -> u64 {
    while have < wanted {
        // The server delays its answers until all payments of a generation have selected their inputs, so that none selects the
        // outputs of another.
        let delay = json!({"type": "delay", "ms": 100 + 5 * have});
        world.fault(json!({"target": "RequestArkoorCosign", "action": delay}));
        let quarter = owned / have / 4;
        futures::future::join_all((0..have).map(|_| pay(quarter))).await;
        world.no_faults();
        settle().await;
        have *= 4;
    }
    have
}
