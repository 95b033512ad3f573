//! A client of a node's JSON-RPC.

use std::time::Duration;

use anyhow::{Context, bail};
use bitcoin::consensus::Decodable;
use bitcoin::consensus::encode::deserialize_hex;
use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::chain::BitcoindConfig;

/// How long a node may take for one request, which may mine many blocks.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How long an unused connection is kept. A node closes its end later than that.
const IDLE: Duration = Duration::from_secs(5);

/// A client of one node.
pub(super) struct Rpc {
    http: reqwest::Client,
    config: BitcoindConfig,
}

/// An error that the node returns.
#[derive(Clone, Debug, Deserialize, thiserror::Error)]
#[error("{message} (code {code})")]
pub(super) struct RpcError {
    /// The kind of mistake, as in the node's documentation.
    pub(super) code: i32,
    /// Its text.
    pub(super) message: String,
}

#[derive(Deserialize)]
struct Reply {
    result: Option<Value>,
    error: Option<RpcError>,
}

impl Reply {
    fn outcome(self) -> Result<Value, RpcError> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(self.result.unwrap_or_default()),
        }
    }
}

impl Rpc {
    pub(super) fn new(config: BitcoindConfig) -> anyhow::Result<Rpc> {
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .pool_idle_timeout(IDLE)
            .no_proxy()
            .build()?;
        Ok(Rpc { http, config })
    }

    /// Calls a method; a refusal is an error.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        params: Value,
    ) -> anyhow::Result<T> {
        let result = self.try_call(method, params).await?;
        let result = result.with_context(|| format!("the node refuses {method}"))?;
        serde_json::from_value(result).with_context(|| format!("the node's answer to {method}"))
    }

    /// Calls a method whose refusal the caller handles.
    pub(super) async fn try_call(
        &self,
        method: &str,
        params: Value,
    ) -> anyhow::Result<Result<Value, RpcError>> {
        let body = request(method, &params);
        let reply: Reply = self.post(&body).await?;
        Ok(reply.outcome())
    }

    /// Makes several calls of one method in one request, and returns their outcomes in order.
    pub(super) async fn batch(
        &self,
        method: &str,
        params: impl IntoIterator<Item = Value>,
    ) -> anyhow::Result<Vec<Result<Value, RpcError>>> {
        let calls: Vec<Value> = params
            .into_iter()
            .map(|params| request(method, &params))
            .collect();
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        let replies: Vec<Reply> = self.post(&Value::from(calls)).await?;
        Ok(replies.into_iter().map(Reply::outcome).collect())
    }

    async fn post<T: DeserializeOwned>(&self, body: &Value) -> anyhow::Result<T> {
        let BitcoindConfig {
            url,
            user,
            password,
        } = &self.config;
        let request = self.http.post(url).basic_auth(user, Some(password));
        let response = request
            .json(body)
            .send()
            .await
            .with_context(|| format!("the node at {url} does not answer"))?;
        let status = response.status();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            bail!("the node at {url} refuses the user {user:?} or the password");
        }
        let text = response
            .text()
            .await
            .with_context(|| format!("the node at {url} broke off its answer"))?;
        // A refusal has an error status and still a reply in its body.
        serde_json::from_str(&text)
            .with_context(|| format!("the answer of {url} ({status}) is not a node's"))
    }
}

fn request(method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "1.0", "id": method, "method": method, "params": params })
}

/// Reads a block or a transaction from the hex that a node gives.
pub(super) fn decode<T: Decodable>(hex: &Value) -> anyhow::Result<T> {
    let hex = hex.as_str().context("the node's answer is not hex")?;
    deserialize_hex(hex).context("the node's answer does not parse")
}
