//! Payers who publish what they pay with: the payee loses nothing, and goes on paying with what else he has.

use ark_lib::vtxo::Full;
use ark_lib::{Address, Vtxo};
use serde_json::{Value, json};

use super::payer::Payer;
use crate::support::{Daemon, World, assert_history_adds_up, eventually, is_exit, rounds_of};

/// What the daemon has by itself.
const OWN: u64 = 50_000;

/// A daemon with [`OWN`] sat in one VTXO, and a payer.
async fn scene() -> (World, Daemon, Payer) {
    let world = World::with(rounds_of(1)).await;
    world.fund_server(2_000_000).await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, OWN).await;
    let payer = Payer::connect(&world).await;
    (world, daemon, payer)
}

impl Daemon {
    async fn ark_address(&self) -> Address {
        self.address().await.parse().expect("an Ark address")
    }

    /// What waits for the operator about this VTXO.
    async fn attention_about(&self, id: &str) -> Vec<Value> {
        let mut facts = self.attention().await;
        facts.retain(|it| it["subject"] == id);
        facts
    }

    /// Waits until something about this VTXO waits for the operator; answers its code.
    async fn code(&self, id: &str) -> String {
        eventually("it is raised", async || {
            let facts = self.attention_about(id).await;
            let code = facts.first()?["code"].as_str();
            code.map(str::to_owned)
        })
        .await
    }

    /// Waits until the mailbox is read, and the VTXO is neither accepted nor refused.
    async fn read_mailbox(&self) {
        self.post_empty("/wallet/sync/mailbox").await.ok();
    }

    /// Asserts that it can pay this much, refresh the rest and take it on chain.
    async fn assert_goes_on(&self, world: &World, sats: u64) {
        let own = self.address().await;
        self.send(&own, sats).await.ok();
        self.wait_for_spendable(sats).await;
        self.refresh_all().await;
        assert!(world.round().await);
        self.finish_round(world).await;
        assert_eq!(self.balance("spendable_sat").await, sats);
        self.post_empty("/onchain/sync").await.ok();
        self.post("/wallet/offboard/all", json!({})).await.ok();
        world.mine(1).await;
        self.settled().await;
        assert_eq!(self.balance("spendable_sat").await, 0);
        assert_history_adds_up(self).await;
    }
}

/// The payer's payment of 10 000 sat, signed but not uploaded, and his input.
async fn payment(world: &World, payer: &Payer, to: &Address) -> (Vtxo<Full>, Vec<Vtxo<Full>>) {
    let input = payer.board(world, 10_000).await;
    let vtxos = payer.sign(&input, to, &[10_000]).await;
    (input, vtxos)
}

/// H50: the anchor is spent by the chain's own first transaction, but the second one can never confirm.
#[tokio::test]
async fn a_payment_whose_input_was_exited_and_claimed_is_refused() {
    let (world, daemon, payer) = scene().await;
    let to = daemon.ark_address().await;
    let (input, vtxos) = payment(&world, &payer, &to).await;
    world.exit(&input).await;
    world.mine(input.exit_delta().to_u32()).await;
    world.submit(vec![payer.claim(&world, &input)]).await;
    world.mine(1).await;
    payer.post(&to, &vtxos).await;
    daemon.read_mailbox().await;
    assert_eq!(daemon.balance("spendable_sat").await, OWN);
    assert_eq!(daemon.history().await.len(), 1, "only the board");
    assert!(daemon.log().contains("received VTXO refused"));
    daemon.assert_goes_on(&world, OWN).await;
}

/// H50: while the double spend waits in the mempool, nothing is decided.
#[tokio::test]
async fn a_payment_whose_input_is_being_claimed_waits_until_the_claim_confirms() {
    let (world, daemon, payer) = scene().await;
    let to = daemon.ark_address().await;
    let (input, vtxos) = payment(&world, &payer, &to).await;
    world.exit(&input).await;
    world.mine(input.exit_delta().to_u32()).await;
    world.submit(vec![payer.claim(&world, &input)]).await;
    payer.post(&to, &vtxos).await;
    daemon.read_mailbox().await;
    assert_eq!(daemon.balance("spendable_sat").await, OWN);
    assert!(daemon.log().contains("quarantined until"));
    world.mine(1).await;
    eventually("it is refused", async || {
        daemon
            .log()
            .contains("quarantined VTXO refused")
            .then_some(())
    })
    .await;
    assert_eq!(daemon.balance("spendable_sat").await, OWN);
    assert_eq!(daemon.history().await.len(), 1, "only the board");
}

