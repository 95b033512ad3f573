//! One running daemon: datadir, wallet, background work and REST API, started and stopped in order.
//!
//! A [`Daemon`] does not depend on the process around it, so that several can run in one process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::http::HeaderValue;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::background::BackgroundTasks;
use crate::config::Overrides;
use crate::datadir::{DaemonLock, DataDir, LockError};
use crate::http::{self, auth::Secret, server};
use crate::wallet::Wallet;
use crate::wallet::lifecycle::WalletSlot;

/// How long a stopping daemon waits for work in progress.
pub const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// Who may use the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Clients with the token in the datadir.
    Token,
    /// Every program on this machine, without a token.
    Local,
    /// Everybody who can reach the port, without a token.
    Anybody,
}

/// The settings of a daemon.
#[derive(Debug)]
pub struct DaemonOptions {
    /// The directory of its files.
    pub datadir: DataDir,
    /// The address that it listens on; with port 0 the system chooses a port.
    pub bind: SocketAddr,
    /// Who may use its API.
    pub access: Access,
    /// Origins of web pages that may call its API.
    pub allowed_origins: Vec<HeaderValue>,
    /// Whether `GET /wallet/mnemonic` answers.
    pub expose_mnemonic: bool,
    /// The limits of its listener.
    pub limits: server::Limits,
    /// Whether it holds a wallet on mainnet.
    pub allow_mainnet: bool,
    /// How long [`Daemon::stop`] waits for work in progress.
    pub stop_deadline: Duration,
    /// Whether variables override `config.toml`.
    pub overrides: Overrides,
}

/// A running daemon.
pub struct Daemon {
    #[cfg(feature = "sandbox")]
    address: SocketAddr,
    wallets: Arc<WalletSlot>,
    stopping: CancellationToken,
    server: JoinHandle<()>,
    stop_deadline: Duration,
    _lock: DaemonLock,
}

impl Daemon {
    /// Locks the datadir, opens its wallet if there is one, and serves the API. The port opens last, so that a daemon that accepts
    /// connections is ready.
    ///
    /// # Errors
    /// Another daemon uses the datadir, the wallet cannot be opened, the port is taken, or `access` does not allow `bind`.
    pub async fn start(options: DaemonOptions) -> anyhow::Result<Self> {
        let datadir = options.datadir;
        let lock = lock(&datadir)?;
        let secret = secret(options.access, options.bind, &datadir)?;
        let wallets = WalletSlot::new(datadir, options.overrides, background);
        let wallets = Arc::new(wallets.allow_mainnet(options.allow_mainnet));
        wallets
            .open_existing()
            .await
            .context("cannot open the wallet")?;
        let listener = match TcpListener::bind(options.bind).await {
            Ok(listener) => listener,
            Err(e) => {
                wallets.close().await?;
                return Err(e).with_context(|| format!("cannot listen on {}", options.bind));
            }
        };
        let address = listener.local_addr()?;
        let stopping = CancellationToken::new();
        let router = http::router(
            Arc::clone(&wallets),
            http::Options {
                secret,
                bind: address,
                any_host: options.access == Access::Anybody && !address.ip().is_loopback(),
                allowed_origins: options.allowed_origins,
                expose_mnemonic: options.expose_mnemonic,
                stopping: stopping.clone(),
            },
        );
        tracing::info!("Server starting on http://{address}");
        let serving = server::serve(listener, router, options.limits, stopping.clone());
        let server = tokio::spawn(serving);
        Ok(Self {
            #[cfg(feature = "sandbox")]
            address,
            wallets,
            stopping,
            server,
            stop_deadline: options.stop_deadline,
            _lock: lock,
        })
    }

    /// The address that it listens on.
    #[cfg(feature = "sandbox")]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The slot of its wallet.
    #[cfg(feature = "sandbox")]
    pub fn wallets(&self) -> &Arc<WalletSlot> {
        &self.wallets
    }

    /// Resolves with the reason when the HTTP server ends unexpectedly.
    pub async fn failed(&mut self) -> anyhow::Error {
        match (&mut self.server).await {
            Ok(()) => anyhow::anyhow!("the HTTP server ended unexpectedly"),
            Err(e) => anyhow::Error::new(e).context("the HTTP server crashed"),
        }
    }

