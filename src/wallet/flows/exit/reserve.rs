//! Coins for exits that go on side by side (docs/protocol.md §10, P16).
//!
//! Each child needs a confirmed coin of its own, so exits that have one coin between them go on one after the other. When they need
//! more coins than there are, the largest one is split. One split is under way at a time; the exits wait for its block.

use std::collections::BTreeMap;

use bitcoin::{Amount, FeeRate, Txid, Weight};

use super::standing::Standing;
use crate::model::{ExitRow, ExitState};
use crate::onchain::CHILD_WEIGHT;
use crate::store::exit;
use crate::wallet::{CommitPoint, Result, Wallet};

/// The most coins that one split makes.
const MAX_PIECES: usize = 100;
/// What the coin of an exit is worth, in multiples of the fees of its transactions at the present fast rate.
const MARGIN: u64 = 2;
/// What every coin has to leave as the change of its child.
const LEAST_CHANGE: Amount = Amount::from_sat(330);

/// A split of the largest coin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Split {
    /// How many coins of this amount it makes, besides the rest.
    count: usize,
    amount: Amount,
}

/// What the exits under way need.
#[derive(Clone, Copy, Debug, Default)]
struct Demand {
    /// The number of transactions that need a child now, and have none.
    children: usize,
    /// The highest fee of one of these children.
    child: Amount,
    /// The highest fee of all children of one exit together.
    chain: Amount,
}

impl Wallet {
    /// Splits the largest coin of the on-chain wallet if the exits under way need more coins than it has. An exit calls it before it
    /// takes a coin for a child. A failure is only logged: the child may be paid for all the same.
    pub(super) async fn reserve_exit_coins(&self) {
        if let Err(error) = self.split_for_exits().await {
            tracing::warn!(%error, "no coin split for the exits; the next child tries again");
        }
    }

    async fn split_for_exits(&self) -> Result<()> {
        let _turn = self.exit_reserve_turn.lock().await;
        if self.is_splitting_coins() {
            return Ok(());
        }
        let rate = self.chain.fee_rates().fast;
        // Coins first: one that an exit takes meanwhile is counted, and its child is not.
        let coins = self.onchain.free_confirmed_coins().await?;
        let live = self.store.read(exit::live).await?;
        let needy: Vec<ExitRow> = live.into_iter().filter(is_on_the_way).collect();
        let least = rate.fee_wu(CHILD_WEIGHT).unwrap_or(Amount::MAX_MONEY);
        let useful = coins.iter().filter(|coin| **coin > least).count();
        if useful == 0 || useful >= needy.len() {
            return Ok(());
        }
        let demand = self.exit_demand(needy, rate).await?;
        let Some(split) = plan(demand, &coins, rate) else {
            return Ok(());
        };
        let payment = self
            .onchain
            .prepare_split(split.count, split.amount, rate)
            .await?;
        let transaction = payment.transaction().clone();
        self.commit(CommitPoint::ExitReserveSplit, move |tx| {
            Ok(payment.record(tx)?)
        })
        .await?;
        let txid = self.onchain.publish_payment(transaction).await;
        tracing::info!(%txid, coins = split.count + 1, amount = %split.amount, "split a coin so that exits can go on side by side");
        Ok(())
    }

    async fn exit_demand(&self, needy: Vec<ExitRow>, rate: FeeRate) -> Result<Demand> {
        let ids = needy.into_iter().map(|exit| exit.vtxo).collect();
        let needy = self.full_vtxos(ids).await?;
        let mut standing = Standing::new(self, rate);
        let mut children: BTreeMap<Txid, Amount> = BTreeMap::new();
        let mut demand = Demand::default();
        for vtxo in needy {
            let rest = standing.of(&vtxo).await?;
            // One in the mempool has its child.
            let next = rest.unconfirmed.first().filter(|next| next.is_absent);
            children.extend(next.map(|next| (next.txid, next.cost)));
            demand.chain = demand.chain.max(rest.cost());
        }
        let unserved = self
            .store
            .read(move |connection| -> Result<BTreeMap<Txid, Amount>> {
                let mut unserved = BTreeMap::new();
                for (txid, cost) in children {
                    if exit::child(connection, txid)?.is_none() {
                        unserved.insert(txid, cost);
                    }
                }
                Ok(unserved)
            })
            .await?;
        demand.children = unserved.len();
        demand.child = unserved.into_values().max().unwrap_or(Amount::ZERO);
        Ok(demand)
    }

