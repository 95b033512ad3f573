//! The router of one connection, which reports the connection's requests.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Request, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use axum::{BoxError, Router};
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::activity::Activity;
use super::body::{AnswerBody, InProgress, RequestBody};

/// An extension of each request: cancelled when the daemon stops.
#[derive(Clone)]
pub(in crate::http) struct Stopping(CancellationToken);

impl Stopping {
    /// Resolves when the daemon stops.
    pub(in crate::http) async fn begun(self) {
        self.0.cancelled_owned().await;
    }
}

/// The router, for the requests of one connection.
#[derive(Clone)]
pub(super) struct Service {
    router: Router,
    activity: Arc<Activity>,
    /// How long the body of a request may take to arrive.
    patience: Duration,
    stopping: CancellationToken,
}

impl Service {
    pub(super) fn new(
        router: Router,
        activity: Arc<Activity>,
        patience: Duration,
        stopping: CancellationToken,
    ) -> Service {
        Service {
            router,
            activity,
            patience,
            stopping,
        }
    }
}

impl<B> tower::Service<Request<B>> for Service
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let is_http2 = request.version() == Version::HTTP_2;
        let in_progress = InProgress::begin(Arc::clone(&self.activity), is_http2);
        let Some(in_progress) = in_progress else {
            let refused = StatusCode::SERVICE_UNAVAILABLE.into_response();
            return Box::pin(std::future::ready(Ok(refused)));
        };
        let (activity, patience) = (Arc::clone(&self.activity), self.patience);
        let mut request =
            request.map(|body| Body::new(RequestBody::new(Body::new(body), activity, patience)));
        let stopping = self.stopping.clone();
        request.extensions_mut().insert(Stopping(stopping.clone()));
        let answer = self.router.call(request);
        let activity = Arc::clone(&self.activity);
        Box::pin(async move {
            let answer = answer.await?;
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                activity.upgrade();
            }
            // It has no end of its own, and the daemon does not wait for it.
            let end = is_event_stream(&answer).then(|| stopping.cancelled_owned());
            Ok(answer.map(|body| Body::new(AnswerBody::new(body, end, in_progress))))
        })
    }
}

fn is_event_stream(answer: &Response) -> bool {
    let content_type = answer.headers().get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}
