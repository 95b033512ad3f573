//! `GET /notifications/ws/ticket`: a ticket for one web socket.

use std::time::Instant;

use axum::extract::State;

use crate::http::App;
use crate::http::extract::Json;
use crate::http::schema::error::Always;

/// Create a websocket ticket
///
/// A ticket opens one web socket at `/api/v1/notifications/ws?ticket=<ticket>` within ten minutes; browsers cannot send the token there.
#[utoipa::path(get, path = "/notifications/ws/ticket", operation_id = "websocket_ticket", tag = "notifications", responses(
    (status = 200, description = "The ticket, 64 hex characters", body = String, content_type = "application/json"),
    Always,
))]
pub(super) async fn websocket_ticket(State(app): State<App>) -> Json<String> {
    Json(app.tickets.issue(Instant::now()))
}
