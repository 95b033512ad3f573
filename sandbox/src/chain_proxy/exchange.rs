//! A forwarded request and its answer.

use std::io;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, StreamExt};

/// A request. Equal requests get the same recorded answer from a stale fault.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    pub(super) method: Method,
    /// Path and query.
    pub(super) path: String,
    pub(super) body: Bytes,
}

/// A recorded answer.
#[derive(Clone)]
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) kind: Option<HeaderValue>,
    pub(super) body: Bytes,
}

impl Answered {
    pub(super) fn whole(self) -> Response {
        let body = Body::from(self.body.clone());
        self.with(body)
    }

    /// Announces the length of the whole body and breaks the connection after half of it.
    pub(super) fn half(self) -> Response {
        let half = self.body.slice(..self.body.len() / 2);
        let length = HeaderValue::from(self.body.len());
        let sent = stream::iter([Ok(half)]);
        let broken = stream::once(async {
            // Lets the first half reach the client.
            tokio::task::yield_now().await;
            Err(broken())
        });
        let mut response = self.with(Body::from_stream(sent.chain(broken)));
        response.headers_mut().insert(CONTENT_LENGTH, length);
        response
    }

    fn with(self, body: Body) -> Response {
        let mut response = (self.status, body).into_response();
        if let Some(kind) = self.kind {
            response.headers_mut().insert(CONTENT_TYPE, kind);
        }
        response
    }
}

pub(super) fn broken() -> io::Error {
    io::Error::from(io::ErrorKind::ConnectionAborted)
}
