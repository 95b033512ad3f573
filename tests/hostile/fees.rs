//! A server whose prices and limits would eat the wallet: nothing is charged above the operator's ceilings (H47, H62).

use arkwalletd_sandbox::ark::Params;
use arkwalletd_sandbox::chain::FeeRates;
use bitcoin::{Amount, FeeRate};
use serde_json::json;

use super::scene;
use crate::support::{Daemon, World, assert_conserved, charging_rounds_of, eventually, rounds_of};

/// Waits until a fact with this code waits for the operator; answers its message.
async fn attention_of(daemon: &Daemon, code: &str) -> String {
    eventually(&format!("attention: {code}"), async || {
        let facts = daemon.attention().await;
        let fact = facts.iter().find(|fact| fact["code"] == code)?;
        Some(fact["message"].as_str().expect("a text").to_owned())
    })
    .await
}

/// Waits until nothing waits for the operator.
async fn no_attention(daemon: &Daemon) {
    eventually("no attention", async || {
        daemon.attention().await.is_empty().then_some(())
    })
    .await;
}

/// Makes the server lie about a field of its parameters.
fn lie(world: &World, field: &str) {
    let action = json!({"type": "replace_ark_info", "field": field});
    world.fault(json!({"target": "info", "action": action}));
}

/// Waits until the daemon knows the price of a refresh, in ppm.
async fn wait_for_refresh_ppm(daemon: &Daemon, ppm: u64) {
    eventually("the price is known", async || {
        let info = daemon.get("/wallet/ark-info").await.ok();
        let entry = &info["fees"]["refresh"]["ppm_expiry_table"][0];
        (entry["ppm"] == ppm).then_some(())
    })
    .await;
}

/// The autopilot does not pay 99.9 % for a refresh, says so, and refreshes once the price is right.
#[tokio::test]
async fn a_refresh_that_costs_nearly_everything_is_not_made_automatically() {
    let world = World::with(rounds_of(1)).await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 500_000).await;
    let old = daemon.vtxos().await;
    lie(&world, "refresh_fee");
    wait_for_refresh_ppm(&daemon, 999_000).await;
    // Due, and one block before the expiry.
    world.mine(425).await;
    daemon.wait_for_tip(&world).await;
    assert!(!world.round().await, "nobody takes part");
    assert_eq!(world.calls_of("SubmitPayment"), 0);
    assert_eq!(daemon.vtxos().await, old);
    let message = attention_of(&daemon, "fee_above_ceiling").await;
    assert!(message.contains("499500 sat"), "{message}");

    world.no_faults();
    wait_for_refresh_ppm(&daemon, 0).await;
    world.successful_round().await;
    daemon.finish_round(&world).await;
    assert_eq!(daemon.balance("spendable_sat").await, 500_000);
    no_attention(&daemon).await;
    assert_conserved(&world, &[&daemon]).await;
}

/// Limits that make every VTXO due, or a VTXO into thousands, are those of a server that is not worked with.
#[tokio::test]
async fn absurd_limits_disconnect_the_server_and_nothing_is_swapped() {
    for field in ["exit_depth", "vtxo_amount", "lifetime"] {
        let world = World::with(rounds_of(1)).await;
        let daemon = Daemon::with_wallet(&world).await;
        daemon.fund_and_board(&world, 50_000).await;
        let old = daemon.vtxos().await;
        lie(&world, field);
        daemon.wait_for_connected(false).await;
        let message = attention_of(&daemon, "server_unsafe").await;
        assert!(message.contains("limit"), "{field}: {message}");
        assert!(!world.round().await, "{field}");
        assert_eq!(world.calls_of("SubmitPayment"), 0, "{field}");
        assert_eq!(daemon.vtxos().await, old, "{field}");

        world.no_faults();
        daemon.wait_for_connected(true).await;
        no_attention(&daemon).await;
        assert_conserved(&world, &[&daemon]).await;
    }
}

