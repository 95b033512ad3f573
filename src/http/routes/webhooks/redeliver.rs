//! `POST /webhooks/{id}/redeliver`: deliver events again, or pass over some.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path, detached};
use crate::http::schema::error::{BadRequestError, GoneError, NeedsWallet, NotFoundError};
use crate::http::schema::webhook::Webhook;
use crate::wallet::EventId;

#[derive(Deserialize, ToSchema)]
pub(super) struct RedeliverRequest {
    /// The next event is the one after this number.
    after: u64,
}

/// Redeliver events
///
/// Goes on with the event after `after`, and then with all that follow, in order. They keep their `webhook-id`. A number ahead of
/// `last_event_id` passes over the events in between.
///
/// Codes: `cursor_ahead` if there is no such event yet (400), `events_pruned` if the next one is not kept any more (410).
#[utoipa::path(post, path = "/webhooks/{id}/redeliver", operation_id = "redeliver_events", tag = "webhooks",
    params(("id" = String, Path, description = "The webhook's id")), request_body = RedeliverRequest, responses(
    (status = 200, description = "The webhook as it is now", body = Webhook),
    (status = 400, description = "There is no such event", body = BadRequestError),
    (status = 404, description = "There is no such webhook", body = NotFoundError),
    (status = 410, description = "The event after `after` is not kept any more", body = GoneError),
    NeedsWallet,
))]
pub(super) async fn redeliver_events(
    State(app): State<App>,
    Path(id): Path<String>,
    Json(request): Json<RedeliverRequest>,
) -> Result<Json<Webhook>, ApiError> {
    let wallet = app.wallet()?;
    let (id, after) = (id.into(), EventId(request.after));
    let changed = detached(async move { wallet.redeliver_events(&id, after).await }).await?;
    Ok(Json(changed.into()))
}
