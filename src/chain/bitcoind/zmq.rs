//! Notifications of new blocks over ZMQ. They only shorten the time until a block is noticed: the tip is polled as well, so a
//! lost message delays a block until the next poll and has no other effect (W28).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use zeromq::{Socket, SocketRecv, SubSocket, ZmqResult};

/// The pause before a failed subscription is made again.
const PAUSE: Duration = Duration::from_secs(5);

/// A subscription to `hashblock`, kept alive until it is dropped.
pub(super) struct BlockNotifications {
    arrived: Arc<Notify>,
    listener: JoinHandle<()>,
}

impl BlockNotifications {
    /// Subscribes at `endpoint`, which has the form `tcp://host:port`.
    pub(super) fn subscribe(endpoint: String) -> BlockNotifications {
        let arrived = Arc::new(Notify::new());
        let listener = tokio::spawn(listen(endpoint, Arc::clone(&arrived)));
        BlockNotifications { arrived, listener }
    }

    /// Resolves at the next message. A message that arrived since the last call counts.
    pub(super) async fn next(&self) {
        self.arrived.notified().await;
    }
}

impl Drop for BlockNotifications {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn listen(endpoint: String, arrived: Arc<Notify>) {
    let mut failing = false;
    loop {
        let Err(error) = receive(&endpoint, &arrived, &mut failing).await;
        if !failing {
            tracing::warn!(%endpoint, %error, "no block notifications over ZMQ; new blocks are found by polling");
            failing = true;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Forwards messages until the subscription fails. The ZMQ library reconnects by itself when the node closes the connection.
async fn receive(endpoint: &str, arrived: &Notify, failing: &mut bool) -> ZmqResult<Infallible> {
    let mut socket = SubSocket::new();
    socket.subscribe("hashblock").await?;
    socket.connect(endpoint).await?;
    *failing = false;
    loop {
        // The first notification comes before any message, because a block may have arrived while there was no subscription.
        arrived.notify_one();
        socket.recv().await?;
    }
}
