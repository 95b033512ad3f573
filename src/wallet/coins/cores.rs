//! Work that takes a core for a while, such as the signatures of many VTXOs: on all cores, away from the tasks that wait.

use std::sync::Arc;
use std::thread::available_parallelism;

use futures::future::try_join_all;

use crate::wallet::{Error, Result};

/// Does the same with each item, and returns the results in the order of the items.
///
/// # Errors
/// An internal error if `work` panics.
pub(in crate::wallet) async fn each_on_all_cores<T, R>(
    items: Vec<T>,
    work: impl Fn(&T) -> R + Send + Sync + 'static,
) -> Result<Vec<R>>
where
    T: Send + Sync + 'static,
    R: Send + 'static,
{
    let cores = available_parallelism().map_or(1, usize::from);
    let share = items.len().div_ceil(cores).max(1);
    let (items, work) = (Arc::new(items), Arc::new(work));
    let shares = (0..items.len()).step_by(share).map(|first| {
        let (items, work) = (Arc::clone(&items), Arc::clone(&work));
        tokio::task::spawn_blocking(move || -> Vec<R> {
            items.iter().skip(first).take(share).map(&*work).collect()
        })
    });
    let done = try_join_all(shares).await.map_err(Error::internal)?;
    Ok(done.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn results_keep_the_order_of_the_items() {
        for length in [0, 1, 2, 101] {
            let items: Vec<usize> = (0..length).collect();
            let doubled = each_on_all_cores(items, |item| 2 * item).await.unwrap();
            assert_eq!(
                doubled,
                (0..length).map(|item| 2 * item).collect::<Vec<_>>()
            );
        }
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let work = |item: &u32| assert!(*item > 0);
        assert!(each_on_all_cores(vec![1, 0], work).await.is_err());
    }
}
