//! Mailboxes: senders post messages for a wallet, and the wallet reads them (docs/protocol.md §31.7).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use ark_lib::mailbox::{BlindedMailboxIdentifier, MailboxAuthorization, MailboxIdentifier};
use ark_lib::vtxo::{Full, VtxoPolicyKind};
use ark_lib::{ProtocolEncoding, Vtxo, VtxoId};
use chrono::{DateTime, TimeDelta};
use futures::stream::{self, Stream};
use server_rpc::protos::Empty;
use server_rpc::protos::mailbox_server::{
    self as protos, MailboxMessage, mailbox_message::Message,
};
use server_rpc::tonic::Status;
use server_rpc::{MAX_NB_MAILBOX_ARKOOR_VTXOS, MAX_NB_MAILBOX_RECOVERY_IDS, TryFromBytes};
use tokio::sync::watch;

use super::faults::{Action, Hook};
use super::state::Ark;
use super::status::RpcError;
use super::store::{DeliveryKind, Page};

/// How long after its end an authorization is still accepted.
const LEEWAY: TimeDelta = TimeDelta::seconds(5);

impl Ark {
    /// `PostArkoorMessage`. VTXOs that some mailbox has received already are left out: a post can be repeated, and the
    /// first one decides. The signatures of the VTXOs are not checked.
    pub(super) async fn post_arkoor_message(
        &self,
        request: protos::PostArkoorMessageRequest,
    ) -> Result<Empty, RpcError> {
        let blinded = BlindedMailboxIdentifier::from_bytes(&request.blinded_id)?;
        if request.vtxos.is_empty() || request.vtxos.len() > MAX_NB_MAILBOX_ARKOOR_VTXOS {
            return Err(RpcError::bad(format!(
                "a post has 1 to {MAX_NB_MAILBOX_ARKOOR_VTXOS} vtxos"
            )));
        }
        let mut vtxos = Vec::with_capacity(request.vtxos.len());
        for bytes in &request.vtxos {
            vtxos.push(Vtxo::<Full>::from_bytes(bytes)?);
        }
        let user_pubkey = vtxos[0].user_pubkey();
        if vtxos.iter().any(|vtxo| {
            vtxo.policy_type() != VtxoPolicyKind::Pubkey || vtxo.user_pubkey() != user_pubkey
        }) {
            return Err(RpcError::bad("all vtxos of a post must belong to one key"));
        }
        let mailbox = MailboxIdentifier::from_blinded(blinded, user_pubkey, &self.keys.mailbox)
            .map_err(RpcError::bad)?;

        let _turn = self.turn().await;
        let by_id: BTreeMap<VtxoId, &Vec<u8>> =
            vtxos.iter().map(Vtxo::id).zip(&request.vtxos).collect();
        self.known(by_id.keys())?;

        let copies = match self.hook(Hook::MailboxPost)? {
            Some(Action::Withhold) => 0,
            Some(Action::Duplicate) => 2,
            _ => 1,
        };
        let ids: BTreeSet<VtxoId> = by_id.keys().copied().collect();
        let fresh = self.store.undelivered(DeliveryKind::Arkoor, &ids)?;
        if fresh.is_empty() {
            return Ok(Empty {});
        }
        let message = Message::Arkoor(protos::ArkoorMessage {
            vtxos: fresh.iter().map(|id| by_id[id].clone()).collect(),
        });
        for _ in 0..copies {
            self.deliver(mailbox, DeliveryKind::Arkoor, &fresh, message.clone())?;
        }
        Ok(Empty {})
    }

    /// `PostRecoveryVtxoIds`. Ids that some mailbox holds already are left out. An unknown id is an internal error that stores none
    /// of the others.
    pub(super) async fn post_recovery_vtxo_ids(
        &self,
        request: protos::PostRecoveryVtxoIdsRequest,
    ) -> Result<Empty, RpcError> {
        let mailbox = decode_mailbox_id(&request.mailbox_id)?;
        if let Some(authorization) = &request.authorization {
            self.check_authorization(mailbox, authorization)?;
        }
        if request.vtxo_ids.len() > MAX_NB_MAILBOX_RECOVERY_IDS {
            return Err(RpcError::bad(format!(
                "too many ids: a post has at most {MAX_NB_MAILBOX_RECOVERY_IDS}"
            )));
        }
        let ids = request
            .vtxo_ids
            .iter()
            .map(VtxoId::from_bytes)
            .collect::<Result<BTreeSet<_>, _>>()?;

        let _turn = self.turn().await;
        self.known(&ids)
            .map_err(|unknown| anyhow::anyhow!("failed to store recovery ids: {unknown}"))?;
        let fresh = self.store.undelivered(DeliveryKind::Recovery, &ids)?;
        if !fresh.is_empty() {
            let message = Message::RecoveryVtxoIds(protos::RecoveryVtxoIdsMessage {
                vtxo_ids: fresh.iter().map(|id| id.to_bytes().to_vec()).collect(),
            });
            self.deliver(mailbox, DeliveryKind::Recovery, &fresh, message)?;
        }
        Ok(Empty {})
    }

