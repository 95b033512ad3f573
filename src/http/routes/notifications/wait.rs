//! `GET /notifications/wait`: the events since the last call, or the next ones.

use std::num::NonZeroU16;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, FixedOffset, SecondsFormat, TimeDelta, Utc};
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use super::subscription::Kinds;
use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::Query;
use crate::http::schema::error::{
    BadRequestError, GoneError, NeedsWallet, ServiceUnavailableError,
};
use crate::http::schema::notification::{self, WalletNotification};
use crate::wallet::{EventId, EventPage, EventStart};

/// The longest wait, in seconds.
const MAX_WAIT: u16 = 30;
/// The most events in an answer.
const MAX_EVENTS: u16 = 1000;
/// After this time a client that asks for rare types gets an answer, although more events could be searched.
const LONGEST_READ: Duration = Duration::from_secs(30);
/// How far back a client that names no time and no event gets events.
const RECENT: TimeDelta = TimeDelta::seconds(600);

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Question {
    /// The timestamp to start waiting for notifications from: only what happened later. Without it and `after`, all of the last ten minutes.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<String>,
    /// Only what followed the event with this id. 0 is the beginning.
    after: Option<u64>,
    /// The types of the notifications, with commas, or `all`. Without it, `movement-created` and `movement-updated`.
    types: Option<String>,
    /// The longest wait, in seconds.
    #[param(maximum = 30)]
    timeout: Option<u16>,
    /// The maximum number of notifications; the next call gets the others.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    limit: Option<NonZeroU16>,
}

/// Response payload for the long-poll `wait` endpoint.
#[derive(ToSchema)]
#[allow(dead_code)]
pub(super) struct WaitNotificationResponse {
    /// What has happened, oldest first. Empty if nothing has until the time was over.
    notifications: Vec<WalletNotification>,
    /// When the last one of them happened, to be sent as the next `since`; the given `since` if there is none.
    last_pushed_at: Option<DateTime<Utc>>,
    /// The last event that was considered, to be sent as the next `after`.
    #[schema(required = false)]
    last_event_id: u64,
}

impl Question {
    fn start(&self) -> Result<(EventStart, Option<DateTime<Utc>>), ApiError> {
        match (&self.since, self.after) {
            (None, None) => Ok((EventStart::Recent(RECENT), None)),
            (None, Some(id)) => Ok((EventStart::After(EventId(id)), None)),
            (Some(since), None) => {
                let since = parse_time(since).ok_or_else(|| {
                    ApiError::bad_request(
                        "invalid_query",
                        "since is a date and time such as 2026-08-21T14:02:42.123456789Z",
                    )
                })?;
                Ok((EventStart::Since(since), Some(since)))
            }
            (Some(_), Some(_)) => Err(ApiError::bad_request(
                "invalid_query",
                "since and after exclude each other; after is exact",
            )),
        }
    }

    fn timeout(&self) -> Result<Duration, ApiError> {
        match self.timeout.unwrap_or(MAX_WAIT) {
            seconds if seconds > MAX_WAIT => Err(ApiError::bad_request(
                "invalid_query",
                format!("timeout is at most {MAX_WAIT} seconds; call again for a longer wait"),
            )),
            seconds => Ok(Duration::from_secs(seconds.into())),
        }
    }

    fn limit(&self) -> Result<usize, ApiError> {
        match self.limit.map_or(MAX_EVENTS, NonZeroU16::get) {
            limit if limit > MAX_EVENTS => Err(ApiError::bad_request(
                "invalid_query",
                format!("limit is at most {MAX_EVENTS}"),
            )),
            limit => Ok(limit.into()),
        }
    }
}

