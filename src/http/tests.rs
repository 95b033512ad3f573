//! The router without a wallet: authentication, the order of the checks, and the shape of errors.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::auth::Secret;
use super::{Options, router};
use crate::config::Overrides;
use crate::datadir::DataDir;
use crate::wallet::lifecycle::WalletSlot;

struct Api {
    router: Router,
    secret: Secret,
    _datadir: tempfile::TempDir,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The status and the code of an error, whose shape it checks.
    fn refusal(&self) -> (u16, String) {
        let body = self.json();
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/json");
        assert!(body["message"].is_string(), "{body}");
        assert_eq!(
            body["request_id"],
            self.headers["x-request-id"].to_str().unwrap(),
            "{body}"
        );
        assert_eq!(
            body.get("resources").is_some(),
            self.status == StatusCode::NOT_FOUND,
            "{body}"
        );
        (
            self.status.as_u16(),
            body["code"].as_str().unwrap().to_owned(),
        )
    }
}

fn api_with(change: impl FnOnce(&mut Options)) -> Api {
    let temp = tempfile::tempdir().unwrap();
    let datadir = DataDir::open(temp.path()).unwrap();
    let secret = Secret::random().unwrap();
    let mut options = Options {
        secret: Some(secret.clone()),
        bind: "127.0.0.1:3000".parse().unwrap(),
        any_host: false,
        allowed_origins: Vec::new(),
        expose_mnemonic: false,
        stopping: Default::default(),
    };
    change(&mut options);
    let slot = WalletSlot::new(datadir, Overrides::None, |_, _| tokio::spawn(async {}));
    Api {
        router: router(slot.into(), options),
        secret,
        _datadir: temp,
    }
}

fn api() -> Api {
    api_with(|_| {})
}

impl Api {
    async fn send(&self, request: Request<Body>) -> Answer {
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX)
            .await
            .unwrap()
            .to_vec();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    fn request(&self, method: Method, path: &str) -> axum::http::request::Builder {
        let token = format!("Bearer {}", self.secret.to_token());
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, token)
    }

    async fn call(&self, method: Method, path: &str) -> Answer {
        self.send(self.request(method, path).body(Body::empty()).unwrap())
            .await
    }

    async fn anonymous(&self, method: Method, path: &str) -> Answer {
        self.send(
            Request::builder()
                .method(method)
                .uri(path)
                .body(Body::empty())
                .unwrap(),
        )
        .await
    }

    async fn post(&self, path: &str, body: &str) -> Answer {
        let request = self
            .request(Method::POST, path)
            .header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(Body::from(body.to_owned())).unwrap())
            .await
    }
}

fn refusal(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn ping_and_the_document_need_no_token() {
    let api = api();
    let ping = api.anonymous(Method::GET, "/ping").await;
    assert_eq!(
        (ping.status.as_u16(), ping.body.as_slice()),
        (200, b"pong".as_slice())
    );
    assert_eq!(
        ping.headers[header::CONTENT_TYPE],
        "text/plain; charset=utf-8"
    );
    for path in ["/api-docs/openapi.json", "/openapi.json"] {
        let document = api.anonymous(Method::GET, path).await;
        assert_eq!(
            document.json(),
            serde_json::to_value(super::openapi()).unwrap(),
            "{path}"
        );
    }
    assert!(
        api.anonymous(Method::GET, "/swagger-ui/")
            .await
            .status
            .is_success()
    );
}

#[tokio::test]
async fn paths_are_checked_before_the_token_and_the_token_before_the_rest() {
    let api = api();
    for path in [
        "/",
        "/api/v1/nothing",
        "/api/v1/wallet/",
        "/api/v1/exits/nothing",
    ] {
        assert_eq!(
            api.anonymous(Method::GET, path).await.refusal(),
            refusal(404, "unknown_path"),
            "{path}"
        );
    }
    assert_eq!(
        api.anonymous(Method::GET, "/api/v1/wallet").await.refusal(),
        refusal(401, "missing_token")
    );
    assert_eq!(
        api.anonymous(Method::POST, "/api/v1/wallet/balance")
            .await
            .refusal(),
        refusal(401, "missing_token")
    );
    let bad_index = "/api/v1/wallet/addresses/index/x";
    assert_eq!(
        api.anonymous(Method::GET, bad_index).await.refusal(),
        refusal(401, "missing_token")
    );
    assert_eq!(
        api.call(Method::GET, bad_index).await.refusal(),
        refusal(400, "invalid_path")
    );
}

#[tokio::test]
async fn a_wrong_method_lists_the_supported_ones() {
    let api = api();
    let answer = api.call(Method::POST, "/api/v1/wallet/balance").await;
    assert_eq!(answer.refusal(), refusal(405, "method_not_allowed"));
    assert_eq!(answer.headers[header::ALLOW], "GET,HEAD");
    assert_eq!(
        api.anonymous(Method::POST, "/ping").await.refusal(),
        refusal(405, "method_not_allowed")
    );
}

#[tokio::test]
async fn options_need_no_token() {
    let api = api();
    let answer = api
        .anonymous(Method::OPTIONS, "/api/v1/wallet/balance")
        .await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
    assert!(
        !answer
            .headers
            .contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN)
    );
}

#[tokio::test]
async fn only_configured_origins_get_cors_headers() {
    let api =
        api_with(|options| options.allowed_origins = vec!["https://shop.example".parse().unwrap()]);
    let request = |origin: &str| {
        let request = Request::builder()
            .method(Method::OPTIONS)
            .uri("/api/v1/wallet/send");
        let request = request
            .header(header::ORIGIN, origin)
            .header("access-control-request-method", "POST");
        request.body(Body::empty()).unwrap()
    };
    let answer = api.send(request("https://shop.example")).await;
    assert_eq!(
        answer.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN],
        "https://shop.example"
    );
    assert_eq!(
        answer.headers[header::ACCESS_CONTROL_ALLOW_METHODS],
        "GET,POST,PATCH,DELETE"
    );
    let answer = api.send(request("https://evil.example")).await;
    assert!(
        !answer
            .headers
            .contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN)
    );
}

