//! Whatever a VTXO comes from, the seed brings it back.

use ark_lib::{Vtxo, vtxo::Full};
use arkwalletd_sandbox::ark::Params;
use serde_json::{Value, json};

use super::{assert_found, assert_restored, backed_up, lost, recovered, report, restored, states};
use crate::support::{Daemon, FAIL, SETTLE, World, assert_history_adds_up, eventually, rounds_of};

/// Makes servers without the calls that list VTXOs by key or ids, as those before 0.8.
pub async fn without_recovery_calls(world: &World) {
    let url = format!("{}/recovery", world.sandbox.control_url);
    let request = reqwest::Client::new()
        .post(url)
        .json(&json!({"calls": false}));
    request.send().await.unwrap().error_for_status().unwrap();
}

async fn boarded(world: &World) -> Daemon {
    let daemon = Daemon::with_wallet(world).await;
    daemon.fund_and_board(world, 60_000).await;
    daemon
}

#[tokio::test]
async fn a_board_comes_back() {
    let world = World::new().await;
    let mut daemon = boarded(&world).await;
    let fingerprint = daemon.get("/wallet").await.ok()["fingerprint"].clone();
    let again = assert_restored(&world, &mut daemon).await;
    let wallet = again.get("/wallet").await.ok();
    assert_eq!(wallet["fingerprint"], fingerprint);
    assert_eq!(wallet["recovery"]["cause"], "seed");
}

#[tokio::test]
async fn a_vtxo_of_a_round_comes_back() {
    let world = World::with(rounds_of(1)).await;
    world.fund_server(2_000_000).await;
    let mut daemon = boarded(&world).await;
    daemon.refresh_all().await;
    world.successful_round().await;
    daemon.finish_round(&world).await;
    let again = assert_restored(&world, &mut daemon).await;
    let report = report(&again).await;
    assert_eq!(report["spent"], 1, "{report:#}");
}

#[tokio::test]
async fn receipts_and_change_come_back() {
    let world = World::new().await;
    let (mut daemon, peer) = (boarded(&world).await, boarded(&world).await);
    for _ in 0..8 {
        daemon.send(&peer.address().await, 1_000).await.ok();
        peer.send(&daemon.address().await, 500).await.ok();
    }
    daemon.wait_for_spendable(56_000).await;
    assert_restored(&world, &mut daemon).await;
}

#[tokio::test]
async fn a_lightning_receive_comes_back() {
    let world = World::new().await;
    let mut daemon = Daemon::with_wallet(&world).await;
    world.pays(&daemon.invoice(20_000).await).await;
    daemon.wait_for_spendable(20_000).await;
    // The server's pool hangs from transactions of its own.
    world.mine(1).await;
    assert_restored(&world, &mut daemon).await;
}

/// What hangs from an unconfirmed transaction is shown as doubtful until that is confirmed.
#[tokio::test]
async fn a_vtxo_with_an_unconfirmed_anchor_waits_for_the_next_block() {
    let world = World::new().await;
    let mut daemon = Daemon::with_wallet(&world).await;
    world.pays(&daemon.invoice(20_000).await).await;
    daemon.wait_for_spendable(20_000).await;
    let words = lost(&mut daemon).await;
    let again = restored(&world, &words).await;
    let waiting = report(&again).await;
    assert_eq!(waiting["phase"], "doubts", "{waiting:#}");
    assert_eq!(again.balance("spendable_sat").await, 0);
    assert_eq!(again.balance("pending_exit_sat").await, 20_000);
    assert_history_adds_up(&again).await;
    let raised = again.attention().await;
    assert_eq!(raised[0]["code"], "vtxo_doubtful", "{raised:#?}");
    world.mine(1).await;
    again.wait_for_spendable(20_000).await;
    recovered(&again).await;
    assert!(again.attention().await.is_empty());
    assert_history_adds_up(&again).await;
}

#[tokio::test]
async fn the_change_of_a_lightning_payment_comes_back() {
    let world = World::new().await;
    let mut daemon = boarded(&world).await;
    let invoice = world.issue(20_000, SETTLE);
    daemon.pay(&invoice.bolt11, None).await.ok();
    daemon.settled().await;
    daemon.wait_for_spendable(40_000).await;
    assert_restored(&world, &mut daemon).await;
}

#[tokio::test]
async fn what_a_failed_lightning_payment_returned_comes_back() {
    let world = World::new().await;
    let mut daemon = boarded(&world).await;
    let invoice = world.issue(20_000, FAIL);
    daemon.pay(&invoice.bolt11, None).await;
    daemon.settled().await;
    daemon.wait_for_spendable(60_000).await;
    assert_restored(&world, &mut daemon).await;
}

