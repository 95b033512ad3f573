//! The calls of the mailbox (docs/protocol.md §4.4).

use std::time::Duration;

use ark_lib::mailbox::{BlindedMailboxIdentifier, MailboxAuthorization};
use ark_lib::tree::signed::UnlockHash;
use ark_lib::vtxo::Full;
use ark_lib::{ProtocolEncoding, Vtxo, VtxoId};
use bitcoin::secp256k1::Keypair;
use futures::{Stream, StreamExt};
use server_rpc::protos::mailbox_server::{self as protos, mailbox_message::Message};
use server_rpc::{MAX_NB_MAILBOX_ARKOOR_VTXOS, MAX_NB_MAILBOX_RECOVERY_IDS, TryFromBytes, tonic};

use super::{Error, Server};

/// The server ends a stream after this time; the wallet opens the next.
const STREAM_TIMEOUT: Duration = Duration::from_secs(3600);
/// Lifetimes of the proofs that a mailbox is ours (docs/protocol.md §13).
const STREAM_PROOF: Duration = Duration::from_secs(10);
const READ_PROOF: Duration = Duration::from_secs(600);
const POST_PROOF: Duration = Duration::from_secs(60);

/// A message as it came in.
#[derive(Debug)]
pub struct MailboxMessage {
    /// Where it stands in the mailbox; strictly ascending.
    pub checkpoint: u64,
    /// What it says.
    pub payload: Payload,
}

/// What a message says.
#[derive(Debug)]
pub enum Payload {
    /// VTXOs that somebody paid us, as bytes: one that does not decode must not hide the others.
    Arkoor(Vec<Vec<u8>>),
    /// A round has made new VTXOs for us; the hash names the participation.
    RoundCompleted(UnlockHash),
    /// Something that this release has no use for.
    Other,
}

/// One answer to a read.
#[derive(Debug)]
pub struct MailboxPage {
    /// The messages behind the checkpoint that was asked for, in their order.
    pub messages: Vec<MailboxMessage>,
    /// Whether there are more behind these.
    pub have_more: bool,
}

impl From<protos::MailboxMessage> for MailboxMessage {
    fn from(message: protos::MailboxMessage) -> MailboxMessage {
        let payload = match message.message {
            Some(Message::Arkoor(arkoor)) => Payload::Arkoor(arkoor.vtxos),
            Some(Message::RoundParticipationCompleted(round)) => {
                UnlockHash::from_bytes(&round.unlock_hash)
                    .map_or(Payload::Other, Payload::RoundCompleted)
            }
            _ => Payload::Other,
        };
        MailboxMessage {
            checkpoint: message.checkpoint,
            payload,
        }
    }
}

impl Server {
    /// Puts VTXOs of one owner into the owner's mailbox. Putting them there again changes nothing.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn post_arkoor(
        &self,
        mailbox: &BlindedMailboxIdentifier,
        vtxos: &[Vtxo<Full>],
    ) -> Result<(), Error> {
        for chunk in vtxos.chunks(MAX_NB_MAILBOX_ARKOOR_VTXOS) {
            let request = protos::PostArkoorMessageRequest {
                blinded_id: mailbox.serialize(),
                vtxos: chunk.iter().map(ProtocolEncoding::serialize).collect(),
            };
            self.call(|mut connection| async move {
                connection.mailbox_client.post_arkoor_message(request).await
            })
            .await?;
        }
        Ok(())
    }

    /// Reads the messages of our mailbox behind `checkpoint`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn read_mailbox(
        &self,
        mailbox: &Keypair,
        checkpoint: u64,
    ) -> Result<MailboxPage, Error> {
        let request = mailbox_request(mailbox, checkpoint, READ_PROOF);
        let page =
            self.call(|mut connection| async move {
                connection.mailbox_client.read_mailbox(request).await
            })
            .await?;
        Ok(MailboxPage {
            messages: page
                .messages
                .into_iter()
                .map(MailboxMessage::from)
                .collect(),
            have_more: page.have_more,
        })
    }

    /// Opens a stream of the messages of our mailbox behind `checkpoint`, and of those to come.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn subscribe_mailbox(
        &self,
        mailbox: &Keypair,
        checkpoint: u64,
    ) -> Result<impl Stream<Item = Result<MailboxMessage, Error>> + Send + use<>, Error> {
        let mut request = tonic::Request::new(mailbox_request(mailbox, checkpoint, STREAM_PROOF));
        request.set_timeout(STREAM_TIMEOUT);
        let stream = self
            .call(|mut connection| async move {
                connection.mailbox_client.subscribe_mailbox(request).await
            })
            .await?;
        Ok(stream.map(|message| message.map(MailboxMessage::from).map_err(Error::from)))
    }

    /// Puts the ids of our VTXOs into our recovery mailbox, at most 20.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn post_recovery_ids(&self, mailbox: &Keypair, ids: &[VtxoId]) -> Result<(), Error> {
        for chunk in ids.chunks(MAX_NB_MAILBOX_RECOVERY_IDS) {
            let request = protos::PostRecoveryVtxoIdsRequest {
                mailbox_id: mailbox.public_key().serialize().to_vec(),
                vtxo_ids: chunk.iter().map(|id| id.to_bytes().to_vec()).collect(),
                authorization: Some(proof(mailbox, POST_PROOF)),
            };
            self.call(|mut connection| async move {
                connection
                    .mailbox_client
                    .post_recovery_vtxo_ids(request)
                    .await
            })
            .await?;
        }
        Ok(())
    }
}

fn mailbox_request(
    mailbox: &Keypair,
    checkpoint: u64,
    lifetime: Duration,
) -> protos::MailboxRequest {
    protos::MailboxRequest {
        mailbox_id: mailbox.public_key().serialize().to_vec(),
        authorization: Some(proof(mailbox, lifetime)),
        checkpoint,
    }
}

fn proof(mailbox: &Keypair, lifetime: Duration) -> Vec<u8> {
    MailboxAuthorization::new(mailbox, chrono::Local::now() + lifetime).serialize()
}
