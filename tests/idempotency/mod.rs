//! Requests with an `Idempotency-Key`: each is carried out once, whatever happens to the daemon, the server or an answer (docs/protocol.md
//! §23.0.1, H70). What was paid is read from the world's books.

mod kills;
mod late;
mod routes;
mod rules;

use arkwalletd_sandbox::coin_wallet::CoinKey;
use serde_json::Value;

use crate::support::{Daemon, Reply, World, eventually};

/// What most payments pay, in sat.
const AMOUNT: u64 = 7_000;

/// A request that begins something.
struct Request {
    path: &'static str,
    body: Option<Value>,
}

impl Request {
    fn new(path: &'static str, body: impl Into<Option<Value>>) -> Request {
        let body = body.into();
        Request { path, body }
    }

    async fn send(&self, daemon: &Daemon, key: &str) -> Reply {
        daemon.post_once(key, self.path, self.body.clone()).await
    }

    /// Sends the request until it is no longer being carried out.
    async fn outcome(&self, daemon: &Daemon, key: &str) -> Reply {
        let what = format!("{} has an answer", self.path);
        eventually(&what, async || {
            let reply = self.send(daemon, key).await;
            (reply.body["code"] != "idempotency_in_progress").then_some(reply)
        })
        .await
    }
}

/// Whether the answer is one that was given before, or made from what an earlier request began.
fn is_replayed(reply: &Reply) -> bool {
    reply.headers.contains_key("idempotency-replayed")
}

/// The movements that requests with this key began.
async fn movements(daemon: &Daemon, key: &str) -> Vec<Value> {
    let path = format!("/history?idempotency_key={key}");
    let found = daemon.get(&path).await.ok();
    found.as_array().expect("a list").clone()
}

/// A bitcoin address of nobody in this test.
fn payee() -> String {
    let key = CoinKey::derive(&rand::random(), "payee");
    key.address().to_string()
}

/// A daemon whose one VTXO, and on-chain wallet, have this much and more.
async fn rich(world: &World, sats: u64) -> Daemon {
    let daemon = Daemon::with_wallet(world).await;
    daemon.fund_and_board(world, sats).await;
    daemon.fund(world, 200_000).await;
    daemon
}
