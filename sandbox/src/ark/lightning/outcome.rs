//! How an attempt ends, and what clients are told about it.

use ark_lib::lightning::{PaymentHash, Preimage};
use server_rpc::protos::mailbox_server::mailbox_message::Message;
use server_rpc::protos::mailbox_server::{
    IncomingLightningPaymentMessage, LightningSendFinishedMessage,
};
use server_rpc::protos::{LightningFailureReason, LightningPaymentFailure};

use super::super::faults::{Action, Hook};
use super::super::state::Ark;
use super::super::status::RpcError;
use super::super::store::{attempt, mailbox, receive};
use crate::lightning::FailureReason;

/// The kinds of posts, each of which is made once per hash, for ever.
const SEND_FINISHED: &str = "send-finished";
const INCOMING: &str = "incoming";

impl Ark {
    /// The payment of this hash succeeded. The commits, in order: the preimage; the attempt and all HTLCs of the hash; the post.
    pub(super) fn succeed(&self, hash: PaymentHash, preimage: Preimage) -> Result<(), RpcError> {
        let now = self.now();
        self.store
            .write(|db| attempt::insert_settlement(db, preimage, now))?;
        self.hook(Hook::LnPreimage)?;
        self.take_htlcs(hash)?;
        self.push_finished(hash, Some(preimage), None)
    }

    /// The end of a payment whose preimage is stored.
    pub(super) fn take_htlcs(&self, hash: PaymentHash) -> Result<(), RpcError> {
        self.store.write(|db| attempt::mark_succeeded(db, hash))?;
        self.lightning.wake();
        Ok(())
    }

    /// An attempt failed. The commits, in order: the attempt; the post.
    pub(super) fn fail_attempt(
        &self,
        number: i64,
        hash: PaymentHash,
        reason: Option<FailureReason>,
    ) -> Result<(), RpcError> {
        let json = reason.map(|reason| serde_json::to_string(&reason));
        let json = json.transpose().map_err(anyhow::Error::from)?;
        let failed = self
            .store
            .write(|db| attempt::mark_failed(db, number, json.as_deref()))?;
        if !failed {
            return Ok(());
        }
        self.lightning.wake();
        self.push_finished(hash, None, reason)
    }

    /// Tells the latest payer of a hash how its payment ended. The first outcome is posted; a later one, of another attempt, never.
    pub(super) fn push_finished(
        &self,
        hash: PaymentHash,
        preimage: Option<Preimage>,
        reason: Option<FailureReason>,
    ) -> Result<(), RpcError> {
        if self.hook(Hook::LnFinished)? == Some(Action::Withhold) {
            return Ok(());
        }
        let attempt = self.store.latest_attempt(hash)?;
        let Some(to) = attempt.and_then(|attempt| attempt.mailbox) else {
            return Ok(());
        };
        let failure = match preimage {
            Some(_) => None,
            None if self.params.ln_failure_reasons => Some(failure(reason)),
            None => None,
        };
        let message = Message::LightningSendFinished(LightningSendFinishedMessage {
            payment_hash: hash.to_vec(),
            preimage: preimage.map(|preimage| preimage.to_vec()),
            failure,
        });
        self.push_once(hash, SEND_FINISHED, to, message)
    }

    /// Tells the payee that a payment is held.
    pub(super) fn push_incoming(&self, hash: PaymentHash) -> Result<(), RpcError> {
        if self.hook(Hook::LnAccepted)? == Some(Action::Withhold) {
            return Ok(());
        }
        let receive = self.store.receive(hash)?;
        let Some((to, amount)) =
            receive.and_then(|receive| Some((receive.mailbox?, receive.amount_sat)))
        else {
            return Ok(());
        };
        let message = Message::IncomingLightningPayment(IncomingLightningPaymentMessage {
            payment_hash: hash.to_vec(),
            amount_msat: amount * 1_000,
        });
        self.push_once(hash, INCOMING, to, message)
    }

    fn push_once(
        &self,
        hash: PaymentHash,
        kind: &str,
        to: ark_lib::mailbox::MailboxIdentifier,
        message: Message,
    ) -> Result<(), RpcError> {
        let checkpoint = self.store.write(|db| {
            if receive::note_push(db, hash, kind)? {
                mailbox::insert(db, to, message).map(Some)
            } else {
                Ok(None)
            }
        })?;
        if let Some(checkpoint) = checkpoint {
            self.newest_message.send_replace(checkpoint);
        }
        Ok(())
    }
}

/// The failure as the protocol names it.
pub(super) fn failure(reason: Option<FailureReason>) -> LightningPaymentFailure {
    let reason = match reason {
        None => LightningFailureReason::LightningFailureUnspecified,
        Some(FailureReason::FeeTooLow) => LightningFailureReason::LightningFailureFeeTooLow,
        Some(FailureReason::CltvTooLong) => LightningFailureReason::LightningFailureCltvTooLong,
        Some(FailureReason::NoRoute) => LightningFailureReason::LightningFailureNoRoute,
        Some(FailureReason::DestinationRejected) => {
            LightningFailureReason::LightningFailureDestinationRejected
        }
        Some(FailureReason::SetupTimeout) => LightningFailureReason::LightningFailureSetupTimeout,
        Some(FailureReason::InvoiceState) => LightningFailureReason::LightningFailureInvoiceState,
        Some(FailureReason::Other) => LightningFailureReason::LightningFailureOther,
        Some(FailureReason::RetriesExhausted) => {
            LightningFailureReason::LightningFailureRetriesExhausted
        }
    };
    LightningPaymentFailure {
        reason: reason.into(),
    }
}
