//! Which VTXOs are due for a refresh (docs/protocol.md §6.3).

use std::sync::Arc;

use ark_lib::VtxoId;
use ark_lib::vtxo::{VTXO_DUST, VtxoPolicyKind};
use bitcoin::{Amount, FeeRate};
use bitcoin_ext::{BlockDelta, BlockHeight};

use crate::model::VtxoRecord;

/// Blocks before [`Urgency::Must`] during which the remaining lifetime makes a VTXO [`Urgency::Should`].
pub(in crate::wallet) const SOFT_WINDOW: BlockDelta = BlockDelta::new(28);

/// How urgent the refresh of a VTXO is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::wallet) enum Urgency {
    /// It needs no refresh.
    None,
    /// It is refreshed together with others that must be.
    Should,
    /// It can no longer be spent out of round, or its expiry is near, after which the server can take it.
    Must,
}

/// The values that decide how urgent a refresh is.
#[derive(Clone, Copy, Debug)]
pub(in crate::wallet) struct Rules {
    /// The present height.
    pub tip: BlockHeight,
    /// Blocks before expiry from which a refresh is [`Urgency::Must`].
    pub threshold: BlockDelta,
    /// The server cosigns only VTXOs of a lower exit depth.
    pub max_exit_depth: u16,
    /// The fee rate that an exit would pay.
    pub fast_rate: FeeRate,
}

impl Rules {
    /// How urgent the refresh of this VTXO is.
    pub(in crate::wallet) fn urgency(&self, vtxo: &VtxoRecord) -> Urgency {
        let left = vtxo
            .expiry_height
            .to_u32()
            .saturating_sub(self.tip.to_u32());
        let urgent = self.threshold.to_u32();
        if left == 0 || left < urgent || vtxo.exit_depth >= self.max_exit_depth {
            return Urgency::Must;
        }
        let soon = left < urgent.saturating_add(SOFT_WINDOW.to_u32());
        let deep = vtxo.exit_depth >= self.max_exit_depth / 2;
        if soon || deep || self.is_small(vtxo) {
            return Urgency::Should;
        }
        Urgency::None
    }

    /// Whether an exit would cost more than half of it, or is impossible because the amount is below the dust limit.
    fn is_small(&self, vtxo: &VtxoRecord) -> bool {
        let exit_fee = self
            .fast_rate
            .checked_mul_by_weight(vtxo.exit_tx_weight)
            .unwrap_or(Amount::MAX);
        vtxo.amount < VTXO_DUST || vtxo.amount < exit_fee.checked_mul(2).unwrap_or(Amount::MAX)
    }

    /// The VTXOs that a maintenance refresh takes: all that must or should be refreshed, but none unless one must.
    ///
    /// Leaves out the VTXOs for which `already_planned` is true, because another refresh takes them.
    pub(in crate::wallet) fn due<'v>(
        &self,
        vtxos: impl IntoIterator<Item = &'v Arc<VtxoRecord>>,
        already_planned: impl Fn(VtxoId, Urgency) -> bool,
    ) -> Vec<VtxoId> {
        let candidates: Vec<(VtxoId, Urgency)> = vtxos
            .into_iter()
            .filter(|vtxo| vtxo.policy == VtxoPolicyKind::Pubkey)
            .map(|vtxo| (vtxo.id, self.urgency(vtxo)))
            .filter(|(id, urgency)| *urgency > Urgency::None && !already_planned(*id, *urgency))
            .collect();
        if candidates
            .iter()
            .all(|(_, urgency)| *urgency < Urgency::Must)
        {
            return Vec::new();
        }
        candidates.into_iter().map(|(id, _)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wallet::coins::testing::vtxo;

    const RULES: Rules = Rules {
        tip: BlockHeight::new(1_000),
        threshold: BlockDelta::new(12),
        max_exit_depth: 10,
        fast_rate: FeeRate::from_sat_per_kwu(500),
    };

    #[test]
    fn urgency_changes_exactly_at_the_limits() {
        let of = |amount, expiry, depth| RULES.urgency(&vtxo(1, amount, expiry, depth));
        assert_eq!(of(100_000, 900, 1), Urgency::Must);
        assert_eq!(of(100_000, 1_000, 1), Urgency::Must);
        assert_eq!(of(100_000, 1_011, 1), Urgency::Must);
        assert_eq!(of(100_000, 1_012, 1), Urgency::Should);
        assert_eq!(of(100_000, 1_039, 1), Urgency::Should);
        assert_eq!(of(100_000, 1_040, 1), Urgency::None);
        assert_eq!(of(100_000, 2_000, 4), Urgency::None);
        assert_eq!(of(100_000, 2_000, 5), Urgency::Should);
        assert_eq!(of(100_000, 2_000, 10), Urgency::Must);
        // An exit costs 500 sat.
        assert_eq!(of(999, 2_000, 1), Urgency::Should);
        assert_eq!(of(1_000, 2_000, 1), Urgency::None);
    }

    #[test]
    fn nothing_is_due_unless_a_vtxo_must_be_refreshed() {
        let (small, fine) = (vtxo(1, 100, 2_000, 1), vtxo(2, 100_000, 2_000, 1));
        let urgent = vtxo(3, 100_000, 1_005, 1);
        let none_planned = |_, _| false;
        assert!(RULES.due([&small, &fine], none_planned).is_empty());
        assert_eq!(
            RULES.due([&small, &fine, &urgent], none_planned),
            [small.id, urgent.id]
        );
        assert!(
            RULES
                .due([&small, &fine, &urgent], |id, _| id == urgent.id)
                .is_empty()
        );
    }
}
