//! The outermost layer of a request: its id, its span, its deadline, and the conversion of an [`ApiError`] into a JSON body.

use std::future::Future;
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;

use super::error::{self, ApiError};
use super::server::Stopping;

/// The header that carries a request's id, in the request and in the response.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// After this time a request is answered with 504; what it started continues. Longer than any wait of the wallet.
const DEADLINE: Duration = Duration::from_secs(120);

/// How long requests that only read may go on when the daemon stops.
const LAST_READS: Duration = Duration::from_secs(1);

/// Gives the request an id, runs it, and completes its response.
pub(super) async fn handle(request: Request, next: Next) -> Response {
    let id = given_id(request.headers()).unwrap_or_else(new_id);
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let span = tracing::info_span!("request", id = %id, %method, path);
    async move {
        let started = Instant::now();
        let stopping = stopping(&request);
        let answer = async {
            tokio::select! {
                answer = next.run(request) => answer,
                () = stopping => ApiError::stopping().into_response(),
            }
        };
        let answer = tokio::time::timeout(DEADLINE, answer).await;
        let answer = answer.unwrap_or_else(|_| ApiError::timed_out(DEADLINE).into_response());
        let mut answer = error::render(answer, &id);
        tracing::debug!(
            status = answer.status().as_u16(),
            milliseconds = started.elapsed().as_millis(),
            "request answered"
        );
        if let Ok(id) = HeaderValue::from_str(&id) {
            answer.headers_mut().insert(REQUEST_ID, id);
        }
        answer
    }
    .instrument(span)
    .await
}

/// Resolves when the daemon has been stopping for [`LAST_READS`], for a request that only reads. Such a request may wait for
/// something to happen, and the stop does not wait for that.
fn stopping(request: &Request) -> impl Future<Output = ()> + use<> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let stopping = request.extensions().get::<Stopping>().cloned();
    let stopping = stopping.filter(|_| reads);
    async move {
        match stopping {
            Some(stopping) => stopping.begun().await,
            None => std::future::pending().await,
        }
        tokio::time::sleep(LAST_READS).await;
    }
}

/// The id that the client sent, if it is at most 64 letters, digits, `-`, `_` and `.`, so that it can be logged.
fn given_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    ((1..=64).contains(&id.len()) && id.bytes().all(plain)).then(|| id.to_owned())
}

fn new_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_ids_are_accepted() {
        let given = |id: &str| {
            given_id(&HeaderMap::from_iter([(
                REQUEST_ID,
                HeaderValue::from_str(id).unwrap(),
            )]))
        };
        assert_eq!(given("order-17.a_b"), Some("order-17.a_b".to_owned()));
        assert_eq!(given("a b"), None);
        assert_eq!(given(""), None);
        assert_eq!(given(&"a".repeat(65)), None);
        assert_eq!(new_id().len(), 32);
    }
}
