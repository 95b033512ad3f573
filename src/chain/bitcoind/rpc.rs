//! The JSON-RPC client of bitcoind: login, time limit, and the meaning of error codes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::StatusCode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Semaphore;
use url::Url;
use zeroize::Zeroizing;

use super::super::Error;
use super::super::error::innermost;
use super::super::timeout::{CALL_TIMEOUT, timed_out};

/// The most calls at a time. A node queues a few dozen and refuses more.
const PARALLEL_CALLS: usize = 8;

/// How to log in to bitcoind.
#[derive(Clone)]
pub enum BitcoindAuth {
    /// The cookie file that bitcoind writes at each start.
    Cookie(PathBuf),
    /// User name and password.
    UserPass {
        /// User name.
        user: String,
        /// Password.
        password: Zeroizing<String>,
    },
}

/// The error codes of bitcoind that are handled.
pub(super) mod code {
    /// The requested object does not exist.
    pub(super) const NOT_FOUND: i64 = -5;
    /// The transaction's outputs are already in the chain.
    pub(in super::super) const ALREADY_IN_CHAIN: i64 = -27;
    /// The node is starting.
    pub(super) const WARMING_UP: i64 = -28;
}

/// A failed call.
#[derive(Debug)]
pub(super) enum CallError {
    /// The node did not answer, or its answer is invalid.
    Failed(Error),
    /// The node answered with an error.
    Refused(Refusal),
}

/// The error object of the node's answer.
#[derive(Debug, Deserialize)]
pub(super) struct Refusal {
    pub(super) code: i64,
    pub(super) message: String,
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Error {
        match error {
            CallError::Failed(error) => error,
            CallError::Refused(Refusal { code, message }) => {
                Error::Rejected(format!("{message} (code {code})"))
            }
        }
    }
}

#[derive(Serialize)]
struct Request<'a> {
    jsonrpc: &'static str,
    id: usize,
    method: &'a str,
    params: &'a Value,
}

impl<'a> Request<'a> {
    fn new(id: usize, method: &'a str, params: &'a Value) -> Request<'a> {
        Request {
            jsonrpc: "2.0",
            id,
            method,
            params,
        }
    }
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "T: DeserializeOwned"))]
struct Reply<T> {
    id: usize,
    // `null` is the result of some methods and differs from a missing result, so the option must not absorb it.
    #[serde(default, deserialize_with = "present")]
    result: Option<T>,
    error: Option<Refusal>,
}

fn present<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl<T> Reply<T> {
    fn outcome(self) -> Result<T, CallError> {
        match (self.error, self.result) {
            (Some(refusal), _) if refusal.code == code::WARMING_UP => {
                Err(CallError::Failed(Error::Unavailable(refusal.message)))
            }
            (Some(refusal), _) => Err(CallError::Refused(refusal)),
            (None, Some(result)) => Ok(result),
            (None, None) => Err(invalid("an answer has neither a result nor an error")),
        }
    }
}

fn invalid(what: impl fmt::Display) -> CallError {
    CallError::Failed(Error::Invalid(what.to_string()))
}

/// The node's RPC interface. It is never reached through a proxy, and a call takes ten seconds at most.
pub(super) struct Rpc {
    http: reqwest::Client,
    url: Url,
    auth: BitcoindAuth,
    slots: Semaphore,
}

impl Rpc {
    pub(super) fn new(mut url: Url, auth: BitcoindAuth) -> Result<Rpc, Error> {
        // A login in the URL would appear in error messages.
        let stripped = url.set_username("").and_then(|()| url.set_password(None));
        stripped.map_err(|()| Error::Config("the bitcoind URL is not valid".to_owned()))?;
        let http = reqwest::Client::builder()
            .no_proxy()
            // Nodes close idle connections after 30 seconds, and a call must not use a connection that is being closed.
            .pool_idle_timeout(Duration::from_secs(15))
            .build()
            .map_err(|error| Error::Config(innermost(&error)))?;
        Ok(Rpc {
            http,
            url,
            auth,
            slots: Semaphore::new(PARALLEL_CALLS),
        })
    }

