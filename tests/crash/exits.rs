//! Unilateral exits. They make no call to the Ark server, so no answer can be lost.

use arkwalletd_sandbox::chain::Reorg;
use bitcoin::{Amount, OutPoint, TxOut};
use serde_json::{Value, json};

use super::matrix::{Case, Run};
use super::scene::{Scene, movements};
use crate::exits::steps::transactions_of;
use crate::support::{Reply, eventually};

/// The amount of each board, in sat.
const AMOUNT: u64 = 20_000;
/// Confirmations after which a claim is not watched any more.
const FINAL_DEPTH: u32 = 6;
/// Blocks after which an exit has to have reached the state that a story waits for.
const MOST_BLOCKS: u32 = 40;

/// A world without fees: the fee of a board is in the anchor of its exit, where it would come back to the wallet.
async fn scene() -> Scene {
    let scene = Scene::without_fees().await;
    scene.victim.fund(&scene.world, 1_000_000).await;
    scene
}

/// Boards, and answers the new VTXO.
async fn board(scene: &Scene) -> String {
    let before = scene.victim.vtxos().await;
    scene.victim.board(&scene.world, AMOUNT).await;
    let mut new = scene.victim.vtxos().await;
    new.retain(|vtxo| !before.contains(vtxo));
    assert_eq!(new.len(), 1, "{new:?}");
    new.remove(0)
}

/// The state of the exit of a VTXO; `None` if there is none.
async fn state(scene: &Scene, vtxo: &str) -> Option<String> {
    let reply = scene
        .victim
        .get(&format!("/exits/status/vtxo/{vtxo}"))
        .await;
    let state = reply.body["state"]["type"].as_str();
    state.map(str::to_owned)
}

/// Sends a request; no answer if the victim is killed, or was before.
async fn post(scene: &Scene, path: &str, body: Option<Value>) -> Option<Value> {
    let reply = scene.victim.try_send("POST", path, body).await.ok()?;
    Some(reply.ok())
}

/// Starts the exit of a VTXO, unless it is under way already.
async fn start(scene: &Scene, vtxo: &str) {
    let body = json!({"vtxos": [vtxo]});
    post(scene, "/exits/start/vtxos", Some(body)).await;
}

/// Lets the exit of a VTXO go on, block by block, until it has this state or the victim is killed. Claims what can be claimed.
async fn drive(scene: &Scene, vtxo: &str, wanted: &str) {
    let path = format!("/exits/status/vtxo/{vtxo}");
    for _ in 0..MOST_BLOCKS {
        let wait = json!({"wait": true});
        let progress = post(scene, "/exits/progress", Some(wait)).await;
        let now = scene.victim.try_send("GET", &path, None).await;
        let (Some(_), Ok(now)) = (progress, now) else {
            return;
        };
        let now = now.body["state"]["type"].as_str().unwrap_or_default();
        if now == wanted {
            return;
        }
        if now == "claimable" {
            let Some(to) = post(scene, "/onchain/addresses/next", None).await else {
                return;
            };
            let claim = json!({"destination": to["address"]});
            if post(scene, "/exits/claim/all", Some(claim)).await.is_none() {
                return;
            }
            continue;
        }
        mine(scene).await;
    }
    panic!("{vtxo} is not {wanted}");
}

/// Mines a block, and waits until the victim has seen it or is killed.
async fn mine(scene: &Scene) {
    scene.world.mine(1).await;
    let height = scene.world.height().await;
    eventually("the victim knows the tip, or is killed", async || {
        let tip = scene.victim.try_send("GET", "/bitcoin/tip", None).await;
        let knows = |tip: Reply| (tip.body["tip_height"] == height).then_some(());
        tip.map_or(Some(()), knows)
    })
    .await;
}

/// Mines so many blocks on a claim that no reorganisation takes it back.
async fn bury(scene: &Scene) {
    scene.world.mine(FINAL_DEPTH - 1).await;
    mine(scene).await;
}

