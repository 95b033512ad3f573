//! The bodies of requests, which have to arrive in time, and of answers, which end their requests.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Error;
use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use tokio::time::Sleep;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::activity::Activity;

/// The body did not arrive in time.
#[derive(Debug, thiserror::Error)]
#[error("the body of the request did not arrive in time")]
struct TimedOut;

/// Whether an error, or a cause of it, is that a request's body did not arrive in time.
pub(in crate::http) fn is_timeout(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<TimedOut>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The body of a request. Reading it fails when the rest has not arrived in time.
pub(super) struct RequestBody {
    body: Body,
    activity: Arc<Activity>,
    patience: Duration,
    /// Set while somebody waits for the rest.
    wait: Option<Wait>,
}

struct Wait {
    activity: Arc<Activity>,
    deadline: Pin<Box<Sleep>>,
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.activity.end_body();
    }
}

impl RequestBody {
    /// The whole of `body` has to arrive within `patience` from the first time that it is waited for.
    pub(super) fn new(body: Body, activity: Arc<Activity>, patience: Duration) -> RequestBody {
        RequestBody {
            body,
            activity,
            patience,
            wait: None,
        }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        if frame.is_ready() {
            if !matches!(frame, Poll::Ready(Some(Ok(_)))) || this.body.is_end_stream() {
                this.wait = None;
            }
            return frame;
        }
        let (activity, patience) = (&this.activity, this.patience);
        let wait = this.wait.get_or_insert_with(|| {
            activity.begin_body();
            Wait {
                activity: Arc::clone(activity),
                deadline: Box::pin(tokio::time::sleep(patience)),
            }
        });
        match wait.deadline.as_mut().poll(cx) {
            Poll::Ready(()) => {
                this.wait = None;
                Poll::Ready(Some(Err(Error::new(TimedOut))))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A request in progress, until it is dropped.
pub(super) struct InProgress(Arc<Activity>);

impl InProgress {
    /// `None` if the request must not be carried out, because its connection is being closed.
    pub(super) fn begin(activity: Arc<Activity>, is_http2: bool) -> Option<InProgress> {
        let may_begin = activity.begin_request(is_http2);
        let in_progress = InProgress(activity);
        may_begin.then_some(in_progress)
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.end_request();
    }
}

/// The body of an answer, with which the request ends.
pub(super) struct AnswerBody {
    body: Body,
    /// For a stream without an end: resolves when it has to end.
    end: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    _request: InProgress,
}

impl AnswerBody {
    pub(super) fn new(
        body: Body,
        end: Option<WaitForCancellationFutureOwned>,
        request: InProgress,
    ) -> AnswerBody {
        AnswerBody {
            body,
            end: end.map(Box::pin),
            _request: request,
        }
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(end) = &mut self.end
            && end.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
