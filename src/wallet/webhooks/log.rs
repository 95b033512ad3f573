//! The log of deliveries, and tests of a receiver.

use crate::model::{Delivery, WebhookId};
use crate::store::webhook as rows;
use crate::wallet::engine::clock;
use crate::wallet::{Result, Wallet};

impl Wallet {
    /// The last tries of a webhook before one of them, newest first, at most `limit`.
    ///
    /// # Errors
    /// `unknown_webhook`
    pub async fn webhook_deliveries(
        &self,
        id: &WebhookId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Delivery>> {
        self.webhook(id).await?;
        let id = id.clone();
        let read = self
            .store
            .read(move |connection| rows::deliveries(connection, &id, before, limit));
        Ok(read.await?)
    }

    /// Posts `body` outside the order of the events, once, to an enabled webhook or a disabled one. The cursor stays where it is.
    ///
    /// # Errors
    /// `unknown_webhook`
    pub async fn test_webhook(&self, id: &WebhookId, body: String) -> Result<Delivery> {
        let webhook = self.webhook(id).await?;
        let at = clock::now_millis();
        let message_id = format!("{id}_test_{:016x}", rand::random::<u64>());
        let answer = self.post(&webhook, &message_id, &body).await?;
        let mut delivery = Delivery {
            number: 0,
            event: None,
            attempt: 1,
            status: answer.status,
            latency: answer.latency,
            error: answer.error,
            at,
        };
        let (id, row) = (webhook.id, delivery.clone());
        let logged = self.store.write(move |tx| rows::log(tx, &id, &row));
        delivery.number = logged.await?;
        Ok(delivery)
    }
}