/// H50, the other side: an exit of the input alone does not make the payment worthless.
#[tokio::test]
async fn a_payment_whose_input_is_on_chain_and_not_spent_is_accepted() {
    let (world, daemon, payer) = scene().await;
    let to = daemon.ark_address().await;
    let (input, vtxos) = payment(&world, &payer, &to).await;
    payer.upload(&vtxos).await;
    world.exit(&input).await;
    payer.post(&to, &vtxos).await;
    daemon.wait_for_spendable(OWN + 10_000).await;
    // The payer can claim his input soon, so the payee refreshes in the next round.
    let id = vtxos[0].id().to_string();
    assert_eq!(daemon.code(&id).await, "vtxo_exposed");
    assert!(world.round().await);
    daemon.finish_round(&world).await;
    assert_eq!(daemon.balance("spendable_sat").await, OWN + 10_000);
    assert!(!daemon.vtxos().await.contains(&id));
    world.mine(1).await;
    eventually("nothing waits any more", async || {
        daemon.attention_about(&id).await.is_empty().then_some(())
    })
    .await;
}

/// H32: whoever knows the chain can publish it. The VTXO is then exited, and is not spent off chain any more.
#[tokio::test]
async fn a_vtxo_that_its_payer_puts_on_chain_is_set_aside() {
    let (world, daemon, payer) = scene().await;
    let to = daemon.ark_address().await;
    let (_, vtxos) = payment(&world, &payer, &to).await;
    payer.upload(&vtxos).await;
    payer.post(&to, &vtxos).await;
    daemon.wait_for_spendable(OWN + 10_000).await;
    world.exit(&vtxos[0]).await;
    daemon.wait_for_spendable(OWN).await;
    assert_eq!(daemon.balance("pending_exit_sat").await, 10_000);
    let id = vtxos[0].id().to_string();
    assert_eq!(daemon.code(&id).await, "vtxo_on_chain");
    daemon.assert_goes_on(&world, OWN).await;
    assert_eq!(daemon.balance("pending_exit_sat").await, 10_000);
}

/// H32: a spend beneath a VTXO that the wallet has accepted.
#[tokio::test]
async fn a_vtxo_whose_chain_is_double_spent_is_set_aside() {
    let (world, daemon, payer) = scene().await;
    let to = daemon.ark_address().await;
    let (input, vtxos) = payment(&world, &payer, &to).await;
    payer.upload(&vtxos).await;
    payer.post(&to, &vtxos).await;
    daemon.wait_for_spendable(OWN + 10_000).await;
    world.exit(&input).await;
    world.mine(input.exit_delta().to_u32()).await;
    world.submit(vec![payer.claim(&world, &input)]).await;
    world.mine(1).await;
    daemon.wait_for_spendable(OWN).await;
    let id = vtxos[0].id().to_string();
    eventually("the double spend is raised", async || {
        let facts = daemon.attention_about(&id).await;
        let codes: Vec<&str> = facts.iter().filter_map(|it| it["code"].as_str()).collect();
        (codes == ["vtxo_double_spent"]).then_some(())
    })
    .await;
    daemon.assert_goes_on(&world, OWN).await;
}

/// H51: dust that expires first is selected first. The daemon does not hear of the block in which it goes on chain before it pays.
#[tokio::test]
async fn dust_on_chain_does_not_stop_payments() {
    let (_world, daemon) = poisoned().await;
    let own = daemon.address().await;
    daemon.send(&own, 30_000).await.ok();
    daemon.read_mailbox().await;
    assert_eq!(daemon.balance("spendable_sat").await, OWN);
    assert_eq!(daemon.balance("pending_exit_sat").await, 3_000);
    assert_history_adds_up(&daemon).await;
}

/// H51.
#[tokio::test]
async fn dust_on_chain_does_not_stop_a_refresh() {
    let (world, daemon) = poisoned().await;
    daemon.refresh_all().await;
    let round = world.round();
    tokio::pin!(round);
    let finished = loop {
        tokio::select! {
            finished = &mut round => break finished,
            synced = daemon.post_empty("/wallet/sync") => drop(synced.ok()),
        }
    };
    assert!(finished, "the refresh goes on without the dust");
    settle(&world, &daemon).await;
    assert_eq!(daemon.balance("spendable_sat").await, OWN);
    assert_eq!(daemon.balance("pending_exit_sat").await, 3_000);
    assert_history_adds_up(&daemon).await;
}

/// H51.
#[tokio::test]
async fn dust_on_chain_does_not_stop_an_offboard_of_everything() {
    let (world, daemon) = poisoned().await;
    daemon.post("/wallet/offboard/all", json!({})).await.ok();
    settle(&world, &daemon).await;
    assert_eq!(daemon.balance("spendable_sat").await, 0);
    assert_eq!(daemon.balance("pending_exit_sat").await, 3_000);
    assert_history_adds_up(&daemon).await;
}

