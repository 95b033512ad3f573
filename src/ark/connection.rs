//! The connection: handshake, heartbeat, and the truth about whether there is one.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use ark_lib::ArkInfo;
use bitcoin::Network;
use bitcoin_ext::BlockDelta;
use server_rpc::{ServerConnection, protos, tonic};
use tokio::sync::{Notify, watch};

use super::Error;
use super::safety::{self, PinnedKeys};

/// How long a call may take before its outcome counts as unknown.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the server has for a sign of life.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the server is and how to introduce ourselves.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// `http://…` or `https://…`.
    pub address: String,
    /// The wallet's network; a server of another is refused.
    pub network: Network,
    /// `name/version`, sent with every call.
    pub user_agent: String,
    /// `socks5h://…`; servers on this machine are reached directly.
    pub socks5_proxy: Option<String>,
    /// For private servers; deprecated.
    pub access_token: Option<String>,
    /// Blocks that an exit may take; the server's parameters must leave room for it.
    pub exit_margin: BlockDelta,
}

/// The Ark server as the wallet sees it. Clones share one connection.
#[derive(Clone)]
pub struct Server {
    inner: Arc<Inner>,
}

struct Inner {
    config: ServerConfig,
    pinned: OnceLock<PinnedKeys>,
    connection: watch::Sender<Option<ServerConnection>>,
    info: ArcSwapOption<ArkInfo>,
    suspicion: Notify,
}

impl Server {
    /// A server that is not connected yet; [`Server::check`] connects.
    pub fn new(config: ServerConfig, pinned: Option<PinnedKeys>) -> Server {
        let keys = OnceLock::new();
        if let Some(pinned) = pinned {
            // A fresh lock takes its first value.
            let _ = keys.set(pinned);
        }
        let inner = Inner {
            config,
            pinned: keys,
            connection: watch::Sender::new(None),
            info: ArcSwapOption::empty(),
            suspicion: Notify::new(),
        };
        Server {
            inner: Arc::new(inner),
        }
    }

    /// Whether the last check, not more than a moment ago, found the server there and safe.
    pub fn is_connected(&self) -> bool {
        self.inner.connection.borrow().is_some()
    }

    /// Resolves while there is a connection.
    pub async fn connected(&self) {
        // The sender lives as long as the server; when it goes, so does the waiting.
        let _ = self
            .inner
            .connection
            .subscribe()
            .wait_for(Option::is_some)
            .await;
    }

    /// Resolves when the wallet gets connected the next time.
    pub fn next_connection(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut connection = self.inner.connection.subscribe();
        async move {
            // The sender lives as long as the server; when it goes, so does the waiting.
            while connection.changed().await.is_ok() {
                if connection.borrow_and_update().is_some() {
                    break;
                }
            }
        }
    }

    /// The server's parameters, as last heard; `None` before the first contact.
    pub fn info(&self) -> Option<Arc<ArkInfo>> {
        self.inner.info.load_full()
    }

    /// The server's keys, once they are known.
    pub fn pinned(&self) -> Option<PinnedKeys> {
        self.inner.pinned.get().copied()
    }

    /// Resolves when a call has failed in a way that puts the connection in doubt.
    pub async fn suspicion(&self) {
        self.inner.suspicion.notified().await;
    }

    /// Connects, or asks a connected server for a sign of life and its present parameters.
    ///
    /// The first contact pins the server's keys.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when it does not answer, [`Error::Unsafe`] when it is not to be worked with. Either way the
    /// wallet is disconnected afterwards.
    pub async fn check(&self) -> Result<Arc<ArkInfo>, Error> {
        let result = match tokio::time::timeout(CHECK_TIMEOUT, self.connect_or_ask()).await {
            Ok(result) => result,
            Err(_) => Err(Error::Unreachable(format!(
                "no answer within {CHECK_TIMEOUT:?}"
            ))),
        };
        if result.is_err() {
            self.inner
                .connection
                .send_if_modified(|connection| connection.take().is_some());
        }
        result
    }

    async fn connect_or_ask(&self) -> Result<Arc<ArkInfo>, Error> {
        let existing = self.inner.connection.borrow().clone();
        let (connection, info, fresh) = match existing {
            Some(connection) => {
                let answer = connection
                    .client
                    .clone()
                    .get_ark_info(protos::Empty {})
                    .await;
                let answer =
                    answer.map_err(|status| Error::Unreachable(status.message().to_owned()))?;
                let info = ArkInfo::try_from(answer.into_inner()).map_err(Error::malformed)?;
                (connection, info, false)
            }
            None => {
                let connection = self.connect().await?;
                let info = connection.ark_info().await;
                (connection, info, true)
            }
        };
        if info.network != self.inner.config.network {
            return Err(Error::Unsafe(format!(
                "it serves {}, the wallet is on {}",
                info.network, self.inner.config.network
            )));
        }
        safety::check(
            &info,
            self.inner.pinned.get(),
            self.inner.config.exit_margin,
        )?;
        self.inner.pinned.get_or_init(|| PinnedKeys::of(&info));

        let info = Arc::new(info);
        self.inner.info.store(Some(Arc::clone(&info)));
        if fresh {
            self.inner.connection.send_replace(Some(connection));
        }
        Ok(info)
    }

    async fn connect(&self) -> Result<ServerConnection, Error> {
        let config = &self.inner.config;
        let mut builder = ServerConnection::builder()
            .address(&config.address)
            .network(config.network)
            .user_agent(&config.user_agent);
        if let Some(proxy) = config
            .socks5_proxy
            .as_ref()
            .filter(|_| !is_local(&config.address))
        {
            builder = builder.proxy(proxy);
        }
        if let Some(token) = &config.access_token {
            #[allow(
                deprecated,
                reason = "servers that still ask for a token have no other way"
            )]
            {
                builder = builder.access_token(token);
            }
        }
        use server_rpc::client::ConnectError;
        builder.connect().await.map_err(|error| match error {
            ConnectError::ProtocolVersionMismatchClientTooOld { .. }
            | ConnectError::ProtocolVersionMismatchServerTooOld { .. }
            | ConnectError::NetworkMismatch { .. } => Error::Unsafe(error.to_string()),
            other => Error::Unreachable(anyhow::Error::from(other).to_string()),
        })
    }

    /// Makes one call, within the time that a call may take.
    pub(super) async fn call<T, F>(
        &self,
        request: impl FnOnce(ServerConnection) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let connection = self.inner.connection.borrow().clone();
        let connection =
            connection.ok_or_else(|| Error::Unreachable("there is no connection".into()))?;
        let error = match tokio::time::timeout(CALL_TIMEOUT, request(connection)).await {
            Ok(Ok(response)) => return Ok(response.into_inner()),
            Ok(Err(status)) => Error::from(status),
            Err(_) => Error::Unknown(format!("no answer within {CALL_TIMEOUT:?}")),
        };
        if matches!(error, Error::Unknown(_)) {
            self.inner.suspicion.notify_one();
        }
        Err(error)
    }
}

fn is_local(address: &str) -> bool {
    let host = url::Url::parse(address)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned));
    matches!(host.as_deref(), Some("localhost" | "127.0.0.1" | "[::1]"))
}