    /// Whether an unconfirmed transaction splits coins of the wallet: it pays to the wallet alone, and several outputs.
    pub(super) fn is_splitting_coins(&self) -> bool {
        self.onchain.transactions().iter().any(|it| {
            let cost = it.fee.and_then(|fee| fee.to_signed().ok());
            it.confirmation.is_none()
                && !it.is_cpfp()
                && it.transaction.output.len() > 1
                && cost.is_some_and(|cost| it.balance_change == -cost)
        })
    }
}

fn is_on_the_way(exit: &ExitRow) -> bool {
    matches!(exit.state, ExitState::Start | ExitState::Processing { .. })
}

/// The split that gives each child a coin; `None` if there are enough, or the largest one is too small to be split.
fn plan(demand: Demand, coins: &[Amount], rate: FeeRate) -> Option<Split> {
    let useful = demand.child.checked_add(LEAST_CHANGE)?;
    let enough = coins.iter().filter(|coin| **coin >= useful).count();
    let missing = demand.children.checked_sub(enough).filter(|it| *it > 0)?;
    let largest = coins.iter().copied().max()?;
    // The largest coin is consumed, and the rest of it is one of the new coins.
    let wanted = (missing + 1).min(MAX_PIECES);
    let for_chain = demand
        .chain
        .checked_mul(MARGIN)?
        .checked_add(LEAST_CHANGE)?;
    let for_child = demand
        .child
        .checked_mul(MARGIN)?
        .checked_add(LEAST_CHANGE)?;
    (2..=wanted).rev().find_map(|pieces| {
        let fee = rate.fee_vb(split_weight(pieces).to_vbytes_ceil())?;
        let each = largest.checked_sub(fee)? / pieces as u64;
        (each >= for_child).then(|| Split {
            count: pieces - 1,
            amount: each.min(for_chain),
        })
    })
}

/// The weight of a transaction with one taproot input and this number of taproot outputs.
fn split_weight(outputs: usize) -> Weight {
    Weight::from_wu(42 + 41 * 4 + 66 + outputs as u64 * 43 * 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: FeeRate = FeeRate::BROADCAST_MIN;

    /// The split for this number of children, whose fee is 500 sat, in chains that cost 2000 sat.
    fn split(children: usize, coins: &[u64]) -> Option<(usize, u64)> {
        let demand = Demand {
            children,
            child: Amount::from_sat(500),
            chain: Amount::from_sat(2_000),
        };
        let coins: Vec<Amount> = coins.iter().copied().map(Amount::from_sat).collect();
        plan(demand, &coins, RATE).map(|it| (it.count, it.amount.to_sat()))
    }

    #[test]
    fn enough_coins_are_not_split() {
        assert_eq!(split(2, &[100_000, 830]), None);
        assert_eq!(split(0, &[]), None);
    }

    #[test]
    fn the_missing_coins_are_made_of_the_largest_one() {
        // 830 sat would be useful, 829 are not.
        assert_eq!(split(2, &[100_000, 829]), Some((1, 4_330)));
        assert_eq!(split(10, &[100_000]), Some((9, 4_330)));
    }

    #[test]
    fn a_small_coin_makes_smaller_or_fewer_ones() {
        // Ten outputs cost 498 sat.
        assert_eq!(split(10, &[20_498]), Some((9, 2_000)));
        assert_eq!(split(10, &[6_000]), Some((3, 1_440)));
        assert_eq!(split(10, &[2_500]), None);
        assert_eq!(split(10, &[]), None);
    }

    #[test]
    fn one_split_makes_a_bounded_number_of_coins() {
        assert_eq!(split(1_000, &[100_000_000]), Some((99, 4_330)));
    }
}