    /// Stops the daemon: it accepts no more connections, gives requests in progress three quarters of the deadline, and uses the rest
    /// to close the wallet. Operations that are unfinished by then resume at the next start.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.stopping.cancel();
        let deadline = Instant::now() + self.stop_deadline;
        let for_requests = deadline - self.stop_deadline / 4;
        if timeout_at(for_requests, &mut self.server).await.is_err() {
            tracing::warn!("requests are still in progress at the deadline; stopping without them");
            self.server.abort();
        }
        if let Ok(closed) = timeout_at(deadline, self.wallets.close()).await {
            closed?;
        } else {
            tracing::warn!(
                "the wallet is still in use at the deadline; stopping without closing it"
            );
        }
        Ok(())
    }
}

fn lock(datadir: &DataDir) -> anyhow::Result<DaemonLock> {
    DaemonLock::take(&datadir.daemon_lock()).map_err(|error| match error {
        LockError::Held { holder, .. } => {
            let holder = holder.map_or_else(
                || "another process".to_owned(),
                |pid| format!("arkwalletd pid {pid}"),
            );
            anyhow::anyhow!(
                "another barkd is already running on {}: {holder} holds the lock",
                datadir.path().display()
            )
        }
        LockError::Io { .. } => error.into(),
    })
}

/// The secret of the bearer token, created at the first start; `None` without authentication.
fn secret(access: Access, bind: SocketAddr, datadir: &DataDir) -> anyhow::Result<Option<Secret>> {
    match access {
        Access::Token => {}
        Access::Anybody => {
            tracing::warn!(
                "authentication is off; everybody who can reach the port controls the wallet"
            );
            return Ok(None);
        }
        Access::Local => {
            anyhow::ensure!(
                bind.ip().is_loopback(),
                "refusing to start: --no-auth on {} would let everybody who can reach it control the wallet; listen on loopback, or use \
                 --dangerously-allow-remote-no-auth",
                bind.ip()
            );
            tracing::warn!(
                "authentication is off; every program on this machine controls the wallet"
            );
            return Ok(None);
        }
    }
    let path = datadir.auth_token();
    if let Some(secret) = Secret::load(&path)? {
        return Ok(Some(secret));
    }
    let secret = Secret::random()?;
    secret
        .store(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    tracing::info!("created an auth token; `arkwalletd secret show` prints it");
    Ok(Some(secret))
}

fn background(wallet: Arc<Wallet>, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let background = BackgroundTasks::start(&wallet, http::event_json);
        drop(wallet);
        stop.cancelled().await;
        background.stop().await;
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datadir() -> (tempfile::TempDir, DataDir) {
        let temp = tempfile::tempdir().unwrap();
        let datadir = DataDir::open(temp.path()).unwrap();
        (temp, datadir)
    }

    fn options(datadir: &DataDir) -> DaemonOptions {
        DaemonOptions {
            datadir: datadir.clone(),
            bind: "127.0.0.1:0".parse().unwrap(),
            access: Access::Token,
            allowed_origins: Vec::new(),
            expose_mnemonic: false,
            limits: server::Limits::default(),
            allow_mainnet: false,
            stop_deadline: Duration::from_secs(1),
            overrides: Overrides::None,
        }
    }

    #[tokio::test]
    async fn a_second_daemon_on_a_datadir_is_refused() {
        let (_temp, datadir) = datadir();
        let first = Daemon::start(options(&datadir)).await.unwrap();
        let error = Daemon::start(options(&datadir))
            .await
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains("another barkd is already running"),
            "{error}"
        );
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        first.stop().await.unwrap();
        Daemon::start(options(&datadir))
            .await
            .unwrap()
            .stop()
            .await
            .unwrap();
    }

    #[test]
    fn no_auth_needs_loopback_or_the_dangerous_flag() {
        let (_temp, datadir) = datadir();
        let verdict =
            |access, ip: &str| secret(access, SocketAddr::new(ip.parse().unwrap(), 3000), &datadir);
        for ip in ["127.0.0.1", "::1"] {
            assert!(verdict(Access::Local, ip).unwrap().is_none());
        }
        for ip in ["0.0.0.0", "192.168.0.7", "::"] {
            assert!(
                verdict(Access::Local, ip)
                    .unwrap_err()
                    .to_string()
                    .contains("refusing to start")
            );
            assert!(verdict(Access::Anybody, ip).unwrap().is_none());
        }
        assert!(!datadir.auth_token().exists());
    }

    #[test]
    fn a_token_is_created_once() {
        let (_temp, datadir) = datadir();
        let bind = "0.0.0.0:1".parse().unwrap();
        let first = secret(Access::Token, bind, &datadir).unwrap();
        assert!(first.is_some() && first == secret(Access::Token, bind, &datadir).unwrap());
    }
}
