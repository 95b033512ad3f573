//! The idempotency key of the request that a task serves (docs/protocol.md §23.0.1).
//!
//! What a request begins is bound to its key in the transaction that begins it, so a process that dies at any moment has either
//! begun nothing, or finds at the next try of the request what it has begun. The key accompanies the task of the request; each start
//! reads it, before it hands its write to the writer thread. What the daemon does by itself has none.

use std::future::Future;

use crate::model::{Effect, RequestKey};
use crate::store::{WriteTx, idempotency};
use crate::wallet::Result;
use crate::wallet::engine::clock;

/// How long a key is kept, in milliseconds.
const KEPT: i64 = 24 * 60 * 60 * 1000;

tokio::task_local! {
    static KEY: RequestKey;
}

/// Serves a request that has this key.
pub(in crate::wallet) async fn serve<T>(key: RequestKey, request: impl Future<Output = T>) -> T {
    KEY.scope(key, request).await
}

/// The key of the request that the current task serves.
pub(in crate::wallet) fn current() -> Option<RequestKey> {
    KEY.try_with(RequestKey::clone).ok()
}

/// An effect that can be moved to another task, where it keeps the key of the current one.
pub fn with_request_key<F: Future>(effect: F) -> impl Future<Output = F::Output> {
    let key = current();
    async move {
        match key {
            Some(key) => serve(key, effect).await,
            None => effect.await,
        }
    }
}

/// Binds what a request begins to its key, if it has one, in the transaction that begins it and has written its movements.
pub(in crate::wallet) fn bind(
    tx: &WriteTx<'_>,
    key: Option<&RequestKey>,
    effect: &Effect,
) -> Result<()> {
    match key {
        None => Ok(()),
        Some(key) => {
            let now = clock::now_millis();
            Ok(idempotency::bind(tx, key, effect, now, now - KEPT)?)
        }
    }
}

/// The time before which a key that was used is forgotten, unix milliseconds.
pub(in crate::wallet) fn kept_since() -> i64 {
    clock::now_millis() - KEPT
}
