//! Lies of a hostile server about rounds: participations that no client has asked for.

use std::sync::PoisonError;

use ark_lib::mailbox::MailboxIdentifier;
use ark_lib::{VtxoPolicy, VtxoRequest};
use bitcoin::Amount;

use super::super::state::Ark;
use super::super::store::{Participation, VtxoState, participation};

impl Ark {
    /// Notes whose mailbox is read, so that a lie can be posted there.
    pub(in super::super) fn note_reader(&self, mailbox: MailboxIdentifier) {
        let mut last = self
            .last_reader
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *last = Some(mailbox);
    }

    /// Stores a participation of all spendable VTXOs as if their owner had delegated it. Its one output has the key of the first.
    pub(super) fn forge_participation(&self, fee: Amount) -> anyhow::Result<()> {
        let (mut inputs, mut key, mut total) = (Vec::new(), None, Amount::ZERO);
        for (id, _) in self.store.exit_heights()? {
            if let Some(record) = self.store.vtxo(id)?
                && record.state == VtxoState::Spendable
            {
                inputs.push(id);
                key = key.or(Some(record.vtxo.user_pubkey()));
                total += record.vtxo.amount();
            }
        }
        let Some(key) = key else { return Ok(()) };
        let mailbox = *self
            .last_reader
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let forged = Participation {
            unlock_preimage: rand::random(),
            inputs,
            outputs: vec![VtxoRequest {
                amount: total - fee,
                policy: VtxoPolicy::new_pubkey(key),
            }],
            mailbox,
            scheduled_height: None,
            round: None,
            released: false,
        };
        self.store.write(|db| participation::insert(db, &forged))
    }

    /// Treats everybody who has joined the attempt as if he had left the signing to the server.
    pub(super) fn delegate_all(&self) -> anyhow::Result<()> {
        let mut attempt = self.rounds.attempt();
        let Some(attempt) = attempt.as_mut() else {
            return Ok(());
        };
        for joined in std::mem::take(&mut attempt.interactive) {
            let participation = joined.participation();
            self.store
                .write(|db| participation::insert(db, &participation))?;
            attempt.delegated.push(participation);
        }
        Ok(())
    }
}
