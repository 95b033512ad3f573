//! Webhooks and their deliveries.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::wallet;

/// A receiver that events are posted to.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Webhook {
    /// Its id.
    id: String,
    /// Where events are posted to.
    url: String,
    /// The note of its maker.
    description: String,
    /// The types of events that are posted; empty for all.
    event_types: Vec<&'static str>,
    /// Whether it gets events. The daemon switches it off when the receiver answers 410, or has failed for 72 hours.
    enabled: bool,
    /// The number of the last event that was delivered or passed over.
    last_event_id: u64,
    /// How often the delivery of the next event has failed.
    failures: u32,
    /// When it failed first.
    #[schema(required = false)]
    failing_since: Option<DateTime<Utc>>,
    /// When it is tried again.
    #[schema(required = false)]
    next_try_at: Option<DateTime<Utc>>,
    /// Why it failed last.
    #[schema(required = false)]
    last_error: Option<String>,
    /// Events that were deleted before they could be delivered, since the webhook was last enabled.
    lost_events: u64,
    /// Until when the secret before the last rotation signs too.
    #[schema(required = false)]
    previous_secret_expires_at: Option<DateTime<Utc>>,
    /// When it was created.
    created_at: DateTime<Utc>,
}

/// A webhook with its secret, which no later answer shows.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct WebhookWithSecret {
    #[serde(flatten)]
    webhook: Webhook,
    /// The secret that verifies `webhook-signature`: `whsec_` and the base64 of its bytes.
    secret: String,
}

/// One try to deliver an event, or a test.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct WebhookDelivery {
    /// Its number in the log of the webhook.
    number: u64,
    /// The number of the event; null for a test.
    #[schema(required = false)]
    event_id: Option<u64>,
    /// Which try of this event, from 1.
    attempt: u32,
    /// Whether the receiver has confirmed it, with a status from 200 to 299.
    delivered: bool,
    /// The status of the answer; null without one.
    #[schema(required = false)]
    status: Option<u16>,
    /// How long the answer, or the failure, took, in milliseconds.
    latency_ms: u64,
    /// Why it failed.
    #[schema(required = false)]
    error: Option<String>,
    /// When it began.
    at: DateTime<Utc>,
}

impl From<wallet::Webhook> for Webhook {
    fn from(webhook: wallet::Webhook) -> Self {
        let failing = webhook.progress.failing.as_ref();
        let next_try_at = failing.map(|failing| time(failing.next_try_at));
        let old_secret_until = webhook.old_secret.as_ref().map(|(_, until)| time(*until));
        Self {
            id: webhook.id.to_string(),
            event_types: webhook.kinds.iter().map(|kind| kind.name()).collect(),
            enabled: webhook.progress.enabled,
            last_event_id: webhook.progress.cursor.0,
            failures: failing.map_or(0, |failing| failing.failures),
            failing_since: failing.map(|failing| time(failing.since)),
            next_try_at: next_try_at.filter(|_| webhook.progress.enabled),
            last_error: failing.map(|failing| failing.error.clone()),
            lost_events: webhook.lost,
            previous_secret_expires_at: old_secret_until.filter(|until| *until > Utc::now()),
            created_at: time(webhook.created_at),
            url: webhook.url,
            description: webhook.description,
        }
    }
}

impl From<wallet::Webhook> for WebhookWithSecret {
    fn from(webhook: wallet::Webhook) -> Self {
        Self {
            secret: webhook.secret.reveal(),
            webhook: webhook.into(),
        }
    }
}

impl From<wallet::Delivery> for WebhookDelivery {
    fn from(delivery: wallet::Delivery) -> Self {
        Self {
            number: delivery.number,
            event_id: delivery.event.map(|event| event.0),
            attempt: delivery.attempt,
            delivered: delivery.error.is_none(),
            status: delivery.status,
            latency_ms: u64::try_from(delivery.latency.as_millis()).unwrap_or(u64::MAX),
            error: delivery.error,
            at: time(delivery.at),
        }
    }
}

fn time(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(millis).unwrap_or_default()
}
