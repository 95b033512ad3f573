//! Receiving: messages from the mailbox become VTXOs, a movement and an advanced cursor in one transaction
//! (docs/protocol.md §4.3, §4.4, W1-W3).
//!
//! A message is worked off whole before the next one is looked at, so the cursor never passes a payment. What cannot be
//! judged yet, because the chain is silent or an anchor unconfirmed, goes to the quarantine in that same transaction, and is
//! judged again with each new block. A VTXO that is known already, whatever became of it, is not a receipt.

use std::collections::BTreeMap;
use std::sync::Arc;

use ark_lib::vtxo::Full;
use ark_lib::{ProtocolEncoding, Vtxo, VtxoId};
use bitcoin::{Amount, SignedAmount, Transaction};
use futures::{Stream, StreamExt};

use crate::ark::{self, MailboxMessage, Payload, PinnedKeys};
use crate::model::VtxoState;
use crate::model::{MovementStatus, NewMovement, PaymentMethod, Subsystem, Transfer};
use crate::store::mailbox;
use crate::store::movement;
use crate::store::vtxo;
use crate::store::{WriteTx, anchor};
use crate::wallet::account::address;
use crate::wallet::account::keys;
use crate::wallet::coins::validate::Verdict;
use crate::wallet::engine::clock;
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// A VTXO that passed, with its anchor.
type Accepted = (Vtxo<Full>, Transaction);

impl Wallet {
    /// Reads and works off what the mailbox holds; answers the cursor it came to.
    pub(in crate::wallet) async fn read_mailbox(self: &Arc<Wallet>) -> Result<u64> {
        let _turn = self.mailbox_turn.lock().await;
        loop {
            let cursor = self.mailbox_cursor().await?;
            let page = self
                .server
                .read_mailbox(self.keys.mailbox(), cursor)
                .await?;
            let progress = page
                .messages
                .iter()
                .any(|message| message.checkpoint > cursor);
            for message in page.messages {
                self.process(message).await?;
            }
            // A server that promises more without moving on must not keep us here for ever.
            if !page.have_more || !progress {
                return self.mailbox_cursor().await;
            }
        }
    }

    /// Opens the stream of messages behind the cursor.
    pub async fn open_mailbox(
        &self,
    ) -> Result<impl Stream<Item = Result<MailboxMessage, ark::Error>> + Send + use<>> {
        let cursor = self.mailbox_cursor().await?;
        Ok(self
            .server
            .subscribe_mailbox(self.keys.mailbox(), cursor)
            .await?)
    }

    /// Works off the messages of a stream until it ends.
    pub async fn follow_mailbox(
        self: &Arc<Wallet>,
        mut messages: impl Stream<Item = Result<MailboxMessage, ark::Error>> + Unpin,
    ) -> Result<()> {
        while let Some(message) = messages.next().await {
            let message = message?;
            let _turn = self.mailbox_turn.lock().await;
            self.process(message).await?;
        }
        Ok(())
    }

    /// Judges once more what waits in quarantine.
    pub async fn review_quarantine(&self) -> Result<()> {
        let waiting = self.store.read(mailbox::quarantined).await?;
        let Some(server) = self.server.pinned().filter(|_| !waiting.is_empty()) else {
            return Ok(());
        };
        let _turn = self.mailbox_turn.lock().await;
        let (mut accepted, mut settled) = (Vec::new(), Vec::new());
        for entry in waiting {
            let id = entry.vtxo.id();
            match self.judge(&entry.vtxo, &server).await? {
                Verdict::Accept(anchor) => {
                    accepted.push((entry.vtxo, anchor));
                    settled.push(id);
                }
                Verdict::Refuse(reason) => {
                    tracing::warn!(vtxo = %id, reason, "a received VTXO that had to wait is refused");
                    settled.push(id);
                }
                Verdict::Undecided(reason) => {
                    tracing::debug!(vtxo = %id, reason, "a received VTXO goes on waiting");
                }
            }
        }
        if settled.is_empty() {
            return Ok(());
        }
        let book = self.bookkeeper(server);
        self.commit(CommitPoint::ReceiveReleased, move |tx| {
            settled
                .iter()
                .try_for_each(|id| mailbox::leave_quarantine(tx, *id))?;
            book.enter(tx, &accepted)
        })
        .await?;
        self.received.notify_one();
        Ok(())
    }

    async fn mailbox_cursor(&self) -> Result<u64> {
        Ok(self.store.read(mailbox::cursor).await?)
    }

