//! Refreshes: interactive ones, and those that are left with the server.

use serde_json::json;

use super::telling::{Scene, Tale, Turn, booked};
use crate::support::{Daemon, eventually};

/// What the mortal has.
const FUNDS: u64 = 200_000;

/// A mortal with two VTXOs, at a server that can fund rounds.
async fn scene() -> Scene {
    let scene = Scene::new().await;
    scene.world.fund_server(2_000_000).await;
    fund(&scene).await;
    scene
}

async fn fund(scene: &Scene) {
    scene.mortal.fund_and_board(&scene.world, 150_000).await;
    scene
        .mortal
        .fund_and_board(&scene.world, FUNDS - 150_000)
        .await;
}

/// Does for the refreshes under way what they wait for: a round, or a block. Answers whether there is one; nothing when the
/// mortal does not answer.
async fn help(scene: &Scene) -> Option<bool> {
    let rounds = scene.mortal.try_send("GET", "/wallet/rounds", None).await;
    let rounds = rounds.ok()?.ok();
    let rounds = rounds.as_array().unwrap();
    let some_are = |state: &str| rounds.iter().any(|round| round["state"] == state);
    if some_are("pending") || some_are("delegated-pending") {
        scene.world.round().await;
    }
    let is_out = !scene
        .world
        .sandbox
        .chain
        .mempool()
        .await
        .unwrap()
        .is_empty();
    if is_out && some_are("awaiting-confirmations") {
        scene.world.mine(1).await;
    }
    let sync = scene.mortal.try_send("POST", "/wallet/sync", None).await;
    sync.ok()?;
    Some(!rounds.is_empty())
}

/// Rounds and blocks until no refresh is under way.
async fn until_refreshed(scene: &Scene) {
    eventually("the refresh is done", async || {
        let pending = help(scene).await.expect("the daemon answers");
        (!pending).then_some(())
    })
    .await;
}

/// Rounds and blocks until the death of this turn.
async fn until_dead(scene: &mut Scene, turn: &Turn) {
    if turn.is_deadly() {
        eventually("it dies", async || {
            help(scene).await;
            scene.is_dead().then_some(())
        })
        .await;
    }
}

/// All that there was was swapped, and nothing is booked but refreshes that succeeded.
async fn assert_refreshed(scene: &Scene, old: &[String]) {
    scene.mortal.wait_for_spendable(FUNDS).await;
    let new = scene.mortal.vtxos().await;
    assert!(new.iter().all(|vtxo| !old.contains(vtxo)), "{new:?}");
    assert!(refreshes_succeeded(&scene.mortal).await);
}

async fn refreshes_succeeded(daemon: &Daemon) -> bool {
    let refreshes = booked(daemon, "refresh").await;
    let success = ("successful".to_owned(), 0);
    refreshes.iter().all(|told| *told == success)
}

/// The mortal refreshes all that it has.
pub struct Refresh(Scene);

impl Tale for Refresh {
    async fn begin() -> Refresh {
        Refresh(scene().await)
    }

    fn scene(&mut self) -> &mut Scene {
        &mut self.0
    }

    async fn tell(&mut self, turn: &Turn) {
        let scene = &mut self.0;
        scene.arm_unsure(turn).await;
        let old = scene.mortal.vtxos().await;
        scene.ask("/wallet/refresh/all", None).await;
        until_dead(scene, turn).await;
        scene.rise(turn).await;
        until_refreshed(scene).await;
        if turn.dies_at("round.started.before") {
            assert_eq!(scene.mortal.vtxos().await, old);
        } else {
            assert_refreshed(scene, &old).await;
        }
    }
}

/// The server proposes another tree than was asked for.
pub struct RefreshMissed(Scene);

impl Tale for RefreshMissed {
    async fn begin() -> RefreshMissed {
        RefreshMissed(scene().await)
    }

    fn scene(&mut self) -> &mut Scene {
        &mut self.0
    }

    async fn tell(&mut self, turn: &Turn) {
        let scene = &mut self.0;
        scene.arm_unsure(turn).await;
        let old = scene.mortal.vtxos().await;
        let change = json!({"type": "alter_tree", "change": "wrong_amount"});
        scene.fault(json!({"target": "round.proposal", "times": 1, "action": change}));
        scene.ask("/wallet/refresh/all", None).await;
        until_dead(scene, turn).await;
        if !turn.is_deadly() {
            until_refreshed(scene).await;
        }
        scene.rise(turn).await;
        until_refreshed(scene).await;
        assert_refreshed(scene, &old).await;
    }
}

