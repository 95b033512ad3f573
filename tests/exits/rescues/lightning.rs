//! HTLCs of payments in both directions.

use arkwalletd_sandbox::ark::Params;
use arkwalletd_sandbox::lightning::Outcome;
use serde_json::{Value, json};

use super::{OWN, scene};
use crate::support::{Daemon, FAIL, SETTLE, World, assert_history_adds_up, eventually, hash_of};

/// The HTLC VTXO of the only payment over Lightning.
async fn htlc_of(daemon: &Daemon, hash: &str) -> String {
    eventually("the HTLC is stored", async || {
        let movements = daemon.movements_of(hash).await;
        let htlcs = &movements.first()?["metadata"]["htlc_vtxos"];
        htlcs[0].as_str().map(str::to_owned)
    })
    .await
}

/// H22: a failed payment whose HTLC the server never gives back.
#[tokio::test]
async fn htlcs_that_do_not_come_back_are_exited_before_they_expire() {
    let (world, daemon) = scene().await;
    let refusal = json!({"type": "status", "code": 3, "message": "no"});
    world.fault(json!({"target": "RequestLightningPayHtlcRevocation", "action": refusal}));
    let invoice = world.issue(30_000, FAIL);
    daemon.pay(&invoice.bolt11, None).await;
    let vtxo = htlc_of(&daemon, &invoice.hash).await;
    let expiry = daemon.body(&vtxo).await.expiry_height().to_u32();
    eventually("the operator is told", async || {
        let codes = daemon
            .codes_about(&format!("ln_pay.{}", invoice.hash))
            .await;
        (codes == ["lightning_payment_stuck"]).then_some(())
    })
    .await;
    daemon.mine_to(&world, expiry - 20).await;
    daemon.post_empty("/wallet/sync").await.ok();
    assert!(daemon.exits("all").await.is_empty(), "only near the expiry");
    daemon.mine_to(&world, expiry - 12).await;
    daemon.rescued_until(&world, &vtxo, "claimable").await;
    assert_eq!(daemon.vtxo_state(&vtxo).await, "exited");
    assert_eq!(daemon.balance("pending_lightning_send_sat").await, 0);
    assert!(!world.got(&invoice.hash));
    daemon.claim_all(&world, &vtxo).await;
    let movement = daemon.wait_for_movement(&invoice.hash).await;
    assert_eq!(movement["status"], "failed");
    assert_eq!(daemon.exit_state(&vtxo).await, "claimed");
    assert_history_adds_up(&daemon).await;
}

/// §40.5: the server claims an exited HTLC with the preimage, which settles the payment.
#[tokio::test]
async fn the_preimage_in_the_claim_of_an_exited_htlc_settles_the_payment() {
    let (world, daemon) = scene().await;
    world.fault(json!({"target": "lnsend.finished", "action": {"type": "withhold"}}));
    world.fault(json!({"target": "CheckLightningPayment", "action": {"type": "drop_before"}}));
    let invoice = world.issue(30_000, SETTLE);
    daemon.pay(&invoice.bolt11, None).await;
    world.lightning_jobs().await;
    assert!(world.got(&invoice.hash));
    let vtxo = htlc_of(&daemon, &invoice.hash).await;
    let expiry = daemon.body(&vtxo).await.expiry_height().to_u32();
    daemon.mine_to(&world, expiry - 12).await;
    daemon.rescued_until(&world, &vtxo, "claimed").await;
    let movement = daemon.wait_for_movement(&invoice.hash).await;
    assert_eq!(movement["status"], "successful");
    assert_eq!(movement["metadata"]["payment_preimage"], invoice.preimage);
    // The change hangs from the same checkpoint, which the server can take soon, so that it is exited as well.
    assert_eq!(daemon.balance("pending_exit_sat").await, OWN - 30_000);
    assert_history_adds_up(&daemon).await;
}

