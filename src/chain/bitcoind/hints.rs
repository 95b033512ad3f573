//! Word of new blocks over ZMQ. It only makes things faster: whoever follows the tip also polls, so a message that is lost
//! while the connection is away costs a moment and nothing else (W28).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use zeromq::{Socket, SocketRecv, SubSocket, ZmqResult};

/// How long to wait before a failed subscription is made anew.
const PAUSE: Duration = Duration::from_secs(5);

/// A subscription to `hashblock`, kept alive until it is dropped.
pub(super) struct BlockHints {
    arrived: Arc<Notify>,
    listener: JoinHandle<()>,
}

impl BlockHints {
    /// Subscribes at `endpoint`, which looks like `tcp://host:port`.
    pub(super) fn subscribe(endpoint: String) -> BlockHints {
        let arrived = Arc::new(Notify::new());
        let listener = tokio::spawn(listen(endpoint, Arc::clone(&arrived)));
        BlockHints { arrived, listener }
    }

    /// Waits for the next message; one that came since the last call counts.
    pub(super) async fn next(&self) {
        self.arrived.notified().await;
    }
}

impl Drop for BlockHints {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn listen(endpoint: String, arrived: Arc<Notify>) {
    let mut failing = false;
    loop {
        let Err(error) = receive(&endpoint, &arrived, &mut failing).await;
        if !failing {
            tracing::warn!(%endpoint, %error, "no word of new blocks over ZMQ; the tip is polled meanwhile");
            failing = true;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Passes messages on until the subscription breaks. The library reconnects a connection that is closed by the node.
async fn receive(endpoint: &str, arrived: &Notify, failing: &mut bool) -> ZmqResult<Infallible> {
    let mut socket = SubSocket::new();
    socket.subscribe("hashblock").await?;
    socket.connect(endpoint).await?;
    *failing = false;
    loop {
        // The block may have come while nobody listened.
        arrived.notify_one();
        socket.recv().await?;
    }
}
