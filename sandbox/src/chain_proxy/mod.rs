//! The chain proxy: an HTTP proxy between a wallet and its chain source that applies faults (docs/protocol.md §35.2).
//!
//! It forwards to the sandbox's Esplora API and, if the sandbox runs on a real node, to that node's RPC: a POST to `/` or below
//! `/wallet/` goes to the node, everything else to Esplora. Without a fault it forwards everything unchanged.

mod exchange;
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

use self::exchange::{Answered, Asked};
pub use self::fault::{Action, ActiveFault, Fault};
use super::control::{Body, ControlError};
use super::faults::FaultList;

/// A running proxy. Clones share it; it runs until [`stop`](Self::stop). No URL ends with a slash.
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
    /// The recorded answers of stale faults, by fault id and request.
    stale: Mutex<HashMap<(u64, Asked), Answered>>,
}

impl ChainProxy {
    /// Starts a proxy on a loopback port (0 picks a free one) that forwards to an Esplora API and, if given, to a node.
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

    /// The URL of the proxy, which a wallet uses as its Esplora API or as its node.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Adds a fault and returns its id. Fails if the fault could never act.
    pub fn add(&self, fault: Fault) -> anyhow::Result<u64> {
        fault.check(self.shared.node.is_some())?;
        Ok(self.shared.faults.add(fault))
    }

    /// Removes a fault; false if there is none with this id.
    pub fn remove(&self, id: u64) -> bool {
        self.shared.forget(|fault| fault == id);
        self.shared.faults.remove(id)
    }

    /// Removes all faults.
    pub fn clear(&self) {
        self.shared.faults.clear();
        self.shared.forget(|_| true);
    }

    /// All faults, oldest first, including those whose `times` are used up.
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
