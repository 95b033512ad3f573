//! The mailbox protocol: the wallet reads or follows its mailbox and processes each message (docs/protocol.md §4.4).

use std::sync::Arc;

use bitcoin::secp256k1::Keypair;
use futures::{Stream, StreamExt, stream};

use super::receive::{self, Validated};
use crate::ark::{self, MailboxMessage, Payload};
use crate::model::OperationId;
use crate::store::{mailbox, recovery};
use crate::wallet::flows::lightning::{pay, receive as receive_lightning};
use crate::wallet::{CommitPoint, Result, Wallet};

/// Messages whose VTXOs are validated at the same time.
const VALIDATED_AT_ONCE: usize = 8;

impl Wallet {
    /// Reads the mailbox until a page is empty, and processes each message. Returns the new cursor. While a recovery takes the messages,
    /// it reads nothing.
    ///
    /// # Errors
    /// `server_unavailable`, or the database's.
    pub async fn sync_mailbox(self: &Arc<Wallet>) -> Result<u64> {
        let _turn = self.mailbox_turn.lock().await;
        loop {
            let cursor = self.mailbox_cursor().await?;
            if self.store.read(recovery::holds_mailbox).await? {
                return Ok(cursor);
            }
            let messages = self.mailbox_page(self.keys.mailbox(), cursor).await?;
            if messages.is_empty() {
                return Ok(cursor);
            }
            let mut validated = stream::iter(messages)
                .map(|message| self.validate_message(message))
                .buffered(VALIDATED_AT_ONCE);
            while let Some(message) = validated.next().await {
                let (message, received) = message?;
                self.process_message(message, received).await?;
            }
        }
    }

    /// The next complete messages of a mailbox after `cursor`; none if there are no more, whatever the server says besides.
    ///
    /// # Errors
    /// `server_unavailable`.
    pub(in crate::wallet) async fn mailbox_page(
        &self,
        mailbox: &Keypair,
        cursor: u64,
    ) -> Result<Vec<MailboxMessage>> {
        let mut messages = self.server.read_mailbox(mailbox, cursor).await?;
        // What the server repeats is no progress; it could do so forever.
        messages.retain(|message| message.checkpoint > cursor);
        // The page can end within its last message. The next page begins with it, and has all of it.
        if messages.len() > 1 {
            messages.pop();
        }
        Ok(messages)
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

    /// Validates the VTXOs of a message. The chain takes a while to answer, so this is done for several messages at the same time. Nothing
    /// else of a message is examined before those that came earlier are stored: it may be about their VTXOs.
    async fn validate_message(
        &self,
        mut message: MailboxMessage,
    ) -> Result<(MailboxMessage, Validated)> {
        let mut received = Validated::default();
        if let Payload::Arkoor(encoded) = &mut message.payload {
            let server = self.server_keys()?;
            let vtxos = receive::decode(std::mem::take(encoded), message.checkpoint);
            received = self
                .validate_new(vtxos, &server, message.checkpoint)
                .await?;
        }
        Ok((message, received))
    }

    /// Commits what follows from a message together with the cursor behind it.
    async fn process_message(
        self: &Arc<Wallet>,
        message: MailboxMessage,
        received: Validated,
    ) -> Result<()> {
        let server = self.server_keys()?;
        let checkpoint = message.checkpoint;
        let (mut reported_round, mut accepted, mut finished) = (None, None, None);
        match message.payload {
            Payload::Arkoor(_) => {}
            Payload::RoundCompleted(hash) => {
                reported_round = self.examine_reported_round(hash).await?;
            }
            Payload::LightningReceiveAccepted(hash) => accepted = Some(hash),
            Payload::LightningSendFinished { hash, preimage } => finished = Some((hash, preimage)),
            Payload::RecoveryIds(_) | Payload::Other => {
                tracing::info!(
                    checkpoint,
                    "ignored a mailbox message of a kind that this release does not support"
                );
            }
        }
        let recorder = self.recorder(server);
        let (refresh, claim) = self
            .commit(CommitPoint::ReceiveStored, move |tx| {
                recorder.quarantine(tx, &received.undecided)?;
                recorder.record(tx, &received.accepted)?;
                if !mailbox::advance_cursor(tx, checkpoint)? {
                    tracing::debug!(checkpoint, "the mailbox repeated a message");
                }
                if let Some((hash, Some(preimage))) = finished {
                    pay::note_preimage(tx, hash, preimage)?;
                }
                let claim = accepted.map(|hash| receive_lightning::accept(tx, hash));
                let refresh =
                    reported_round.map(|round| round.settle(tx, &recorder.keys, recorder.key_gap));
                Ok((refresh.transpose()?.flatten(), claim.transpose()?.flatten()))
            })
            .await?;
        for begun in [refresh, claim].into_iter().flatten() {
            self.take_up(begun.clone()).await?;
            // It may be driven already, and sleep until its next try.
            self.operations.nudge(&begun);
        }
        if let Some((hash, _)) = finished {
            // Without a preimage the message is only a reason to ask the server: it is sent once per payment hash, not once per try.
            self.operations.nudge(&OperationId::lightning_send(hash));
        }
        self.vtxos_arrived.notify_one();
        Ok(())
    }
}