/// Restarts the victim after it was killed, if it was to be, and brings the exit to its end.
async fn end(scene: &mut Scene, case: &Case, vtxo: &str, wanted: &str) {
    scene.wait_for_kill(case).await;
    scene.restart(case).await;
    if state(scene, vtxo).await.is_none() {
        assert!(case.kills_at("exit.started.before"), "{case}");
        start(scene, vtxo).await;
    }
    drive(scene, vtxo, wanted).await;
    assert_eq!(state(scene, vtxo).await.as_deref(), Some(wanted), "{case}");
}

/// Asserts how often exits have ended how, by the history.
async fn assert_exits(scene: &Scene, wanted: &(&str, i64), times: usize) {
    let exits = movements(&scene.victim, "start").await;
    let wanted = (wanted.0.to_owned(), wanted.1);
    assert_eq!(exits, vec![wanted; times]);
}

/// The victim exits a board, and claims it.
pub async fn exit(run: &mut Run) {
    let mut scene = scene().await;
    let mut times = 0;
    while let Some(case) = run.next_case(&mut scene).await {
        let vtxo = board(&scene).await;
        scene.arm(&case).await;
        start(&scene, &vtxo).await;
        drive(&scene, &vtxo, "claimed").await;
        bury(&scene).await;
        end(&mut scene, &case, &vtxo, "claimed").await;
        times += 1;
        assert_exits(&scene, &("successful", -AMOUNT.cast_signed()), times).await;
    }
}

/// A reorganisation takes the claim of an exit back.
pub async fn reopened(run: &mut Run) {
    let mut scene = scene().await;
    let mut times = 0;
    while let Some(case) = run.next_case(&mut scene).await {
        let vtxo = board(&scene).await;
        start(&scene, &vtxo).await;
        drive(&scene, &vtxo, "claimed").await;
        let path = format!("/exits/status/vtxo/{vtxo}");
        let claim = scene.victim.get(&path).await.ok()["state"]["txid"].clone();
        let claim = claim.as_str().expect("an id").to_owned();
        scene.arm(&case).await;
        scene.world.unconfirm(&claim, 1).await;
        eventually("the claim is missed, or the victim is killed", async || {
            let now = scene.victim.try_send("GET", &path, None).await;
            let is_over = now.map_or(true, |now| now.body["state"]["type"] != "claimed");
            is_over.then_some(())
        })
        .await;
        scene.wait_for_kill(&case).await;
        scene.restart(&case).await;
        scene.world.let_in(&claim).await;
        end_of_claim(&scene, &vtxo).await;
        times += 1;
        assert_exits(&scene, &("successful", -AMOUNT.cast_signed()), times).await;
    }
}

/// Brings an exit whose claim is under way to its end.
async fn end_of_claim(scene: &Scene, vtxo: &str) {
    mine(scene).await;
    drive(scene, vtxo, "claimed").await;
}

/// The victim starts an exit, and a person cancels it.
pub async fn canceled(run: &mut Run) {
    let mut scene = scene().await;
    let vtxo = board(&scene).await;
    let mut times = 0;
    while let Some(case) = run.next_case(&mut scene).await {
        scene.arm(&case).await;
        start(&scene, &vtxo).await;
        let path = format!("/exits/cancel/{vtxo}");
        let reply = post(&scene, &path, None).await;
        assert_eq!(reply.is_none(), case.kills(), "{reply:?}");
        scene.wait_for_kill(&case).await;
        scene.restart(&case).await;
        scene.victim.post_empty(&path).await.ok();
        times += 1;
        assert_exits(&scene, &("canceled", 0), times).await;
        assert_eq!(scene.victim.vtxos().await, std::slice::from_ref(&vtxo));
        let mempool = scene.world.sandbox.chain.mempool().await.unwrap();
        assert!(mempool.is_empty(), "{mempool:?}");
    }
}

/// The victim spends a VTXO whose exit has begun.
pub async fn overtaken(run: &mut Run) {
    let mut scene = Scene::without_fees().await.and_peer().await;
    scene.victim.fund(&scene.world, 1_000_000).await;
    let mut times = 0;
    while let Some(case) = run.next_case(&mut scene).await {
        let vtxo = board(&scene).await;
        scene.arm(&case).await;
        start(&scene, &vtxo).await;
        let to = scene.peer().address().await;
        scene.victim.send(&to, AMOUNT).await.ok();
        drive(&scene, &vtxo, "vtxo-already-spent").await;
        end(&mut scene, &case, &vtxo, "vtxo-already-spent").await;
        times += 1;
        assert_exits(&scene, &("canceled", 0), times).await;
    }
    let received = u64::try_from(times).unwrap() * AMOUNT;
    scene.peer().wait_for_spendable(received).await;
}

