//! Keeps a stream of the server open, and polls for what the stream leaves out. Neither depends on the other: a proxy can refuse streams,
//! and the proof that opens a stream expires sooner than that of a poll (H58).

use std::sync::Arc;
use std::time::Duration;

use super::failures::{FailureLog, back_off};
use crate::wallet::{Result, Wallet};

/// How often the server is asked for what the stream should deliver, whether or not the stream delivers anything.
const POLL_INTERVAL: Duration = Duration::from_secs(30);

/// Follows a stream while there is a connection, and opens the next one when it ends. The pause in between grows with each
/// stream that broke sooner than the pause before it. Events during a pause are missed until the next poll, so a stream that
/// lasted longer resets the pause to its minimum.
pub(super) async fn keep_following<F: Future<Output = Result<()>>>(
    wallet: &Arc<Wallet>,
    task: &'static str,
    follow: impl Fn(Arc<Wallet>) -> F,
) {
    let mut log = FailureLog::new(task);
    let (mut failures, mut pause) = (0, Duration::ZERO);
    loop {
        wallet.connected().await;
        let since = tokio::time::Instant::now();
        let ended = log.record(follow(Arc::clone(wallet)).await);
        failures = if ended.is_some() || since.elapsed() > pause {
            0
        } else {
            failures + 1
        };
        pause = back_off(failures);
        tokio::time::sleep(pause).await;
    }
}

/// Polls at each new connection, and then at each interval; sooner after a failure.
pub(super) async fn keep_polling<F: Future<Output = Result<()>>>(
    wallet: &Arc<Wallet>,
    task: &'static str,
    poll: impl Fn(Arc<Wallet>) -> F,
) {
    let mut log = FailureLog::new(task);
    let mut failures = 0;
    loop {
        wallet.connected().await;
        let polled = log.record(poll(Arc::clone(wallet)).await);
        let pause = match polled {
            Some(()) => {
                failures = 0;
                POLL_INTERVAL
            }
            None => {
                failures += 1;
                back_off(failures).min(POLL_INTERVAL)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = wallet.next_connection() => {}
        }
    }
}