    /// `ReadMailbox`.
    pub(super) async fn read_mailbox(
        &self,
        request: protos::MailboxRequest,
    ) -> Result<protos::MailboxMessages, RpcError> {
        let mailbox = self.authorized_mailbox(&request)?;
        let page = self.mailbox_page(mailbox, request.checkpoint)?;
        let page = self.told_mailbox(mailbox, request.checkpoint, page)?;
        Ok(protos::MailboxMessages {
            messages: page.messages,
            have_more: page.have_more,
        })
    }

    /// `SubscribeMailbox`: all messages after the checkpoint, then each new one, until this run of the server ends.
    pub(super) fn subscribe_mailbox(
        self: &Arc<Self>,
        request: &protos::MailboxRequest,
    ) -> Result<impl Stream<Item = Result<MailboxMessage, Status>> + Send + use<>, RpcError> {
        let subscription = Subscription {
            ark: self.clone(),
            mailbox: self.authorized_mailbox(request)?,
            checkpoint: request.checkpoint,
            waiting: VecDeque::new(),
            have_more: true,
            arrivals: self.newest_message.subscribe(),
            messages_left: self.faults.on_stream("SubscribeMailbox"),
        };
        Ok(stream::try_unfold(subscription, |mut subscription| async {
            let message = subscription.next().await?;
            Ok(Some((message, subscription)))
        }))
    }

    fn deliver(
        &self,
        mailbox: MailboxIdentifier,
        kind: DeliveryKind,
        ids: &BTreeSet<VtxoId>,
        message: Message,
    ) -> anyhow::Result<()> {
        let checkpoint = self.store.deliver(mailbox, kind, ids, message)?;
        self.newest_message.send_replace(checkpoint);
        Ok(())
    }

    /// The mailbox of a read request, after a check of its authorization.
    fn authorized_mailbox(
        &self,
        request: &protos::MailboxRequest,
    ) -> Result<MailboxIdentifier, RpcError> {
        let mailbox = decode_mailbox_id(&request.mailbox_id)?;
        let authorization = request
            .authorization
            .as_ref()
            .ok_or_else(|| RpcError::bad("missing mailbox authorization"))?;
        self.check_authorization(mailbox, authorization)?;
        Ok(mailbox)
    }

    fn check_authorization(
        &self,
        mailbox: MailboxIdentifier,
        bytes: &[u8],
    ) -> Result<(), RpcError> {
        let authorization = MailboxAuthorization::deserialize(bytes)
            .map_err(|_| RpcError::bad("malformed mailbox authorization"))?;
        if authorization.mailbox() != mailbox {
            return Err(RpcError::bad("authorization is for another mailbox"));
        }
        if authorization.expiry() < DateTime::UNIX_EPOCH + self.now_for_clients() - LEEWAY {
            return Err(RpcError::bad("mailbox authorization has expired"));
        }
        if !authorization.verify() {
            return Err(RpcError::bad("mailbox authorization has a wrong signature"));
        }
        Ok(())
    }

    pub(super) fn mailbox_page(
        &self,
        mailbox: MailboxIdentifier,
        checkpoint: u64,
    ) -> anyhow::Result<Page> {
        self.note_reader(mailbox);
        self.store
            .read_mailbox(mailbox, checkpoint, self.params.max_read_mailbox_items)
    }
}

/// A subscriber's place in its mailbox.
struct Subscription {
    ark: Arc<Ark>,
    mailbox: MailboxIdentifier,
    /// Of the last message read from the store.
    checkpoint: u64,
    /// Read but not sent.
    waiting: VecDeque<MailboxMessage>,
    /// What the last page said. Without more, the next page is read when a mailbox gets a message.
    have_more: bool,
    /// Changes when any mailbox gets a message. Subscribed before the first read, so none is missed.
    arrivals: watch::Receiver<u64>,
    /// Set by a fault: the stream breaks after this many messages.
    messages_left: Option<usize>,
}

impl Subscription {
    async fn next(&mut self) -> Result<MailboxMessage, RpcError> {
        match &mut self.messages_left {
            Some(0) => return Err(RpcError::Lost("stream cut")),
            Some(left) => *left -= 1,
            None => {}
        }
        loop {
            if let Some(message) = self.waiting.pop_front() {
                return Ok(message);
            }
            if !self.have_more {
                tokio::select! {
                    () = self.ark.alive.cancelled() => return Err(RpcError::Lost("server restarted")),
                    _ = self.arrivals.changed() => {}
                }
            }
            let page = self.ark.mailbox_page(self.mailbox, self.checkpoint)?;
            self.have_more = page.have_more;
            if let Some(last) = page.messages.last() {
                self.checkpoint = last.checkpoint;
                self.waiting.extend(page.messages);
            }
        }
    }
}

fn decode_mailbox_id(bytes: &[u8]) -> Result<MailboxIdentifier, RpcError> {
    MailboxIdentifier::deserialize(bytes).map_err(|_| RpcError::bad("invalid mailbox id"))
}
