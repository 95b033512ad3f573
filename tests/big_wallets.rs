//! Wallets of thousands of VTXOs with long chains: payments, refreshes and offboards of all of them succeed, and no request comes near
//! the Ark server's limit of 4 MiB (H49).
//!
//! The wallets of 2,000 VTXOs take a minute each, so that only `tests/run --full` runs them.

use arkwalletd_sandbox::ark::Params;
use serde_json::json;

use crate::support::{Daemon, World, assert_balanced, charging_rounds_of};

/// The largest request that a wallet may send, in bytes.
const LARGEST_REQUEST: usize = 3 * 1024 * 1024;

/// The amount of each VTXO, in sat.
const COIN: u64 = 1_000;

/// VTXOs that descend from one board.
const PER_BOARD: u64 = 1_024;

/// Inputs of each payment; the wallet may limit them.
const INPUTS: u64 = 512;

/// VTXOs of each refresh: the wallet takes no more at once.
const REFRESHED: usize = 1_000;

#[tokio::test]
async fn all_vtxos_of_a_large_wallet_are_delivered_and_refreshed() {
    deliver_and_refresh(256).await;
}

#[tokio::test]
#[ignore = "takes a minute; tests/run --full runs it"]
async fn all_vtxos_of_a_large_wallet_are_delivered_and_refreshed_at_length() {
    deliver_and_refresh(2_000).await;
}

#[tokio::test]
async fn all_vtxos_of_a_large_wallet_are_offboarded() {
    offboard(256).await;
}

#[tokio::test]
#[ignore = "takes a minute; tests/run --full runs it"]
async fn all_vtxos_of_a_large_wallet_are_offboarded_at_length() {
    offboard(2_000).await;
}

/// A server with fees, and a wallet with this many VTXOs or more, of equal amounts. The chains of 1,024 are 11 transactions long.
async fn scene(wanted: u64) -> (World, Daemon) {
    let world = World::with(Params {
        max_offboard_inputs: 100,
        ..charging_rounds_of(1)
    })
    .await;
    world.fund_server(10_000_000).await;
    let pieces = [("BARK_CHANGE_VTXO_SPLIT_FACTOR", "3")];
    let daemon = Daemon::start_with(&[], &pieces).await;
    daemon.create_wallet(&world).await;
    let boards = wanted.div_ceil(PER_BOARD);
    let net = wanted.min(PER_BOARD) * COIN;
    let fee = (net / 500).max(330);
    daemon.fund(&world, boards * (net + fee + 10_000)).await;
    for _ in 0..boards {
        let path = format!("/fees/board?amount_sat={}", net + fee);
        let quote = daemon.get(&path).await.ok();
        let gross = net + quote["fee_sat"].as_u64().unwrap();
        daemon.board(&world, gross).await;
        daemon.post_empty("/onchain/sync").await.ok();
    }
    let owned = daemon.balance("spendable_sat").await;
    daemon.fan_out(&world, owned, boards, wanted).await;
    (world, daemon)
}

fn assert_small_requests(world: &World) {
    for (rpc, bytes) in world.sandbox.ark.faults().largest_requests() {
        assert!(bytes <= LARGEST_REQUEST, "{rpc}: {bytes} bytes");
    }
}

async fn deliver_and_refresh(wanted: u64) {
    let (world, payer) = scene(wanted).await;
    let payee = Daemon::with_wallet(&world).await;
    let owned = payer.balance("spendable_sat").await;
    let count = payer.vtxos().await.len();
    let amount = owned / u64::try_from(count).unwrap() * INPUTS;
    let to = payee.address().await;
    let mut left = owned;
    while left > 0 {
        let sats = left.min(amount);
        let reply = payer.send(&to, sats).await;
        assert!(matches!(reply.status, 200 | 202), "{reply:?}");
        left -= sats;
    }
    payer.settled().await;
    payee.wait_for_spendable(owned).await;
    // A payment leaves change, so some of the VTXOs may be one VTXO and its remainder.
    let vtxos = payee.vtxos().await;
    assert!(vtxos.len() >= count, "{}", vtxos.len());

    for part in vtxos.chunks(REFRESHED) {
        payee.refresh(part).await;
        assert!(world.round().await);
        payee.finish_round(&world).await;
    }
    payee.settled().await;
    let left = payee.vtxos().await;
    assert_eq!(left.len(), vtxos.len().div_ceil(REFRESHED), "{left:?}");
    assert_small_requests(&world);
    assert_balanced(&world, &[&payer, &payee], &[]).await;
}

async fn offboard(wanted: u64) {
    let (world, daemon) = scene(wanted).await;
    let all = daemon.post_empty("/wallet/offboard/all").await;
    all.refused(400, "too_many_inputs");
    let vtxos = daemon.vtxos().await;
    for part in vtxos.chunks(100) {
        let body = json!({"vtxos": part});
        let reply = daemon.post("/wallet/offboard/vtxos", body).await;
        assert!(matches!(reply.status, 200 | 202), "{reply:?}");
    }
    daemon.settled().await;
    assert!(daemon.vtxos().await.is_empty());
    assert_small_requests(&world);
    assert_balanced(&world, &[&daemon], &[]).await;
}