/// The server refuses to take a coin into its round.
pub struct RefreshRefused(Scene);

impl Tale for RefreshRefused {
    async fn begin() -> RefreshRefused {
        RefreshRefused(scene().await)
    }

    fn scene(&mut self) -> &mut Scene {
        &mut self.0
    }

    async fn tell(&mut self, turn: &Turn) {
        let scene = &mut self.0;
        scene.arm_unsure(turn).await;
        let old = scene.mortal.vtxos().await;
        let refusal =
            json!({"type": "status", "code": 3, "message": "no", "identifiers": [old[0]]});
        scene.fault(json!({"target": "SubmitPayment", "action": refusal}));
        scene.ask("/wallet/refresh/all", None).await;
        until_dead(scene, turn).await;
        if !turn.is_deadly() {
            until_refreshed(scene).await;
        }
        scene.rise(turn).await;
        until_refreshed(scene).await;
        let last = booked(&scene.mortal, "refresh").await.swap_remove(0);
        if turn.dies_at("round.aborted.before") {
            // Nothing is known of the refusal: the refresh waited for the next round.
            assert_eq!(last, ("successful".to_owned(), 0));
        } else {
            assert_eq!(last, ("failed".to_owned(), 0));
            assert_eq!(scene.mortal.vtxos().await, old);
        }
        scene.mortal.wait_for_spendable(FUNDS).await;
    }
}

/// The mortal leaves a refresh with the server, and it is not there when the round happens.
pub struct Delegate(Scene);

impl Tale for Delegate {
    async fn begin() -> Delegate {
        Delegate(scene().await)
    }

    fn scene(&mut self) -> &mut Scene {
        &mut self.0
    }

    async fn tell(&mut self, turn: &Turn) {
        let scene = &mut self.0;
        scene.arm_unsure(turn).await;
        let old = scene.mortal.vtxos().await;
        scene
            .ask("/wallet/refresh/delegated/vtxos", json!({"vtxos": old}))
            .await;
        until_dead(scene, turn).await;
        scene.world.round().await;
        scene.rise(turn).await;
        if turn.dies_at("round.started.before") {
            assert_eq!(scene.mortal.vtxos().await, old);
            return;
        }
        // A round that nobody here knew of is adopted when the mailbox tells of it.
        eventually("there are other VTXOs", async || {
            help(scene).await;
            let new = scene.mortal.vtxos().await;
            (!new.is_empty() && new.iter().all(|vtxo| !old.contains(vtxo))).then_some(())
        })
        .await;
        until_refreshed(scene).await;
        scene.mortal.wait_for_spendable(FUNDS).await;
        scene.mortal.settled().await;
    }
}

/// The mortal spends a coin of a refresh that it has left with the server.
pub struct DelegateShrunk {
    scene: Scene,
    owned: u64,
    paid: u64,
}

impl Tale for DelegateShrunk {
    async fn begin() -> DelegateShrunk {
        let scene = Scene::with_peer().await;
        scene.world.fund_server(2_000_000).await;
        fund(&scene).await;
        scene.mortal.fund(&scene.world, 500_000).await;
        DelegateShrunk {
            scene,
            owned: FUNDS,
            paid: 0,
        }
    }

    fn scene(&mut self) -> &mut Scene {
        &mut self.scene
    }

    async fn tell(&mut self, turn: &Turn) {
        let scene = &mut self.scene;
        let to = scene.peer().address().await;
        scene.mortal.post_empty("/onchain/sync").await.ok();
        scene.mortal.board(&scene.world, 50_000).await;
        scene.arm(turn).await;
        let old = scene.mortal.vtxos().await;
        let delegated = scene
            .ask("/wallet/refresh/delegated/vtxos", json!({"vtxos": old}))
            .await;
        delegated.expect("it lives").ok();
        scene
            .ask(
                "/wallet/send",
                json!({"destination": to, "amount_sat": 7_000}),
            )
            .await;
        if turn.is_deadly() {
            eventually("it dies", async || {
                let _ = scene.mortal.try_send("POST", "/wallet/sync", None).await;
                scene.is_dead().then_some(())
            })
            .await;
        }
        scene.rise(turn).await;
        (self.owned, self.paid) = (self.owned + 50_000 - 7_000, self.paid + 7_000);
        scene.peer().wait_for_spendable(self.paid).await;
        until_refreshed(scene).await;
        scene.mortal.wait_for_spendable(self.owned).await;
        assert!(refreshes_succeeded(&scene.mortal).await);
    }
}
