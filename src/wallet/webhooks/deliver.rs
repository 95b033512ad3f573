//! Posts the events of a webhook in their order, and writes what came of each post.
//!
//! ```text
//! event ──post──▶ 2xx ──▶ cursor and log in one write ──▶ the next event
//!   ▲              │
//!   │              └─▶ failure ──▶ time of the next try and log in one write
//!   └──────────────────────────────┘
//! ```
//!
//! A process that dies between a post and its write posts the event again, with the same `webhook-id`.

use std::sync::Arc;
use std::time::Duration;

use super::schedule;
use crate::model::{Attention, Delivery, Event, EventId, Failing, Progress, Webhook, WebhookId};
use crate::store::webhook as rows;
use crate::wallet::engine::{attention, clock};
use crate::wallet::{Error, Result, Wallet};
use crate::webhook::{Answer, Post, parse_url};

/// How many events are read at a time.
const BATCH: usize = 100;

/// The `attention` of a webhook that was given up.
pub(super) const GIVEN_UP: &str = "webhook_given_up";
/// The `attention` of a webhook whose events were deleted before they were delivered.
pub(super) const EVENTS_LOST: &str = "webhook_events_lost";

/// What a webhook waits for.
#[derive(Debug, PartialEq, Eq)]
pub enum NextDelivery {
    /// The next event.
    Event,
    /// The end of a pause.
    Pause(Duration),
    /// A person, who has to enable it.
    Enabling,
    /// Nothing: it is deleted.
    Never,
}

impl Wallet {
    /// Delivers the events of a webhook until it has to wait. `render` makes the JSON of an event.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn deliver_events(
        &self,
        id: &WebhookId,
        render: fn(&Event) -> &str,
    ) -> Result<NextDelivery> {
        loop {
            let Some(webhook) = self.find_webhook(id).await? else {
                return Ok(NextDelivery::Never);
            };
            if !webhook.progress.enabled {
                return Ok(NextDelivery::Enabling);
            }
            if let Some(pause) = schedule::remaining(&webhook.progress) {
                return Ok(NextDelivery::Pause(pause));
            }
            let events = self.events_after(webhook.progress.cursor, BATCH).await?;
            let Some(first) = events.first() else {
                return Ok(NextDelivery::Event);
            };
            let lost = first.id.0 - webhook.progress.cursor.next().0;
            if lost > 0 {
                self.pass_over_lost(&webhook, first.id, lost).await?;
            } else {
                self.deliver_batch(webhook, &events, render).await?;
            }
        }
    }

    /// Delivers events that follow the cursor, until one fails or a person changes the webhook.
    async fn deliver_batch(
        &self,
        mut webhook: Webhook,
        events: &[Arc<Event>],
        render: fn(&Event) -> &str,
    ) -> Result<()> {
        for event in events {
            if webhook.wants(event.kind) {
                let id = message_id(&webhook.id, event);
                let at = clock::now_millis();
                let answer = self.post(&webhook, &id, render(event)).await?;
                let next = self.settle(&webhook, event.id, at, answer).await?;
                match next {
                    Some(progress) if progress.failing.is_none() => webhook.progress = progress,
                    _ => return Ok(()),
                }
            }
        }
        let Some(last) = events.last() else {
            return Ok(());
        };
        if webhook.progress.cursor < last.id {
            self.pass_over_unwanted(webhook, last.id).await?;
        }
        Ok(())
    }

    /// Writes what came of the post of an event. Returns how far the webhook has got; `None` if a person has changed it meanwhile, so that it
    /// has to be read again.
    async fn settle(
        &self,
        webhook: &Webhook,
        event: EventId,
        at: i64,
        answer: Answer,
    ) -> Result<Option<Progress>> {
        let progress = match answer.error {
            None => Progress::at(event),
            Some(_) => schedule::after_failure(&webhook.progress, &answer),
        };
        log_change(webhook, &progress);
        let failures = webhook.progress.failing.as_ref();
        let delivery = Delivery {
            number: 0,
            event: Some(event),
            attempt: failures.map_or(1, |failing| failing.failures.saturating_add(1)),
            status: answer.status,
            latency: answer.latency,
            error: answer.error,
            at,
        };
        let (webhook, next) = (webhook.clone(), progress.clone());
        let is_written = self.store.write(move |tx| {
            rows::log(tx, &webhook.id, &delivery)?;
            let is_written = rows::advance(tx, &webhook, &next, 0)?;
            if is_written && !next.enabled {
                attention::raise(tx, &given_up(&webhook.id, &next))?;
            }
            Ok::<_, Error>(is_written)
        });
        Ok(is_written.await?.then_some(progress))
    }

    /// Goes on with the oldest event that is left, and tells the operator of those before it.
    async fn pass_over_lost(&self, webhook: &Webhook, oldest: EventId, lost: u64) -> Result<()> {
        let progress = Progress {
            cursor: EventId(oldest.0 - 1),
            ..webhook.progress.clone()
        };
        let webhook = webhook.clone();
        self.store
            .write(move |tx| {
                if rows::advance(tx, &webhook, &progress, lost)? {
                    let fact = events_lost(&webhook.id, webhook.progress.cursor, &progress);
                    attention::raise(tx, &fact)?;
                }
                Ok(())
            })
            .await
    }

    async fn pass_over_unwanted(&self, webhook: Webhook, last: EventId) -> Result<()> {
        let progress = Progress::at(last);
        let written = self
            .store
            .write(move |tx| rows::advance(tx, &webhook, &progress, 0));
        written.await?;
        Ok(())
    }

    /// Signs and sends a body.
    pub(super) async fn post(&self, webhook: &Webhook, id: &str, body: &str) -> Result<Answer> {
        let mut secrets = vec![webhook.secret.bytes()];
        if let Some((secret, until)) = &webhook.old_secret
            && !clock::until(*until).is_zero()
        {
            secrets.push(secret.bytes());
        }
        let url = parse_url(&webhook.url)
            .map_err(|why| Error::internal(anyhow::anyhow!("the URL of {} {why}", webhook.id)))?;
        let post = Post {
            url,
            id,
            secrets: &secrets,
            body: body.to_owned(),
        };
        Ok(self.webhooks.client.post(post).await)
    }
}

