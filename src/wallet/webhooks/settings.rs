//! What a person does with webhooks: create, change, delete, rotate the secret, set the cursor back.

use std::time::Duration;

use super::deliver::{EVENTS_LOST, GIVEN_UP};
use super::unknown;
use crate::model::{EventId, EventKind, Progress, Webhook, WebhookId, WebhookSecret};
use crate::store::{WriteTx, webhook as rows};
use crate::wallet::engine::{attention, clock};
use crate::wallet::events::ahead;
use crate::wallet::{Error, Result, Wallet};
use crate::webhook::parse_url;

/// The most webhooks of a wallet.
const MAX_WEBHOOKS: usize = 32;
/// The most characters of a description.
const MAX_DESCRIPTION: usize = 256;
/// The longest time that the secret before a rotation signs too.
const MAX_GRACE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A webhook to create.
pub struct NewWebhook {
    /// Where events are posted to.
    pub url: String,
    /// A note.
    pub description: String,
    /// The names of the kinds of events that are posted; empty for all.
    pub kinds: Vec<String>,
    /// Its secret, `whsec_` with base64; `None` for a random one.
    pub secret: Option<String>,
    /// The first event is the one after this; `None` for the next one that happens.
    pub after: Option<EventId>,
}

/// A change of a webhook. What is `None` stays as it is.
#[derive(Debug, Default)]
pub struct WebhookChange {
    /// Where events are posted to.
    pub url: Option<String>,
    /// A note.
    pub description: Option<String>,
    /// The names of the kinds of events that are posted; empty for all.
    pub kinds: Option<Vec<String>>,
    /// Whether it gets events. Enabling it confirms that the operator knows of lost events.
    pub enabled: Option<bool>,
}

impl Wallet {
    /// Creates a webhook. Only its maker learns its secret.
    ///
    /// # Errors
    /// `invalid_webhook_url`, `description_too_long`, `unknown_event_type`, `invalid_webhook_secret`, `too_many_webhooks`; `cursor_ahead`
    /// and `events_pruned` if there are no events after `after`.
    pub async fn create_webhook(&self, new: NewWebhook) -> Result<Webhook> {
        let after = match new.after {
            Some(after) => self.check_cursor(after).await?,
            None => *self.newest_event().borrow(),
        };
        let webhook = Webhook {
            id: WebhookId::random(),
            url: check_url(&new.url)?,
            description: check_description(new.description)?,
            kinds: check_kinds(&new.kinds)?,
            secret: given_or_random(new.secret.as_deref())?,
            old_secret: None,
            revision: 0,
            progress: Progress::at(after),
            lost: 0,
            created_at: clock::now_millis(),
        };
        let created = webhook.clone();
        self.store
            .write(move |tx| {
                if rows::list(tx)?.len() >= MAX_WEBHOOKS {
                    let message = format!("There are {MAX_WEBHOOKS} webhooks already; delete one");
                    return Err(Error::conflict("too_many_webhooks", message));
                }
                Ok(rows::put(tx, &created)?)
            })
            .await?;
        self.webhooks.changes.send_replace(());
        Ok(webhook)
    }

    /// Changes a webhook. The event that it has failed to deliver, if any, is tried again at once, and its failures count from 0 again.
    ///
    /// # Errors
    /// `unknown_webhook`, `invalid_webhook_url`, `description_too_long`, `unknown_event_type`.
    pub async fn update_webhook(&self, id: &WebhookId, change: WebhookChange) -> Result<Webhook> {
        let url = change.url.as_deref().map(check_url).transpose()?;
        let description = change.description.map(check_description).transpose()?;
        let kinds = change.kinds.as_deref().map(check_kinds).transpose()?;
        self.change(id, move |tx, webhook| {
            if let Some(url) = url {
                webhook.url = url;
            }
            if let Some(description) = description {
                webhook.description = description;
            }
            if let Some(kinds) = kinds {
                webhook.kinds = kinds;
            }
            if let Some(enabled) = change.enabled {
                webhook.progress.enabled = enabled;
            }
            if change.enabled == Some(true) {
                webhook.lost = 0;
                attention::clear(tx, EVENTS_LOST, webhook.id.as_str())?;
            }
            webhook.progress.failing = None;
            Ok(())
        })
        .await
    }

