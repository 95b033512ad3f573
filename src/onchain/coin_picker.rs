//! Picks the coins of a child that pays for its parent.

use bitcoin::Amount;

/// Why no coins could be picked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Short {
    /// All coins together are worth too little.
    Funds {
        /// What the coins would have to be worth.
        needed: Amount,
        /// What they are worth.
        available: Amount,
    },
    /// The coins are too small: a child can spend only so many.
    Inputs,
}

/// Picks from `free` what has to be added to `required` coins that are worth `required_value`: nothing if they suffice, else the
/// smallest single coin that suffices, which leaves the larger ones to other children, else the largest ones. Returns positions
/// in `free`.
///
/// `needed` is what a given number of coins has to be worth, and grows with the number; `limit` is the largest number.
pub(super) fn pick(
    required: usize,
    required_value: Amount,
    free: &[Amount],
    limit: usize,
    needed: impl Fn(usize) -> Amount,
) -> Result<Vec<usize>, Short> {
    if required_value >= needed(required) {
        return Ok(vec![]);
    }
    let mut by_value: Vec<(usize, Amount)> = free.iter().copied().enumerate().collect();
    by_value.sort_by_key(|(_, value)| *value);
    let single = needed(required + 1);
    let suffices = |value: Amount| required_value.checked_add(value) >= Some(single);
    if required < limit
        && let Some((position, _)) = by_value.iter().find(|(_, value)| suffices(*value))
    {
        return Ok(vec![*position]);
    }

    let mut total = required_value;
    let mut picked = Vec::new();
    for (position, value) in by_value.iter().rev() {
        let count = required + picked.len();
        // A coin that is worth less than its input costs does not help, nor does any smaller one.
        if picked.len() + required >= limit || *value + needed(count) <= needed(count + 1) {
            break;
        }
        total += *value;
        picked.push(*position);
        if total >= needed(required + picked.len()) {
            return Ok(picked);
        }
    }
    let available = required_value + free.iter().copied().sum::<Amount>();
    let needed = needed((required + picked.len()).max(1));
    if available >= needed {
        Err(Short::Inputs)
    } else {
        Err(Short::Funds { needed, available })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 100 sat, and 10 sat for each coin.
    fn needed(coins: usize) -> Amount {
        Amount::from_sat(100 + 10 * coins as u64)
    }

    fn picked(required: &[u64], free: &[u64]) -> Result<Vec<usize>, Short> {
        let free: Vec<Amount> = free.iter().copied().map(Amount::from_sat).collect();
        let value = Amount::from_sat(required.iter().sum());
        pick(required.len(), value, &free, 3, needed)
    }

    #[test]
    fn the_smallest_single_coin_that_suffices_is_picked() {
        assert_eq!(picked(&[], &[500, 110, 109, 200]), Ok(vec![1]));
        assert_eq!(picked(&[60], &[500, 60, 59]), Ok(vec![1]));
    }

    #[test]
    fn required_coins_that_suffice_need_no_other() {
        assert_eq!(picked(&[110], &[500]), Ok(vec![]));
    }

    #[test]
    fn the_largest_coins_are_picked_when_no_single_one_suffices() {
        assert_eq!(picked(&[], &[50, 20, 80, 60]), Ok(vec![2, 3]));
    }

    #[test]
    fn too_small_coins_are_not_enough() {
        let short = |needed, available| {
            let [needed, available] = [needed, available].map(Amount::from_sat);
            Err(Short::Funds { needed, available })
        };
        assert_eq!(picked(&[], &[]), short(110, 0));
        assert_eq!(picked(&[], &[109]), short(110, 109));
        assert_eq!(picked(&[], &[10, 9]), short(110, 19));
        assert_eq!(picked(&[], &[40, 40, 40, 40]), Err(Short::Inputs));
    }
}
