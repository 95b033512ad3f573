//! Connections to a daemon that are written byte by byte.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::PATIENCE;
use super::daemon::Daemon;

/// A TCP connection to a daemon.
pub struct RawConnection(TcpStream);

impl RawConnection {
    /// Connects. The daemon need not have accepted the connection when this returns.
    pub async fn open(daemon: &Daemon) -> RawConnection {
        let address = ("127.0.0.1", daemon.port());
        let socket = TcpStream::connect(address).await;
        RawConnection(socket.expect("the port is open"))
    }

    /// Sends text; false if the daemon has closed the connection.
    pub async fn send(&mut self, text: &str) -> bool {
        self.0.write_all(text.as_bytes()).await.is_ok()
    }

    /// Reads until the text has arrived; answers everything up to then.
    pub async fn read_until(&mut self, text: &str) -> String {
        let mut read = Vec::new();
        let reading = async {
            while !String::from_utf8_lossy(&read).contains(text) {
                let byte = self.0.read_u8().await.unwrap_or_else(|error| {
                    panic!("{error} after {:?}", String::from_utf8_lossy(&read))
                });
                read.push(byte);
            }
        };
        if tokio::time::timeout(PATIENCE, reading).await.is_err() {
            panic!("no {text:?} arrives");
        }
        String::from_utf8_lossy(&read).into_owned()
    }

    /// Reads until the daemon closes the connection; answers what has arrived. Panics when it stays open.
    pub async fn read_to_end(&mut self) -> String {
        let end = tokio::time::timeout(PATIENCE, self.rest()).await;
        end.expect("the daemon closes the connection")
    }

    async fn rest(&mut self) -> String {
        let (mut read, mut part) = (Vec::new(), [0; 4096]);
        while let Ok(length @ 1..) = self.0.read(&mut part).await {
            read.extend_from_slice(&part[..length]);
        }
        String::from_utf8_lossy(&read).into_owned()
    }

    /// Whether the connection stays open, and nothing arrives, for a while.
    pub async fn is_silent_for(&mut self, time: Duration) -> bool {
        let mut byte = [0];
        tokio::time::timeout(time, self.0.read(&mut byte))
            .await
            .is_err()
    }
}
