//! The mailbox protocol: the wallet reads or follows its mailbox and processes each message (docs/protocol.md §4.4).

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};

use super::receive::{self, Validated};
use crate::ark::{self, MailboxMessage, Payload};
use crate::store::mailbox;
use crate::wallet::{CommitPoint, Result, Wallet};

impl Wallet {
    /// Reads the mailbox until a page is empty, and processes each message. Returns the new cursor.
    ///
    /// # Errors
    /// `server_unavailable`, or the database's.
    pub async fn sync_mailbox(self: &Arc<Wallet>) -> Result<u64> {
        let _turn = self.mailbox_turn.lock().await;
        loop {
            let cursor = self.mailbox_cursor().await?;
            let page = self.server.read_mailbox(self.keys.mailbox(), cursor);
            let mut messages = page.await?;
            // What the server repeats is no progress; it could do so forever.
            messages.retain(|message| message.checkpoint > cursor);
            // The page can end within its last message. The next page begins with it, and has all of it.
            if messages.len() > 1 {
                messages.pop();
            }
            if messages.is_empty() {
                return Ok(cursor);
            }
            for message in messages {
                self.process_message(message).await?;
            }
        }
    }

    /// Opens the stream of messages after the cursor.
    ///
    /// # Errors
    /// `server_unavailable`, or the database's.
    pub async fn open_mailbox(
        &self,
    ) -> Result<impl Stream<Item = Result<MailboxMessage, ark::Error>> + Send + use<>> {
        let cursor = self.mailbox_cursor().await?;
        Ok(self
            .server
            .subscribe_mailbox(self.keys.mailbox(), cursor)
            .await?)
    }

    /// Reads the mailbox at each message of a stream, until the stream ends. The message itself is not used: it can lack a part of its
    /// VTXOs, and the stream does not send the rest.
    ///
    /// # Errors
    /// The stream's or the database's.
    pub async fn follow_mailbox(
        self: &Arc<Wallet>,
        mut messages: impl Stream<Item = Result<MailboxMessage, ark::Error>> + Unpin,
    ) -> Result<()> {
        while let Some(message) = messages.next().await {
            if message?.checkpoint > self.mailbox_cursor().await? {
                self.sync_mailbox().await?;
            }
        }
        Ok(())
    }

    async fn mailbox_cursor(&self) -> Result<u64> {
        Ok(self.store.read(mailbox::cursor).await?)
    }

    /// Commits what follows from a message together with the cursor behind it.
    async fn process_message(self: &Arc<Wallet>, message: MailboxMessage) -> Result<()> {
        let server = self.server_keys()?;
        let checkpoint = message.checkpoint;
        let (mut received, mut reported_round) = (Validated::default(), None);
        match message.payload {
            Payload::Arkoor(encoded) => {
                let vtxos = receive::decode(encoded, checkpoint);
                received = self.validate_new(vtxos, &server, checkpoint).await?;
            }
            Payload::RoundCompleted(hash) => {
                reported_round = self.examine_reported_round(hash).await?;
            }
            Payload::Other => {
                tracing::info!(
                    checkpoint,
                    "ignored a mailbox message of a kind that this release does not support"
                );
            }
        }
        let recorder = self.recorder(server);
        let taken_up = self
            .commit(CommitPoint::ReceiveStored, move |tx| {
                recorder.quarantine(tx, &received.undecided)?;
                recorder.record(tx, &received.accepted)?;
                if !mailbox::advance_cursor(tx, checkpoint)? {
                    tracing::debug!(checkpoint, "the mailbox repeated a message");
                }
                let settled =
                    reported_round.map(|round| round.settle(tx, &recorder.keys, recorder.key_gap));
                Ok(settled.transpose()?.flatten())
            })
            .await?;
        if let Some(refresh) = taken_up {
            self.take_up(refresh).await?;
            // It may be driven already, and sleep until its next try.
            self.operations.nudge_all(Duration::ZERO).await;
        }
        self.vtxos_arrived.notify_one();
        Ok(())
    }
}
