//! Forwards one request, or applies a fault to it.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::body::{self, Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde_json::Value;

use super::exchange::{Answered, Asked, broken};
use super::{Action, Shared};

/// Forwards a request, or applies the fault that is due.
pub(super) async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = body::to_bytes(body, usize::MAX).await else {
        return hang_up();
    };
    let path = head.uri.path();
    let to_node = head.method == Method::POST && (path == "/" || path.starts_with("/wallet/"));
    let node = shared.node.as_deref().filter(|_| to_node);
    // A body that is not JSON is forwarded; the node refuses it.
    let rpc: Option<Value> = node.and_then(|_| serde_json::from_slice(&body).ok());
    let methods: Vec<String> = rpc.as_ref().map(methods).unwrap_or_default();
    let asked = Asked {
        method: head.method,
        path: head
            .uri
            .path_and_query()
            .map_or_else(String::new, ToString::to_string),
        body,
    };

    let ask = || shared.ask(node.unwrap_or(&shared.esplora), &asked, &head.headers);
    let Some(due) = shared.faults.fire(|fault| fault.targets(path, &methods)) else {
        return ask().await.map_or_else(|_| hang_up(), Answered::whole);
    };
    tracing::debug!(fault = due.id, action = ?due.fault.action, path = asked.path, ?methods, "chain fault applied");
    let answer = match due.fault.action {
        Action::DropBefore => return hang_up(),
        Action::Answer { code, body } => return made_up(code, &body, rpc.as_ref()),
        Action::DropAfter => ask().await.map(|_| hang_up()),
        Action::Cut => ask().await.map(Answered::half),
        Action::Delay { ms } => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            ask().await.map(Answered::whole)
        }
        Action::Stale => match shared.recorded(due.id, &asked) {
            Some(recorded) => return recorded.whole(),
            None => ask().await.map(|first| {
                shared.record(due.id, asked.clone(), first.clone());
                first.whole()
            }),
        },
    };
    // The chain source itself failed.
    answer.unwrap_or_else(|_| hang_up())
}

impl Shared {
    async fn ask(
        &self,
        base: &str,
        asked: &Asked,
        headers: &HeaderMap,
    ) -> reqwest::Result<Answered> {
        let mut request = self
            .http
            .request(asked.method.clone(), format!("{base}{}", asked.path))
            .body(asked.body.clone());
        for name in [AUTHORIZATION, CONTENT_TYPE] {
            if let Some(value) = headers.get(&name) {
                request = request.header(name, value);
            }
        }
        let response = request.send().await?;
        Ok(Answered {
            status: response.status(),
            kind: response.headers().get(CONTENT_TYPE).cloned(),
            body: response.bytes().await?,
        })
    }

    fn recorded(&self, fault: u64, asked: &Asked) -> Option<Answered> {
        let stale = self.stale.lock().unwrap_or_else(PoisonError::into_inner);
        stale.get(&(fault, asked.clone())).cloned()
    }

    fn record(&self, fault: u64, asked: Asked, first: Answered) {
        let mut stale = self.stale.lock().unwrap_or_else(PoisonError::into_inner);
        stale.entry((fault, asked)).or_insert(first);
    }
}

/// Breaks the connection without an answer: the head is sent together with the start of the body, so a body that fails at once
/// prevents both.
fn hang_up() -> Response {
    Body::from_stream(stream::iter([Err::<Bytes, _>(broken())])).into_response()
}

/// The methods that a request calls: several for a batch.
fn methods(rpc: &Value) -> Vec<String> {
    let calls = rpc
        .as_array()
        .map_or(std::slice::from_ref(rpc), Vec::as_slice);
    let names = calls.iter().filter_map(|call| call["method"].as_str());
    names.map(str::to_owned).collect()
}

fn made_up(code: u16, body: &Value, rpc: Option<&Value>) -> Response {
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match (body, rpc) {
        (Value::Null, _) => status.into_response(),
        (Value::String(text), _) => (status, text.clone()).into_response(),
        (Value::Object(_), Some(Value::Array(calls))) => {
            let replies: Vec<Value> = calls.iter().map(|call| reply(body, call)).collect();
            (status, axum::Json(replies)).into_response()
        }
        (Value::Object(_), Some(call)) => (status, axum::Json(reply(body, call))).into_response(),
        _ => (status, axum::Json(body)).into_response(),
    }
}

/// The answer to one call of an RPC.
fn reply(body: &Value, call: &Value) -> Value {
    let mut reply = body.clone();
    reply["jsonrpc"] = "2.0".into();
    reply["id"] = call["id"].clone();
    reply
}
