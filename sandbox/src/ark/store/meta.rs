//! Single values: the seed and the round counter.

use anyhow::Context;
use rusqlite::{OptionalExtension, params};

use super::Store;

const SEED: &str = "seed";
const ROUND_SEQ: &str = "round_seq";

impl Store {
    /// The seed: `given` if there is one, else the stored one, else a random one. Stores it.
    pub fn seed(&self, given: Option<[u8; 32]>) -> anyhow::Result<[u8; 32]> {
        self.write(|tx| {
            let stored: Option<Vec<u8>> = tx
                .query_row("SELECT value FROM meta WHERE key = ?1", [SEED], |row| {
                    row.get(0)
                })
                .optional()?;
            let seed = match (given, stored) {
                (Some(seed), _) => seed,
                (None, Some(stored)) => stored.try_into().ok().context("stored seed is broken")?,
                (None, None) => rand::random(),
            };
            tx.execute(
                "INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)",
                params![SEED, seed],
            )?;
            Ok(seed)
        })
    }

    /// The number of the next round: at least `earliest`, and higher than any before, also those of earlier processes.
    pub fn next_round_seq(&self, earliest: u64) -> anyhow::Result<u64> {
        self.write(|tx| {
            let last: Option<Vec<u8>> = tx
                .query_row(
                    "SELECT value FROM meta WHERE key = ?1",
                    [ROUND_SEQ],
                    |row| row.get(0),
                )
                .optional()?;
            let next = match last {
                Some(bytes) => {
                    let bytes = bytes.try_into().ok().context("stored round is broken")?;
                    earliest.max(u64::from_be_bytes(bytes) + 1)
                }
                None => earliest,
            };
            tx.execute(
                "INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)",
                params![ROUND_SEQ, next.to_be_bytes()],
            )?;
            Ok(next)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_numbers_only_grow() {
        let store = Store::open(None).unwrap();
        let numbers: Vec<u64> = [5, 5, 100, 7]
            .into_iter()
            .map(|earliest| store.next_round_seq(earliest).unwrap())
            .collect();
        assert_eq!(numbers, [5, 6, 100, 101]);
    }

    #[test]
    fn the_seed_survives_a_reopening_and_can_be_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Store::open(Some(directory.path())).unwrap();
        let seed = open().seed(None).unwrap();
        assert_eq!(open().seed(None).unwrap(), seed);
        assert_eq!(open().seed(Some([1; 32])).unwrap(), [1; 32]);
        assert_eq!(open().seed(None).unwrap(), [1; 32]);
    }
}
