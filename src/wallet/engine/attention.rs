//! What waits for a decision of the operator: shown by `GET /wallet`, and logged once.

use crate::model::Attention;
use crate::store::{WriteTx, attention};
use crate::wallet::engine::clock;
use crate::wallet::{Result, Wallet};

impl Wallet {
    /// The facts that wait for a decision of the operator, oldest first.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn attention(&self) -> Result<Vec<Attention>> {
        Ok(self.store.read(attention::list).await?)
    }

    /// [`raise`] in a transaction of its own. Writes nothing when the same fact was raised before.
    pub(in crate::wallet) async fn raise(&self, attention: Attention) -> Result<()> {
        if self.attention().await?.contains(&attention) {
            return Ok(());
        }
        self.store.write(move |tx| raise(tx, &attention)).await
    }

    /// [`clear`] in a transaction of its own. Writes nothing when the fact was not raised.
    pub(in crate::wallet) async fn clear(&self, code: &'static str, subject: String) -> Result<()> {
        let raised = self.attention().await?;
        if raised
            .iter()
            .any(|it| it.code == code && it.subject == subject)
        {
            self.store
                .write(move |tx| clear(tx, code, &subject))
                .await?;
        }
        Ok(())
    }
}

/// Shows a fact until it is [cleared](clear), and logs it when it is new.
pub(in crate::wallet) fn raise(tx: &WriteTx<'_>, fact: &Attention) -> Result<()> {
    if attention::raise(tx, fact, clock::now_millis())? {
        let Attention {
            code,
            subject,
            message,
            what_to_do,
        } = fact;
        tracing::error!(%code, %subject, %message, %what_to_do, "the wallet needs a decision of its operator");
    }
    Ok(())
}

/// Removes a fact whose cause is gone.
pub(in crate::wallet) fn clear(tx: &WriteTx<'_>, code: &str, subject: &str) -> Result<()> {
    if attention::clear(tx, code, subject)? {
        tracing::info!(%code, %subject, "the wallet does not need this decision any more");
    }
    Ok(())
}