/// H51.
#[tokio::test]
async fn dust_on_chain_does_not_stop_an_onchain_payment() {
    let (world, daemon) = poisoned().await;
    let address = daemon.post_empty("/onchain/addresses/next").await.ok();
    let body = json!({"destination": address["address"], "amount_sat": 20_000});
    daemon.post("/wallet/send-onchain", body).await.ok();
    settle(&world, &daemon).await;
    assert_eq!(
        world.received(address["address"].as_str().unwrap()).await,
        20_000
    );
    assert_eq!(daemon.balance("pending_exit_sat").await, 3_000);
    assert_history_adds_up(&daemon).await;
}

/// Confirms what is in the mempool, and waits until nothing is pending.
async fn settle(world: &World, daemon: &Daemon) {
    world.mine(1).await;
    eventually("nothing is pending any more", async || {
        daemon.post_empty("/wallet/sync").await.ok();
        let history = daemon.history().await;
        let pending = |movement: &Value| movement["status"] == "pending" && !is_exit(movement);
        (!history.iter().any(pending) && daemon.rounds().await.is_empty()).then_some(())
    })
    .await;
}

/// A daemon with [`OWN`] sat and three VTXOs of 1 000 sat that expire before, which are on chain since the last block. The daemon
/// follows no blocks, so it learns that from the server's refusal first.
async fn poisoned() -> (World, Daemon) {
    let world = World::with(rounds_of(1)).await;
    world.fund_server(2_000_000).await;
    let payer = Payer::connect(&world).await;
    let mut inputs = Vec::new();
    for _ in 0..3 {
        inputs.push(payer.board(&world, 1_000).await);
    }
    let daemon = Daemon::start_with(&[], &[("BARK_DAEMON_MANUAL_SYNC", "true")]).await;
    daemon.create_wallet(&world).await;
    daemon.fund(&world, OWN + 20_000).await;
    let body = json!({"amount_sat": OWN});
    daemon.post("/boards/board-amount", body).await.ok();
    settle(&world, &daemon).await;
    assert_eq!(daemon.balance("spendable_sat").await, OWN);
    let to = daemon.ark_address().await;
    let mut dust = Vec::new();
    for input in &inputs {
        let vtxos = payer.sign(input, &to, &[1_000]).await;
        payer.upload(&vtxos).await;
        payer.post(&to, &vtxos).await;
        dust.extend(vtxos);
    }
    daemon.read_mailbox().await;
    assert_eq!(daemon.balance("spendable_sat").await, OWN + 3_000);
    for vtxo in &dust {
        world.exit(vtxo).await;
    }
    (world, daemon)
}

/// H51: the server refuses a VTXO by its id. A payment, a refresh and an offboard of everything go on without it, and it is shown.
#[tokio::test]
async fn a_vtxo_that_the_server_refuses_by_its_id_does_not_stop_the_others() {
    for rpc in ["RequestArkoorCosign", "SubmitPayment", "PrepareOffboard"] {
        let (world, daemon, _) = scene().await;
        let refused = daemon.vtxos().await.remove(0);
        daemon.fund_and_board(&world, 30_000).await;
        let refusal =
            json!({"type": "status", "code": 3, "message": "no", "identifiers": [refused]});
        // A refused payment uploads the chains of its coins, and asks once more.
        let times = if rpc == "RequestArkoorCosign" { 2 } else { 1 };
        world.fault(json!({"target": rpc, "times": times, "action": refusal}));
        match rpc {
            "RequestArkoorCosign" => {
                let own = daemon.address().await;
                daemon.send(&own, 10_000).await.ok();
                daemon.wait_for_spendable(30_000).await;
            }
            "SubmitPayment" => {
                daemon.refresh_all().await;
                assert!(world.round().await, "it joins the same round again");
                daemon.finish_round(&world).await;
                assert_eq!(daemon.balance("spendable_sat").await, 30_000);
            }
            _ => {
                daemon.post("/wallet/offboard/all", json!({})).await.ok();
                world.mine(1).await;
                daemon.settled().await;
                assert_eq!(daemon.balance("spendable_sat").await, 0);
            }
        }
        assert_eq!(world.faults_fired(rpc), times, "{rpc}");
        assert_eq!(daemon.code(&refused).await, "vtxo_refused", "{rpc}");
        assert_eq!(daemon.balance("pending_exit_sat").await, OWN, "{rpc}");
        assert_history_adds_up(&daemon).await;
    }
}
