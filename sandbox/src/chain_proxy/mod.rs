//! A chain source that misbehaves on demand: an HTTP proxy between a wallet and its chain (docs/protocol.md §35.2, row "chain").
//!
//! It stands before the sandbox's Esplora API and, where the sandbox runs on a real node, before that node's RPC too: what is
//! posted to `/` or below `/wallet/` goes to the node, everything else to Esplora. Without a fault it passes everything on.

mod fault;
mod proxy;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

pub use self::fault::{Action, ActiveFault, Fault};
use self::proxy::{Answered, Asked};
use super::control::{Body, ControlError};
use super::faults::FaultList;

/// A running proxy, without a slash at the end of any URL. Clones share it; it ends with [`stop`](Self::stop).
#[derive(Clone)]
pub struct ChainProxy {
    url: String,
    shared: Arc<Shared>,
    serving: AbortHandle,
}

struct Shared {
    http: reqwest::Client,
    esplora: String,
    node: Option<String>,
    faults: FaultList<Action>,
    /// What stale faults answer, by the fault's id and the request.
    stale: Mutex<HashMap<(u64, Asked), Answered>>,
}

impl ChainProxy {
    /// Starts a proxy on a loopback port, 0 for a free one, before an Esplora API and maybe a node.
    pub async fn start(
        esplora: String,
        node: Option<String>,
        port: u16,
    ) -> anyhow::Result<ChainProxy> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("listen on {address}"))?;
        let url = format!("http://{}", listener.local_addr()?);
        let shared = Arc::new(Shared {
            http: reqwest::Client::builder().no_proxy().build()?,
            esplora,
            node: node.map(|url| url.trim_end_matches('/').to_owned()),
            faults: FaultList::default(),
            stale: Mutex::default(),
        });
        let router = Router::new()
            .fallback(proxy::pass)
            .with_state(Arc::clone(&shared));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(ChainProxy {
            url,
            shared,
            serving: serving.abort_handle(),
        })
    }

    /// The URL of the proxy, for a wallet that takes it for its Esplora API or its node.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Puts a fault in force and returns its id. Fails for one that could never act.
    pub fn add(&self, fault: Fault) -> anyhow::Result<u64> {
        fault.check(self.shared.node.is_some())?;
        Ok(self.shared.faults.add(fault))
    }

    /// Withdraws a fault; false if there is none with this id.
    pub fn remove(&self, id: u64) -> bool {
        self.shared.forget(|fault| fault == id);
        self.shared.faults.remove(id)
    }

    /// Withdraws all faults.
    pub fn clear(&self) {
        self.shared.faults.clear();
        self.shared.forget(|_| true);
    }

    /// The faults, oldest first, spent ones included.
    pub fn active(&self) -> Vec<ActiveFault> {
        self.shared.faults.active()
    }

    /// Stops listening.
    pub fn stop(&self) {
        self.serving.abort();
    }

    /// The routes of the control API, relative to its base.
    pub fn control_router(&self) -> Router {
        Router::new()
            .route("/chain-faults", post(add).get(list).delete(clear))
            .route("/chain-faults/{id}", delete(remove))
            .with_state(self.clone())
    }
}

impl Shared {
    fn forget(&self, of: impl Fn(u64) -> bool) {
        let mut stale = self.stale.lock().unwrap_or_else(PoisonError::into_inner);
        stale.retain(|(fault, _), _| !of(*fault));
    }
}

async fn add(
    State(proxy): State<ChainProxy>,
    Body(fault): Body<Fault>,
) -> Result<Json<Value>, ControlError> {
    let id = proxy
        .add(fault)
        .map_err(|error| ControlError::bad_request(error.to_string()))?;
    Ok(Json(json!({ "id": id })))
}

async fn list(State(proxy): State<ChainProxy>) -> Json<Vec<ActiveFault>> {
    Json(proxy.active())
}

async fn clear(State(proxy): State<ChainProxy>) -> StatusCode {
    proxy.clear();
    StatusCode::NO_CONTENT
}

async fn remove(State(proxy): State<ChainProxy>, Path(id): Path<u64>) -> StatusCode {
    if proxy.remove(id) {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::NOT_FOUND
    }
}
