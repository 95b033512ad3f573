//! Uploads in several requests: the server limits the items of a request and its bytes (docs/protocol.md §3.7, H49).

use std::future::Future;

use super::Error;

/// Bytes of the items in one request. The server refuses requests above 4 MiB; the difference is room for the other fields.
const MAX_BYTES: usize = 3 * 1024 * 1024;

/// Most bytes that the encoding of a request adds to an item: its tag and its length.
const FRAMING: usize = 6;

/// Sends all items in order, in requests of at most `max_items` and of 3 MiB. If the server finds a request too large, half of
/// its bytes are sent next, and no later request is larger.
///
/// # Errors
/// The first failure; earlier requests have been carried out. [`Error::TooLarge`] if a single item is too large.
pub(super) async fn send_in_chunks<T, F>(
    items: Vec<Vec<u8>>,
    max_items: usize,
    mut send: impl FnMut(Vec<Vec<u8>>) -> F,
) -> Result<(), Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut max_bytes = MAX_BYTES;
    let mut rest = items.as_slice();
    while !rest.is_empty() {
        let (chunk, later) = rest.split_at(first_chunk(rest, max_items, max_bytes));
        match send(chunk.to_vec()).await {
            Ok(_) => rest = later,
            Err(Error::TooLarge(_)) if chunk.len() > 1 => max_bytes = size(chunk) / 2,
            Err(Error::TooLarge(message)) => {
                let bytes = size(chunk);
                return Err(Error::TooLarge(format!(
                    "{message} (a single item of {bytes} bytes, which cannot be split)"
                )));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// How many of the items go into the next request: as many as the limits allow, but at least one.
fn first_chunk(items: &[Vec<u8>], max_items: usize, max_bytes: usize) -> usize {
    let mut bytes = 0;
    let fitting = items.iter().take(max_items).take_while(|item| {
        bytes += item.len() + FRAMING;
        bytes <= max_bytes
    });
    fitting.count().max(1)
}

fn size(chunk: &[Vec<u8>]) -> usize {
    chunk.iter().map(|item| item.len() + FRAMING).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: usize = 1024 * 1024;

    /// Sends the items to a server that refuses larger requests. Returns the requests that it accepted, the number of those that
    /// it refused, and the result.
    fn send_to_server(
        items: &[Vec<u8>],
        max_items: usize,
        limit: usize,
    ) -> (Vec<Vec<Vec<u8>>>, usize, Result<(), Error>) {
        let (mut accepted, mut refused) = (Vec::new(), 0);
        let sending = send_in_chunks(items.to_vec(), max_items, |chunk: Vec<Vec<u8>>| {
            let fits = size(&chunk) <= limit;
            if fits {
                accepted.push(chunk);
            } else {
                refused += 1;
            }
            std::future::ready(fits.then_some(()).ok_or(Error::TooLarge("no".into())))
        });
        let result = futures::executor::block_on(sending);
        (accepted, refused, result)
    }

    fn items(sizes: &[usize]) -> Vec<Vec<u8>> {
        sizes.iter().map(|size| vec![7; *size]).collect()
    }

    #[test]
    fn requests_keep_both_limits() {
        let many = items(&[100; 250]);
        let (accepted, refused, result) = send_to_server(&many, 100, 4 * MIB);
        result.unwrap();
        let counts: Vec<usize> = accepted.iter().map(Vec::len).collect();
        assert_eq!((counts, refused), (vec![100, 100, 50], 0));

        let large = items(&[MIB; 7]);
        let (accepted, refused, result) = send_to_server(&large, 100, 4 * MIB);
        result.unwrap();
        let counts: Vec<usize> = accepted.iter().map(Vec::len).collect();
        assert_eq!((counts, refused), (vec![2, 2, 2, 1], 0));
    }

    #[test]
    fn seven_hundred_chains_of_6_kb_fit_without_a_refusal() {
        let chains = items(&[6_500; 700]);
        assert!(size(&chains) > 4 * MIB);
        let (accepted, refused, result) = send_to_server(&chains, 1_000, 4 * MIB);
        result.unwrap();
        assert_eq!((accepted.len(), refused), (2, 0));
    }

    #[test]
    fn no_items_are_no_request() {
        let (accepted, refused, result) = send_to_server(&[], 100, MIB);
        result.unwrap();
        assert_eq!((accepted.len(), refused), (0, 0));
    }

    #[test]
    fn a_request_that_is_too_large_is_halved_and_later_ones_are_no_larger() {
        let (accepted, refused, result) = send_to_server(&items(&[94; 64]), 100, 1_700);
        result.unwrap();
        let counts: Vec<usize> = accepted.iter().map(Vec::len).collect();
        assert_eq!((counts, refused), (vec![16; 4], 2));
    }

    #[test]
    fn an_item_that_is_too_large_ends_the_upload_after_few_tries() {
        let (accepted, refused, result) = send_to_server(&items(&[100, 5_000, 100]), 100, 1_000);
        assert_eq!(accepted, [items(&[100])]);
        assert!(refused < 20, "{refused}");
        let error = result.unwrap_err();
        assert!(matches!(error, Error::TooLarge(_)));
        assert!(error.to_string().contains("5006 bytes"), "{error}");
    }

    #[test]
    fn another_failure_is_not_split() {
        let mut calls = 0;
        let sending = send_in_chunks(items(&[1; 8]), 100, |_| {
            calls += 1;
            std::future::ready(Err::<(), _>(Error::Unknown("lost".into())))
        });
        let result = futures::executor::block_on(sending);
        assert!(matches!(result, Err(Error::Unknown(_))));
        assert_eq!(calls, 1);
    }

    proptest! {
        #[test]
        fn each_item_is_sent_once_and_in_order(
            sizes in proptest::collection::vec(0_usize..500, 0..80),
            max_items in 1_usize..50,
            limit in 506_usize..5_000,
        ) {
            let mut all = items(&sizes);
            for (index, item) in all.iter_mut().enumerate() {
                item.fill(u8::try_from(index).unwrap());
            }
            let (accepted, refused, result) = send_to_server(&all, max_items, limit);
            prop_assert!(result.is_ok());
            prop_assert!(refused < 20);
            prop_assert!(accepted.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= max_items));
            prop_assert_eq!(accepted.concat(), all);
        }
    }
}
