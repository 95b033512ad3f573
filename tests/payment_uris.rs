//! `bitcoin:` URIs that offer every way to pay the wallet (docs/protocol.md §23.3).

use serde_json::{Value, json};

use crate::support::{Daemon, World, assert_conserved, hash_of};

const PATH: &str = "/wallet/bip321";

fn text<'a>(answer: &'a Value, key: &str) -> &'a str {
    answer[key]
        .as_str()
        .unwrap_or_else(|| panic!("no {key} in {answer:#}"))
}

#[tokio::test]
async fn each_way_of_a_payment_uri_reaches_the_wallet() {
    let world = World::new().await;
    let payee = Daemon::with_wallet(&world).await;
    let payer = Daemon::with_wallet(&world).await;
    payer.fund_and_board(&world, 50_000).await;
    let request = json!({"amount_sat": 1_500, "onchain": true, "label": "Tea & Cake", "message": "2 % of 100=2+é"});
    let answer = payee.post(PATH, request).await.ok();
    let (ark, bolt11, onchain) = (
        text(&answer, "ark"),
        text(&answer, "bolt11"),
        text(&answer, "onchain"),
    );
    let expected = format!(
        "bitcoin:?amount=0.000015&label=Tea%20%26%20Cake&message=2%20%25%20of%20100%3D2%2B%C3%A9&lightning={bolt11}&tb={onchain}&ark={ark}"
    );
    assert_eq!(text(&answer, "bip321"), expected);

    // The first way is the Ark address.
    let uri = json!({"destination": expected});
    payer.post("/wallet/send", uri.clone()).await.ok();
    payee.wait_for_spendable(1_500).await;
    let received = payee.movement("receive").await;
    assert_eq!(
        received["received_on"][0]["destination"],
        json!({"type": "ark", "value": ark})
    );
    let paid = payer.post("/lightning/pay", uri).await.ok();
    assert_eq!(paid["payment_hash"], hash_of(bolt11));
    payee.wait_for_spendable(3_000).await;
    world.pay(onchain, 1_500).await;
    world.mine(1).await;
    payee.post_empty("/onchain/sync").await.ok();
    assert_eq!(payee.get("/onchain/balance").await.ok()["total_sat"], 1_500);
    payer.settled().await;
    assert_conserved(&world, &[&payer, &payee]).await;
}

#[tokio::test]
async fn a_payment_uri_offers_only_what_was_asked_for() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    let nothing = daemon.post(PATH, json!({})).await.ok();
    let ark = text(&nothing, "ark");
    assert_eq!(
        nothing,
        json!({"ark": ark, "bip321": format!("bitcoin:?ark={ark}")})
    );
    let nulls = json!({"amount_sat": null, "onchain": null, "label": null, "message": null});
    let again = daemon.post(PATH, nulls).await.ok();
    assert_ne!(again["ark"], nothing["ark"], "each URI has a new address");
    assert_eq!(again.as_object().map(serde_json::Map::len), Some(2));
    let onchain = daemon.post(PATH, json!({"onchain": true})).await.ok();
    assert!(onchain.get("bolt11").is_none(), "{onchain:#}");
    assert_eq!(
        text(&onchain, "bip321"),
        format!(
            "bitcoin:?tb={}&ark={}",
            text(&onchain, "onchain"),
            text(&onchain, "ark")
        )
    );
    assert_eq!(daemon.get("/lightning/receives").await.ok(), json!([]));
}

/// A QR code with upper-case letters only is smaller.
#[tokio::test]
async fn an_upper_case_payment_uri_is_paid_too() {
    let world = World::new().await;
    let payee = Daemon::with_wallet(&world).await;
    let payer = Daemon::with_wallet(&world).await;
    payer.fund_and_board(&world, 50_000).await;
    let request = json!({"amount_sat": 2_000, "onchain": true, "label": "TEA É é"});
    let path = format!("{PATH}?uppercase=true");
    let answer = payee.post(&path, request).await.ok();
    let ways = ["bolt11", "onchain", "ark"].map(|way| text(&answer, way));
    for way in ways {
        assert_eq!(way, way.to_lowercase(), "destinations keep their case");
    }
    let [bolt11, onchain, ark] = ways.map(str::to_uppercase);
    let uri = text(&answer, "bip321");
    assert_eq!(
        uri,
        format!(
            "BITCOIN:?AMOUNT=0.00002&LABEL=TEA%20%C3%89%20%C3%A9&LIGHTNING={bolt11}&TB={onchain}&ARK={ark}"
        )
    );
    payer
        .post("/wallet/send", json!({"destination": uri}))
        .await
        .ok();
    payee.wait_for_spendable(2_000).await;
    payer
        .post("/lightning/pay", json!({"destination": uri}))
        .await
        .ok();
    payee.wait_for_spendable(4_000).await;
    payer.settled().await;
    assert_conserved(&world, &[&payer, &payee]).await;
}

