//! What a person does with webhooks: create, change, delete, rotate the secret.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::receiver::Receiver;
use super::{first_of, newest, notes, patch, path, settled, shown};
use crate::support::{Daemon, World};

fn secret(byte: u8) -> String {
    format!("whsec_{}", STANDARD.encode([byte; 24]))
}

#[tokio::test]
async fn a_rotation_signs_with_both_secrets_and_nobody_else_sees_them() {
    let world = World::new().await;
    let daemon = settled(&world).await;
    let receiver = Receiver::start().await;
    let webhook = receiver
        .subscribe(
            &daemon,
            json!({"secret": secret(1), "event_types": ["movement-updated"]}),
        )
        .await;
    assert_eq!(webhook["secret"], secret(1));
    let rotate = format!("{}/rotate-secret", path(&webhook));
    let rotated = daemon.post(&rotate, json!({})).await.ok();
    receiver.trust(&rotated);
    assert_ne!(rotated["secret"], webhook["secret"]);
    assert!(rotated["previous_secret_expires_at"].is_string());
    notes(&daemon, 1).await;
    receiver.wait_for(newest(&daemon)).await;
    let both = [&rotated["secret"], &webhook["secret"]].map(|it| it.as_str().map(str::to_owned));
    assert_eq!(
        receiver.signers(&receiver.calls()[0]),
        both,
        "the new one comes first"
    );

    let given = json!({"secret": secret(2), "grace_secs": 0});
    let rotated = daemon.post(&rotate, given).await.ok();
    receiver.trust(&rotated);
    assert!(rotated["previous_secret_expires_at"].is_null());
    notes(&daemon, 1).await;
    receiver.wait_for(newest(&daemon)).await;
    assert_eq!(receiver.signers(&receiver.calls()[1]), [Some(secret(2))]);

    for path in [path(&webhook), "/webhooks".to_owned()] {
        let answer = daemon.get(&path).await.ok().to_string();
        assert!(!answer.contains("whsec_"), "{answer}");
    }
    assert!(!daemon.log().contains("whsec_"));
    for wrong in [
        json!({"grace_secs": 2_592_001}),
        json!({"secret": "whsec_AAAA"}),
    ] {
        let refused = daemon.post(&rotate, wrong).await;
        assert_eq!(refused.status, 400, "{:#}", refused.body);
    }
}

#[tokio::test]
async fn a_change_keeps_what_it_does_not_name_and_a_disabled_webhook_waits() {
    let world = World::new().await;
    let daemon = settled(&world).await;
    let receiver = Receiver::start().await;
    let settings = json!({"description": "shop", "event_types": ["movement-updated"]});
    let webhook = receiver.subscribe(&daemon, settings).await;
    let changed = patch(&daemon, &webhook, json!({"enabled": false, "url": null})).await;
    assert_eq!(changed["enabled"], false);
    for key in ["url", "description", "event_types", "created_at"] {
        assert_eq!(changed[key], webhook[key], "{key}");
    }
    notes(&daemon, 4).await;
    let state = shown(&daemon, &webhook).await;
    let first = first_of(&state);
    assert!(first + 3 <= newest(&daemon));
    let change = json!({"description": "", "event_types": [], "enabled": true});
    let changed = patch(&daemon, &webhook, change).await;
    assert_eq!(
        (&changed["description"], &changed["event_types"]),
        (&json!(""), &json!([]))
    );
    let last = newest(&daemon);
    receiver.wait_for(last).await;
    receiver.assert_complete(first, last);
    let listed = daemon.get("/webhooks").await.ok();
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    assert_eq!(listed[0]["id"], webhook["id"]);

    let confirmed = receiver.confirmed();
    let gone = daemon.try_send("DELETE", &path(&webhook), None).await;
    assert_eq!(gone.unwrap().status, 204);
    notes(&daemon, 2).await;
    // A second webhook gets what the deleted one would have got.
    let other = Receiver::start().await;
    other.subscribe(&daemon, json!({"after": last})).await;
    other.wait_for(newest(&daemon)).await;
    assert!(
        receiver.confirmed() == confirmed,
        "it gets nothing any more"
    );
    assert_eq!(
        daemon.get("/webhooks").await.ok().as_array().unwrap().len(),
        1
    );
    for (method, below) in [
        ("GET", ""),
        ("DELETE", ""),
        ("PATCH", ""),
        ("POST", "/test"),
        ("POST", "/rotate-secret"),
        ("GET", "/deliveries"),
    ] {
        let body =
            matches!((method, below), ("PATCH", _) | (_, "/rotate-secret")).then(|| json!({}));
        let path = format!("{}{below}", path(&webhook));
        let answer = daemon.try_send(method, &path, body).await.unwrap();
        answer.refused(404, "unknown_webhook");
    }
}

#[tokio::test]
async fn invalid_webhooks_are_refused() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    let url = "https://shop.example/hook";
    let long = "x".repeat(257);
    let cases: [(Value, &str); 8] = [
        (json!({"url": "shop.example"}), "invalid_webhook_url"),
        (json!({"url": "ftp://shop.example"}), "invalid_webhook_url"),
        (
            json!({"url": "https://me:pw@shop.example"}),
            "invalid_webhook_url",
        ),
        (
            json!({"url": url, "description": long}),
            "description_too_long",
        ),
        (
            json!({"url": url, "event_types": ["movement"]}),
            "unknown_event_type",
        ),
        (
            json!({"url": url, "secret": "hunter2"}),
            "invalid_webhook_secret",
        ),
        (
            json!({"url": url, "secret": "whsec_AAAA"}),
            "invalid_webhook_secret",
        ),
        (json!({"url": url, "after": 1_000_000}), "cursor_ahead"),
    ];
    for (body, code) in &cases {
        let message = daemon
            .post("/webhooks", body.clone())
            .await
            .refused(400, code);
        assert!(
            !message.contains("pw@") && !message.contains("hunter2"),
            "{message}"
        );
    }
    let valid = json!({"url": url, "event_types": ["movement-created"]});
    let webhook = daemon.post("/webhooks", valid.clone()).await.ok();
    for (change, code) in cases.iter().take(3) {
        let path = path(&webhook);
        let answer = daemon.try_send("PATCH", &path, Some(change.clone())).await;
        answer.unwrap().refused(400, code);
    }
    for limit in [0, 1001] {
        let path = format!("{}/deliveries?limit={limit}", path(&webhook));
        daemon.get(&path).await.refused(400, "invalid_limit");
    }
    for _ in 1..32 {
        daemon.post("/webhooks", valid.clone()).await.ok();
    }
    let one_more = daemon.post("/webhooks", valid).await;
    one_more.refused(409, "too_many_webhooks");
    let without = Daemon::start().await;
    without.get("/webhooks").await.refused(422, "no_wallet");
}
