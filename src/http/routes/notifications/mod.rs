//! `notifications`: what happens to the wallet, as a long poll, over a web socket, and as server-sent events (docs/protocol.md §26).
//!
//! All of them read the outbox, so a client that keeps the number of the last event that it has processed resumes there, over any
//! of them, after a failure on either side.

mod sse;
mod subscription;
mod ticket;
mod wait;
mod ws;

use axum::Router;
use axum::routing::get;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::App;

/// The routes that need a bearer token. The endless stream is not in the document.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(wait::wait_notification))
        .routes(routes!(ticket::websocket_ticket))
        .route("/notifications/sse", get(sse::stream))
}

/// The route that needs a ticket instead. Published documents do not declare it.
pub(super) fn ticketed() -> Router<App> {
    Router::new().route("/api/v1/notifications/ws", get(ws::connect))
}
