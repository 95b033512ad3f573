//! The response to a failed request, and the only place that maps the kind of an error to a status.
//!
//! Handlers return an [`ApiError`]; [`render`] turns it into `{"message", "code", "request_id"}` once the request's id is
//! known. `code` is a stable word for programs, `message` a sentence for humans. Internal causes go to the log, never into the body.

use std::any::Any;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::wallet::{self, MovementId};

/// A failed request.
#[derive(Debug, Clone)]
pub(super) struct ApiError {
    status: StatusCode,
    code: Cow<'static, str>,
    message: String,
    resources: Vec<String>,
    /// The movement of what goes on by itself.
    movement: Option<MovementId>,
    /// Seconds after which the same request may have an answer.
    retry_after: Option<u32>,
    /// Logged, but not part of the response.
    cause: Option<String>,
}

#[derive(Serialize)]
struct Body<'a> {
    message: &'a str,
    code: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    movement_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<&'a [String]>,
}

impl ApiError {
    /// An error with `status`, which must be 4xx or 5xx.
    pub(super) fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        debug_assert!(status.is_client_error() || status.is_server_error());
        Self {
            status,
            code: code.into(),
            message: message.into(),
            resources: Vec::new(),
            movement: None,
            retry_after: None,
            cause: None,
        }
    }

    /// 400: the request is invalid.
    pub(super) fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 401: the token is missing or wrong.
    pub(super) fn unauthorized(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, message)
    }

    /// 403: the web page or host name is not allowed.
    pub(super) fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }

    /// 404: the named thing does not exist.
    pub(super) fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// 409: an earlier request with the same idempotency key is still being carried out.
    pub(super) fn in_progress(movement: Option<MovementId>) -> Self {
        let mut error = Self::new(
            StatusCode::CONFLICT,
            "idempotency_in_progress",
            "An earlier request with this Idempotency-Key is still being carried out. Repeat the request with the same key, or look for its \
             movement in GET /api/v1/history?idempotency_key=…",
        );
        error.movement = movement;
        error.retry_after = Some(1);
        error
    }

    /// 422: the route needs a wallet and none is loaded.
    pub(super) fn no_wallet() -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "no_wallet",
            "No wallet set; create or restore one with POST /api/v1/wallet/create",
        )
    }

    /// 500, with a cause for the log.
    pub(super) fn internal(cause: impl Into<String>) -> Self {
        let mut error = Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Something went wrong inside the daemon.",
        );
        error.cause = Some(cause.into());
        error
    }

    /// 503: the daemon stops while the request waits.
    pub(super) fn stopping() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "stopping",
            "The daemon is stopping; send the request again when it runs",
        )
    }

    /// 504: the request took longer than `deadline`. What it started continues.
    pub(super) fn timed_out(deadline: Duration) -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "timed_out",
            format!(
                "The request took longer than {} seconds and may still be in progress; check /api/v1/history before repeating it.",
                deadline.as_secs()
            ),
        )
    }

    /// 500 for a handler that panicked.
    pub(super) fn panicked(panic: &(dyn Any + Send)) -> Self {
        let text = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Self::internal(format!("panic: {}", text.unwrap_or("no message")))
    }

    /// The stable word for programs.
    #[cfg(test)]
    pub(super) fn code(&self) -> &'static str {
        match self.code {
            Cow::Borrowed(code) => code,
            Cow::Owned(_) => "kept",
        }
    }
}

fn status_of(kind: wallet::ErrorKind) -> StatusCode {
    use wallet::ErrorKind::{
        BadRequest, Conflict, Gone, Internal, NotFound, NotReady, StillInProgress, Unavailable,
    };
    match kind {
        BadRequest => StatusCode::BAD_REQUEST,
        NotFound => StatusCode::NOT_FOUND,
        Conflict => StatusCode::CONFLICT,
        NotReady => StatusCode::UNPROCESSABLE_ENTITY,
        Gone => StatusCode::GONE,
        Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        StillInProgress => StatusCode::GATEWAY_TIMEOUT,
        Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<wallet::Error> for ApiError {
    fn from(error: wallet::Error) -> Self {
        let status = status_of(error.kind());
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            return Self::internal(chain(&error));
        }
        let cause = status.is_server_error().then(|| chain(&error));
        Self {
            resources: error.resources().to_vec(),
            movement: error.movement(),
            cause,
            ..Self::new(status, error.code(), error.message())
        }
    }
}

/// An error that was stored, as the first request got it.
impl From<wallet::Failure> for ApiError {
    fn from(failure: wallet::Failure) -> Self {
        Self {
            resources: failure.resources,
            ..Self::new(status_of(failure.kind), failure.code, failure.message)
        }
    }
}

fn chain(error: &wallet::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Carries the error to [`render`], which knows the request's id.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = status.into_response();
        if let Some(seconds) = self.retry_after {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, scheme);
        }
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

/// Writes the body of a failed response, and logs server errors. Headers that other layers set are kept.
pub(super) fn render(answer: Response, request_id: &str) -> Response {
    let Some(error) = answer.extensions().get::<Arc<ApiError>>().cloned() else {
        return answer;
    };
    if error.status.is_server_error() {
        let cause = error.cause.as_deref().unwrap_or(&error.message);
        tracing::warn!(
            status = error.status.as_u16(),
            code = %error.code,
            cause,
            "request failed"
        );
    }
    let body = Body {
        message: &error.message,
        code: &error.code,
        request_id,
        movement_id: error.movement.map(|movement| movement.0),
        resources: (error.status == StatusCode::NOT_FOUND).then_some(&error.resources),
    };
    let (mut parts, _) = answer.into_parts();
    let (own, body) = Json(body).into_response().into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.extend(own.headers);
    Response::from_parts(parts, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_error_has_its_status() {
        let status = |error: wallet::Error| ApiError::from(error).status.as_u16();
        assert_eq!(status(wallet::Error::bad_request("c", "m")), 400);
        assert_eq!(status(wallet::Error::not_found("c", "m", "id")), 404);
        assert_eq!(status(wallet::Error::conflict("c", "m")), 409);
        assert_eq!(status(wallet::Error::not_ready("c", "m")), 422);
        assert_eq!(status(wallet::Error::gone("c", "m")), 410);
        assert_eq!(status(wallet::Error::unavailable("c", "m")), 503);
        assert_eq!(status(wallet::Error::internal(anyhow::anyhow!("x"))), 500);
        let late = wallet::Error::still_in_progress("payment", MovementId(7));
        assert_eq!(status(late), 504);
    }

    #[test]
    fn a_timed_out_request_is_not_reported_as_unavailable() {
        let error = ApiError::timed_out(Duration::from_secs(120));
        assert_eq!((error.status.as_u16(), error.code()), (504, "timed_out"));
    }

    #[tokio::test]
    async fn causes_stay_out_of_the_body() {
        let error =
            wallet::Error::internal(anyhow::anyhow!("/var/lib/arkwalletd/db.sqlite: disk full"));
        let answer = render(ApiError::from(error).into_response(), "r1");
        assert_eq!(answer.status(), 500);
        let bytes = axum::body::to_bytes(answer.into_body(), 10_000)
            .await
            .unwrap();
        let body: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(body["code"], "internal");
        assert_eq!(body["request_id"], "r1");
        assert!(!body.to_string().contains("db.sqlite"));
        assert!(body.get("resources").is_none());
    }
}