#[tokio::test]
async fn a_requested_refresh_above_its_ceiling_is_refused_by_name() {
    let (world, daemon) = scene().await;
    let old = daemon.vtxos().await;
    lie(&world, "refresh_fee");
    wait_for_refresh_ppm(&daemon, 999_000).await;
    for route in ["vtxos", "delegated/vtxos"] {
        let path = format!("/wallet/refresh/{route}");
        let reply = daemon.post(&path, json!({"vtxos": old})).await;
        let message = reply.refused(409, "fee_above_ceiling");
        assert!(message.contains("max_refresh_fee_sat"), "{message}");
        assert!(message.contains("max_refresh_fee_ppm"), "{message}");
    }
    assert!(daemon.rounds().await.is_empty());
    assert_eq!(daemon.balance("spendable_sat").await, 80_000);
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn a_board_above_its_ceiling_is_refused_unless_the_operator_allows_it() {
    let mut params = Params::free();
    params.fees.board.base_fee = Amount::from_sat(30_000);
    let world = World::with(params).await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund(&world, 200_000).await;
    let body = json!({"amount_sat": 100_000});
    let reply = daemon.post("/boards/board-amount", body.clone()).await;
    let message = reply.refused(409, "fee_above_ceiling");
    assert!(message.contains("max_board_fee_sat"), "{message}");
    assert_eq!(world.calls_of("RequestBoardCosign"), 0);
    assert_eq!(daemon.get("/boards/pending").await.ok(), json!([]));

    let allowed = [("BARK_MAX_BOARD_FEE_SAT", "30000")];
    let generous = Daemon::start_with(&[], &allowed).await;
    generous.create_wallet(&world).await;
    generous.fund(&world, 200_000).await;
    generous.board(&world, 100_000).await;
    assert_eq!(generous.balance("spendable_sat").await, 70_000);
    assert_conserved(&world, &[&daemon, &generous]).await;
}

/// The server's fee rate grows by a factor of 100 between the estimate and the request.
#[tokio::test]
async fn an_offboard_whose_fee_rate_has_exploded_is_refused_and_loses_nothing() {
    let world = World::simulated(charging_rounds_of(1)).await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 80_000).await;
    let before = daemon.balance("spendable_sat").await;
    let to = world.sandbox.faucet.address().to_string();
    let path = format!("/fees/offboard-all?address={to}");
    let fee = daemon.get(&path).await.ok()["fee_sat"].as_u64().unwrap();
    let rate = FeeRate::from_sat_per_vb_u32(200);
    let rates = FeeRates {
        fast: rate,
        regular: rate,
        slow: rate,
    };
    let set = world.sandbox.chain.set_fee_rates(rates).await;
    set.expect("the sandbox takes it");
    let dearer = daemon.get(&path).await.ok()["fee_sat"].as_u64().unwrap();
    assert!(dearer > 40 * fee, "{dearer} after {fee}");
    let exact = json!({"destination": to, "amount_sat": 20_000});
    for (path, body) in [
        ("/wallet/offboard/all", json!({"address": to})),
        ("/wallet/send-onchain", exact),
    ] {
        let reply = daemon.post(path, body).await;
        let message = reply.refused(409, "fee_above_ceiling");
        assert!(message.contains("max_offboard_fee_rate"), "{message}");
    }
    assert_eq!(world.calls_of("RequestArkoorCosign"), 0);
    assert_eq!(world.calls_of("PrepareOffboard"), 0);
    assert_eq!(daemon.balance("spendable_sat").await, before);
    assert_conserved(&world, &[&daemon]).await;
}

/// The price grows while a refresh waits for its round and one of its inputs is spent, so that the rest is quoted again.
#[tokio::test]
async fn the_rest_of_a_refresh_costs_no_more_than_was_quoted() {
    for route in ["vtxos", "delegated/vtxos"] {
        let world = World::with(rounds_of(usize::from(route == "vtxos"))).await;
        let (daemon, payee) = (
            Daemon::with_wallet(&world).await,
            Daemon::with_wallet(&world).await,
        );
        for sats in [500_000, 400_000] {
            daemon.fund_and_board(&world, sats).await;
        }
        let old = daemon.vtxos().await;
        let path = format!("/wallet/refresh/{route}");
        daemon.post(&path, json!({"vtxos": old})).await.ok();
        lie(&world, "refresh_base_fee");
        eventually("the price is known", async || {
            let info = daemon.get("/wallet/ark-info").await.ok();
            (info["fees"]["refresh"]["base_fee_sat"] == 1_000).then_some(())
        })
        .await;
        let submitted = world.calls_of("SubmitRoundParticipation");
        daemon.send(&payee.address().await, 10_000).await.ok();
        daemon.post_empty("/wallet/sync").await.ok();
        world.round().await;
        daemon.wait_without_rounds().await;
        let refresh = daemon.movement("refresh").await;
        assert_eq!(refresh["status"], "canceled", "{refresh:#}");
        assert_eq!(refresh["effective_balance_sat"], 0, "{refresh:#}");
        assert_eq!(world.calls_of("SubmitPayment"), 0);
        assert_eq!(world.calls_of("SubmitRoundParticipation"), submitted);
        assert_eq!(daemon.balance("spendable_sat").await, 890_000);
        assert_conserved(&world, &[&daemon, &payee]).await;
    }
}
