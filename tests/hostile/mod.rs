//! An Ark server that cheats: the daemon never sends a forfeit without getting what it is for. The tests check the server's count of
//! calls, and that the VTXOs can be used afterwards. And payers who cheat. H, W and § refer to docs/protocol.md.

mod boards;
mod fees;
mod hour;
mod imports;
mod offboards;
pub mod payer;
mod payers;
pub mod refusals;
mod reported_rounds;
mod rounds;

use std::time::Duration;

use arkwalletd_sandbox::ark::Params;

use crate::support::{Daemon, World, rounds_of};

/// A daemon with 80 000 sat in two VTXOs.
async fn scene() -> (World, Daemon) {
    scene_at(Params {
        round_sign_time: Duration::from_secs(1),
        ..rounds_of(1)
    })
    .await
}

async fn scene_at(params: Params) -> (World, Daemon) {
    let world = World::with(params).await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 50_000).await;
    daemon.fund_and_board(&world, 30_000).await;
    (world, daemon)
}
