//! Going on chain through the Ark server, over HTTP: what arrives is what the estimates promise, to the satoshi, and what
//! cannot be done locks nothing.

use std::str::FromStr;

use arkwalletd_sandbox::ark::Params;
use bitcoin::key::{CompressedPublicKey, PrivateKey};
use bitcoin::{Address, KnownHrp, Network, Txid};
use serde_json::{Value, json};

use crate::support::{
    Daemon, World, assert_balanced, assert_conserved, charging_rounds_of, eventually,
};

const MAINNET: &str = "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr";

/// A server that takes fees, and a daemon with one VTXO for each of these boards.
async fn scene(boards: &[u64]) -> (World, Daemon) {
    scene_at(charging_rounds_of(1), boards).await
}

async fn scene_at(params: Params, boards: &[u64]) -> (World, Daemon) {
    let world = World::with(params).await;
    let daemon = Daemon::with_wallet(&world).await;
    for sats in boards {
        daemon.fund_and_board(&world, *sats).await;
    }
    (world, daemon)
}

/// Addresses that do not belong to the wallet, one of each kind.
fn addresses() -> [String; 4] {
    let secp = &ark_lib::SECP;
    let key = PrivateKey::from_slice(&[7; 32], Network::Regtest).unwrap();
    let public = CompressedPublicKey::from_private_key(secp, &key).unwrap();
    let (internal, _) = public.0.x_only_public_key();
    let witness_script = bitcoin::ScriptBuf::new_op_return([]);
    [
        Address::p2tr(secp, internal, None, KnownHrp::Regtest),
        Address::p2wpkh(&public, KnownHrp::Regtest),
        Address::p2wsh(&witness_script, KnownHrp::Regtest),
        Address::p2pkh(public, Network::Regtest),
    ]
    .map(|address| address.to_string())
}

fn foreign_address() -> String {
    let [taproot, ..] = addresses();
    taproot
}

fn sats(estimate: &Value, part: &str) -> u64 {
    estimate[part].as_u64().unwrap()
}

/// One output of the transaction pays exactly this much to exactly this address.
async fn assert_pays(world: &World, done: &Value, to: &str, sats: u64) {
    let txid = Txid::from_str(done["offboard_txid"].as_str().unwrap()).unwrap();
    let found = world.sandbox.chain.tx(txid).await.unwrap();
    let script = Address::from_str(to).unwrap().assume_checked();
    let script = script.script_pubkey();
    let outputs = found.expect("it is out").tx.output.into_iter();
    let paid: Vec<u64> = outputs
        .filter(|output| output.script_pubkey == script)
        .map(|output| output.value.to_sat())
        .collect();
    assert_eq!(paid, [sats]);
}

/// Asserts that the movement reports what was estimated.
async fn assert_booked(daemon: &Daemon, kind: &str, estimate: &Value) {
    daemon.settled().await;
    let movement = daemon.movement(kind).await;
    assert_eq!(movement["status"], "successful", "{movement:#}");
    assert_eq!(movement["offchain_fee_sat"], estimate["fee_sat"]);
    let gross = i64::try_from(sats(estimate, "gross_amount_sat")).unwrap();
    assert_eq!(movement["effective_balance_sat"], -gross);
}

/// Gross is net and fee, and there is a fee.
fn assert_adds_up(estimate: &Value) {
    let [gross, fee, net] =
        ["gross_amount_sat", "fee_sat", "net_amount_sat"].map(|part| sats(estimate, part));
    assert_eq!(gross, fee + net, "{estimate:#}");
    assert!(fee > 0, "{estimate:#}");
}

