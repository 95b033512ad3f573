//! HTTP/1.1 with kept and pipelined connections, HTTP/2 with prior knowledge.

use axum::body::Body;
use axum::http::{Request, Version};
use futures::future::join_all;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::{daemon, request};
use crate::support::RawConnection;

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let daemon = daemon(&[]).await;
    let mut connection = RawConnection::open(&daemon).await;
    let requests: String = (0..20)
        .map(|i| {
            let id = format!("x-request-id: r{i}\r\n");
            request(&daemon, "GET /api/v1/wallet", &id)
        })
        .collect();
    assert!(connection.send(&requests).await);
    for i in 0..20 {
        let answer = connection.read_until("\"recovery\":null}").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(
            answer.contains(&format!("x-request-id: r{i}\r\n")),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_client_may_ask_to_close_the_connection() {
    let daemon = daemon(&[]).await;
    let mut connection = RawConnection::open(&daemon).await;
    assert!(
        connection
            .send(&request(&daemon, "GET /ping", "connection: close\r\n"))
            .await
    );
    let answer = connection.read_to_end().await;
    assert!(answer.ends_with("pong"), "{answer}");
}

#[tokio::test]
async fn http2_with_prior_knowledge_works_on_one_connection() {
    let daemon = daemon(&["--max-connections", "1"]).await;
    let mut client = Client::builder(TokioExecutor::new());
    let client = client.http2_only(true).build(HttpConnector::new());
    let url = format!("http://127.0.0.1:{}/api/v1/wallet", daemon.port());
    let ask = async |_| {
        let request = Request::get(&url)
            .header("authorization", format!("Bearer {}", daemon.token()))
            .body(Body::empty());
        let answer = client.request(request.unwrap()).await.unwrap();
        assert_eq!(answer.version(), Version::HTTP_2);
        assert_eq!(answer.status(), 200);
    };
    ask(0).await;
    join_all((0..300).map(ask)).await;
}

#[tokio::test]
async fn a_401_names_the_scheme_and_the_place_of_the_token() {
    let mut daemon = daemon(&[]).await;
    daemon.use_token(None);
    for authorization in [None, Some("bearer wrong"), Some("Basic dTpw")] {
        let answer = daemon
            .raw("GET", "/api/v1/wallet", |request| match authorization {
                Some(value) => request.header("authorization", value),
                None => request,
            })
            .await;
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
        let message = answer.body["message"].as_str().unwrap_or_default();
        assert!(message.contains("auth_token") && message.contains("secret show"));
        assert_eq!(answer.status, 401);
    }
    let token = std::fs::read_to_string(daemon.folder().join("auth_token")).unwrap();
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let value = format!("{scheme} {token}");
        let answer = daemon
            .raw("GET", "/api/v1/wallet", |request| {
                request.header("authorization", value)
            })
            .await;
        assert_eq!(answer.status, 200, "{scheme}");
    }
}

/// The dangerous flag does not open a loopback port to web pages whose names lead to it.
#[tokio::test]
async fn on_loopback_the_host_is_checked_with_the_dangerous_flag_too() {
    let mut open = daemon(&["--dangerously-allow-remote-no-auth"]).await;
    open.use_token(None);
    open.get("/wallet").await.ok();
    let rebound = open.raw("POST", "/api/v1/wallet/sync", |request| {
        request.header("host", "evil.example")
    });
    rebound.await.refused(403, "foreign_host");

    let mut remote = daemon(&["--dangerously-allow-remote-no-auth", "--host", "0.0.0.0"]).await;
    remote.use_token(None);
    let named = remote.raw("GET", "/api/v1/wallet", |request| {
        request.header("host", "wallet.example")
    });
    named.await.ok();
}