/// The header `webhook-id` of an event. The stamp makes it differ from that of another event which had the same number before an older
/// copy of the database was restored.
fn message_id(webhook: &WebhookId, event: &Event) -> String {
    let stamp = event.stamp.timestamp_nanos_opt().unwrap_or_default();
    format!("{webhook}_{}_{stamp}", event.id)
}

fn log_change(webhook: &Webhook, next: &Progress) {
    let id = &webhook.id;
    match (&webhook.progress.failing, &next.failing) {
        (None, Some(Failing { error, .. })) => {
            tracing::warn!(webhook = %id, %error, "a webhook's receiver fails; retrying");
        }
        (Some(_), None) => tracing::info!(webhook = %id, "a webhook's receiver works again"),
        _ => {}
    }
}

fn given_up(id: &WebhookId, progress: &Progress) -> Attention {
    let failing = progress.failing.as_ref();
    let (failures, error) = failing.map_or((0, ""), |failing| (failing.failures, &failing.error));
    Attention {
        code: GIVEN_UP.to_owned(),
        subject: id.to_string(),
        message: format!(
            "The webhook is disabled: its receiver has failed {failures} times in a row for the event after number {}; the last answer was: \
             {error}",
            progress.cursor
        ),
        what_to_do: format!(
            "Repair the receiver, then PATCH /api/v1/webhooks/{id} with {{\"enabled\": true}}; it goes on with that event. To go on with \
             another one, POST its predecessor as \"after\" to /api/v1/webhooks/{id}/redeliver"
        ),
    }
}

fn events_lost(id: &WebhookId, before: EventId, progress: &Progress) -> Attention {
    Attention {
        code: EVENTS_LOST.to_owned(),
        subject: id.to_string(),
        message: format!(
            "The webhook has missed the events {} to {}: they were deleted because of their age or number before its receiver took them",
            before.next(),
            progress.cursor
        ),
        what_to_do: format!(
            "Read what the receiver lacks with GET /api/v1/history, then PATCH /api/v1/webhooks/{id} with {{\"enabled\": true}} to \
             confirm"
        ),
    }
}