/// Somebody else publishes the VTXO, and then spends the coin of his child otherwise, in a block that replaces the one with the
/// child's parent.
pub async fn rebuilt(run: &mut Run) {
    // A real node holds back only what is in its mempool.
    let mut scene = Scene::simulated().await;
    scene.victim.fund(&scene.world, 1_000_000).await;
    let mut times = 0;
    while let Some(case) = run.next_case(&mut scene).await {
        let vtxo = board(&scene).await;
        let own = transactions_of(&scene.victim, &vtxo).await.remove(0);
        scene.world.publish_unconfirmed(own.clone()).await;
        start(&scene, &vtxo).await;
        drive(&scene, &vtxo, "awaiting-delta").await;
        scene.arm(&case).await;
        replace_child(&scene, &own).await;
        drive(&scene, &vtxo, "claimed").await;
        end(&mut scene, &case, &vtxo, "claimed").await;
        times += 1;
        assert_exits(&scene, &("successful", -AMOUNT.cast_signed()), times).await;
    }
}

/// Replaces the newest block, which has a transaction with a child of the faucet, by one in which the faucet spends its coin otherwise.
async fn replace_child(scene: &Scene, parent: &bitcoin::Transaction) {
    let chain = &scene.world.sandbox.chain;
    let anchor = OutPoint::new(
        parent.compute_txid(),
        u32::try_from(parent.output.len() - 1).unwrap(),
    );
    let child = chain.spender(anchor).await.unwrap().expect("a child");
    let child = chain.tx(child.txid).await.unwrap().expect("it is known").tx;
    let mut rival = child.clone();
    rival.version = bitcoin::transaction::Version::TWO;
    rival.input.retain(|input| input.previous_output != anchor);
    let coin = rival.input[0].previous_output;
    let spent = chain.tx(coin.txid).await.unwrap().expect("it has a parent");
    let spent = spent.tx.output[coin.vout as usize].clone();
    rival.output = vec![TxOut {
        value: spent.value - Amount::from_sat(1_000),
        ..spent.clone()
    }];
    let faucet = &scene.world.sandbox.faucet;
    let rival = faucet.key().sign(rival, &[spent]).expect("its own coin");
    // Without this, the parent would be mined again by itself.
    let held = parent.compute_txid();
    chain.hold(held).await.unwrap();
    chain.reorg(1, Reorg::Replace(vec![rival])).await.unwrap();
    chain.unhold(held).await.unwrap();
}

/// The server sweeps what a VTXO hangs from, half of which somebody has put on chain.
pub async fn swept(run: &mut Run) {
    let mut scene = scene().await.with_wrong_ledger();
    scene.world.fund_server(1_000_000).await;
    let mut times = 0;
    while let Some(case) = run.next_case(&mut scene).await {
        let board = board(&scene).await;
        let own = scene.victim.address().await;
        scene.victim.send(&own, AMOUNT).await.ok();
        scene.victim.wait_for_spendable(AMOUNT).await;
        let vtxo = scene.victim.vtxos().await.remove(0);
        assert_ne!(vtxo, board);
        for transaction in &transactions_of(&scene.victim, &vtxo).await[..2] {
            scene.world.publish_unconfirmed(transaction.clone()).await;
            scene.world.mine(1).await;
        }
        scene.world.mine(440).await;
        let swept = scene.world.sandbox.ark.run_watchman(true).await.unwrap();
        assert!(!swept.is_empty());
        scene.world.mine(1).await;
        scene.arm(&case).await;
        scene.victim.wait_for_tip(&scene.world).await;
        start(&scene, &vtxo).await;
        drive(&scene, &vtxo, "vtxo-swept").await;
        end(&mut scene, &case, &vtxo, "vtxo-swept").await;
        times += 1;
        assert_exits(&scene, &("failed", -AMOUNT.cast_signed()), times).await;
    }
}
