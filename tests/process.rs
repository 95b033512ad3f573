//! The process: flags, locks, secrets, exit codes (docs/protocol.md §21, §22).

use std::process::Output;

use crate::support::{Daemon, World, program};

/// Runs the program to its end.
async fn run(arguments: &[&str]) -> Output {
    let run = tokio::process::Command::new(program())
        .args(arguments)
        .env_remove("HOME")
        .kill_on_drop(true)
        .output();
    tokio::time::timeout(std::time::Duration::from_secs(30), run)
        .await
        .expect("it ends")
        .expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn a_second_daemon_on_the_same_folder_refuses_to_start() {
    let daemon = Daemon::start().await;
    let folder = daemon.folder().to_str().unwrap();
    let second = run(&["--datadir", folder, "--port", "39999"]).await;
    assert_eq!(second.status.code(), Some(1));
    let stderr = text(&second.stderr);
    assert!(
        stderr.contains("another barkd is already running"),
        "{stderr}"
    );
    daemon.get("/wallet").await.ok();
}

#[tokio::test]
async fn secrets_are_shown_and_renewed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    assert_eq!(
        run(&["--datadir", folder, "secret", "show"])
            .await
            .status
            .code(),
        Some(1)
    );
    let fresh = run(&["--datadir", folder, "secret", "refresh"]).await;
    assert!(fresh.status.success());
    assert_eq!(text(&fresh.stdout).trim().len(), 44);
    let given = run(&[
        "--datadir",
        folder,
        "secret",
        "refresh",
        "--secret",
        &"2a".repeat(32),
    ])
    .await;
    assert_eq!(
        text(&given.stdout),
        "ACoqKioqKioqKioqKioqKioqKioqKioqKioqKioqKioq\n"
    );
    assert_eq!(
        text(&run(&["--datadir", folder, "secret", "show"]).await.stdout),
        text(&given.stdout)
    );
    assert_eq!(
        run(&["--datadir", folder, "secret", "refresh", "--secret", "2a"])
            .await
            .status
            .code(),
        Some(2)
    );
}

#[tokio::test]
async fn wrong_flags_are_reported_and_end_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    for (flags, code, phrase) in [
        (vec!["--port", "0"], 1, "port"),
        (vec!["--host", "localhost"], 2, "invalid value"),
        (
            vec!["--no-auth", "--host", "0.0.0.0", "--port", "39998"],
            1,
            "refusing to start",
        ),
        (
            vec!["--allowed-origins", "*", "--port", "39998"],
            1,
            "origin",
        ),
        (vec!["--no-such-flag"], 2, "unexpected argument"),
    ] {
        let mut arguments = vec!["--datadir", folder];
        arguments.extend(&flags);
        let ended = run(&arguments).await;
        let stderr = text(&ended.stderr);
        assert_eq!(ended.status.code(), Some(code), "{flags:?}: {stderr}");
        assert!(stderr.contains(phrase), "{flags:?}: {stderr}");
    }
}

#[tokio::test]
async fn no_auth_is_a_flag_and_not_a_variable() {
    let mut open = Daemon::start_with(&["--no-auth"], &[]).await;
    open.use_token(None);
    open.get("/wallet").await.ok();
    let mut closed = Daemon::start_with(&[], &[("BARKD_NO_AUTH", "true")]).await;
    closed.use_token(None);
    closed.get("/wallet").await.refused(401, "missing_token");
}

#[tokio::test]
async fn a_daemon_without_auth_refuses_web_pages() {
    let mut open = Daemon::start_with(&["--no-auth"], &[]).await;
    open.use_token(None);
    let rebound = open.raw("POST", "/api/v1/wallet/sync", |request| {
        request.header("host", "evil.example")
    });
    assert_eq!(rebound.await.status, 403);
    let foreign = open.raw("POST", "/api/v1/wallet/sync", |request| {
        request.header("origin", "https://evil.example")
    });
    assert_eq!(foreign.await.status, 403);
}

/// The three headers on which an answer may depend (docs/protocol.md §22.6).
const VARY: &str = "origin, access-control-request-method, access-control-request-headers";

#[tokio::test]
async fn allowed_web_pages_may_call_and_others_may_not() {
    let daemon = Daemon::start_with(&["--allowed-origins", "https://shop.example"], &[]).await;
    let preflight = async |path: &str, origin: &'static str| {
        daemon
            .raw("OPTIONS", path, |request| {
                request
                    .header("origin", origin)
                    .header("access-control-request-method", "POST")
                    .header("access-control-request-headers", "authorization")
            })
            .await
    };
    for path in ["/api/v1/wallet/send", "/no/such/route"] {
        let answer = preflight(path, "https://shop.example").await;
        assert_eq!((answer.status, answer.body.is_null()), (200, true));
        let header = |name: &str| answer.headers[name].to_str().unwrap();
        assert_eq!(
            header("access-control-allow-origin"),
            "https://shop.example"
        );
        assert_eq!(
            header("access-control-allow-methods"),
            "GET,POST,PATCH,DELETE"
        );
        assert_eq!(
            header("access-control-allow-headers"),
            "content-type,authorization,idempotency-key"
        );
        assert_eq!(header("vary"), VARY);
        assert!(
            !answer
                .headers
                .contains_key("access-control-allow-credentials")
        );
    }
    let foreign = preflight("/api/v1/wallet/send", "https://evil.example").await;
    assert_eq!(foreign.status, 200);
    assert!(!foreign.headers.contains_key("access-control-allow-origin"));

    // A page may read refusals too.
    for (path, status) in [
        ("/api/v1/wallet", 200),
        ("/api/v1/history", 422),
        ("/x", 404),
    ] {
        let answer = daemon
            .raw("GET", path, |request| {
                request.header("origin", "https://shop.example")
            })
            .await;
        assert_eq!(answer.status, status);
        assert_eq!(
            answer.headers["access-control-allow-origin"],
            "https://shop.example"
        );
        assert_eq!(answer.headers["vary"], VARY);
    }
}

