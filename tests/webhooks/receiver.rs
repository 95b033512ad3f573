//! A receiver of webhooks, which verifies each post as the specification Standard Webhooks asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bitcoin::hashes::{Hash, HashEngine, Hmac, HmacEngine, sha256};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{Daemon, eventually};

/// How a receiver answers.
#[derive(Clone)]
pub enum Manner {
    Status(u16),
    /// Redirects to this path.
    Redirect(&'static str),
    /// Never answers.
    Hold,
}

/// A post that has arrived.
#[derive(Clone, Debug)]
pub struct Call {
    pub path: String,
    /// The header `webhook-id`.
    pub id: String,
    pub body: Value,
    /// What is signed: id, timestamp and body.
    signed: String,
    /// The header `webhook-signature`.
    signatures: String,
    /// Whether it was confirmed.
    pub confirmed: bool,
    /// The sender's end of the connection.
    pub peer: SocketAddr,
}

impl Call {
    /// The number of its event.
    pub fn event(&self) -> u64 {
        self.body["id"].as_u64().expect("an event has a number")
    }
}

#[derive(Default)]
struct Record {
    calls: Vec<Call>,
    secrets: Vec<String>,
    manner: Option<Manner>,
}

/// A receiver that answers 200 unless it is told otherwise.
#[derive(Clone)]
pub struct Receiver {
    record: Arc<Mutex<Record>>,
    base: String,
}

impl Receiver {
    pub async fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Receiver {
            record: Arc::default(),
            base: format!("http://{}", listener.local_addr().unwrap()),
        };
        let routes = Router::new()
            .route("/{path}", post(receive))
            .with_state(receiver.clone());
        let routes = routes.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        receiver
    }

    pub fn url(&self) -> String {
        format!("{}/hook?token=abc", self.base)
    }

    /// Makes a webhook of a daemon that leads here; answers it as it was created.
    pub async fn subscribe(&self, daemon: &Daemon, mut settings: Value) -> Value {
        settings["url"] = json!(self.url());
        let created = daemon.post("/webhooks", settings).await.ok();
        self.trust(&created);
        created
    }

    /// Takes note of a secret that an answer shows.
    pub fn trust(&self, answer: &Value) {
        let secret = answer["secret"].as_str().expect("a secret").to_owned();
        self.record.lock().unwrap().secrets.push(secret);
    }

    pub fn answer_with(&self, manner: Manner) {
        self.record.lock().unwrap().manner = Some(manner);
    }

    pub fn calls(&self) -> Vec<Call> {
        self.record.lock().unwrap().calls.clone()
    }

    /// The numbers of the confirmed events, in the order of their arrival.
    pub fn confirmed(&self) -> Vec<u64> {
        let calls = self.calls();
        let confirmed = calls.iter().filter(|call| call.confirmed);
        confirmed.map(Call::event).collect()
    }

    /// The connections that were used.
    pub fn connections(&self) -> usize {
        let peers: BTreeSet<_> = self.calls().iter().map(|call| call.peer).collect();
        peers.len()
    }

    /// Waits until so many posts have arrived.
    pub async fn wait_for_calls(&self, count: usize) {
        let enough = async || (self.calls().len() >= count).then_some(());
        eventually(&format!("{count} posts have arrived"), enough).await;
    }

    /// Waits until an event is confirmed.
    pub async fn wait_for(&self, event: u64) {
        let confirmed = async || self.confirmed().contains(&event).then_some(());
        eventually(&format!("event {event} is confirmed"), confirmed).await;
    }

    /// The known secrets that have signed a post, in the order of the signatures; `None` for a wrong signature.
    ///
    /// Posts may arrive before their secret is known here, so they are verified only when a test asks.
    pub fn signers(&self, call: &Call) -> Vec<Option<String>> {
        let record = self.record.lock().unwrap();
        let secrets = &record.secrets;
        let signer = |signature| {
            let mut secrets = secrets.iter();
            secrets.find(|secret| sign(secret, &call.signed) == signature)
        };
        let signatures = call.signatures.split(' ');
        signatures.map(|it| signer(it).cloned()).collect()
    }

    /// Asserts that each post has exactly one signature of this secret.
    #[track_caller]
    pub fn assert_signed_by(&self, webhook: &Value) {
        let secret = webhook["secret"].as_str().map(str::to_owned);
        for call in self.calls() {
            assert_eq!(
                self.signers(&call),
                std::slice::from_ref(&secret),
                "{call:?}"
            );
        }
    }

    /// Asserts that all events from the first to the last were confirmed in order; of those after the last, nothing. One that arrived twice
    /// had the same id and body.
    #[track_caller]
    pub fn assert_complete(&self, first: u64, last: u64) {
        let mut events: Vec<u64> = self.confirmed();
        events.retain(|event| *event <= last);
        events.dedup();
        assert_eq!(events, (first..=last).collect::<Vec<_>>());
        self.assert_same_posts();
    }

    /// Asserts that an event that arrived several times had the same id and body each time.
    #[track_caller]
    pub fn assert_same_posts(&self) {
        let mut posts = BTreeMap::new();
        for call in self.calls() {
            let post = (call.id.clone(), call.body.clone());
            let known = posts.entry(call.event()).or_insert_with(|| post.clone());
            assert_eq!(*known, post);
        }
        let ids: BTreeSet<_> = posts.values().map(|(id, _)| id).collect();
        assert_eq!(ids.len(), posts.len(), "each event has an id of its own");
    }
}

async fn receive(
    State(receiver): State<Receiver>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    axum::extract::Path(path): axum::extract::Path<String>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let manner = {
        let mut record = receiver.record.lock().unwrap();
        let manner = record.manner.clone().unwrap_or(Manner::Status(200));
        let call = Call {
            path,
            id: text(&headers, "webhook-id"),
            body: serde_json::from_str(&body).expect("the body is JSON"),
            signed: signed(&headers, &body),
            signatures: text(&headers, "webhook-signature"),
            confirmed: matches!(manner, Manner::Status(200..=299)),
            peer,
        };
        assert_eq!(text(&headers, "content-type"), "application/json");
        record.calls.push(call);
        manner
    };
    match manner {
        Manner::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Manner::Redirect(path) => (StatusCode::FOUND, [(header::LOCATION, path)]).into_response(),
        Manner::Hold => std::future::pending().await,
    }
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers[name].to_str().unwrap().to_owned()
}

/// What the signatures of a post cover: its id, the time of the try, and its body.
fn signed(headers: &HeaderMap, body: &str) -> String {
    let (id, timestamp) = (
        text(headers, "webhook-id"),
        text(headers, "webhook-timestamp"),
    );
    let age = chrono::Utc::now().timestamp() - timestamp.parse::<i64>().unwrap();
    assert!((0..60).contains(&age), "the timestamp is that of the try");
    format!("{id}.{timestamp}.{body}")
}

/// The signature of a text with a secret of a webhook.
fn sign(secret: &str, text: &str) -> String {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap());
    let mut engine = HmacEngine::<sha256::Hash>::new(&key.unwrap());
    engine.input(text.as_bytes());
    let mac = Hmac::from_engine(engine).to_byte_array();
    format!("v1,{}", STANDARD.encode(mac))
}