/// H22: with the setting off, nothing is exited, and the operator learns what to do.
#[tokio::test]
async fn htlcs_are_not_exited_without_the_setting() {
    let world = World::with(Params::free()).await;
    let off = [("BARK_LIGHTNING_AUTO_EXIT", "false")];
    let daemon = Daemon::start_with(&[], &off).await;
    daemon.create_wallet(&world).await;
    daemon.fund(&world, 100_000).await;
    daemon.fund_and_board(&world, OWN).await;
    let refusal = json!({"type": "status", "code": 3, "message": "no"});
    world.fault(json!({"target": "RequestLightningPayHtlcRevocation", "action": refusal}));
    let invoice = world.issue(30_000, FAIL);
    daemon.pay(&invoice.bolt11, None).await;
    let vtxo = htlc_of(&daemon, &invoice.hash).await;
    let expiry = daemon.body(&vtxo).await.expiry_height().to_u32();
    daemon.mine_to(&world, expiry - 12).await;
    let subject = format!("ln_pay.{}", invoice.hash);
    let fact = eventually("the operator is told", async || {
        let facts = daemon.attention().await;
        let mut facts = facts.into_iter();
        facts.find(|it| it["code"] == "lightning_htlcs_expire" && it["subject"] == subject)
    })
    .await;
    let advice = fact["what_to_do"].as_str().expect("a text");
    assert!(
        advice.contains(&vtxo) && advice.contains("/exits/start/vtxos"),
        "{advice}"
    );
    assert!(
        fact["message"]
            .as_str()
            .expect("a text")
            .contains(&expiry.to_string())
    );
    assert!(daemon.exits("all").await.is_empty());
    daemon.exit(std::slice::from_ref(&vtxo)).await;
    daemon.exit_until(&world, &vtxo, "awaiting-delta").await;
}

/// A receive whose preimage the server has, and whose claim it does not answer: its payment hash, and its HTLC.
async fn unanswered_claim(world: &World, daemon: &Daemon) -> (String, String) {
    world.fault(json!({"target": "ClaimLightningReceive", "action": {"type": "drop_after"}}));
    let invoice = daemon.invoice(10_000).await;
    world.pays(&invoice).await;
    let hash = hash_of(&invoice);
    daemon
        .wait_for_receive_state(&hash, "preimage-revealed")
        .await;
    let vtxo = htlc_of(daemon, &hash).await;
    (hash, vtxo)
}

/// H22, W4: the server has the preimage and answers no claim. The HTLC is exited while there is time to claim it on chain.
#[tokio::test]
async fn the_htlc_of_a_receive_whose_claim_is_not_answered_is_exited_in_time() {
    let (world, daemon) = scene().await;
    let (hash, vtxo) = unanswered_claim(&world, &daemon).await;
    let htlc = daemon.body(&vtxo).await;
    let ark_lib::VtxoPolicy::ServerHtlcRecv(policy) = htlc.policy().clone() else {
        panic!("{:?}", htlc.policy());
    };
    let exit = daemon.rescued_after_blocks(&world, &vtxo, 30).await;
    let claimable = exit["state"]["claimable_since"]["height"].as_u64().unwrap();
    assert!(
        claimable + 12 < u64::from(policy.htlc_expiry.to_u32()),
        "{claimable} of {}",
        policy.htlc_expiry
    );
    assert_eq!(daemon.vtxo_state(&vtxo).await, "exited");
    eventually("the operator is told to claim it", async || {
        daemon.post_empty("/wallet/sync").await.ok();
        let codes = daemon.codes_about(&format!("ln_recv.{hash}")).await;
        codes
            .contains(&"lightning_receive_endangered".to_owned())
            .then_some(())
    })
    .await;
    daemon.claim_all(&world, &vtxo).await;
    let movement = daemon.wait_for_movement(&hash).await;
    assert_eq!(movement["status"], "successful");
    daemon.wait_for_receive_state(&hash, "settled").await;
    assert!(daemon.attention().await.is_empty());
    assert_history_adds_up(&daemon).await;
}

