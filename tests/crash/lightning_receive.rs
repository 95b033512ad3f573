//! Lightning payments to the wallet.

use serde_json::{Value, json};

use super::matrix::{Case, Run};
use super::scene::{Scene, assert_killed};
use crate::lightning_receive::paid_msat;
use crate::support::{eventually, hash_of};

/// What each payer pays, in sat.
const AMOUNT: u64 = 7_000;

/// The server's fee of that, in sat: 100 and 2000 ppm.
const FEE: u64 = 114;

/// The server's invoices expire within these days.
const DAYS_OF_AN_INVOICE: u64 = 3;

const INVOICE: &str = "/lightning/receives/invoice";

/// Makes an invoice. No invoice leaves a victim that is killed by it; it makes another one after its restart.
async fn make_invoice(scene: &mut Scene, case: &Case, path: &str, body: Value) -> String {
    let mut reply = scene.post(path, body.clone()).await;
    if case.kills_at("lightning_receive.invoiced") {
        assert!(reply.is_none(), "{reply:?}");
        scene.wait_for_kill(case).await;
        scene.restart(case).await;
        reply = scene.post(path, body).await;
    }
    let made = reply.expect("a reply").ok();
    made["invoice"].as_str().expect("an invoice").to_owned()
}

/// Waits for the kill of a case that is not killed while it makes the invoice, and restarts the victim.
async fn survive(scene: &mut Scene, case: &Case) {
    if !case.kills_at("lightning_receive.invoiced") {
        scene.wait_for_kill(case).await;
        scene.restart(case).await;
    }
}

/// Waits until the server has given the payer the preimage, for the whole amount.
async fn settled_at_server(scene: &Scene, invoice: &str) {
    eventually("the payer has the preimage", async || {
        scene.world.lightning_jobs().await;
        paid_msat(&scene.world, invoice)
    })
    .await;
    assert_eq!(paid_msat(&scene.world, invoice), Some(AMOUNT * 1_000));
}

/// The victim makes an invoice, and the world pays it.
pub async fn receive(run: &mut Run) {
    let mut scene = Scene::new().await;
    let mut got = 0;
    while let Some(case) = run.next_case(&mut scene).await {
        scene.arm(&case).await;
        let body = json!({"amount_sat": AMOUNT, "description": "tea"});
        let invoice = make_invoice(&mut scene, &case, INVOICE, body).await;
        scene.world.pays(&invoice).await;
        survive(&mut scene, &case).await;
        got += AMOUNT - FEE;
        scene.victim.wait_for_spendable(got).await;
        settled_at_server(&scene, &invoice).await;
        assert_settled(&scene, &invoice).await;
    }
}

/// The victim makes an invoice for an Ark address of its peer.
pub async fn forward(run: &mut Run) {
    let mut scene = Scene::with_peer().await;
    let mut got = 0;
    while let Some(case) = run.next_case(&mut scene).await {
        scene.arm(&case).await;
        let address = scene.peer().address().await;
        let body = json!({"amount_sat": AMOUNT, "address": address});
        let path = "/lightning/receives/invoice/for-address";
        let invoice = make_invoice(&mut scene, &case, path, body).await;
        scene.world.pays(&invoice).await;
        survive(&mut scene, &case).await;
        // The peer takes nothing that hangs from an unconfirmed transaction.
        scene.world.mine(1).await;
        got += AMOUNT - FEE;
        scene.peer().wait_for_spendable(got).await;
        settled_at_server(&scene, &invoice).await;
        assert_settled(&scene, &invoice).await;
        assert_eq!(scene.victim.balance("spendable_sat").await, 0);
    }
}

/// The server does not tell the victim that its invoice is paid.
pub async fn notice(run: &mut Run) {
    let mut scene = Scene::new().await;
    let mut got = 0;
    while let Some(case) = run.next_case(&mut scene).await {
        scene.arm(&case).await;
        let body = json!({"amount_sat": AMOUNT});
        let invoice = make_invoice(&mut scene, &case, INVOICE, body).await;
        scene.fault(json!({"target": "lnrecv.accepted", "action": {"type": "withhold"}}));
        scene.world.pays(&invoice).await;
        survive(&mut scene, &case).await;
        got += AMOUNT - FEE;
        scene.victim.wait_for_spendable(got).await;
        settled_at_server(&scene, &invoice).await;
    }
}