#[tokio::test]
async fn the_change_of_an_onchain_payment_comes_back() {
    let world = World::new().await;
    world.fund_server(2_000_000).await;
    let mut daemon = boarded(&world).await;
    let to = daemon.post_empty("/onchain/addresses/next").await.ok();
    let body = json!({"destination": to["address"], "amount_sat": 20_000});
    daemon.post("/wallet/send-onchain", body).await.ok();
    world.mine(3).await;
    eventually("it is paid", async || {
        daemon.post_empty("/wallet/sync").await.ok();
        let newest = &daemon.history().await[0];
        (newest["status"] == "successful").then_some(())
    })
    .await;
    daemon.post_empty("/onchain/sync").await.ok();
    let onchain = daemon.get("/onchain/balance").await.ok();
    let again = assert_restored(&world, &mut daemon).await;
    again.post_empty("/onchain/sync").await.ok();
    assert_eq!(again.get("/onchain/balance").await.ok(), onchain);
}

async fn mixed(world: &World) -> Daemon {
    let (daemon, peer) = (boarded(world).await, boarded(world).await);
    daemon.refresh_all().await;
    world.successful_round().await;
    daemon.finish_round(world).await;
    daemon.fund_and_board(world, 30_000).await;
    daemon.send(&peer.address().await, 5_000).await.ok();
    peer.send(&daemon.address().await, 4_000).await.ok();
    daemon.wait_for_spendable(89_000).await;
    world.pays(&daemon.invoice(20_000).await).await;
    daemon.wait_for_spendable(109_000).await;
    world.mine(1).await;
    daemon
}

async fn world_of_rounds(params: Params) -> World {
    let world = World::with(Params {
        round_participants: Some(1),
        round_sign_time: std::time::Duration::from_secs(2),
        ..params
    })
    .await;
    world.fund_server(2_000_000).await;
    world
}

#[tokio::test]
async fn vtxos_of_all_origins_come_back() {
    let world = world_of_rounds(Params::free()).await;
    let mut daemon = mixed(&world).await;
    assert_restored(&world, &mut daemon).await;
    assert!(world.calls_of("RecoverVtxosByXpub") > 0);
    assert_eq!(world.calls_of("GetVtxo"), 0);
}

/// Pages with one entry each: each mailbox is read until a page is empty, whatever the server says besides.
#[tokio::test]
async fn small_pages_are_all_read() {
    let world = world_of_rounds(Params {
        max_read_mailbox_items: 1,
        recovery_xpub_keys: 2,
        max_recovered_vtxos: 1,
        ..Params::free()
    })
    .await;
    let mut daemon = mixed(&world).await;
    assert_found(&world, &mut daemon).await;
    assert!(world.calls_of("RecoverVtxosByXpub") > 3);
}

/// A server before 0.8 knows single calls only.
#[tokio::test]
async fn an_older_server_is_asked_one_by_one() {
    let world = world_of_rounds(Params {
        max_read_mailbox_items: 1,
        ..Params::free()
    })
    .await;
    let mut daemon = mixed(&world).await;
    without_recovery_calls(&world).await;
    assert_found(&world, &mut daemon).await;
    assert!(world.calls_of("GetVtxo") > 0);
    assert!(world.calls_of("GetVtxoStatus") > 0);
}

#[tokio::test]
async fn a_wallet_that_is_spent_completely_stays_empty() {
    let world = World::new().await;
    let (mut daemon, peer) = (boarded(&world).await, boarded(&world).await);
    peer.send(&daemon.address().await, 10_000).await.ok();
    daemon.wait_for_spendable(70_000).await;
    daemon.send(&peer.address().await, 70_000).await.ok();
    let words = lost(&mut daemon).await;
    let again = restored(&world, &words).await;
    let report = recovered(&again).await;
    assert_eq!(
        (&report["recovered"], &report["spent"]),
        (&json!(0), &json!(2)),
        "{report:#}"
    );
    again.post_empty("/wallet/sync").await.ok();
    assert!(states(&again).await.is_empty());
    assert_history_adds_up(&again).await;
    assert!(again.history().await.is_empty());
    // H36: a replay of the mailbox finds them spent.
    let all = again.get("/wallet/vtxos?all=true").await.ok();
    assert_eq!(all.as_array().unwrap().len(), 2, "{all:#}");
}

#[tokio::test]
async fn an_exited_vtxo_comes_back_as_exited() {
    let world = World::new().await;
    let mut daemon = boarded(&world).await;
    let id = daemon.vtxos().await.remove(0);
    let record = world.sandbox.ark.vtxo(id.parse().unwrap()).unwrap();
    let vtxo: Vtxo<Full> = record.expect("the server has it").vtxo;
    let words = lost(&mut daemon).await;
    world.exit(&vtxo).await;
    let again = restored(&world, &words).await;
    let report = recovered(&again).await;
    // SPENDABLE from the server proves nothing.
    assert_eq!(report["exited"], 1, "{report:#}");
    assert_eq!(again.balance("pending_exit_sat").await, 60_000);
    assert_eq!(again.balance("spendable_sat").await, 0);
    let raised = again.attention().await;
    assert!(
        raised
            .iter()
            .any(|it| it["code"] == "vtxo_on_chain" && it["subject"] == id.as_str()),
        "{raised:#?}"
    );
    assert_history_adds_up(&again).await;
}

