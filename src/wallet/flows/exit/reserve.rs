//! Coins for exits that go on side by side (docs/protocol.md §10, P16).
//!
//! Each child needs a confirmed coin of its own, so exits that have one coin between them go on one after the other. When they need
//! more coins than there are, the largest one is split. One split is under way at a time; the exits wait for its block.

use std::collections::BTreeMap;

use bitcoin::{Amount, FeeRate, Txid, Weight};

use super::standing::Standing;
use crate::model::{ExitRow, ExitState};
use crate::store::{exit, vtxo_body};
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
    /// The number of transactions that need a child now.
    children: usize,
    /// The highest fee of one of these children.
    child: Amount,
    /// The highest fee of all children of one exit together.
    chain: Amount,
}

impl Wallet {
    /// Splits the largest coin of the on-chain wallet if the exits under way need more coins than it has.
    ///
    /// # Errors
    /// `chain_unavailable`; the database's.
    pub async fn reserve_exit_coins(&self) -> Result<()> {
        let _turn = self.exit_reserve_turn.lock().await;
        let rate = self.chain.fee_rates().fast;
        let demand = self.exit_demand(rate).await?;
        if demand.children < 2 || self.splits_already() {
            return Ok(());
        }
        let coins = self.onchain.free_confirmed_coins().await?;
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

    async fn exit_demand(&self, rate: FeeRate) -> Result<Demand> {
        let needy: Vec<_> = self
            .store
            .read(|connection| -> Result<_> {
                let live = exit::live(connection)?;
                let needy = live.into_iter().filter(|exit| is_on_the_way(exit));
                needy
                    .map(|exit| Ok(vtxo_body::get(connection, exit.vtxo)?))
                    .collect()
            })
            .await?;
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
        demand.children = children.len();
        demand.child = children.into_values().max().unwrap_or(Amount::ZERO);
        Ok(demand)
    }

    /// Whether an unconfirmed transaction splits coins of the wallet: it pays to the wallet alone, and several outputs.
    fn splits_already(&self) -> bool {
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
