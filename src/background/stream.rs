//! Keeps a stream of the server open.

use std::sync::Arc;
use std::time::Duration;

use super::{Failing, back_off};
use crate::wallet::{Result, Wallet};

/// How often the server is asked for what the stream should bring, whatever the stream says.
pub(super) const POLL: Duration = Duration::from_secs(30);

/// Follows a stream again and again while there is a connection; rests longer the more often it breaks sooner than that. What
/// happens while it rests is missed, so one break after a while must not cost more than a moment.
pub(super) async fn keep_following<F: Future<Output = Result<()>>>(
    wallet: &Arc<Wallet>,
    complaint: &str,
    follow: impl Fn(Arc<Wallet>) -> F,
) {
    let mut failing = Failing::default();
    let (mut failures, mut rest) = (0, Duration::ZERO);
    loop {
        wallet.connected().await;
        let since = tokio::time::Instant::now();
        let ended = failing.note(complaint, follow(Arc::clone(wallet)).await);
        // A stream that lasted longer than the rest before it is no failure, however it ended.
        failures = if ended.is_some() || since.elapsed() > rest {
            0
        } else {
            failures + 1
        };
        rest = back_off(failures);
        tokio::time::sleep(rest).await;
    }
}