#[tokio::test]
async fn without_allowed_origins_no_page_is_allowed_and_options_is_still_answered() {
    let daemon = Daemon::start().await;
    for method in ["OPTIONS", "GET"] {
        let answer = daemon
            .raw(method, "/api/v1/wallet", |request| {
                request.header("origin", "https://shop.example")
            })
            .await;
        assert_eq!(answer.status, 200);
        assert!(
            answer
                .headers
                .keys()
                .all(|name| !name.as_str().starts_with("access-control"))
        );
    }
}

#[tokio::test]
async fn a_daemon_without_auth_serves_allowed_web_pages_only() {
    let flags = ["--no-auth", "--allowed-origins", "https://shop.example"];
    let mut open = Daemon::start_with(&flags, &[]).await;
    open.use_token(None);
    for (origin, status) in [("https://shop.example", 200), ("https://evil.example", 403)] {
        let answer = open
            .raw("GET", "/api/v1/wallet", |request| {
                request.header("origin", origin)
            })
            .await;
        assert_eq!(answer.status, status, "{origin}");
        let options = open
            .raw("OPTIONS", "/api/v1/wallet", |request| {
                request.header("origin", origin)
            })
            .await;
        assert_eq!(options.status, 200, "{origin}");
    }
}

#[tokio::test]
async fn the_mnemonic_is_shown_only_when_the_operator_says_so() {
    let world = World::new().await;
    let daemon = Daemon::start_with(&[], &[("BARKD_EXPOSE_MNEMONIC", "true")]).await;
    daemon.create_wallet(&world).await;
    let shown = daemon.get("/wallet/mnemonic").await.ok();
    let stored = std::fs::read_to_string(daemon.folder().join("mnemonic")).unwrap();
    assert_eq!(shown["mnemonic"], stored.trim());
}

#[tokio::test]
async fn it_prints_its_address_and_stops_on_a_signal() {
    let mut daemon = Daemon::start().await;
    let port = daemon.port();
    assert!(daemon.stop().await.success());
    let log = std::fs::read_to_string(daemon.folder().join("debug.log")).unwrap();
    assert!(
        log.contains(&format!("Server starting on http://127.0.0.1:{port}")),
        "{log}"
    );
}

#[tokio::test]
async fn a_foreign_database_is_refused_and_left_unchanged() {
    let world = World::new().await;
    let daemon = Daemon::start().await;
    let theirs = daemon.folder().join("db.sqlite");
    rusqlite::Connection::open(&theirs)
        .unwrap()
        .execute_batch("CREATE TABLE bark_vtxo (id TEXT)")
        .unwrap();
    let before = std::fs::read(&theirs).unwrap();
    let request = serde_json::json!({
        "network": "regtest", "ark_server": world.sandbox.ark_url,
        "chain_source": world.chain_source(),
    });
    let reply = daemon.post("/wallet/create", request).await;
    assert!((400..500).contains(&reply.status), "{reply:?}");
    assert_eq!(std::fs::read(&theirs).unwrap(), before);
}

#[tokio::test]
async fn the_printed_document_is_the_committed_one() {
    let printed = run(&["openapi"]).await;
    assert!(printed.status.success());
    let committed =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/openapi.json"))
            .unwrap();
    assert_eq!(text(&printed.stdout).trim(), committed.trim());
}

#[tokio::test]
async fn mainnet_needs_a_flag() {
    let world = World::new().await;
    let mut daemon = Daemon::start().await;
    let request = serde_json::json!({"network": "mainnet"});
    let refused = daemon.post("/wallet/create", request).await;
    let message = refused.refused(400, "mainnet_not_allowed");
    assert!(message.contains("--allow-mainnet"), "{message}");
    daemon.create_wallet(&world).await;
    assert!(daemon.stop().await.success());

    let folder = daemon.folder().to_str().unwrap();
    let database = rusqlite::Connection::open(daemon.folder().join("db.sqlite")).unwrap();
    let changed = database.execute("UPDATE wallet SET network = 'bitcoin'", []);
    assert_eq!(changed, Ok(1));
    drop(database);
    let ended = run(&["--datadir", folder, "--port", "39997"]).await;
    let stderr = text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1));
    assert!(stderr.contains("--allow-mainnet"), "{stderr}");
    // With the flag it goes further, to the seed, whose keys on mainnet are others.
    let flags = ["--datadir", folder, "--port", "39997", "--allow-mainnet"];
    let ended = run(&flags).await;
    let stderr = text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1));
    assert!(!stderr.contains("--allow-mainnet"), "{stderr}");
}