#[tokio::test]
async fn without_a_wallet_there_is_no_balance() {
    let api = api();
    let answer = api.call(Method::GET, "/api/v1/wallet").await;
    assert_eq!(
        answer.json(),
        json!({"fingerprint": null, "attention": [], "recovery": null})
    );
    for path in [
        "/wallet/balance",
        "/wallet/vtxos",
        "/onchain/utxos",
        "/boards/pending",
        "/history",
        "/bitcoin/tip",
    ] {
        let answer = api.call(Method::GET, &format!("/api/v1{path}")).await;
        assert_eq!(answer.refusal(), refusal(422, "no_wallet"), "{path}");
        let message = answer.json()["message"].to_string();
        assert!(message.contains("No wallet set"), "{message}");
    }
    assert_eq!(
        api.call(Method::GET, "/api/v1/wallet/mnemonic")
            .await
            .refusal(),
        refusal(404, "mnemonic_not_exposed")
    );
    let exposing = api_with(|options| options.expose_mnemonic = true);
    assert_eq!(
        exposing
            .call(Method::GET, "/api/v1/wallet/mnemonic")
            .await
            .refusal(),
        refusal(422, "no_wallet")
    );
}

#[tokio::test]
async fn bodies_are_checked_before_the_wallet() {
    let api = api();
    let board = "/api/v1/boards/board-amount";
    assert_eq!(
        api.post(board, "{").await.refusal(),
        refusal(400, "malformed_body")
    );
    assert_eq!(
        api.post(board, "{}").await.refusal(),
        refusal(422, "invalid_body")
    );
    assert_eq!(
        api.post(board, "[1]").await.refusal(),
        refusal(422, "invalid_body")
    );
    assert_eq!(
        api.post(board, r#"{"amount_sat": -1}"#).await.refusal(),
        refusal(422, "invalid_body")
    );
    assert_eq!(
        api.post(board, r#"{"amount_sat": 1, "later": true}"#)
            .await
            .refusal(),
        refusal(422, "no_wallet")
    );
    assert_eq!(
        api.call(Method::POST, board).await.refusal(),
        refusal(415, "unsupported_media_type")
    );
    let large = format!(
        r#"{{"amount_sat": 1, "x": "{}"}}"#,
        "y".repeat(super::MAX_BODY)
    );
    assert_eq!(
        api.post(board, &large).await.refusal(),
        refusal(413, "body_too_large")
    );
    let query = api.call(Method::GET, "/api/v1/wallet/vtxos?all=").await;
    assert_eq!(query.refusal(), refusal(400, "invalid_query"));
}

#[tokio::test]
async fn a_merge_patch_content_type_is_json() {
    let api = api();
    let request = api
        .request(Method::POST, "/api/v1/history/1/metadata")
        .header(header::CONTENT_TYPE, "application/merge-patch+json");
    let answer = api.send(request.body(Body::from("{}")).unwrap()).await;
    assert_eq!(answer.refusal(), refusal(422, "no_wallet"));
}

#[tokio::test]
async fn both_creation_paths_name_the_mistake() {
    let api = api();
    for path in ["/api/v1/wallet", "/api/v1/wallet/create"] {
        let answer = api
            .post(path, r#"{"network": "regtest", "mnemonic": "abandon"}"#)
            .await;
        assert_eq!(answer.refusal(), refusal(400, "invalid_mnemonic"));
        assert_eq!(
            api.post(path, r#"{"network": "moonnet"}"#).await.refusal(),
            refusal(422, "invalid_body")
        );
    }
}

#[tokio::test]
async fn deletion_without_a_wallet_still_needs_confirmation() {
    let api = api();
    let delete = |dangerous: bool| {
        let body = json!({"dangerous": dangerous, "fingerprint": "00000000"}).to_string();
        let request = api.request(Method::DELETE, "/api/v1/wallet");
        api.send(
            request
                .header(header::CONTENT_TYPE, "application/json")
                .body(Body::from(body))
                .unwrap(),
        )
    };
    assert_eq!(delete(false).await.refusal(), refusal(400, "not_confirmed"));
    let answer = delete(true).await.json();
    assert_eq!(
        (&answer["deleted"], &answer["fingerprint"]),
        (&json!(false), &json!(null))
    );
}

#[tokio::test]
async fn the_request_id_of_the_client_is_used() {
    let api = api();
    let request = Request::builder()
        .uri("/nothing")
        .header("x-request-id", "order-17")
        .body(Body::empty())
        .unwrap();
    let answer = api.send(request).await;
    assert_eq!(answer.json()["request_id"], "order-17");
    assert_eq!(answer.headers["x-request-id"], "order-17");
}

#[tokio::test]
async fn without_authentication_foreign_pages_are_rejected() {
    let api = api_with(|options| options.secret = None);
    let get = |host: &str, origin: Option<&str>| {
        let mut request = Request::builder()
            .uri("/api/v1/wallet")
            .header(header::HOST, host);
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        api.send(request.body(Body::empty()).unwrap())
    };
    assert_eq!(get("localhost:3000", None).await.status, 200);
    assert_eq!(
        get("rebound.example:3000", None).await.refusal(),
        refusal(403, "foreign_host")
    );
    let foreign = get("localhost:3000", Some("https://evil.example")).await;
    assert_eq!(foreign.refusal(), refusal(403, "foreign_origin"));
}