    async fn process(self: &Arc<Wallet>, message: MailboxMessage) -> Result<()> {
        let server = self.server.pinned().ok_or_else(|| {
            Error::unavailable(
                "server_unavailable",
                "the Ark server's keys are not known yet",
            )
        })?;
        let checkpoint = message.checkpoint;
        let mut unknown_round = None;
        let received = match message.payload {
            Payload::Arkoor(vtxos) => decode(vtxos, checkpoint),
            Payload::RoundCompleted(hash) => {
                unknown_round = self.examine_reported_round(hash).await?;
                Vec::new()
            }
            Payload::Other => {
                tracing::info!(
                    checkpoint,
                    "a mailbox message of a kind that this release does not use"
                );
                Vec::new()
            }
        };
        let (mut accepted, mut undecided) = (Vec::new(), Vec::new());
        for vtxo in received {
            let id = vtxo.id();
            if self
                .store
                .read(move |connection| vtxo::get(connection, id))
                .await?
                .is_some()
            {
                continue;
            }
            match self.judge(&vtxo, &server).await? {
                Verdict::Accept(anchor) => accepted.push((vtxo, anchor)),
                Verdict::Refuse(reason) => {
                    tracing::warn!(vtxo = %id, checkpoint, reason, "a received VTXO is refused");
                }
                Verdict::Undecided(reason) => {
                    tracing::warn!(vtxo = %id, checkpoint, reason, "a received VTXO has to wait for its verdict");
                    undecided.push((vtxo, reason));
                }
            }
        }
        let book = self.bookkeeper(server);
        let recovered = self
            .commit(CommitPoint::ReceiveStored, move |tx| {
                for (vtxo, reason) in &undecided {
                    mailbox::quarantine(tx, vtxo, reason, clock::now_millis())?;
                }
                book.enter(tx, &accepted)?;
                if !mailbox::advance_cursor(tx, checkpoint)? {
                    tracing::debug!(checkpoint, "the mailbox repeats a message");
                }
                let recovered =
                    unknown_round.map(|round| round.recover(tx, &book.keys, book.key_gap));
                Ok(recovered.transpose()?.flatten())
            })
            .await?;
        if let Some(round) = recovered {
            self.take_up(round).await?;
        }
        self.received.notify_one();
        Ok(())
    }

    fn bookkeeper(&self, server: PinnedKeys) -> Bookkeeper {
        Bookkeeper {
            keys: self.keys.clone(),
            network: self.network,
            server,
            key_gap: self.settings.key_gap,
        }
    }
}

fn decode(vtxos: Vec<Vec<u8>>, checkpoint: u64) -> Vec<Vtxo<Full>> {
    let mut decoded: BTreeMap<VtxoId, Vtxo<Full>> = BTreeMap::new();
    for bytes in vtxos {
        match Vtxo::<Full>::deserialize(&bytes) {
            Ok(vtxo) => {
                decoded.insert(vtxo.id(), vtxo);
            }
            Err(error) => {
                tracing::warn!(checkpoint, %error, "a received VTXO does not decode; it is refused");
            }
        }
    }
    decoded.into_values().collect()
}

/// Writes accepted VTXOs, with their movement.
struct Bookkeeper {
    keys: Arc<keys::WalletKeys>,
    network: bitcoin::Network,
    server: PinnedKeys,
    key_gap: u32,
}

impl Bookkeeper {
    fn enter(&self, tx: &mut WriteTx<'_>, accepted: &[Accepted]) -> Result<()> {
        let mut stored = Vec::new();
        let mut by_key: BTreeMap<u32, Amount> = BTreeMap::new();
        for (received, anchor_tx) in accepted {
            let Some(index) = keys::find(tx, &self.keys, &received.user_pubkey(), self.key_gap)?
            else {
                tracing::warn!(vtxo = %received.id(), "a received VTXO pays to a key that is not ours; it is refused");
                continue;
            };
            if vtxo::insert(tx, received, VtxoState::Spendable)? {
                anchor::insert(tx, anchor_tx)?;
                stored.push(received.id());
                let sum = by_key.entry(index).or_default();
                *sum = sum.checked_add(received.amount()).ok_or_else(too_much)?;
            }
        }
        if stored.is_empty() {
            return Ok(());
        }
        let total = by_key
            .values()
            .try_fold(Amount::ZERO, |sum, amount| sum.checked_add(*amount))
            .ok_or_else(too_much)?;
        let received_on = by_key
            .into_iter()
            .map(|(index, amount)| {
                let own = address::build(
                    &self.keys,
                    self.network,
                    &self.server,
                    &self.keys.vtxo_key(index)?,
                )?;
                Ok(Transfer {
                    method: PaymentMethod::Ark(own.to_string()),
                    amount,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let balance: SignedAmount = total.to_signed().map_err(Error::internal)?;
        let movement = NewMovement {
            operation: None,
            status: MovementStatus::Successful,
            subsystem: Subsystem::ArkoorReceive,
            intended_balance: balance,
            effective_balance: balance,
            offchain_fee: Amount::ZERO,
            sent_to: &[],
            received_on: &received_on,
            input_vtxos: &[],
            output_vtxos: &stored,
            metadata: serde_json::Map::new(),
        };
        let id = movement::insert(tx, &movement, clock::now_millis())?;
        tracing::info!(
            movement = id.0,
            amount_sat = total.to_sat(),
            vtxos = stored.len(),
            "received an Ark payment"
        );
        Ok(())
    }
}

fn too_much() -> Error {
    Error::internal(anyhow::anyhow!("received amounts overflow"))
}
