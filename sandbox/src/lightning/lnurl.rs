//! LNURL-pay over HTTP on loopback (LUD-06, LUD-12, LUD-16). The user in the path decides what happens: some pay, some fail, and some
//! are servers that a wallet must not trust.

use std::sync::Arc;

use anyhow::Context;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::{HOST, LOCATION};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bitcoin::bech32::{self, Bech32, Hrp};
use bitcoin::hashes::{Hash, sha256};
use serde::Deserialize;
use serde_json::json;

use super::LightningNetwork;
use super::bolt11::Description;
use super::world::{FailureReason, Outcome};

/// Range of amounts in msat.
const MIN_MSAT: u64 = 1_000;
const MAX_MSAT: u64 = 100_000_000_000;
/// Longest comment in characters.
const MAX_COMMENT: usize = 140;
/// Size of the answer of [`User::Huge`] in bytes.
const HUGE: usize = 10 * 1024 * 1024;
/// A private address that no wallet may follow a redirect to.
const PRIVATE: &str = "http://10.0.0.1/lnurl";

/// Who is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum User {
    /// Takes every payment.
    Alice,
    /// Takes it after five seconds.
    Slow,
    /// Holds it.
    Hold,
    /// Refuses it.
    Fail,
    /// Issues an invoice over 1 sat more than requested.
    WrongAmount,
    /// Issues an invoice with the hash of another description.
    WrongHash,
    /// Answers with a redirect to a private address.
    Redirect,
    /// Answers with 10 MiB.
    Huge,
    /// Never answers.
    Silent,
    /// Answers with an LNURL error.
    Error,
}

const USERS: [(&str, User); 10] = [
    ("alice", User::Alice),
    ("slow", User::Slow),
    ("hold", User::Hold),
    ("fail", User::Fail),
    ("wrong-amount", User::WrongAmount),
    ("wrong-hash", User::WrongHash),
    ("redirect", User::Redirect),
    ("huge", User::Huge),
    ("silent", User::Silent),
    ("error", User::Error),
];

impl User {
    fn named(name: &str) -> Option<User> {
        let found = USERS.iter().find(|(known, _)| *known == name);
        found.map(|(_, user)| *user)
    }

    fn outcome(self) -> Outcome {
        match self {
            User::Slow => Outcome::Settle { delay_ms: 5_000 },
            User::Hold => Outcome::Hold,
            User::Fail => Outcome::Fail {
                reason: FailureReason::NoRoute,
                delay_ms: 0,
            },
            _ => Outcome::default(),
        }
    }
}

/// The routes, relative to the root of a host.
pub fn router(network: Arc<LightningNetwork>) -> Router {
    Router::new()
        .route("/.well-known/lnurlp/{user}", get(terms))
        .route("/lnurlp/{user}/callback", get(invoice))
        .with_state(network)
}

/// The `lnurl1…` of a user at a host.
pub fn encode(base_url: &str, user: &str) -> anyhow::Result<String> {
    let url = format!("{base_url}/.well-known/lnurlp/{user}");
    let hrp = Hrp::parse("lnurl").context("hrp")?;
    bech32::encode::<Bech32>(hrp, url.as_bytes()).context("the URL is too long")
}

fn metadata(name: &str) -> String {
    json!([["text/plain", format!("Pay {name} in the sandbox")]]).to_string()
}

async fn terms(Path(name): Path<String>, headers: HeaderMap) -> Response {
    match User::named(&name) {
        None => refusal("no such user"),
        Some(User::Error) => refusal("this user always answers with an error"),
        Some(User::Silent) => std::future::pending().await,
        Some(User::Huge) => vec![b' '; HUGE].into_response(),
        Some(User::Redirect) => (StatusCode::FOUND, [(LOCATION, PRIVATE)]).into_response(),
        Some(_) => {
            let host = headers.get(HOST).and_then(|host| host.to_str().ok());
            let host = host.unwrap_or("127.0.0.1");
            Json(json!({
                "tag": "payRequest",
                "callback": format!("http://{host}/lnurlp/{name}/callback"),
                "minSendable": MIN_MSAT,
                "maxSendable": MAX_MSAT,
                "metadata": metadata(&name),
                "commentAllowed": MAX_COMMENT,
            }))
            .into_response()
        }
    }
}

#[derive(Deserialize)]
struct Request {
    /// In msat.
    amount: u64,
    comment: Option<String>,
}

async fn invoice(
    State(network): State<Arc<LightningNetwork>>,
    Path(name): Path<String>,
    Query(request): Query<Request>,
) -> Response {
    let Some(user) = User::named(&name) else {
        return refusal("no such user");
    };
    if !(MIN_MSAT..=MAX_MSAT).contains(&request.amount) {
        return refusal("the amount is out of range");
    }
    let comment = request.comment.as_deref();
    if comment.is_some_and(|comment| comment.chars().count() > MAX_COMMENT) {
        return refusal("the comment is too long");
    }
    let (mut amount, mut described) = (request.amount, metadata(&name));
    match user {
        User::WrongAmount => amount += 1_000,
        User::WrongHash => described.push('!'),
        _ => {}
    }
    let hash = Description::Hash(sha256::Hash::hash(described.as_bytes()));
    match network.issue_for_lnurl(amount, hash, user.outcome(), comment) {
        Ok(invoice) => Json(json!({ "pr": invoice.to_string(), "routes": [] })).into_response(),
        Err(error) => refusal(&format!("{error:#}")),
    }
}

/// LNURL errors have status 200.
fn refusal(reason: &str) -> Response {
    Json(json!({ "status": "ERROR", "reason": reason })).into_response()
}