impl Daemon {
    /// Mines block by block until the exit of this VTXO can be claimed, which has to begin within so many blocks.
    async fn rescued_after_blocks(&self, world: &World, vtxo: &str, most: u32) -> Value {
        for _ in 0..most {
            self.next_block(world).await;
            self.post_empty("/wallet/sync").await.ok();
            if self.exits("live").await.contains(&vtxo.to_owned()) {
                return self.exit_until(world, vtxo, "claimable").await;
            }
        }
        panic!("no exit has begun within {most} blocks");
    }
}

/// Nothing is exited while the world holds a payment that can still succeed, and its HTLC is far from its expiry.
#[tokio::test]
async fn a_held_payment_is_not_exited() {
    let (world, daemon) = scene().await;
    let invoice = world.issue(30_000, Outcome::Hold);
    daemon.pay(&invoice.bolt11, None).await;
    world.wait_until_held(&invoice.hash).await;
    daemon.mine_to(&world, world.height().await + 50).await;
    daemon.post_empty("/wallet/sync").await.ok();
    assert!(daemon.exits("all").await.is_empty());
    world.settle_held(&invoice.hash).await;
    let movement = daemon.wait_for_movement(&invoice.hash).await;
    assert_eq!(movement["status"], "successful");
}

/// A payment whose HTLCs never come back ends once, wherever the process dies.
#[tokio::test]
async fn the_end_of_a_payment_whose_htlc_is_exited_survives_a_kill() {
    for moment in ["before", "after"] {
        let (world, mut daemon) = scene().await;
        let refusal = json!({"type": "status", "code": 3, "message": "no"});
        world.fault(json!({"target": "RequestLightningPayHtlcRevocation", "action": refusal}));
        let invoice = world.issue(30_000, FAIL);
        daemon.pay(&invoice.bolt11, None).await;
        let vtxo = htlc_of(&daemon, &invoice.hash).await;
        let expiry = daemon.body(&vtxo).await.expiry_height().to_u32();
        daemon.mine_to(&world, expiry - 12).await;
        daemon.rescued_until(&world, &vtxo, "claimable").await;
        daemon
            .claim_and_die(&world, &format!("lightning_send.returned.{moment}"))
            .await;
        daemon.exit_until(&world, &vtxo, "claimed").await;
        let movement = daemon.wait_for_movement(&invoice.hash).await;
        assert_eq!(movement["status"], "failed");
        assert!(!world.got(&invoice.hash));
        assert_history_adds_up(&daemon).await;
    }
}

/// A receive whose HTLC is claimed on chain ends once, wherever the process dies.
#[tokio::test]
async fn the_end_of_a_receive_whose_htlc_is_exited_survives_a_kill() {
    for moment in ["before", "after"] {
        let (world, mut daemon) = scene().await;
        let (hash, vtxo) = unanswered_claim(&world, &daemon).await;
        daemon.rescued_after_blocks(&world, &vtxo, 30).await;
        daemon
            .claim_and_die(&world, &format!("lightning_receive.registered.{moment}"))
            .await;
        daemon.exit_until(&world, &vtxo, "claimed").await;
        let movement = daemon.wait_for_movement(&hash).await;
        assert_eq!(movement["status"], "successful");
        daemon.wait_for_receive_state(&hash, "settled").await;
        assert_history_adds_up(&daemon).await;
    }
}

impl Daemon {
    /// Restarts it with a failpoint, claims all exits, mines until it is killed, and restarts it without.
    async fn claim_and_die(&mut self, world: &World, failpoint: &str) {
        self.stop().await;
        self.restart(Some(failpoint)).await;
        self.wait_for_connected(true).await;
        let to = self.post_empty("/onchain/addresses/next").await.ok();
        let claim = json!({"destination": to["address"]});
        self.post("/exits/claim/all", claim).await.ok();
        self.mine_until_killed(world, 10).await;
        self.restart(None).await;
        self.wait_for_connected(true).await;
    }
}
