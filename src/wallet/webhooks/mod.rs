//! Webhooks: each event is posted to the receivers that the operator has named, in order and at least once (docs/protocol.md §26.6).
//!
//! Each webhook has a cursor in the database: the last event that its receiver has confirmed. The next event is tried until it is
//! confirmed, and later ones wait. So a restart goes on where the last process was, and a receiver that was away gets everything in
//! order. The post of an event has the same id at each try, by which a receiver drops what it has had.
//!
//! | file | what |
//! |---|---|
//! | `settings.rs` | create, change, delete, rotate the secret, set the cursor back |
//! | `deliver.rs` | posts the next events of one webhook, and writes what came of it |
//! | `schedule.rs` | when a failed event is tried again, and when a webhook is given up |
//! | `log.rs` | the log of deliveries, and tests of a receiver |

mod deliver;
mod log;
mod schedule;
mod settings;

use tokio::sync::watch;

use crate::model::{Webhook, WebhookId};
use crate::store::webhook as rows;
use crate::wallet::{Error, Result, Wallet};
use crate::webhook::Client;

pub use deliver::NextDelivery;
pub use settings::{NewWebhook, WebhookChange};

/// What the webhooks share in memory.
pub(in crate::wallet) struct Webhooks {
    client: Client,
    /// Replaced whenever a person has changed a webhook.
    changes: watch::Sender<()>,
}

impl Webhooks {
    pub(in crate::wallet) fn new(client: Client) -> Webhooks {
        Webhooks {
            client,
            changes: watch::Sender::new(()),
        }
    }
}

impl Wallet {
    /// All webhooks, oldest first.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn webhooks(&self) -> Result<Vec<Webhook>> {
        Ok(self.store.read(rows::list).await?)
    }

    /// A webhook.
    ///
    /// # Errors
    /// `unknown_webhook`
    pub async fn webhook(&self, id: &WebhookId) -> Result<Webhook> {
        self.find_webhook(id).await?.ok_or_else(|| unknown(id))
    }

    /// Changes whenever a person has changed a webhook.
    pub fn webhook_changes(&self) -> watch::Receiver<()> {
        self.webhooks.changes.subscribe()
    }

    async fn find_webhook(&self, id: &WebhookId) -> Result<Option<Webhook>> {
        let id = id.clone();
        let found = self
            .store
            .read(move |connection| rows::get(connection, &id));
        Ok(found.await?)
    }
}

fn unknown(id: &WebhookId) -> Error {
    let message = format!("There is no webhook {id}; GET /api/v1/webhooks lists them");
    Error::not_found("unknown_webhook", message, id)
}
