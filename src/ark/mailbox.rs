//! The calls of the mailbox (docs/protocol.md §4.4).

use std::time::Duration;

use ark_lib::lightning::{PaymentHash, Preimage};
use ark_lib::mailbox::{BlindedMailboxIdentifier, MailboxAuthorization};
use ark_lib::tree::signed::UnlockHash;
use ark_lib::vtxo::Full;
use ark_lib::{ProtocolEncoding, Vtxo, VtxoId};
use bitcoin::secp256k1::Keypair;
use futures::{Stream, StreamExt};
use server_rpc::protos::mailbox_server::{self as protos, mailbox_message::Message};
use server_rpc::{MAX_NB_MAILBOX_ARKOOR_VTXOS, TryFromBytes};

use super::chunks::send_in_chunks;
use super::connection::stream_request;
use super::{Error, Server};

/// Lifetimes of the signed authorizations to use a mailbox (docs/protocol.md §13): to open its stream, to read it, and to post
/// recovery ids.
const STREAM_AUTHORIZATION: Duration = Duration::from_secs(10);
const READ_AUTHORIZATION: Duration = Duration::from_secs(600);
const POST_AUTHORIZATION: Duration = Duration::from_secs(60);

/// A message of our mailbox. Its content is not validated.
#[derive(Debug)]
pub struct MailboxMessage {
    /// The message's position in the mailbox. Positions ascend strictly.
    pub checkpoint: u64,
    /// The content.
    pub payload: Payload,
}

/// The content of a message.
#[derive(Debug)]
pub enum Payload {
    /// VTXOs of a payment to us. They are still encoded, so that one that cannot be decoded does not hide the others.
    Arkoor(Vec<Vec<u8>>),
    /// A round has issued new VTXOs to us; the unlock hash identifies the participation.
    RoundCompleted(UnlockHash),
    /// The server holds the payer's HTLCs of a Lightning payment to us.
    LightningReceiveAccepted(PaymentHash),
    /// A Lightning payment of ours has ended.
    LightningSendFinished {
        /// The payment hash.
        hash: PaymentHash,
        /// The preimage if it succeeded. It may not fit the hash.
        preimage: Option<Preimage>,
    },
    /// Ids of VTXOs in the recovery mailbox, still encoded.
    RecoveryIds(Vec<Vec<u8>>),
    /// A message that this release does not use.
    Other,
}

impl From<protos::MailboxMessage> for MailboxMessage {
    fn from(message: protos::MailboxMessage) -> MailboxMessage {
        let payload = match message.message {
            Some(Message::Arkoor(arkoor)) => Payload::Arkoor(arkoor.vtxos),
            Some(Message::RoundParticipationCompleted(round)) => {
                UnlockHash::from_bytes(&round.unlock_hash)
                    .map_or(Payload::Other, Payload::RoundCompleted)
            }
            Some(Message::IncomingLightningPayment(incoming)) => {
                PaymentHash::try_from(incoming.payment_hash.as_slice())
                    .map_or(Payload::Other, Payload::LightningReceiveAccepted)
            }
            Some(Message::RecoveryVtxoIds(ids)) => Payload::RecoveryIds(ids.vtxo_ids),
            Some(Message::LightningSendFinished(sent)) => {
                match PaymentHash::try_from(sent.payment_hash.as_slice()) {
                    Ok(hash) => Payload::LightningSendFinished {
                        hash,
                        preimage: sent
                            .preimage
                            .and_then(|preimage| Preimage::try_from(preimage.as_slice()).ok()),
                    },
                    Err(_) => Payload::Other,
                }
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
    /// Posts VTXOs of one owner to the owner's mailbox, in as many messages as the server's limits need. Idempotent: the server
    /// leaves out what it has delivered before.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if the server does not take a single VTXO; see [`Error`].
    pub async fn post_arkoor(
        &self,
        mailbox: &BlindedMailboxIdentifier,
        vtxos: &[Vtxo<Full>],
    ) -> Result<(), Error> {
        let vtxos = vtxos.iter().map(ProtocolEncoding::serialize).collect();
        send_in_chunks(vtxos, MAX_NB_MAILBOX_ARKOOR_VTXOS, |vtxos| {
            let request = protos::PostArkoorMessageRequest {
                blinded_id: mailbox.serialize(),
                vtxos,
            };
            self.call(|mut connection| async move {
                connection.mailbox_client.post_arkoor_message(request).await
            })
        })
        .await
    }

    /// Reads one page of our mailbox: the messages after `checkpoint`, none if there are none. The last one of several can lack a part of
    /// its VTXOs, because the server counts VTXOs; read again from the one before it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn read_mailbox(
        &self,
        mailbox: &Keypair,
        checkpoint: u64,
    ) -> Result<Vec<MailboxMessage>, Error> {
        let request = mailbox_request(mailbox, checkpoint, READ_AUTHORIZATION);
        let page =
            self.call(|mut connection| async move {
                connection.mailbox_client.read_mailbox(request).await
            })
            .await?;
        Ok(page
            .messages
            .into_iter()
            .map(MailboxMessage::from)
            .collect())
    }

    /// Opens a stream of our mailbox: the messages after `checkpoint`, then new ones as they arrive.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn subscribe_mailbox(
        &self,
        mailbox: &Keypair,
        checkpoint: u64,
    ) -> Result<impl Stream<Item = Result<MailboxMessage, Error>> + Send + use<>, Error> {
        let request = stream_request(mailbox_request(mailbox, checkpoint, STREAM_AUTHORIZATION));
        let stream = self
            .call(|mut connection| async move {
                connection.mailbox_client.subscribe_mailbox(request).await
            })
            .await?;
        Ok(stream.map(|message| message.map(MailboxMessage::from).map_err(Error::from)))
    }

    /// Posts the id of one of our VTXOs to our recovery mailbox. One alone, because the server undoes a post with an id that it does not
    /// know, and because a page of the mailbox can end within a post.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn post_recovery_id(&self, mailbox: &Keypair, id: VtxoId) -> Result<(), Error> {
        let request = protos::PostRecoveryVtxoIdsRequest {
            mailbox_id: mailbox.public_key().serialize().to_vec(),
            vtxo_ids: vec![id.to_bytes().to_vec()],
            authorization: Some(authorization(mailbox, POST_AUTHORIZATION)),
        };
        self.call(|mut connection| async move {
            connection
                .mailbox_client
                .post_recovery_vtxo_ids(request)
                .await
        })
        .await?;
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
        authorization: Some(authorization(mailbox, lifetime)),
        checkpoint,
    }
}

fn authorization(mailbox: &Keypair, lifetime: Duration) -> Vec<u8> {
    MailboxAuthorization::new(mailbox, chrono::Local::now() + lifetime).serialize()
}
