//! Exits that begin by themselves: of VTXOs that somebody puts on chain, and of those that an operation may not save in time.
//! H, W and § refer to docs/protocol.md.

use std::str::FromStr;

use ark_lib::vtxo::Full;
use ark_lib::{Address, ProtocolEncoding, Vtxo};
use arkwalletd_sandbox::ark::{Params, WatchmanChange};
use arkwalletd_sandbox::lightning::Outcome;
use bitcoin::Txid;
use bitcoin::hex::FromHex;
use serde_json::{Value, json};

use crate::crash::assert_killed;
use crate::hostile::payer::Payer;
use crate::support::{
    Daemon, FAIL, SETTLE, World, assert_history_adds_up, eventually, hash_of, rounds_of,
};

/// What the daemon boards, in sat.
const OWN: u64 = 50_000;

/// Blocks that a VTXO of a board lives.
const LIFETIME: u32 = 432;

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

fn txid(text: &Value) -> Txid {
    Txid::from_str(text.as_str().expect("a transaction id")).expect("a transaction id")
}

/// H32: the exit of a VTXO that its payer puts on chain begins with the block in which it is confirmed, not before (W30).
#[tokio::test]
async fn a_vtxo_that_its_payer_puts_on_chain_is_exited_by_itself() {
    let (world, mut daemon) = scene().await;
    let payer = Payer::connect(&world).await;
    let to: Address = daemon.address().await.parse().expect("an Ark address");
    let input = payer.board(&world, 10_000).await;
    let vtxos = payer.sign(&input, &to, &[10_000]).await;
    payer.upload(&vtxos).await;
    payer.post(&to, &vtxos).await;
    daemon.wait_for_spendable(OWN + 10_000).await;
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

/// H32, §40.5: what lies behind a transaction of an earlier owner is ours to publish, if no round helps in time.
#[tokio::test]
async fn a_vtxo_that_hangs_from_an_exited_one_is_exited_when_no_round_helps() {
    let (world, daemon) = scene().await;
    let still = WatchmanChange {
        reactions: Some(false),
        ..WatchmanChange::default()
    };
    world.sandbox.ark.change_watchman(still);
    let payer = Payer::connect(&world).await;
    let to: Address = daemon.address().await.parse().expect("an Ark address");
    let input = payer.board(&world, 10_000).await;
    let vtxos = payer.sign(&input, &to, &[10_000]).await;
    payer.upload(&vtxos).await;
    payer.post(&to, &vtxos).await;
    daemon.wait_for_spendable(OWN + 10_000).await;
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

/// H53: a board that the server does not register is exited before it expires, and the board counts as done.
#[tokio::test]
async fn a_board_that_the_server_never_registers_is_exited_in_time() {
    let (world, daemon) = scene().await;
    let down = json!({"type": "drop_before"});
    let fault = world.fault(json!({"target": "RegisterBoardVtxo", "action": down}));
    daemon.fund(&world, 60_000).await;
    let boarded = world.height().await;
    let body = json!({"amount_sat": 20_000});
    daemon.post("/boards/board-amount", body).await.ok();
    world.mine(1).await;
    let pending = daemon.get("/boards/pending").await.ok();
    let vtxo = pending[0]["vtxos"][0]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(!vtxo.is_empty(), "{pending:#}");
    daemon.mine_to(&world, boarded + LIFETIME - 20).await;
    daemon.post_empty("/wallet/sync").await.ok();
    assert!(!daemon.exits("all").await.contains(&vtxo));
    daemon.mine_to(&world, boarded + LIFETIME - 12).await;
    daemon.rescued_until(&world, &vtxo, "awaiting-delta").await;
    assert!(world.height().await < boarded + LIFETIME);
    eventually("the board is over", async || {
        let pending = daemon.get("/boards/pending").await.ok();
        pending.as_array().is_some_and(Vec::is_empty).then_some(())
    })
    .await;
    assert_eq!(daemon.movement("board").await["status"], "successful");
    daemon.exit_until(&world, &vtxo, "claimable").await;
    assert!(world.fired(fault) > 0);
}

/// A round whose transaction never confirms: the inputs are exited before they expire, and the refresh ends. Nothing was forfeited.
#[tokio::test]
async fn the_inputs_of_a_round_that_never_confirms_are_exited_in_time() {
    let (world, daemon) = scene().await;
    let vtxo = daemon.only_vtxo().await;
    let expiry = daemon.body(&vtxo).await.expiry_height().to_u32();
    daemon.refresh_all().await;
    assert!(world.round().await);
    let funding = eventually("the round is issued", async || {
        let txid = daemon.funding_txid().await;
        txid.is_string().then_some(txid)
    })
    .await;
    world
        .sandbox
        .chain
        .hold(txid(&funding))
        .await
        .expect("held");
    daemon.mine_to(&world, expiry - 20).await;
    assert!(daemon.exits("all").await.is_empty());
    assert_eq!(daemon.balance("pending_in_round_sat").await, OWN);
    daemon.mine_to(&world, expiry - 7).await;
    daemon.rescued_until(&world, &vtxo, "awaiting-delta").await;
    assert!(world.height().await < expiry);
    eventually("the refresh has ended", async || {
        daemon.post_empty("/wallet/sync").await.ok();
        daemon.rounds().await.is_empty().then_some(())
    })
    .await;
    assert_eq!(daemon.movement("refresh").await["status"], "failed");
    assert_eq!(world.calls_of("ForfeitVtxos"), 0);
    // It confirms after all: the new VTXOs stay locked, and nothing is forfeited for them.
    world
        .sandbox
        .chain
        .unhold(txid(&funding))
        .await
        .expect("free");
    daemon.exit_until(&world, &vtxo, "claimable").await;
    assert_eq!(world.calls_of("ForfeitVtxos"), 0);
    assert_eq!(daemon.balance("pending_exit_sat").await, OWN);
    assert_eq!(daemon.balance("pending_in_round_sat").await, 0);
}

/// A refresh whose forfeits are given and whose preimage is withheld.
async fn withheld(claims: bool) -> (World, Daemon, String) {
    let (world, daemon) = scene().await;
    let change = WatchmanChange {
        claims: Some(claims),
        ..WatchmanChange::default()
    };
    world.sandbox.ark.change_watchman(change);
    let vtxo = daemon.only_vtxo().await;
    let expiry = daemon.body(&vtxo).await.expiry_height().to_u32();
    let withhold = json!({"type": "withhold"});
    world.fault(json!({"target": "round.forfeit.persisted", "action": withhold}));
    daemon.refresh_all().await;
    assert!(world.round().await);
    world.mine(1).await;
    eventually("the forfeits are given", async || {
        (world.faults_fired("round.forfeit.persisted") > 1).then_some(())
    })
    .await;
    daemon.mine_to(&world, expiry - 12).await;
    daemon.rescued_until(&world, &vtxo, "awaiting-delta").await;
    (world, daemon, vtxo)
}

/// W11: once an input is on chain, the server claims its forfeit, and so shows the preimage that it withholds.
#[tokio::test]
async fn a_withheld_preimage_is_read_from_the_claim_of_the_forfeit() {
    let (world, daemon, _) = withheld(true).await;
    for _ in 0..10 {
        daemon.next_block(&world).await;
        daemon.post_empty("/wallet/sync").await.ok();
    }
    daemon.wait_without_rounds().await;
    assert_eq!(daemon.movement("refresh").await["status"], "successful");
    assert_eq!(daemon.balance("spendable_sat").await, OWN);
    assert_eq!(daemon.balance("pending_exit_sat").await, 0);
    world.no_faults();
    assert_history_adds_up(&daemon).await;
    // The new VTXO is worth something.
    let own = daemon.address().await;
    daemon.send(&own, OWN).await.ok();
}

/// W11: a forfeit that the server does not claim is the wallet's after the exit delay.
#[tokio::test]
async fn a_forfeit_that_the_server_does_not_claim_comes_back_on_chain() {
    let (world, daemon, vtxo) = withheld(false).await;
    daemon.post_empty("/onchain/sync").await.ok();
    let before = daemon.get("/onchain/balance").await.ok()["total_sat"].as_u64();
    eventually("the refresh has ended", async || {
        daemon.next_block(&world).await;
        daemon.post_empty("/wallet/sync").await.ok();
        daemon.rounds().await.is_empty().then_some(())
    })
    .await;
    assert_eq!(daemon.movement("refresh").await["status"], "failed");
    assert_eq!(daemon.exit_state(&vtxo).await, "claimed");
    daemon.post_empty("/onchain/sync").await.ok();
    let after = daemon.get("/onchain/balance").await.ok()["total_sat"].as_u64();
    let gained = after.unwrap() - before.unwrap();
    assert!((OWN - 1_000..OWN).contains(&gained), "{gained}");
    assert_eq!(daemon.balance("spendable_sat").await, 0);
    assert_eq!(daemon.balance("pending_exit_sat").await, 0);
    assert_history_adds_up(&daemon).await;
}

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

/// H22, W4: the server has the preimage and answers no claim. The HTLC is exited while there is time to claim it on chain.
#[tokio::test]
async fn the_htlc_of_a_receive_whose_claim_is_not_answered_is_exited_in_time() {
    let (world, daemon) = scene().await;
    world.fault(json!({"target": "ClaimLightningReceive", "action": {"type": "drop_after"}}));
    let invoice = daemon.invoice(10_000).await;
    world.pays(&invoice).await;
    let hash = hash_of(&invoice);
    daemon
        .wait_for_receive_state(&hash, "preimage-revealed")
        .await;
    let vtxo = htlc_of(&daemon, &hash).await;
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

/// A payment whose signature the server never answers: its input can be exited, and the payment ends when it is on chain.
#[tokio::test]
async fn the_input_of_a_payment_that_the_server_never_answers_can_be_exited() {
    let (world, daemon) = scene().await;
    let vtxo = daemon.only_vtxo().await;
    let payee = Daemon::with_wallet(&world).await;
    let to = payee.address().await;
    let lost = json!({"target": "RequestArkoorCosign", "action": {"type": "drop_after"}});
    let lost = world.fault(lost);
    let (reply, ()) = tokio::join!(daemon.send(&to, 20_000), async {
        eventually(
            "the server has signed, and the answer is lost",
            async || (world.fired(lost) > 1).then_some(()),
        )
        .await;
        let begun = daemon.exit(std::slice::from_ref(&vtxo)).await;
        assert_eq!(begun["started"], json!([vtxo]), "{begun:#}");
        daemon.exit_until(&world, &vtxo, "awaiting-delta").await;
        eventually("the payment has ended", async || {
            daemon.post_empty("/wallet/sync").await.ok();
            (daemon.movement("send").await["status"] == "failed").then_some(())
        })
        .await;
    });
    assert!(matches!(reply.status, 202 | 409), "{reply:?}");
    daemon.claim_all_when_ripe(&world, &vtxo).await;
    assert_eq!(daemon.balance("pending_arkoor_send_sat").await, 0);
    assert_eq!(daemon.balance("spendable_sat").await, 0);
    assert_eq!(payee.balance("spendable_sat").await, 0);
    assert!(payee.history().await.is_empty());
    assert_history_adds_up(&daemon).await;
}

impl Daemon {
    async fn claim_all_when_ripe(&self, world: &World, vtxo: &str) {
        self.exit_until(world, vtxo, "claimable").await;
        self.claim_all(world, vtxo).await;
    }
}

/// The same near the expiry, without a request.
#[tokio::test]
async fn the_input_of_a_payment_that_the_server_never_answers_is_exited_in_time() {
    let (world, daemon) = scene().await;
    let vtxo = daemon.only_vtxo().await;
    let expiry = daemon.body(&vtxo).await.expiry_height().to_u32();
    let own = daemon.address().await;
    let lost = json!({"target": "RequestArkoorCosign", "action": {"type": "drop_after"}});
    world.fault(lost);
    daemon.send(&own, 20_000).await;
    daemon.mine_to(&world, expiry - 20).await;
    daemon.post_empty("/wallet/sync").await.ok();
    assert!(daemon.exits("all").await.is_empty());
    daemon.mine_to(&world, expiry - 12).await;
    daemon.rescued_until(&world, &vtxo, "claimable").await;
    eventually("the payment has ended", async || {
        daemon.post_empty("/wallet/sync").await.ok();
        (daemon.movement("send").await["status"] == "failed").then_some(())
    })
    .await;
}

/// A delegated round whose tree is not what was asked for: nothing is forfeited, and the input is exited before it expires.
#[tokio::test]
async fn the_input_of_a_delegated_round_with_a_wrong_tree_is_exited_in_time() {
    let world = World::with(rounds_of(0)).await;
    world.fund_server(2_000_000).await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund(&world, 100_000).await;
    daemon.fund_and_board(&world, OWN).await;
    let vtxo = daemon.only_vtxo().await;
    let expiry = daemon.body(&vtxo).await.expiry_height().to_u32();
    let wrong = json!({"type": "alter_tree", "change": "wrong_amount"});
    world.fault(json!({"target": "round.proposal", "action": wrong}));
    let body = json!({"vtxos": [vtxo]});
    daemon
        .post("/wallet/refresh/delegated/vtxos", body)
        .await
        .ok();
    assert!(world.round().await);
    daemon.mine_to(&world, expiry - 20).await;
    assert!(daemon.exits("all").await.is_empty());
    daemon.mine_to(&world, expiry - 12).await;
    daemon.rescued_until(&world, &vtxo, "awaiting-delta").await;
    eventually("the refresh has ended", async || {
        daemon.post_empty("/wallet/sync").await.ok();
        daemon.rounds().await.is_empty().then_some(())
    })
    .await;
    assert_eq!(daemon.movement("refresh").await["status"], "failed");
    assert_eq!(world.calls_of("ForfeitVtxos"), 0);
    assert_eq!(daemon.balance("pending_exit_sat").await, OWN);
}

/// What the wallet itself puts on chain is no news: nothing waits for the operator, and no round takes what is half-way out.
#[tokio::test]
async fn an_exit_that_was_asked_for_raises_nothing() {
    let (world, daemon) = scene().await;
    let payer = Payer::connect(&world).await;
    let to: Address = daemon.address().await.parse().expect("an Ark address");
    let input = payer.board(&world, 10_000).await;
    let vtxos = payer.sign(&input, &to, &[10_000]).await;
    payer.upload(&vtxos).await;
    payer.post(&to, &vtxos).await;
    daemon.wait_for_spendable(OWN + 10_000).await;
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

/// What begins by itself begins again after a kill, and what it ends is ended once.
#[tokio::test]
async fn a_board_is_exited_in_time_by_a_daemon_that_is_killed() {
    for point in ["exit.started", "board.registered"] {
        for moment in ["before", "after"] {
            let (world, mut daemon) = scene().await;
            let down = json!({"type": "drop_before"});
            world.fault(json!({"target": "RegisterBoardVtxo", "action": down}));
            daemon.fund(&world, 60_000).await;
            let boarded = world.height().await;
            let body = json!({"amount_sat": 20_000});
            daemon.post("/boards/board-amount", body).await.ok();
            world.mine(1).await;
            let pending = daemon.get("/boards/pending").await.ok();
            let vtxo = pending[0]["vtxos"][0].as_str().expect("one").to_owned();
            daemon.mine_to(&world, boarded + LIFETIME - 20).await;
            daemon.stop().await;
            let failpoint = format!("{point}.{moment}");
            daemon.restart(Some(&failpoint)).await;
            daemon.mine_until_killed(&world, 19).await;
            daemon.restart(None).await;
            eventually("the board is over", async || {
                daemon.progress().await;
                daemon.next_block(&world).await;
                daemon.post_empty("/wallet/sync").await.ok();
                let boards = daemon.get("/boards/pending").await.ok();
                boards.as_array().is_some_and(Vec::is_empty).then_some(())
            })
            .await;
            assert_eq!(daemon.movement("board").await["status"], "successful");
            assert_eq!(daemon.vtxo_state(&vtxo).await, "exited", "{failpoint}");
            assert_eq!(
                daemon
                    .exits("all")
                    .await
                    .iter()
                    .filter(|it| **it == vtxo)
                    .count(),
                1,
                "{failpoint}"
            );
            daemon.claim_all_when_ripe(&world, &vtxo).await;
            assert_history_adds_up(&daemon).await;
        }
    }
}

/// The same for the preimage that is read from the chain.
#[tokio::test]
async fn a_withheld_preimage_is_used_once_by_a_daemon_that_is_killed() {
    for moment in ["before", "after"] {
        let (world, mut daemon, _) = withheld(true).await;
        daemon.stop().await;
        let failpoint = format!("round.unlocked.{moment}");
        daemon.restart(Some(&failpoint)).await;
        daemon.mine_until_killed(&world, 15).await;
        daemon.restart(None).await;
        daemon.wait_for_connected(true).await;
        daemon.post_empty("/wallet/sync").await.ok();
        daemon.wait_without_rounds().await;
        assert_eq!(daemon.movement("refresh").await["status"], "successful");
        assert_eq!(daemon.balance("spendable_sat").await, OWN);
        assert_history_adds_up(&daemon).await;
    }
}
