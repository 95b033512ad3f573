//! The off-chain balance (docs/protocol.md §6.4).

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bitcoin::Amount;
use bitcoin_ext::BlockHeight;

use crate::model::{OperationKind, VtxoRecord, VtxoState};
use crate::store::LiveVtxos;
use crate::wallet::Wallet;

/// The off-chain balance. Each VTXO counts in one part, so the sum of all parts is what the wallet owns off chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// Can be spent out of round now.
    pub spendable: Amount,
    /// Expired, or its exit depth is too great to be spent out of round; a refresh makes it spendable.
    pub needs_refresh: Amount,
    /// Held by pending Lightning payments.
    pub pending_lightning_send: Amount,
    /// Lightning receipts whose preimage is revealed.
    pub claimable_lightning_receive: Amount,
    /// Held by pending rounds.
    pub pending_in_round: Amount,
    /// Boards that have not ended yet.
    pub pending_board: Amount,
    /// Held by pending Ark payments, their change included.
    pub pending_arkoor_send: Amount,
    /// Held by pending offboards.
    pub pending_offboard: Amount,
    /// Exited on chain and not claimed yet, or set aside because it cannot be spent off chain now.
    pub pending_exit: Amount,
}

/// A balance with the values that it was computed from.
struct Computed {
    generation: u64,
    tip: BlockHeight,
    max_exit_depth: u16,
    balance: Balance,
}

/// The last computed balance. It is valid as long as the VTXOs, the tip and the depth limit stay the same.
#[derive(Default)]
pub(in crate::wallet) struct BalanceCache(ArcSwapOption<Computed>);

impl Wallet {
    /// The balance as of the last commit and the last known tip. Reads neither disk nor network.
    pub fn balance(&self) -> Balance {
        let vtxos = self.store.live_vtxos();
        let tip = self
            .chain
            .last_tip()
            .map_or(BlockHeight::ZERO, |tip| tip.height);
        let max_exit_depth = self
            .server
            .info()
            .map_or(u16::MAX, |info| info.max_vtxo_exit_depth);
        let generation = vtxos.generation();
        let known = self.balance_cache.0.load();
        if let Some(known) = &*known
            && (known.generation, known.tip, known.max_exit_depth)
                == (generation, tip, max_exit_depth)
        {
            return known.balance;
        }
        let balance = self.compute_balance(&vtxos, tip, max_exit_depth);
        self.balance_cache.0.store(Some(Arc::new(Computed {
            generation,
            tip,
            max_exit_depth,
            balance,
        })));
        balance
    }

    fn compute_balance(&self, vtxos: &LiveVtxos, tip: BlockHeight, max_exit_depth: u16) -> Balance {
        let mut balance = Balance::default();
        for vtxo in vtxos.iter() {
            if let Some(part) = self.part_of(&mut balance, vtxo, tip, max_exit_depth) {
                // The sum of all bitcoin fits an amount, so this never saturates.
                *part = part.checked_add(vtxo.amount).unwrap_or(Amount::MAX);
            }
        }
        balance
    }

    /// The part of `balance` that a VTXO counts in; `None` if it counts in none.
    fn part_of<'b>(
        &self,
        balance: &'b mut Balance,
        vtxo: &VtxoRecord,
        tip: BlockHeight,
        max_exit_depth: u16,
    ) -> Option<&'b mut Amount> {
        match &vtxo.state {
            VtxoState::Spendable
                if vtxo.expiry_height <= tip || vtxo.exit_depth >= max_exit_depth =>
            {
                Some(&mut balance.needs_refresh)
            }
            VtxoState::Spendable => Some(&mut balance.spendable),
            VtxoState::Locked(Some(holder)) => match self.operations.kind(holder)? {
                OperationKind::Board => Some(&mut balance.pending_board),
                OperationKind::ArkoorSend => Some(&mut balance.pending_arkoor_send),
                OperationKind::Round => Some(&mut balance.pending_in_round),
                OperationKind::Offboard => Some(&mut balance.pending_offboard),
                OperationKind::LightningSend => Some(&mut balance.pending_lightning_send),
                OperationKind::LightningReceive => Some(&mut balance.claimable_lightning_receive),
                OperationKind::Exit => Some(&mut balance.pending_exit),
                // It locks no VTXO for itself.
                OperationKind::Recovery => None,
            },
            VtxoState::Spent => None,
            VtxoState::Exited | VtxoState::Locked(None) => Some(&mut balance.pending_exit),
        }
    }
}
