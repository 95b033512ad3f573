//! Exits that begin by themselves: of VTXOs that somebody puts on chain, and of those that an operation may not save in time.
//! H, W and § refer to docs/protocol.md.

mod lightning;
mod offboards;
mod operations;
mod rounds;

use ark_lib::vtxo::Full;
use ark_lib::{Address, ProtocolEncoding, Vtxo};
use arkwalletd_sandbox::ark::WatchmanChange;
use bitcoin::hex::FromHex;
use serde_json::Value;

use crate::crash::assert_killed;
use crate::hostile::payer::Payer;
use crate::support::{Daemon, World, assert_history_adds_up, eventually, rounds_of};

/// What the daemon boards, in sat.
const OWN: u64 = 50_000;

impl Daemon {
    /// A VTXO with its exit chain.
    async fn body(&self, id: &str) -> Vtxo<Full> {
        let path = format!("/wallet/vtxos/{id}/encoded");
        let encoded = self.get(&path).await.ok()["encoded"].clone();
        let bytes = Vec::<u8>::from_hex(encoded.as_str().expect("hex")).expect("hex");
        Vtxo::deserialize(&bytes).expect("a VTXO")
    }

    /// The codes of what waits for the operator about something.
    async fn codes_about(&self, subject: &str) -> Vec<String> {
        let facts = self.attention().await;
        let about = facts.iter().filter(|it| it["subject"] == subject);
        about
            .map(|it| it["code"].as_str().expect("a code").to_owned())
            .collect()
    }

    /// Waits until an exit of this VTXO is under way, and mines until it is in this state.
    async fn rescued_until(&self, world: &World, vtxo: &str, state: &str) -> Value {
        eventually("its exit has begun by itself", async || {
            self.exits("live")
                .await
                .contains(&vtxo.to_owned())
                .then_some(())
        })
        .await;
        self.exit_until(world, vtxo, state).await
    }

    /// Mines up to a height, and waits until the daemon has seen it.
    async fn mine_to(&self, world: &World, height: u32) {
        let now = world.height().await;
        world.mine(height.saturating_sub(now)).await;
        self.wait_for_tip(world).await;
    }
}

/// A world and a daemon with [`OWN`] sat and coins for exits.
async fn scene() -> (World, Daemon) {
    let world = World::with(rounds_of(1)).await;
    world.fund_server(2_000_000).await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund(&world, 100_000).await;
    daemon.fund_and_board(&world, OWN).await;
    (world, daemon)
}

/// Pays the daemon 10,000 sat out of a board of the payer. Answers the payer, the board, and what he has paid with.
async fn paid(world: &World, daemon: &Daemon) -> (Payer, Vtxo<Full>, Vec<Vtxo<Full>>) {
    let payer = Payer::connect(world).await;
    let to: Address = daemon.address().await.parse().expect("an Ark address");
    let input = payer.board(world, 10_000).await;
    let vtxos = payer.sign(&input, &to, &[10_000]).await;
    payer.upload(&vtxos).await;
    payer.post(&to, &vtxos).await;
    daemon.wait_for_spendable(OWN + 10_000).await;
    (payer, input, vtxos)
}

/// H32: the exit of a VTXO that its payer puts on chain begins with the block in which it is confirmed, not before (W30).
#[tokio::test]
async fn a_vtxo_that_its_payer_puts_on_chain_is_exited_by_itself() {
    let (world, mut daemon) = scene().await;
    let (_, _, vtxos) = paid(&world, &daemon).await;
    let (vtxo, depth) = (vtxos[0].id().to_string(), vtxos[0].transactions().len());
    world.publish(&vtxos[0], depth - 1).await;
    let last = vtxos[0].transactions().last().expect("one").tx;
    world.publish_unconfirmed(last).await;
    daemon.post_empty("/wallet/sync").await.ok();
    assert!(
        daemon.exits("all").await.is_empty(),
        "the mempool alone is not enough"
    );
    assert_eq!(daemon.balance("spendable_sat").await, OWN + 10_000);
    daemon.stop().await;
    world.mine(1).await;
    daemon.restart(None).await;
    daemon.rescued_until(&world, &vtxo, "awaiting-delta").await;
    assert_eq!(daemon.vtxo_state(&vtxo).await, "exited");
    assert_eq!(daemon.codes_about(&vtxo).await, ["vtxo_on_chain"]);
    let facts = daemon.attention().await;
    let advice = facts[0]["what_to_do"].as_str().expect("a text");
    assert!(advice.contains("/exits/claim"), "{advice}");
    daemon.exit_until(&world, &vtxo, "claimable").await;
    assert_eq!(daemon.balance("spendable_sat").await, OWN);
    assert_eq!(daemon.exits("live").await, [vtxo]);
}