#[tokio::test]
async fn named_vtxos_arrive_for_the_estimated_fee() {
    let (world, daemon) = scene(&[60_000, 50_000, 40_000]).await;
    let before = daemon.balance("spendable_sat").await;
    let mut named = daemon.vtxos().await;
    let kept = named.pop().unwrap();
    let to = foreign_address();
    let body = json!({"vtxos": named, "address": to});
    let estimate = daemon.post("/fees/offboard", body.clone()).await.ok();
    assert_adds_up(&estimate);
    assert_eq!(estimate["vtxos_spent"], json!(named));
    let done = daemon.post("/wallet/offboard/vtxos", body).await.ok();
    assert_pays(&world, &done, &to, sats(&estimate, "net_amount_sat")).await;
    assert_booked(&daemon, "offboard", &estimate).await;
    assert_eq!(daemon.vtxos().await, [kept]);
    let left = before - sats(&estimate, "gross_amount_sat");
    assert_eq!(daemon.balance("spendable_sat").await, left);
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn everything_arrives_for_the_estimated_fee() {
    let (world, daemon) = scene(&[60_000, 40_000]).await;
    let before = daemon.balance("spendable_sat").await;
    let to = foreign_address();
    let path = format!("/fees/offboard-all?address={to}");
    let estimate = daemon.get(&path).await.ok();
    assert_adds_up(&estimate);
    assert_eq!(estimate["gross_amount_sat"], before);
    let body = json!({"address": to});
    let done = daemon.post("/wallet/offboard/all", body).await.ok();
    assert_pays(&world, &done, &to, sats(&estimate, "net_amount_sat")).await;
    assert_booked(&daemon, "offboard", &estimate).await;
    assert_eq!(daemon.balance("spendable_sat").await, 0);
    assert_conserved(&world, &[&daemon]).await;
}

/// Without a body, and with one that names no address.
#[tokio::test]
async fn everything_goes_to_the_onchain_wallet_when_no_address_is_given() {
    let (world, daemon) = scene(&[60_000]).await;
    for body in [None, Some(json!({}))] {
        let fund = daemon.post_empty("/onchain/sync").await;
        assert_eq!(fund.status, 200);
        let before = daemon.get("/onchain/balance").await.ok()["total_sat"].clone();
        let own = daemon.post_empty("/onchain/addresses/next").await.ok()["address"].clone();
        let path = format!("/fees/offboard-all?address={}", own.as_str().unwrap());
        let estimate = daemon.get(&path).await.ok();
        let done = daemon.try_send("POST", "/wallet/offboard/all", body).await;
        done.unwrap().ok();
        assert_booked(&daemon, "offboard", &estimate).await;
        world.mine(1).await;
        let arrived = before.as_u64().unwrap() + sats(&estimate, "net_amount_sat");
        eventually("it is in the on-chain wallet", async || {
            daemon.post_empty("/onchain/sync").await.ok();
            let balance = daemon.get("/onchain/balance").await.ok();
            (balance["total_sat"] == arrived).then_some(())
        })
        .await;
        // For the next time.
        daemon.board(&world, 30_000).await;
    }
    assert_conserved(&world, &[&daemon]).await;
}

/// To each kind of address, whose length is part of the price.
#[tokio::test]
async fn an_exact_amount_arrives_and_costs_the_estimated_fee() {
    let (world, daemon) = scene(&[60_000, 40_000]).await;
    let mut left = daemon.balance("spendable_sat").await;
    let mut fees = Vec::new();
    for to in addresses() {
        let path = format!("/fees/send-onchain?amount_sat=12345&address={to}");
        let estimate = daemon.get(&path).await.ok();
        assert_adds_up(&estimate);
        assert_eq!(estimate["net_amount_sat"], 12_345);
        let body = json!({"destination": to, "amount_sat": 12_345});
        let done = daemon.post("/wallet/send-onchain", body).await.ok();
        assert_pays(&world, &done, &to, 12_345).await;
        assert_booked(&daemon, "send_onchain", &estimate).await;
        left -= sats(&estimate, "gross_amount_sat");
        daemon.wait_for_spendable(left).await;
        fees.push(sats(&estimate, "fee_sat"));
        world.mine(1).await;
    }
    let [taproot, key_hash, script_hash, legacy] = fees.try_into().unwrap();
    assert_eq!(taproot, script_hash, "scripts of the same length");
    assert!(key_hash < legacy && legacy < taproot);
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn an_amount_that_cannot_be_paid_is_estimated_at_the_highest_fee() {
    let (world, daemon) = scene(&[20_000]).await;
    let to = foreign_address();
    let path = format!("/fees/send-onchain?amount_sat=1000000&address={to}");
    let estimate = daemon.get(&path).await.ok();
    assert_adds_up(&estimate);
    assert_eq!(estimate["vtxos_spent"], json!([]));
    // The dearest class of the server's table.
    assert!(sats(&estimate, "fee_sat") > 8_000);
    for path in ["/fees/send-onchain?amount_sat=1000&", "/fees/offboard-all?"] {
        let ask = async |address: &str| daemon.get(&format!("{path}address={address}")).await;
        ask("nonsense").await.refused(400, "invalid_address");
        ask(MAINNET).await.refused(400, "wrong_network");
    }
    let unknown = format!("{}:0", "ab".repeat(32));
    for (vtxos, status, code) in bad_lists(&daemon, &unknown).await {
        let body = json!({"vtxos": vtxos, "address": to});
        daemon
            .post("/fees/offboard", body)
            .await
            .refused(status, code);
    }
    assert_conserved(&world, &[&daemon]).await;
}

/// The daemon is configured to wait until the transaction is confirmed.
#[tokio::test]
async fn unconfirmed_offboards_are_shown_as_pending() {
    let world = World::with(charging_rounds_of(1)).await;
    let deep = [("BARK_OFFBOARD_REQUIRED_CONFIRMATIONS", "1")];
    let daemon = Daemon::start_with(&[], &deep).await;
    daemon.create_wallet(&world).await;
    for sats in [60_000, 40_000] {
        daemon.fund_and_board(&world, sats).await;
    }
    let before = daemon.balance("spendable_sat").await;
    let (to, one) = (foreign_address(), daemon.vtxos().await.remove(0));
    for (route, body) in [
        ("offboard/vtxos", json!({"vtxos": [one], "address": to})),
        (
            "send-onchain",
            json!({"destination": to, "amount_sat": 9_000}),
        ),
    ] {
        let spendable = daemon.balance("spendable_sat").await;
        let path = format!("/wallet/{route}");
        daemon.post(&path, body).await.ok();
        let movement = &daemon.history().await[0];
        assert_eq!(movement["status"], "pending", "{route}");
        let gross = movement["effective_balance_sat"].as_i64().unwrap();
        let gross = gross.unsigned_abs();
        assert_eq!(
            daemon.balance("pending_offboard_sat").await,
            gross,
            "{route}"
        );
        assert_eq!(daemon.balance("spendable_sat").await, spendable - gross);
        world.mine(1).await;
        daemon.settled().await;
        assert_eq!(daemon.balance("pending_offboard_sat").await, 0, "{route}");
    }
    assert!(daemon.balance("spendable_sat").await < before);
    assert_conserved(&world, &[&daemon]).await;
}

/// H29: the server does not broadcast it; the daemon does, again and again.
#[tokio::test]
async fn a_payment_that_a_reorganisation_removes_comes_back() {
    let world = World::with(charging_rounds_of(1)).await;
    let deep = [("BARK_OFFBOARD_REQUIRED_CONFIRMATIONS", "2")];
    let daemon = Daemon::start_with(&[], &deep).await;
    daemon.create_wallet(&world).await;
    daemon.fund_and_board(&world, 60_000).await;
    let withhold = json!({"type": "withhold"});
    world.fault(json!({"target": "offboard.persisted", "action": withhold}));
    let (to, before) = (foreign_address(), daemon.balance("spendable_sat").await);
    let body = json!({"address": to});
    let done = daemon.post("/wallet/offboard/all", body).await.ok();
    let txid = done["offboard_txid"].as_str().unwrap();
    world.mine(1).await;
    world.unconfirm(txid, 1).await;
    daemon.wait_for_tip(&world).await;
    world.let_in(txid).await;
    assert_eq!(daemon.balance("pending_offboard_sat").await, before);
    world.mine(2).await;
    daemon.settled().await;
    let paid = daemon.movement("offboard").await;
    let fee = paid["offchain_fee_sat"].as_u64().unwrap();
    assert_pays(&world, &done, &to, before - fee).await;
    assert_conserved(&world, &[&daemon]).await;
}

/// Lists of VTXOs that are refused, with status and code.
async fn bad_lists(daemon: &Daemon, unknown: &str) -> Vec<(Value, u16, &'static str)> {
    let own = daemon.vtxos().await.remove(0);
    vec![
        (json!([]), 400, "no_vtxos"),
        (json!([own, own]), 400, "duplicate_vtxo"),
        (json!(["nonsense"]), 400, "invalid_vtxo_id"),
        (json!([own, "nonsense"]), 400, "invalid_vtxo_id"),
        (json!([unknown]), 404, "unknown_vtxo"),
        (json!([own, unknown]), 404, "unknown_vtxo"),
    ]
}

/// Nothing was started, and all the coins can be used together.
async fn assert_untouched(daemon: &Daemon, spendable: u64, movements: usize) {
    assert_eq!(daemon.balance("spendable_sat").await, spendable);
    assert_eq!(daemon.balance("pending_in_round_sat").await, 0);
    assert_eq!(daemon.balance("pending_offboard_sat").await, 0);
    assert!(daemon.rounds().await.is_empty());
    assert_eq!(daemon.history().await.len(), movements);
}

#[tokio::test]
async fn requests_about_wrong_vtxos_are_refused_and_lock_nothing() {
    let (world, daemon) = scene(&[60_000, 40_000]).await;
    let spendable = daemon.balance("spendable_sat").await;
    let movements = daemon.history().await.len();
    let unknown = format!("{}:0", "ab".repeat(32));
    for route in ["offboard/vtxos", "refresh/vtxos", "refresh/delegated/vtxos"] {
        let path = format!("/wallet/{route}");
        for (vtxos, status, code) in bad_lists(&daemon, &unknown).await {
            let reply = daemon.post(&path, json!({"vtxos": vtxos})).await;
            if code == "unknown_vtxo" {
                assert_eq!(reply.body["resources"], json!([unknown]), "{route}");
            }
            reply.refused(status, code);
        }
        for body in [json!({}), json!({"vtxos": "x"}), json!({"vtxos": [1]})] {
            daemon.post(&path, body).await.refused(422, "invalid_body");
        }
        assert_untouched(&daemon, spendable, movements).await;
    }
    daemon.refresh_all().await;
    assert!(world.round().await);
    daemon.finish_round(&world).await;
    assert_eq!(daemon.vtxos().await.len(), 1);
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn onchain_payments_that_cannot_be_made_are_refused_and_lock_nothing() {
    let (world, daemon) = scene(&[60_000, 40_000]).await;
    let spendable = daemon.balance("spendable_sat").await;
    let movements = daemon.history().await.len();
    let (to, own) = (foreign_address(), daemon.vtxos().await);
    let send = async |to: &str, amount: Value| {
        let body = json!({"destination": to, "amount_sat": amount});
        daemon.post("/wallet/send-onchain", body).await
    };
    let cases = [
        (json!(0), "invalid_amount"),
        (json!(u64::MAX), "invalid_amount"),
        (json!(329), "amount_too_small"),
        (json!(spendable), "insufficient_funds"),
        (json!(10_000_000), "insufficient_funds"),
    ];
    for (amount, code) in cases {
        send(&to, amount).await.refused(400, code);
    }
    for (to, code) in [
        ("nonsense", "invalid_address"),
        ("", "invalid_address"),
        (MAINNET, "wrong_network"),
    ] {
        send(to, json!(9_000)).await.refused(400, code);
        let named = json!({"vtxos": own, "address": to});
        let all = json!({"address": to});
        for (route, body) in [("vtxos", named), ("all", all)] {
            let path = format!("/wallet/offboard/{route}");
            daemon.post(&path, body).await.refused(400, code);
        }
    }
    assert_untouched(&daemon, spendable, movements).await;
    let body = json!({"address": to});
    daemon.post("/wallet/offboard/all", body).await.ok();
    daemon.settled().await;
    assert_eq!(daemon.balance("spendable_sat").await, 0);
    daemon
        .post_empty("/wallet/offboard/all")
        .await
        .refused(400, "no_vtxos");
    let spent = json!({"vtxos": [own[0]], "address": to});
    daemon
        .post("/wallet/offboard/vtxos", spent)
        .await
        .refused(409, "vtxo_not_spendable");
    assert_conserved(&world, &[&daemon]).await;
}

/// A VTXO that is worth less than the fee can still be offboarded with others.
#[tokio::test]
async fn a_vtxo_below_its_fee_is_refused_and_stays_spendable() {
    let (world, daemon) = scene(&[800]).await;
    let (spendable, movements) = (
        daemon.balance("spendable_sat").await,
        daemon.history().await.len(),
    );
    assert_eq!(spendable, 470);
    let own = daemon.vtxos().await;
    let to = foreign_address();
    let body = json!({"vtxos": own, "address": to});
    let estimate = daemon.post("/fees/offboard", body.clone()).await.ok();
    assert_eq!(estimate["net_amount_sat"], 0);
    for route in ["offboard/vtxos", "refresh/vtxos", "refresh/delegated/vtxos"] {
        let path = format!("/wallet/{route}");
        daemon
            .post(&path, body.clone())
            .await
            .refused(400, "amount_too_small");
    }
    for route in ["offboard/all", "refresh/all"] {
        let path = format!("/wallet/{route}");
        daemon
            .post_empty(&path)
            .await
            .refused(400, "amount_too_small");
    }
    assert_untouched(&daemon, spendable, movements).await;
    daemon.fund_and_board(&world, 40_000).await;
    let path = format!("/fees/offboard-all?address={to}");
    let estimate = daemon.get(&path).await.ok();
    let done = daemon.post("/wallet/offboard/all", json!({"address": to}));
    let done = done.await.ok();
    assert_pays(&world, &done, &to, sats(&estimate, "net_amount_sat")).await;
    assert_booked(&daemon, "offboard", &estimate).await;
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn more_vtxos_than_the_server_offboards_at_once_are_refused_before_anything_is_locked() {
    let params = Params {
        max_offboard_inputs: 1,
        ..charging_rounds_of(1)
    };
    let (world, daemon) = scene_at(params, &[60_000, 40_000]).await;
    let (spendable, movements) = (
        daemon.balance("spendable_sat").await,
        daemon.history().await.len(),
    );
    let to = foreign_address();
    let everything = json!({"vtxos": daemon.vtxos().await, "address": to});
    let payment = json!({"destination": to, "amount_sat": 70_000});
    for (route, body) in [
        ("offboard/vtxos", everything),
        ("offboard/all", json!({"address": to})),
        ("send-onchain", payment.clone()),
    ] {
        let path = format!("/wallet/{route}");
        daemon
            .post(&path, body)
            .await
            .refused(400, "too_many_inputs");
    }
    assert_untouched(&daemon, spendable, movements).await;
    // As the refusal advises.
    daemon.refresh_all().await;
    assert!(world.round().await);
    daemon.finish_round(&world).await;
    let done = daemon.post("/wallet/send-onchain", payment).await.ok();
    assert_pays(&world, &done, &to, 70_000).await;
    daemon.settled().await;
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn a_payment_to_a_blocked_address_is_refused_and_locks_nothing() {
    let to = foreign_address();
    let script = Address::from_str(&to).unwrap().assume_checked();
    let params = Params {
        blocked_scripts: vec![script.script_pubkey()],
        ..charging_rounds_of(1)
    };
    let (world, daemon) = scene_at(params, &[60_000, 40_000]).await;
    let spendable = daemon.balance("spendable_sat").await;
    let payment = json!({"destination": to, "amount_sat": 70_000});
    for (route, body) in [
        ("offboard/all", json!({"address": to})),
        ("send-onchain", payment),
    ] {
        let path = format!("/wallet/{route}");
        let reply = daemon.post(&path, body).await;
        let message = reply.refused(409, "server_refused");
        assert!(message.contains("blocked"), "{message}");
        daemon.wait_for_spendable(spendable).await;
        let failed = &daemon.history().await[0];
        assert_eq!(failed["status"], "failed", "{failed:#}");
        assert_eq!(failed["effective_balance_sat"], 0, "{failed:#}");
    }
    assert_eq!(world.received(&to).await, 0);
    assert_eq!(world.calls_of("FinishOffboard"), 0);
    let other = world.sandbox.faucet.address().to_string();
    let body = json!({"address": other});
    daemon.post("/wallet/offboard/all", body).await.ok();
    daemon.settled().await;
    assert_eq!(daemon.balance("spendable_sat").await, 0);
    assert_conserved(&world, &[&daemon]).await;
}

/// The server loses the session of an offboard, and a round takes the VTXO for a refresh that was delegated before.
#[tokio::test]
async fn an_offboard_ends_when_a_delegated_refresh_takes_its_coins() {
    let world = World::with(charging_rounds_of(0)).await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 80_000).await;
    let old = daemon.vtxos().await;
    let body = json!({"vtxos": old});
    let path = "/wallet/refresh/delegated/vtxos";
    daemon.post(path, body.clone()).await.ok();
    world.fault(json!({"target": "FinishOffboard", "action": {"type": "drop_before"}}));
    let is_asked = async || world.faults_fired("FinishOffboard") > 0;
    daemon
        .post_and_leave("/wallet/offboard/vtxos", body, is_asked)
        .await;
    world.sandbox.ark.restart().await;
    assert!(world.round().await);
    world.mine(1).await;
    world.no_faults();
    eventually("both have ended", async || {
        daemon.post_empty("/wallet/sync").await.ok();
        let history = daemon.history().await;
        let pending = |movement: &Value| movement["status"] == "pending";
        (!history.iter().any(pending)).then_some(())
    })
    .await;
    assert_eq!(daemon.movement("refresh").await["status"], "successful");
    let offboard = daemon.movement("offboard").await;
    assert_eq!(offboard["status"], "failed", "{offboard:#}");
    assert_eq!(offboard["effective_balance_sat"], 0);
    assert_balanced(&world, &[&daemon], &[]).await;
}
