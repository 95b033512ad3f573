//! `GET /ping`: whether the daemon serves requests.

use axum::http::header;
use axum::response::IntoResponse;

/// Ping
///
/// Answers as soon as the daemon serves requests.
#[utoipa::path(get, path = "/ping", operation_id = "ping", security(()), extensions(("x-hidden" = json!(true))),
    responses((status = 200, description = "The daemon is up", body = String, content_type = "text/plain")))]
pub(super) async fn ping() -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
        "pong",
    )
}
