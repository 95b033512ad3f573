//! The connection to the Ark server: handshake, heartbeat, and whether it is up (docs/protocol.md §3).

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use ark_lib::ArkInfo;
use bitcoin::Network;
use server_rpc::{ServerConnection, protos, tonic};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use super::Error;
use super::clock_skew::ClockSkew;
use super::safety::{self, Margins, PinnedKeys};

/// How long a call may take before its outcome counts as unknown.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a check of the server may take before the server counts as unreachable.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a stream may stay open; after that the server ends it, and the wallet opens the next.
const STREAM_TIMEOUT: Duration = Duration::from_secs(3600);

/// How long after the start of the wallet a call waits for the first connection instead of failing.
const FIRST_CONTACT: Duration = Duration::from_secs(20);

/// Where the server is, and what is sent to it with every call.
#[derive(Clone)]
pub struct ServerConfig {
    /// `http://…` or `https://…`.
    pub address: String,
    /// The wallet's network. A server of another network is refused.
    pub network: Network,
    /// `name/version`, sent with every call.
    pub user_agent: String,
    /// `socks5h://…`. Not used for servers on this machine.
    pub socks5_proxy: Option<String>,
    /// The access token of a private server; deprecated.
    pub access_token: Option<String>,
    /// What the lifetime of the server's VTXOs must leave room for.
    pub margins: Margins,
}

/// A client of the Ark server. Clones share one connection.
#[derive(Clone)]
pub struct Server {
    inner: Arc<Inner>,
}

struct Inner {
    config: ServerConfig,
    pinned: OnceLock<PinnedKeys>,
    connection: watch::Sender<Option<ServerConnection>>,
    info: ArcSwapOption<ArkInfo>,
    /// Notified when a call got no clear answer.
    failed_call: Notify,
    clock_skew: ClockSkew,
    created: Instant,
}

/// The answer to a [check](Server::check).
pub enum Contact {
    /// The server was connected already. These are its present parameters.
    Standing(Arc<ArkInfo>),
    /// The server was reached, and is used once it is [accepted](Server::accept).
    New(Box<NewContact>),
}

/// A connection that nothing uses yet.
pub struct NewContact {
    connection: ServerConnection,
    info: ArkInfo,
}

impl NewContact {
    /// The keys that the server has.
    pub fn keys(&self) -> PinnedKeys {
        PinnedKeys::of(&self.info)
    }
}

impl Server {
    /// Makes a client that is not connected yet; [`Server::check`] and [`Server::accept`] connect it. `pinned` holds the server's keys if the wallet
    /// has been connected before.
    pub fn new(config: ServerConfig, pinned: Option<PinnedKeys>) -> Server {
        let keys = OnceLock::new();
        if let Some(pinned) = pinned {
            // The lock is new, so setting it cannot fail.
            let _ = keys.set(pinned);
        }
        let inner = Inner {
            config,
            pinned: keys,
            connection: watch::Sender::new(None),
            info: ArcSwapOption::empty(),
            failed_call: Notify::new(),
            clock_skew: ClockSkew::default(),
            created: Instant::now(),
        };
        Server {
            inner: Arc::new(inner),
        }
    }

    /// Whether the server was accepted, and the last [`check`](Self::check) reached it and found its keys and parameters safe.
    pub fn is_connected(&self) -> bool {
        self.inner.connection.borrow().is_some()
    }

    /// Resolves at once while the server is connected, otherwise when it becomes connected.
    pub async fn connected(&self) {
        // This cannot fail: `self` owns the sender.
        let _ = self
            .inner
            .connection
            .subscribe()
            .wait_for(Option::is_some)
            .await;
    }

    /// Resolves when the server has been connected since the start of the wallet, or [`FIRST_CONTACT`] after the start.
    pub async fn first_contact(&self) {
        if self.inner.info.load().is_none() {
            let _ = timeout_at(self.inner.created + FIRST_CONTACT, self.connected()).await;
        }
    }

    /// Resolves when the server becomes connected after this call.
    pub fn next_connection(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut connection = self.inner.connection.subscribe();
        async move {
            // `changed` fails when the sender is dropped, which ends the wait.
            while connection.changed().await.is_ok() {
                if connection.borrow_and_update().is_some() {
                    break;
                }
            }
        }
    }

    /// The server's parameters as last received; `None` before the first connection of this process.
    pub fn info(&self) -> Option<Arc<ArkInfo>> {
        self.inner.info.load_full()
    }