    /// Gives a webhook a new secret. The old one signs too for `grace`; one that was older does not any more.
    ///
    /// # Errors
    /// `unknown_webhook`, `invalid_webhook_secret`; `invalid_grace` beyond 30 days.
    pub async fn rotate_webhook_secret(
        &self,
        id: &WebhookId,
        secret: Option<String>,
        grace: Duration,
    ) -> Result<Webhook> {
        let secret = given_or_random(secret.as_deref())?;
        if grace > MAX_GRACE {
            let message = "`grace_secs` is at most 2592000, which is 30 days";
            return Err(Error::bad_request("invalid_grace", message));
        }
        self.change(id, move |_, webhook| {
            let old = std::mem::replace(&mut webhook.secret, secret);
            let until = clock::in_millis(grace);
            webhook.old_secret = (!grace.is_zero()).then_some((old, until));
            Ok(())
        })
        .await
    }

    /// Makes a webhook go on with the event after this one, which it may have delivered before or not.
    ///
    /// # Errors
    /// `unknown_webhook`; `cursor_ahead` and `events_pruned` if there are no events after `after`.
    pub async fn redeliver_events(&self, id: &WebhookId, after: EventId) -> Result<Webhook> {
        self.webhook(id).await?;
        let after = self.check_cursor(after).await?;
        self.change(id, move |_, webhook| {
            webhook.progress.cursor = after;
            webhook.progress.failing = None;
            Ok(())
        })
        .await
    }

    /// Deletes a webhook with its log. A post under way may still arrive.
    ///
    /// # Errors
    /// `unknown_webhook`
    pub async fn delete_webhook(&self, id: &WebhookId) -> Result<()> {
        let webhook = id.clone();
        self.store
            .write(move |tx| {
                if !rows::delete(tx, &webhook)? {
                    return Err(unknown(&webhook));
                }
                attention::clear(tx, GIVEN_UP, webhook.as_str())?;
                attention::clear(tx, EVENTS_LOST, webhook.as_str())
            })
            .await?;
        self.webhooks.changes.send_replace(());
        Ok(())
    }

    /// Changes a webhook in one write, and wakes its deliveries.
    async fn change(
        &self,
        id: &WebhookId,
        change: impl FnOnce(&WriteTx<'_>, &mut Webhook) -> Result<()> + Send + 'static,
    ) -> Result<Webhook> {
        let id = id.clone();
        let changed = self.store.write(move |tx| {
            let mut webhook = rows::get(tx, &id)?.ok_or_else(|| unknown(&id))?;
            change(tx, &mut webhook)?;
            webhook.revision += 1;
            rows::put(tx, &webhook)?;
            if webhook.progress.enabled {
                attention::clear(tx, GIVEN_UP, id.as_str())?;
            }
            Ok::<_, Error>(webhook)
        });
        let changed = changed.await?;
        self.webhooks.changes.send_replace(());
        Ok(changed)
    }

    /// `after`, if the event that follows it is kept or has not happened yet.
    async fn check_cursor(&self, after: EventId) -> Result<EventId> {
        let newest = *self.newest_event().borrow();
        if after > newest {
            return Err(ahead(after, newest));
        }
        let next = self.events_after(after, 1).await?;
        match next.first() {
            Some(oldest) if oldest.id > after.next() => {
                let message = format!(
                    "The events up to {0} are not kept any more; pass {0} as `after` to begin with the oldest one",
                    oldest.id.0 - 1
                );
                Err(Error::gone("events_pruned", message))
            }
            _ => Ok(after),
        }
    }
}

fn check_url(url: &str) -> Result<String> {
    let invalid = |why| Error::bad_request("invalid_webhook_url", format!("`url` {why}"));
    Ok(parse_url(url).map_err(invalid)?.into())
}

fn check_description(text: String) -> Result<String> {
    if text.chars().count() <= MAX_DESCRIPTION {
        return Ok(text);
    }
    let message = format!("`description` is longer than {MAX_DESCRIPTION} characters");
    Err(Error::bad_request("description_too_long", message))
}

fn check_kinds(names: &[String]) -> Result<Vec<EventKind>> {
    let mut kinds = Vec::new();
    for name in names {
        let kind = EventKind::from_name(name).ok_or_else(|| {
            let known: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.name()).collect();
            let message = format!(
                "There is no event type {name:?}; the types are {}",
                known.join(", ")
            );
            Error::bad_request("unknown_event_type", message)
        })?;
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    Ok(kinds)
}

fn given_or_random(given: Option<&str>) -> Result<WebhookSecret> {
    let Some(text) = given else {
        return WebhookSecret::random().map_err(Error::internal);
    };
    let message = "`secret` is whsec_ followed by the base64 of 24 to 64 bytes; leave it out for a random one";
    WebhookSecret::parse(text).ok_or_else(|| Error::bad_request("invalid_webhook_secret", message))
}