async fn assert_settled(scene: &Scene, invoice: &str) {
    scene.victim.settled().await;
    let path = format!("/lightning/receives/{}", hash_of(invoice));
    let shown = scene.victim.get(&path).await.ok();
    assert_eq!(shown["state"], "settled", "{shown:#}");
    // An invoice of which the caller never heard, because the victim was killed, is open until it expires.
    let open = scene.victim.get("/lightning/receives").await.ok();
    let mut open = open.as_array().expect("a list").iter();
    assert!(open.all(|it| it["invoice"] != invoice && it["state"] == "awaiting-payment"));
}

/// The victim cancels an invoice that nobody has paid.
pub async fn cancel(run: &mut Run) {
    let mut scene = Scene::new().await;
    while let Some(case) = run.next_case(&mut scene).await {
        scene.arm(&case).await;
        let made = scene.victim.post(INVOICE, json!({"amount_sat": AMOUNT}));
        let made = made.await.ok();
        let invoice = made["invoice"].as_str().expect("an invoice").to_owned();
        let path = format!("/lightning/receives/{}", hash_of(&invoice));
        let reply = scene.victim.try_send("DELETE", &path, None).await;
        assert_eq!(reply.is_err(), case.kills(), "{reply:?}");
        scene.wait_for_kill(&case).await;
        scene.restart(&case).await;
        let again = scene.victim.try_send("DELETE", &path, None).await;
        again.expect("a reply").ok();
        scene.victim.get(&path).await.refused(404, "receive_ended");
        let left = scene.victim.get("/lightning/receives").await.ok();
        assert_eq!(left, json!([]));
    }
}

/// The server grants HTLCs of somebody else.
pub async fn give_up(run: &mut Run) {
    let mut scene = Scene::new().await.with_wrong_ledger();
    while let Some(case) = run.next_case(&mut scene).await {
        scene.arm(&case).await;
        let made = scene.victim.post(INVOICE, json!({"amount_sat": AMOUNT}));
        let made = made.await.ok();
        let invoice = made["invoice"].as_str().expect("an invoice").to_owned();
        let action = json!({"type": "alter_grant", "change": "wrong_key"});
        scene.fault(json!({"target": "lnrecv.grant", "action": action}));
        scene.world.pays(&invoice).await;
        scene.wait_for_kill(&case).await;
        let path = format!("/lightning/receives/{}", hash_of(&invoice));
        if case.kills() {
            scene.restart(&case).await;
        }
        eventually("the receive has ended", async || {
            (scene.victim.get(&path).await.status == 404).then_some(())
        })
        .await;
        if !case.kills() {
            scene.restart(&case).await;
        }
        assert_eq!(paid_msat(&scene.world, &invoice), None);
        assert_eq!(scene.victim.history().await.len(), 0);
    }
}

/// The victim dies right before it reveals the preimage, and comes back too late to claim on chain what the server might keep.
pub async fn abandon(run: &mut Run) {
    let mut scene = Scene::new().await;
    while let Some(case) = run.next_case(&mut scene).await {
        scene.victim.stop().await;
        let granted = Some("lightning_receive.revealing.after");
        scene.victim.restart(granted).await;
        scene.victim.wait_for_connected(true).await;
        let invoice = scene.victim.invoice(AMOUNT).await;
        scene.world.pays(&invoice).await;
        assert_killed(scene.victim.wait_for_exit().await);
        scene.world.mine(40).await;
        scene.world.advance_clock(DAYS_OF_AN_INVOICE * 86_400).await;
        scene.arm_from_start(&case).await;
        scene.wait_for_kill(&case).await;
        scene.restart(&case).await;
        let path = format!("/lightning/receives/{}", hash_of(&invoice));
        eventually("the receive has ended", async || {
            (scene.victim.get(&path).await.status == 404).then_some(())
        })
        .await;
        assert_eq!(paid_msat(&scene.world, &invoice), None);
        let movement = scene.victim.movement("receive").await;
        assert_eq!(movement["status"], "canceled", "{movement:#}");
        assert_eq!(movement["effective_balance_sat"], 0, "{movement:#}");
        assert_eq!(
            scene.world.calls_of("ClaimLightningReceive"),
            0,
            "the preimage is a secret"
        );
    }
}
