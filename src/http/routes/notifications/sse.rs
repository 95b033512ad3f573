//! `GET /notifications/sse`: the events as they happen, as server-sent events.

use std::convert::Infallible;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::subscription::{Kinds, SEND_PATIENCE, STREAM_PAGE, start_of_stream};
use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::Query;
use crate::http::schema::notification;
use crate::wallet::{EventId, EventPage, EventReader};

/// The most events that wait for the connection.
const QUEUE: usize = 16;

#[derive(Deserialize)]
pub(super) struct Question {
    /// Also what followed the event with this id; without it, only what happens from now on. The header `Last-Event-ID`, which clients send
    /// when they reconnect, takes precedence.
    after: Option<u64>,
    /// As for `GET /notifications/wait`.
    types: Option<String>,
}

/// Streams the events until the client goes, the wallet is closed, or the daemon stops.
pub(super) async fn stream(
    State(app): State<App>,
    Query(question): Query<Question>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let kinds = Kinds::parse(question.types.as_deref())?;
    let after = last_event_id(&headers)?.or(question.after);
    let wallet = app.wallet()?;
    let reader = wallet.read_events(start_of_stream(after)).await?;
    let closing = wallet.closing();
    // A deletion does not wait for the stream to end.
    drop(wallet);
    let (queue, events) = mpsc::channel(QUEUE);
    // The connection may wait for its client without end, so what holds the wallet is not part of it.
    tokio::spawn(async move {
        tokio::select! {
            () = feed(reader, &kinds, &queue) => {}
            () = queue.closed() => {}
            () = app.stopping.cancelled() => {}
            () = closing.cancelled() => {}
        }
    });
    let events = futures::stream::unfold(events, async |mut events| {
        let event = events.recv().await?;
        Some((Ok::<Event, Infallible>(event), events))
    });
    let stream = Sse::new(events).keep_alive(KeepAlive::default());
    // Asks a proxy not to collect events.
    Ok(([("x-accel-buffering", "no")], stream).into_response())
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let id = value.to_str().ok().and_then(|text| text.parse().ok());
    id.map(Some).ok_or_else(|| {
        ApiError::bad_request(
            "invalid_last_event_id",
            "Last-Event-ID is the number of an event, as the stream sends it",
        )
    })
}

/// Sends events until the client takes too long for one.
async fn feed(mut reader: EventReader, kinds: &Kinds, queue: &mpsc::Sender<Event>) {
    // The client learns where it is, so that it misses nothing if it reconnects before the first event.
    let mut events = vec![Event::default().id(reader.cursor().to_string())];
    loop {
        for event in events {
            if !matches!(timeout(SEND_PATIENCE, queue.send(event)).await, Ok(Ok(()))) {
                return;
            }
        }
        events = match reader.next(STREAM_PAGE).await {
            Ok(Some(EventPage::Pruned(last))) => {
                vec![shown(last, "channel-lagging", &notification::lagging(last))]
            }
            Ok(Some(EventPage::Events(events))) => {
                let wanted = events.iter().filter(|event| kinds.contain(event.kind));
                wanted
                    .map(|event| shown(event.id, event.kind.name(), notification::json(event)))
                    .collect()
            }
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "cannot read the events of a stream; closing it");
                return;
            }
        };
    }
}

fn shown(id: EventId, name: &str, json: &str) -> Event {
    Event::default().id(id.to_string()).event(name).data(json)
}