    /// The clock of the server minus the clock of this machine, in seconds; `None` before the server has sent its time.
    pub fn clock_skew(&self) -> Option<i64> {
        self.inner.clock_skew.last()
    }

    /// The server's pinned keys; `None` before the first connection.
    pub fn pinned(&self) -> Option<PinnedKeys> {
        self.inner.pinned.get().copied()
    }

    /// Resolves when a call gets no clear answer, which may mean that the connection is broken.
    pub async fn next_failed_call(&self) {
        self.inner.failed_call.notified().await;
    }

    /// Requests the present parameters of a connected server, or makes a new connection, which nothing uses before it is
    /// [accepted](Self::accept).
    ///
    /// # Errors
    /// [`Error::Unreachable`] when the server does not answer, [`Error::Malformed`] when its parameters cannot be decoded,
    /// [`Error::Unsafe`] when its keys or parameters are refused. After an error the server counts as disconnected.
    pub async fn check(&self) -> Result<Contact, Error> {
        let result = match tokio::time::timeout(CHECK_TIMEOUT, self.connect_or_refresh()).await {
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

    /// Uses a new connection, whose server must have the keys `pinned`: those that the wallet has on disk (H59).
    ///
    /// # Errors
    /// [`Error::Unsafe`] when the server has other keys.
    pub fn accept(&self, contact: NewContact, pinned: PinnedKeys) -> Result<Arc<ArkInfo>, Error> {
        safety::check(&contact.info, Some(&pinned), self.inner.config.margins)?;
        if *self.inner.pinned.get_or_init(|| pinned) != pinned {
            let changed = "the keys that this wallet has pinned have changed on disk; restart it";
            return Err(Error::Unsafe(changed.to_owned()));
        }
        let info = Arc::new(contact.info);
        self.inner.info.store(Some(Arc::clone(&info)));
        self.inner.connection.send_replace(Some(contact.connection));
        Ok(info)
    }

    async fn connect_or_refresh(&self) -> Result<Contact, Error> {
        let existing = self.inner.connection.borrow().clone();
        let Some(connection) = existing else {
            let connection = self.connect().await?;
            let info = connection.ark_info().await;
            self.check_info(&info)?;
            return Ok(Contact::New(Box::new(NewContact { connection, info })));
        };
        let asked = chrono::Utc::now();
        let answer = connection
            .client
            .clone()
            .get_ark_info(protos::Empty {})
            .await;
        let answer = answer.map_err(|status| Error::Unreachable(status.message().to_owned()))?;
        self.inner.clock_skew.measure(answer.metadata(), asked);
        let info = ArkInfo::try_from(answer.into_inner()).map_err(Error::malformed)?;
        self.check_info(&info)?;
        let info = Arc::new(info);
        self.inner.info.store(Some(Arc::clone(&info)));
        Ok(Contact::Standing(info))
    }

    fn check_info(&self, info: &ArkInfo) -> Result<(), Error> {
        let config = &self.inner.config;
        if info.network != config.network {
            return Err(Error::Unsafe(format!(
                "it is on {}, the wallet is on {}; configure the address of a server of the wallet's network",
                info.network, config.network
            )));
        }
        safety::check(info, self.inner.pinned.get(), config.margins)
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
                reason = "some private servers still require an access token"
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

    /// Makes one call, limited to [`CALL_TIMEOUT`]. Shortly after the start of the wallet it waits for the first connection.
    pub(super) async fn call<T, F>(
        &self,
        request: impl FnOnce(ServerConnection) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        if !self.is_connected() {
            self.first_contact().await;
        }
        let connection = self.inner.connection.borrow().clone();
        let connection = connection.ok_or_else(|| {
            Error::Unreachable("not connected; connecting is retried every second".into())
        })?;
        let error = match tokio::time::timeout(CALL_TIMEOUT, request(connection)).await {
            Ok(Ok(response)) => return Ok(response.into_inner()),
            Ok(Err(status)) => Error::from(status),
            Err(_) => Error::Unknown(format!("no answer within {CALL_TIMEOUT:?}")),
        };
        if matches!(error, Error::Unknown(_)) {
            self.inner.failed_call.notify_one();
        }
        Err(error)
    }
}

/// A request that opens a stream, with the time after which the server ends the stream.
pub(super) fn stream_request<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(STREAM_TIMEOUT);
    request
}

fn is_local(address: &str) -> bool {
    let host = url::Url::parse(address)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned));
    matches!(host.as_deref(), Some("localhost" | "127.0.0.1" | "[::1]"))
}
