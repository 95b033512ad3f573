//! Received VTXOs: they are decoded, validated and stored with a movement (docs/protocol.md §4.3).

use std::collections::BTreeMap;
use std::sync::Arc;

use ark_lib::vtxo::Full;
use ark_lib::{ProtocolEncoding, Vtxo, VtxoId};
use bitcoin::{Amount, Network};

use crate::ark::PinnedKeys;
use crate::model::{
    Facts, MovementStatus, NewMovement, PaymentMethod, Subsystem, Transfer, VtxoState,
};
use crate::store::{WriteTx, anchor, mailbox, movement, vtxo};
use crate::wallet::account::address;
use crate::wallet::account::keys::{self, WalletKeys};
use crate::wallet::coins::set_aside::{Cause, set_aside};
use crate::wallet::coins::validate::{self, Verdict};
use crate::wallet::engine::clock;
use crate::wallet::{Error, Result, Wallet};

/// A valid VTXO, and what is known of it.
pub(super) type Accepted = (Vtxo<Full>, validate::Accepted);

/// The VTXOs of a message that were not refused.
#[derive(Default)]
pub(super) struct Validated {
    pub(super) accepted: Vec<Accepted>,
    /// VTXOs whose validity is not known yet, with the reason.
    pub(super) undecided: Vec<(Vtxo<Full>, String)>,
}

/// The VTXOs of a message, each once. Logs and drops what does not decode.
pub(super) fn decode(encoded: Vec<Vec<u8>>, checkpoint: u64) -> Vec<Vtxo<Full>> {
    let mut decoded: BTreeMap<VtxoId, Vtxo<Full>> = BTreeMap::new();
    for bytes in encoded {
        match Vtxo::<Full>::deserialize(&bytes) {
            Ok(vtxo) => {
                decoded.insert(vtxo.id(), vtxo);
            }
            Err(error) => {
                tracing::warn!(checkpoint, %error, "received VTXO refused: it does not decode");
            }
        }
    }
    decoded.into_values().collect()
}

impl Wallet {
    /// Validates the VTXOs that the wallet does not have yet. A VTXO that it has, whatever its state, is not a new receipt.
    pub(super) async fn validate_new(
        &self,
        vtxos: Vec<Vtxo<Full>>,
        server: &PinnedKeys,
        checkpoint: u64,
    ) -> Result<Validated> {
        let mut validated = Validated::default();
        for vtxo in vtxos {
            let id = vtxo.id();
            if self.is_stored(id).await? {
                continue;
            }
            match self.validate_received(&vtxo, server).await {
                Verdict::Accept(known) => validated.accepted.push((vtxo, known)),
                Verdict::Refuse(reason) => {
                    tracing::warn!(vtxo = %id, checkpoint, reason, "received VTXO refused");
                }
                Verdict::Undecided(reason) => {
                    tracing::warn!(vtxo = %id, checkpoint, reason, "received VTXO quarantined until its validity is known");
                    validated.undecided.push((vtxo, reason));
                }
            }
        }
        Ok(validated)
    }

    async fn is_stored(&self, id: VtxoId) -> Result<bool> {
        let record = self
            .store
            .read(move |connection| vtxo::get(connection, id))
            .await?;
        Ok(record.is_some())
    }

    pub(super) fn recorder(&self, server: PinnedKeys) -> Recorder {
        Recorder {
            keys: self.keys.clone(),
            network: self.network,
            server,
            key_gap: self.settings.key_gap,
        }
    }
}

/// Writes received VTXOs in the caller's transaction.
pub(super) struct Recorder {
    pub(super) keys: Arc<WalletKeys>,
    network: Network,
    server: PinnedKeys,
    /// How many keys beyond the last known one are searched for the key of a VTXO.
    pub(super) key_gap: u32,
}

impl Recorder {
    /// Stores VTXOs whose validity is not known yet.
    pub(super) fn quarantine(
        &self,
        tx: &WriteTx<'_>,
        undecided: &[(Vtxo<Full>, String)],
    ) -> Result<()> {
        for (vtxo, reason) in undecided {
            mailbox::quarantine(tx, vtxo, reason, clock::now_millis())?;
        }
        Ok(())
    }

    /// Stores valid VTXOs with a movement. Skips those that are stored already or whose key is not the wallet's.
    pub(super) fn record(&self, tx: &mut WriteTx<'_>, accepted: &[Accepted]) -> Result<()> {
        let (mut stored, mut by_key) = (Vec::new(), BTreeMap::new());
        for (received, known) in accepted {
            let Some(index) = keys::find(tx, &self.keys, &received.user_pubkey(), self.key_gap)?
            else {
                tracing::warn!(vtxo = %received.id(), "received VTXO refused: its key is not the wallet's");
                continue;
            };
            if vtxo::insert(tx, received, VtxoState::Spendable)? {
                anchor::insert(tx, &known.anchor)?;
                if known.exited {
                    set_aside(tx, received.id(), &Cause::OnChain)?;
                }
                stored.push(received.id());
                let sum = by_key.entry(index).or_insert(Amount::ZERO);
                *sum = sum.checked_add(received.amount()).ok_or_else(overflow)?;
            }
        }
        if stored.is_empty() {
            return Ok(());
        }
        self.record_movement(tx, &stored, by_key)
    }

    /// Stores the movement of VTXOs that were received on the keys with these indices.
    fn record_movement(
        &self,
        tx: &WriteTx<'_>,
        vtxos: &[VtxoId],
        by_key: BTreeMap<u32, Amount>,
    ) -> Result<()> {
        let total = by_key
            .values()
            .try_fold(Amount::ZERO, |sum, amount| sum.checked_add(*amount))
            .ok_or_else(overflow)?;
        let received_on = by_key
            .into_iter()
            .map(|(index, amount)| self.transfer(index, amount))
            .collect::<Result<Vec<_>>>()?;
        let balance = total.to_signed().map_err(Error::internal)?;
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
            output_vtxos: vtxos,
            metadata: Facts::default(),
        };
        let id = movement::insert(tx, &movement, clock::now_millis())?;
        tracing::info!(
            movement = id.0,
            amount_sat = total.to_sat(),
            vtxos = vtxos.len(),
            "received an Ark payment"
        );
        Ok(())
    }

    /// What the own address with this key index received.
    fn transfer(&self, index: u32, amount: Amount) -> Result<Transfer> {
        let key = self.keys.vtxo_key(index)?;
        let own = address::build(&self.keys, self.network, &self.server, &key)?;
        Ok(Transfer {
            method: PaymentMethod::Ark(own.to_string()),
            amount,
        })
    }
}

fn overflow() -> Error {
    Error::internal(anyhow::anyhow!("received amounts overflow"))
}