/// Long-poll for wallet notifications
///
/// Waits for notifications for up to 30 seconds, and returns all that came after `since` or `after`, oldest first. Pass `last_event_id` as
/// the next `after` to get each one exactly once, also after a restart of either side.
///
/// The same notifications come over the web socket `/api/v1/notifications/ws?ticket=…&after=…&types=…`, and as server-sent events from
/// `/api/v1/notifications/sse?after=…&types=…`, which understands `Last-Event-ID`.
#[utoipa::path(get, path = "/notifications/wait", operation_id = "wait_notification", tag = "notifications", params(Question), responses(
    (status = 200, description = "What has happened; an empty list if the time is over", body = WaitNotificationResponse),
    (status = 400, description = "A parameter is invalid, or there is no event `after` yet", body = BadRequestError),
    (status = 410, description = "Events that followed `after` are not kept any more", body = GoneError),
    (status = 503, description = "The daemon stops", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn wait_notification(
    State(app): State<App>,
    Query(question): Query<Question>,
) -> Result<Response, ApiError> {
    let kinds = Kinds::parse(question.types.as_deref())?;
    let (start, since) = question.start()?;
    let (timeout, limit) = (question.timeout()?, question.limit()?);
    let wallet = app.wallet()?;
    let newest = *wallet.newest_event().borrow();
    let mut reader = wallet.read_events(start).await?;
    // A deletion does not wait for the answer.
    drop(wallet);
    let mut answer = Answer {
        notifications: Vec::new(),
        last_pushed_at: since,
        has_event: false,
    };
    let begun = Instant::now();
    loop {
        match reader.read(limit).await? {
            Some(EventPage::Pruned(last)) if matches!(start, EventStart::After(_)) => {
                return Err(pruned(last));
            }
            Some(page) => answer.add(&page, &kinds),
            None => tokio::select! {
                is_open = reader.wait() => if !is_open {
                    return Err(ApiError::no_wallet());
                },
                () = tokio::time::sleep_until(begun + timeout) => break,
                () = app.stopping.cancelled() => return Err(ApiError::stopping()),
            },
        }
        // What is there already is read also by a client that does not want to wait.
        let is_late = begun.elapsed() >= timeout && reader.has_reached(newest);
        if answer.has_event || is_late || begun.elapsed() >= LONGEST_READ {
            break;
        }
    }
    Ok(answer.into_response(reader.cursor()))
}

/// The answer while it is put together.
struct Answer {
    /// JSON of each.
    notifications: Vec<String>,
    last_pushed_at: Option<DateTime<Utc>>,
    /// Whether one of them is an event.
    has_event: bool,
}

impl Answer {
    fn add(&mut self, page: &EventPage, kinds: &Kinds) {
        let events = match page {
            EventPage::Pruned(last) => {
                self.notifications.push(notification::lagging(*last));
                return;
            }
            EventPage::Events(events) => events,
        };
        for event in events.iter().filter(|event| kinds.contain(event.kind)) {
            self.notifications
                .push(notification::json(event).to_owned());
            self.last_pushed_at = Some(event.stamp);
            self.has_event = true;
        }
    }

    fn into_response(self, cursor: EventId) -> Response {
        let last_pushed_at = self.last_pushed_at.map_or_else(
            || "null".to_owned(),
            |time| format!("\"{}\"", time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
        );
        let body = format!(
            r#"{{"notifications":[{}],"last_pushed_at":{last_pushed_at},"last_event_id":{cursor}}}"#,
            self.notifications.join(",")
        );
        ([(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

fn pruned(last: EventId) -> ApiError {
    ApiError::new(
        StatusCode::GONE,
        "events_pruned",
        format!(
            "The events up to {last} are not kept any more. Learn from GET /api/v1/history what happened, then go on with after={last}"
        ),
    )
}

/// A time in RFC 3339, or in the forms of published clients: a space for the `T` and before the offset, and a `+` that was sent without being
/// escaped.
fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    let parse = |text: &str| text.parse::<DateTime<FixedOffset>>().ok();
    let time = parse(text).or_else(|| {
        let (time, offset) = text.rsplit_once(' ')?;
        parse(&format!("{time}+{offset}"))
    });
    Some(time?.with_timezone(&Utc))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_the_forms_that_clients_send() {
        let expected = "2026-08-21T14:02:42.123456789Z";
        for text in [
            "2026-08-21T14:02:42.123456789Z",
            "2026-08-21T14:02:42.123456789+00:00",
            "2026-08-21 14:02:42.123456789 +00:00",
            "2026-08-21 16:02:42.123456789 +02:00",
            "2026-08-21T14:02:42.123456789 00:00",
            "2026-08-21 14:02:42.123456789Z",
            "2026-08-21 14:02:42.123456789 UTC",
        ] {
            let time =
                parse_time(text).map(|time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true));
            assert_eq!(time.as_deref(), Some(expected), "{text}");
        }
        for text in ["", "now", "2026-08-21", "1792591362", "2026-08-21T14:02:42"] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }
}