/// H25: a reorganisation takes the transactions back that began the exit. The wallet puts them on chain itself.
#[tokio::test]
async fn an_exit_that_began_by_itself_goes_on_after_a_reorganisation() {
    let (world, daemon) = scene().await;
    let (_, _, vtxos) = paid(&world, &daemon).await;
    let (vtxo, depth) = (vtxos[0].id().to_string(), vtxos[0].transactions().len());
    world.publish(&vtxos[0], depth).await;
    daemon.rescued_until(&world, &vtxo, "awaiting-delta").await;
    let last = vtxos[0]
        .transactions()
        .last()
        .expect("one")
        .tx
        .compute_txid();
    world.unconfirm(&last.to_string(), 1).await;
    daemon.wait_for_tip(&world).await;
    eventually("the exit publishes again", async || {
        daemon.progress().await;
        (daemon.exit_state(&vtxo).await == "processing").then_some(())
    })
    .await;
    assert_eq!(daemon.vtxo_state(&vtxo).await, "exited");
    assert_eq!(daemon.balance("spendable_sat").await, OWN);
    // A node may have dropped it, because it pays no fee by itself. Then the wallet broadcasts it with a child of its own.
    let allowed = world.sandbox.chain.unhold(last).await;
    allowed.expect("it can be mined");
    daemon.claim_all_when_ripe(&world, &vtxo).await;
    assert_eq!(daemon.exits("all").await, [vtxo]);
    assert_history_adds_up(&daemon).await;
}

/// H32, §40.5: what lies behind a transaction of an earlier owner is ours to publish, if no round helps in time.
#[tokio::test]
async fn a_vtxo_that_hangs_from_an_exited_one_is_exited_when_no_round_helps() {
    let (world, daemon) = scene().await;
    let still = WatchmanChange {
        reactions: Some(false),
        ..WatchmanChange::default()
    };
    world.sandbox.ark.change_watchman(still);
    let (payer, input, vtxos) = paid(&world, &daemon).await;
    let vtxo = vtxos[0].id().to_string();
    world.exit(&input).await;
    eventually("it is exposed", async || {
        (daemon.codes_about(&vtxo).await == ["vtxo_exposed"]).then_some(())
    })
    .await;
    assert!(
        daemon.exits("all").await.is_empty(),
        "a round may still help"
    );
    world.mine(6).await;
    daemon.rescued_until(&world, &vtxo, "claimable").await;
    // The payer is too late: his claim conflicts with a confirmed transaction.
    let claim = payer.claim(&world, &input);
    let refused = world.sandbox.chain.submit(claim).await.expect("an answer");
    assert!(refused.is_err());
    assert_eq!(daemon.balance("spendable_sat").await, OWN);
}

impl Daemon {
    async fn claim_all_when_ripe(&self, world: &World, vtxo: &str) {
        self.exit_until(world, vtxo, "claimable").await;
        self.claim_all(world, vtxo).await;
    }
}

/// What the wallet itself puts on chain is no news: nothing waits for the operator, and no round takes what is half-way out.
#[tokio::test]
async fn an_exit_that_was_asked_for_raises_nothing() {
    let (world, daemon) = scene().await;
    let (_, _, vtxos) = paid(&world, &daemon).await;
    let vtxo = vtxos[0].id().to_string();
    daemon.exit(std::slice::from_ref(&vtxo)).await;
    for _ in 0..vtxos[0].transactions().len() {
        daemon.progress().await;
        daemon.next_block(&world).await;
        daemon.post_empty("/wallet/sync").await.ok();
        assert_eq!(daemon.attention().await, Vec::<Value>::new());
    }
    daemon.exit_until(&world, &vtxo, "awaiting-delta").await;
    daemon.post_empty("/wallet/sync").await.ok();
    assert_eq!(daemon.attention().await, Vec::<Value>::new());
    assert_eq!(daemon.vtxo_state(&vtxo).await, "exited");
}

impl Daemon {
    /// Mines block by block until the daemon is killed at its failpoint.
    async fn mine_until_killed(&mut self, world: &World, most: u32) {
        for _ in 0..most {
            world.mine(1).await;
            let height = world.height().await;
            eventually("the block is seen, or the daemon is killed", async || {
                let _ = self.try_send("POST", "/wallet/sync", None).await;
                let tip = self.try_send("GET", "/bitcoin/tip", None).await;
                let seen = tip.is_ok_and(|tip| tip.body["tip_height"] == height);
                (seen || self.exit_status().is_some()).then_some(())
            })
            .await;
            if let Some(status) = self.exit_status() {
                return assert_killed(status);
            }
        }
        panic!("not killed within {most} blocks");
    }
}