/// With a server that does not list by key, a key beyond the gap limit is not found; with one that does, it is.
#[tokio::test]
async fn the_gap_limit_ends_the_search() {
    for lists_by_key in [false, true] {
        let world = World::new().await;
        let mut daemon = Daemon::with_wallet(&world).await;
        let peer = boarded(&world).await;
        for _ in 0..30 {
            daemon.address().await;
        }
        peer.send(&daemon.address().await, 10_000).await.ok();
        daemon.wait_for_spendable(10_000).await;
        let words = lost(&mut daemon).await;
        if !lists_by_key {
            without_recovery_calls(&world).await;
        }
        let again = Daemon::start().await;
        let mut request = super::restoration(&world, &words);
        request["gap_limit"] = json!(10);
        again.post("/wallet/create", request).await.ok();
        let report = recovered(&again).await;
        let (verdict, sats) = if lists_by_key {
            ("recovered", 10_000)
        } else {
            ("foreign", 0)
        };
        assert_eq!(report[verdict], 1, "{report:#}");
        assert_eq!(again.balance("spendable_sat").await, sats);
        assert_history_adds_up(&again).await;
    }
}

#[tokio::test]
async fn a_recovery_can_be_repeated() {
    let world = world_of_rounds(Params::free()).await;
    let mut daemon = mixed(&world).await;
    backed_up(&daemon).await;
    let had = states(&daemon).await;
    let words = lost(&mut daemon).await;
    for _ in 0..2 {
        let mut again = restored(&world, &words).await;
        recovered(&again).await;
        assert_eq!(states(&again).await, had);
        again.stop().await;
    }
}

/// H33, H46: who restores a wallet agrees to what it has asked for. The round whose forfeits are missing is completed.
#[tokio::test]
async fn a_delegated_round_that_is_not_complete_is_completed() {
    for lists_by_key in [true, false] {
        let world = World::with(rounds_of(0)).await;
        world.fund_server(2_000_000).await;
        let mut daemon = boarded(&world).await;
        let old = daemon.vtxos().await;
        backed_up(&daemon).await;
        let body = json!({"vtxos": old});
        daemon
            .post("/wallet/refresh/delegated/vtxos", body)
            .await
            .ok();
        let words = super::mnemonic(&daemon);
        daemon.stop().await;
        assert!(world.round().await);
        world.mine(1).await;
        if !lists_by_key {
            without_recovery_calls(&world).await;
        }
        let again = restored(&world, &words).await;
        again.wait_for_spendable(60_000).await;
        again.settled().await;
        let report = recovered(&again).await;
        assert_eq!(report["in_flight"], 1, "{report:#}");
        assert!(!again.vtxos().await.contains(&old[0]), "{report:#}");
        assert_eq!(world.calls_of("ForfeitVtxos"), 1);
        assert_history_adds_up(&again).await;
        super::assert_spends_all(&world, &again, 60_000).await;
    }
}

/// The Ark server is away: the wallet is made, and finds its VTXOs when the server is back.
#[tokio::test]
async fn a_wallet_is_restored_while_the_server_is_away() {
    let world = World::new().await;
    let mut daemon = boarded(&world).await;
    let words = lost(&mut daemon).await;
    let away = world.fault(json!({"target": "*", "action": {"type": "drop_before"}}));
    let again = Daemon::start().await;
    let mut request = super::restoration(&world, &words);
    request["force"] = json!(true);
    again.post("/wallet/create", request).await.ok();
    let waiting = report(&again).await;
    assert_eq!(waiting["phase"], "keys", "{waiting:#}");
    assert_eq!(waiting["finished_at"], Value::Null);
    assert_eq!(again.balance("spendable_sat").await, 0);
    world.end_fault(away);
    again.wait_for_spendable(60_000).await;
    recovered(&again).await;
    assert_history_adds_up(&again).await;
}

/// What is received while the recovery runs is a receipt, and no part of the recovery.
#[tokio::test]
async fn a_payment_during_the_recovery_is_received_once() {
    let world = World::new().await;
    let (mut daemon, peer) = (boarded(&world).await, boarded(&world).await);
    let to = daemon.address().await;
    let words = lost(&mut daemon).await;
    let stuck =
        world.fault(json!({"target": "GetVtxosStatusByIds", "action": {"type": "drop_before"}}));
    let unlisted = world.fault(json!({"target": "RecoverVtxosByXpub", "action": {"type": "status", "code": 12, "message": "no"}}));
    let again = Daemon::start().await;
    let creating = again.post("/wallet/create", super::restoration(&world, &words));
    let paying = async {
        eventually("the recovery is stuck", async || {
            (world.fired(stuck) > 0).then_some(())
        })
        .await;
        peer.send(&to, 7_000).await.ok();
        world.end_fault(stuck);
        world.end_fault(unlisted);
    };
    let (created, ()) = tokio::join!(creating, paying);
    created.ok();
    recovered(&again).await;
    again.wait_for_spendable(67_000).await;
    let kinds: Vec<Value> = again
        .history()
        .await
        .into_iter()
        .map(|it| it["subsystem"]["kind"].clone())
        .collect();
    assert_eq!(kinds.len(), 2, "{kinds:?}");
    assert!(kinds.contains(&json!("receive")), "{kinds:?}");
    assert_history_adds_up(&again).await;
}