/// The index that the next key gets, which the error for an index beyond it names.
async fn next_index(daemon: &Daemon) -> String {
    let beyond = daemon.get("/wallet/addresses/index/100000").await;
    beyond.refused(404, "unknown_address_index")
}

/// W29: a request that fails takes no address and makes no invoice.
#[tokio::test]
async fn a_payment_uri_that_cannot_be_made_uses_up_nothing() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    let before = next_index(&daemon).await;
    let long = "X".repeat(1_001);
    for (query, body, code) in [
        ("", json!({"amount_sat": 0}), "invalid_amount"),
        (
            "",
            json!({"amount_sat": 2_100_000_000_000_001u64}),
            "invalid_amount",
        ),
        ("", json!({"label": long}), "label_too_long"),
        ("", json!({"message": long}), "label_too_long"),
        (
            "?uppercase=true",
            json!({"amount_sat": 1_000, "label": "Tea", "onchain": true}),
            "not_uppercase",
        ),
        (
            "?uppercase=true",
            json!({"amount_sat": 1_000, "message": "TEa", "onchain": true}),
            "not_uppercase",
        ),
    ] {
        let message = daemon
            .post(&format!("{PATH}{query}"), body)
            .await
            .refused(400, code);
        assert!(message.len() > 20, "{message}");
    }
    let shape = daemon
        .post(&format!("{PATH}?uppercase=yes"), json!({}))
        .await;
    shape.refused(400, "invalid_query");
    daemon
        .post(PATH, json!({"onchain": 1}))
        .await
        .refused(422, "invalid_body");
    let away = json!({"type": "status", "code": 14, "message": "away"});
    world.fault(json!({"target": "StartLightningReceive", "action": away}));
    let body = json!({"amount_sat": 1_000, "onchain": true});
    daemon
        .post(PATH, body)
        .await
        .refused(503, "server_unavailable");
    assert_eq!(next_index(&daemon).await, before);
    assert_eq!(daemon.get("/lightning/receives").await.ok(), json!([]));
    // Without an amount the Ark server is not needed.
    daemon.post(PATH, json!({"onchain": true})).await.ok();
    assert_ne!(next_index(&daemon).await, before);
}

/// A URI with its destinations replaced by their names.
fn form(answer: &Value) -> String {
    let destinations = ["bolt11", "onchain", "ark"].into_iter();
    let uri = text(answer, "bip321").to_owned();
    destinations.fold(uri, |uri, name| {
        let destination = text(answer, name);
        uri.replace(destination, name)
            .replace(&destination.to_uppercase(), name)
    })
}

#[tokio::test]
async fn barkd_and_the_wallet_write_payment_uris_alike_and_pay_each_other() {
    let world = World::new().await;
    let (ours, barkd) = (
        Daemon::with_wallet(&world).await,
        Daemon::barkd(&world).await,
    );
    ours.fund_and_board(&world, 50_000).await;
    for (query, label) in [("", "Tea Cake"), ("?uppercase=true", "TEA CAKE")] {
        let request =
            json!({"amount_sat": 1_500, "onchain": true, "label": label, "message": "NO 5"});
        let path = format!("{PATH}{query}");
        let mine = ours.post(&path, request.clone()).await.ok();
        let theirs = barkd.post(&path, request).await.ok();
        assert_eq!(form(&mine), form(&theirs));
        let to_barkd = json!({"destination": theirs["bip321"]});
        ours.post("/wallet/send", to_barkd).await.ok();
    }
    barkd.post_empty("/wallet/sync/mailbox").await.ok();
    barkd.wait_for_spendable(3_000).await;
    barkd.settled().await;
    assert_conserved(&world, &[&ours, &barkd]).await;
}
