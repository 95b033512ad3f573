//! A recovery that is killed goes on where it was.

use arkwalletd_sandbox::ark::Params;

use super::{lost, recovered, restoration, states};
use crate::support::{Daemon, World, assert_history_adds_up, eventually};

/// VTXOs of the wallet, at least.
const VTXOS: u64 = 150;
/// What it owns, in sat.
const FUNDS: u64 = 163_840;

#[tokio::test]
async fn a_recovery_that_is_killed_goes_on_where_it_was() {
    let world = World::with(Params {
        recovery_xpub_keys: 20,
        max_recovered_vtxos: 20,
        max_read_mailbox_items: 20,
        ..Params::free()
    })
    .await;
    let mut daemon = Daemon::start_with(&[], &[("BARK_CHANGE_VTXO_SPLIT_FACTOR", "3")]).await;
    daemon.create_wallet(&world).await;
    daemon.fund_and_board(&world, FUNDS).await;
    daemon.fan_out(&world, FUNDS, 1, VTXOS).await;
    daemon.wait_for_spendable(FUNDS).await;
    let had = states(&daemon).await;
    assert!(had.len() >= 150, "{}", had.len());
    let words = lost(&mut daemon).await;

    let calls = |rpc: &str| world.calls_of(rpc);
    let counted = ["RecoverVtxosByXpub", "ReadMailbox"];
    let before = counted.map(calls);
    let mut whole = Daemon::start().await;
    let request = restoration(&world, &words);
    whole.post("/wallet/create", request.clone()).await.ok();
    recovered(&whole).await;
    assert_eq!(states(&whole).await, had);
    let needed: Vec<u64> = counted
        .iter()
        .zip(before)
        .map(|(rpc, before)| calls(rpc) - before)
        .collect();
    assert!(needed[0] >= 8 && needed[1] >= 8, "{needed:?}");
    whole.stop().await;

    let before = counted.map(calls);
    let mut killed = Daemon::start().await;
    let creating = killed.try_send("POST", "/wallet/create", Some(request));
    let middle = eventually("the recovery is half-way", async || {
        (calls("RecoverVtxosByXpub") - before[0] >= needed[0] / 2).then_some(())
    });
    tokio::select! {
        reply = creating => panic!("it ended before it was killed: {reply:?}"),
        () = middle => killed.kill_now(),
    }
    killed.wait_for_exit().await;
    killed.restart(None).await;
    let report = recovered(&killed).await;
    assert_eq!(states(&killed).await, had, "{report:#}");
    assert_eq!(killed.balance("spendable_sat").await, FUNDS);
    assert_history_adds_up(&killed).await;
    // One page that was not committed is asked for twice, and the mailbox is read at the start.
    let made = calls("RecoverVtxosByXpub") - before[0];
    assert!(made <= needed[0] + 1, "{made} {needed:?}");
    let again = super::report(&killed).await;
    assert_eq!(again["recovered"], had.len(), "{again:#}");
}