    pub(super) fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Calls a method. `params` is an array or an object of named parameters.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        params: Value,
    ) -> Result<T, CallError> {
        let request = Request::new(0, method, &params);
        let reply: Reply<T> = self.post(&request).await?;
        reply.outcome()
    }

    /// Calls a method once for each of `params`, in one batch request. The results are in the same order.
    pub(super) async fn call_each<T: DeserializeOwned>(
        &self,
        method: &str,
        params: &[Value],
    ) -> Result<Vec<Result<T, CallError>>, CallError> {
        let numbered = params.iter().enumerate();
        let batch: Vec<Request<'_>> = numbered
            .map(|(id, params)| Request::new(id, method, params))
            .collect();
        let mut replies: Vec<Reply<T>> = self.post(&batch).await?;
        replies.sort_by_key(|reply| reply.id);
        if !replies.iter().map(|reply| reply.id).eq(0..params.len()) {
            return Err(invalid("the answers of a batch do not match its calls"));
        }
        Ok(replies.into_iter().map(Reply::outcome).collect())
    }

    async fn post<T: DeserializeOwned>(&self, body: &impl Serialize) -> Result<T, CallError> {
        let answer = tokio::time::timeout(CALL_TIMEOUT, self.post_when_free(body)).await;
        answer.unwrap_or_else(|_| Err(CallError::Failed(Error::Unavailable(timed_out()))))
    }

    async fn post_when_free<T: DeserializeOwned>(
        &self,
        body: &impl Serialize,
    ) -> Result<T, CallError> {
        let unreachable =
            |error: reqwest::Error| CallError::Failed(Error::Unavailable(innermost(&error)));
        let _slot = self.slots.acquire().await;
        let request = self.http.post(self.url.clone()).json(body);
        let request = match &self.auth {
            // Read for each call, because the node writes a new cookie when it restarts.
            BitcoindAuth::Cookie(path) => {
                let (user, password) = read_cookie(path).map_err(CallError::Failed)?;
                request.basic_auth(user, Some(password.as_str()))
            }
            BitcoindAuth::UserPass { user, password } => {
                request.basic_auth(user, Some(password.as_str()))
            }
        };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
            return Err(CallError::Failed(self.login_refused(status)));
        }
        let body = response.bytes().await.map_err(unreachable)?;
        serde_json::from_slice(&body).map_err(|error| {
            // The node's own errors are JSON whatever the status, so this answer comes from a proxy or an overloaded node.
            if status.is_success() {
                invalid(error)
            } else {
                let text = String::from_utf8_lossy(&body);
                let text = text.trim().chars().take(200).collect::<String>();
                CallError::Failed(Error::Unavailable(format!("HTTP {status}: {text}")))
            }
        })
    }

    fn login_refused(&self, status: StatusCode) -> Error {
        match &self.auth {
            // Not a wrong setting: a node that restarts writes a new cookie soon.
            BitcoindAuth::Cookie(path) => Error::Unavailable(format!(
                "bitcoind refuses the cookie in {} (HTTP {status}); is this the cookie file of the node at the configured URL?",
                path.display()
            )),
            BitcoindAuth::UserPass { user, .. } => Error::Config(format!(
                "bitcoind refuses the password of user {user} (HTTP {status}); check the configured user and password"
            )),
        }
    }
}

fn read_cookie(path: &Path) -> Result<(String, Zeroizing<String>), Error> {
    let shown = path.display();
    let content = std::fs::read_to_string(path).map(Zeroizing::new);
    let content = content.map_err(|error| {
        Error::Unavailable(format!(
            "the cookie file {shown} cannot be read ({error}); is bitcoind running?"
        ))
    })?;
    let (user, password) = content
        .trim()
        .split_once(':')
        .ok_or_else(|| Error::Config(format!("{shown} is not a cookie file of bitcoind")))?;
    Ok((user.to_owned(), Zeroizing::new(password.to_owned())))
}

/// Turns the error that the requested object does not exist into `None`.
pub(super) fn optional<T>(outcome: Result<T, CallError>) -> Result<Option<T>, CallError> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(CallError::Refused(refusal)) if refusal.code == code::NOT_FOUND => {
            if refusal.message.contains("being indexed") {
                Err(CallError::Failed(Error::Unavailable(refusal.message)))
            } else {
                Ok(None)
            }
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome<T: DeserializeOwned>(text: &str) -> Result<T, CallError> {
        serde_json::from_str::<Reply<T>>(text).unwrap().outcome()
    }

    #[test]
    fn null_is_a_result_and_a_missing_result_is_invalid() {
        let null = outcome::<Option<u32>>(r#"{"id":0,"result":null,"error":null}"#);
        assert!(matches!(null, Ok(None)));
        let nothing = outcome::<Option<u32>>(r#"{"id":0}"#);
        assert!(matches!(nothing, Err(CallError::Failed(Error::Invalid(_)))));
    }

    #[test]
    fn a_node_that_is_still_loading_or_indexing_is_unavailable() {
        let refusal = |code: i64, message: &str| {
            let reply =
                serde_json::json!({ "id": 0, "error": { "code": code, "message": message } });
            optional(outcome::<u32>(&reply.to_string()))
        };
        let unknown = refusal(-5, "No such mempool or blockchain transaction.");
        assert!(matches!(unknown, Ok(None)));
        for (code, message) in [
            (-28, "Loading block index"),
            (
                -5,
                "Blockchain transactions are still in the process of being indexed.",
            ),
        ] {
            let error = Error::from(refusal(code, message).unwrap_err());
            assert!(matches!(error, Error::Unavailable(_)), "{error}");
        }
        let error = Error::from(refusal(-8, "Block height out of range").unwrap_err());
        assert!(matches!(error, Error::Rejected(_)), "{error}");
    }
}
