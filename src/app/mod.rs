//! The composition root: it puts datadir, wallet, background work and REST API together, and takes them apart again in
//! order.
//!
//! [`Daemon`] knows nothing of the process around it, so that several can live in one; [`run`] adds the signals.

#[cfg(feature = "sandbox")]
pub mod sandbox;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::http::HeaderValue;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::background::BackgroundTasks;
use crate::datadir::{DaemonLock, DataDir, LockError};
use crate::http::{self, auth::Secret};
use crate::wallet::Wallet;
use crate::wallet::lifecycle::WalletSlot;

/// How long a stopping daemon waits for the work under way.
pub const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// Who may use the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Whoever has the token in the datadir.
    Token,
    /// Everybody on this machine.
    Local,
    /// Everybody who can reach the port.
    Anybody,
}

/// What a daemon is started from.
#[derive(Debug)]
pub struct DaemonOptions {
    /// Where its files are.
    pub datadir: DataDir,
    /// Where it listens; port 0 lets the system choose.
    pub bind: SocketAddr,
    /// Who may use its API.
    pub access: Access,
    /// Origins of web pages that may call it.
    pub allowed_origins: Vec<HeaderValue>,
    /// Whether the seed words may be asked for.
    pub expose_mnemonic: bool,
    /// How long [`Daemon::stop`] waits for the work under way.
    pub stop_deadline: Duration,
}

/// A running daemon.
pub struct Daemon {
    address: SocketAddr,
    wallets: Arc<WalletSlot>,
    stopping: CancellationToken,
    server: JoinHandle<std::io::Result<()>>,
    stop_deadline: Duration,
    _lock: DaemonLock,
}

impl Daemon {
    /// Takes the datadir, opens its wallet if there is one, and serves the API. The port opens last, so whoever reaches it reaches
    /// a daemon that is ready.
    pub async fn start(options: DaemonOptions) -> anyhow::Result<Self> {
        let datadir = options.datadir;
        let lock = lock(&datadir)?;
        let secret = secret(options.access, options.bind, &datadir)?;
        let wallets = Arc::new(WalletSlot::new(datadir, background));
        if !wallets
            .open_existing()
            .await
            .context("cannot open the wallet")?
        {
            tracing::warn!("there is no wallet yet; POST /api/v1/wallet/create makes one");
        }
        let listener = match TcpListener::bind(options.bind).await {
            Ok(listener) => listener,
            Err(e) => {
                wallets.close().await?;
                return Err(e).with_context(|| format!("cannot listen on {}", options.bind));
            }
        };
        let address = listener.local_addr()?;
        let router = http::router(
            Arc::clone(&wallets),
            http::Options {
                secret,
                bind: address,
                any_host: options.access == Access::Anybody,
                allowed_origins: options.allowed_origins,
                expose_mnemonic: options.expose_mnemonic,
            },
        );
        tracing::info!("Server starting on http://{address}");
        let stopping = CancellationToken::new();
        // Small answers must not wait for the client's acknowledgement of the previous one.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        let stop = stopping.clone().cancelled_owned();
        let server = tokio::spawn(async move {
            axum::serve(listener, router)
                .with_graceful_shutdown(stop)
                .await
        });
        Ok(Self {
            address,
            wallets,
            stopping,
            server,
            stop_deadline: options.stop_deadline,
            _lock: lock,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The place of its wallet.
    pub fn wallets(&self) -> &Arc<WalletSlot> {
        &self.wallets
    }

    /// Resolves when the server has ended by itself, which it should not.
    pub async fn failed(&mut self) -> anyhow::Error {
        match (&mut self.server).await {
            Ok(Ok(())) => anyhow::anyhow!("the HTTP server ended"),
            Ok(Err(e)) => anyhow::Error::new(e).context("the HTTP server failed"),
            Err(e) => anyhow::Error::new(e).context("the HTTP server crashed"),
        }
    }

    /// Stops: no new connections, then requests under way get most of the deadline, and closing the wallet the rest. What is
    /// unfinished after that is taken up again at the next start.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.stopping.cancel();
        let deadline = Instant::now() + self.stop_deadline;
        let for_requests = deadline - self.stop_deadline / 4;
        if timeout_at(for_requests, &mut self.server).await.is_err() {
            tracing::warn!("requests are still under way; stopping without them");
            self.server.abort();
        }
        if let Ok(closed) = timeout_at(deadline, self.wallets.close()).await {
            closed?;
        } else {
            tracing::warn!("the wallet is still busy; stopping without it");
        }
        Ok(())
    }
}

/// Runs a daemon until it is told to stop. A second signal does not wait for anything.
pub async fn run(options: DaemonOptions) -> anyhow::Result<()> {
    let mut signals = Signals::install()?;
    let mut daemon = tokio::select! {
        daemon = Daemon::start(options) => daemon?,
        () = signals.next() => return Ok(()),
    };
    tokio::select! {
        error = daemon.failed() => return Err(error),
        () = signals.next() => tracing::info!("stopping"),
    }
    tokio::select! {
        stopped = daemon.stop() => stopped,
        () = signals.next() => {
            tracing::warn!("stopping at once");
            Ok(())
        }
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn install() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
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

/// The secret to ask for, made at the first start; `None` without authentication.
fn secret(access: Access, bind: SocketAddr, datadir: &DataDir) -> anyhow::Result<Option<Secret>> {
    match access {
        Access::Token => {}
        Access::Anybody => {
            tracing::warn!(
                "authentication is off: everybody who can reach the port controls the wallet"
            );
            return Ok(None);
        }
        Access::Local => {
            anyhow::ensure!(
                bind.ip().is_loopback(),
                "refusing to start: --no-auth on {} would let everybody who can reach it control the wallet; listen on loopback, or say \
                 --dangerously-allow-remote-no-auth",
                bind.ip()
            );
            tracing::warn!(
                "authentication is off: every program on this machine controls the wallet"
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
    tracing::info!("a new auth token was made; `arkwalletd secret show` prints it");
    Ok(Some(secret))
}

fn background(wallet: Arc<Wallet>, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let background = BackgroundTasks::start(&wallet);
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
            stop_deadline: Duration::from_secs(1),
        }
    }

    #[tokio::test]
    async fn a_datadir_has_one_daemon() {
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
    fn no_auth_is_for_loopback_unless_somebody_insists() {
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
    fn a_token_is_made_once() {
        let (_temp, datadir) = datadir();
        let bind = "0.0.0.0:1".parse().unwrap();
        let first = secret(Access::Token, bind, &datadir).unwrap();
        assert!(first.is_some() && first == secret(Access::Token, bind, &datadir).unwrap());
    }
}
