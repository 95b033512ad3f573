//! The sandbox's Ark server: it serves the gRPC protocol of a real one on a loopback port.
//!
//! It relies on [`Chain`](super::chain::Chain) for everything on chain and keeps its own state in SQLite. All RAM of one run sits
//! in one value (`state::Ark`), so a restart is simply the next value over the same store and the same listening socket.

mod admin;
mod arkoor;
mod board;
mod broadcast;
mod control;
mod faults;
mod gate;
mod headers;
mod in_flight;
mod info;
mod keys;
mod lightning;
mod mailbox;
mod offboard;
mod params;
mod recovery;
mod register;
mod round;
mod service;
mod spendable;
mod state;
mod status;
mod store;
mod stranger;
#[cfg(test)]
mod tests;
mod vtxo_status;
mod watchman;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use ark_lib::VtxoId;
use ark_lib::lightning::PaymentHash;
use axum::Router;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Address, Txid};
use futures::stream::{self, Stream};
use server_rpc::tonic::transport::{Error, Server};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use faults::{
    Action, ActiveFault, Fault, Faults, GrantFault, Hook, InfoFault, OffboardFault, RecoveryFault,
    TreeFault,
};
pub use lightning::LightningLedger;
pub use params::{Params, charging_fees};
pub use round::{RoundConfigChange, RoundOutcome};
pub use store::{Ledger, Total, VtxoRecord, VtxoState};
pub use watchman::{WatchmanChange, WatchmanConfig};

use super::chain::Chain;
use super::clock::Clock;
use super::coin_wallet::{CoinBalance, CoinWallet};
use super::lightning::LightningNetwork;
use gate::Gate;
use keys::Keys;
use lightning::Lightning;
use state::Ark;
use store::Store;

/// HTTP/2 limit on cancelled streams; a client above it is disconnected.
const MAX_PENDING_RESETS: usize = 1000;
/// Time that connections get to finish at a restart.
const DRAIN: Duration = Duration::from_secs(1);

/// The options of a server.
pub struct ArkServerOptions {
    /// The chain that it uses.
    pub chain: Chain,
    /// Its parameters.
    pub params: Params,
    /// Existing directory for its database; in RAM if absent.
    pub directory: Option<PathBuf>,
    /// Seed of its keys. If absent, the one in the database or a random one.
    pub seed: Option<[u8; 32]>,
    /// Port on 127.0.0.1; 0 picks a free one.
    pub port: u16,
    /// Port on 127.0.0.1 of the administration service; 0 picks a free one, and `None` leaves the service out.
    pub admin_port: Option<u16>,
}

/// A running server. Dropping it stops it without waiting.
pub struct ArkServer {
    address: SocketAddr,
    admin_address: Option<SocketAddr>,
    runs: Arc<Runs>,
    task: JoinHandle<()>,
    stop_on_drop: DropGuard,
}

impl ArkServer {
    /// Starts to listen. Fails if the parameters contradict each other, or database or port cannot be opened.
    pub async fn start(options: ArkServerOptions) -> anyhow::Result<ArkServer> {
        options.params.check()?;
        let store = Store::open(options.directory.as_deref())?;
        let keys = Keys::from_seed(&store.seed(options.seed)?)?;
        let network = LightningNetwork::open(
            options.directory.as_deref(),
            keys.lightning,
            keys.world,
            Clock::default(),
        )?;
        let listener = listen(options.port).await?;
        let address = listener.local_addr()?;
        let admin = match options.admin_port {
            Some(port) => Some(listen(port).await?),
            None => None,
        };
        let admin_address = admin.as_ref().map(TcpListener::local_addr).transpose()?;

        let stop = CancellationToken::new();
        let first = Ark::new(
            options.chain,
            options.params,
            keys,
            store,
            Lightning::new(Arc::new(network)),
            stop.child_token(),
        );
        let runs = Arc::new(Runs {
            current: watch::Sender::new(Arc::new(first)),
            stop: stop.clone(),
        });
        if let Some(admin) = admin {
            tokio::spawn(serve_admin(runs.clone(), admin));
        }
        let task = tokio::spawn(serve_runs(runs.clone(), listener));
        Ok(ArkServer {
            address,
            admin_address,
            runs,
            task,
            stop_on_drop: stop.drop_guard(),
        })
    }

    /// Where clients connect: `http://127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where the administration service listens, if it was started.
    pub fn admin_address(&self) -> Option<String> {
        self.admin_address
            .map(|address| format!("http://{address}"))
    }

    /// The key that cosigns every VTXO.
    pub fn server_pubkey(&self) -> PublicKey {
        self.runs.current().keys.server.public_key()
    }

    /// The faults, and the counts and sizes of calls.
    pub fn faults(&self) -> Faults {
        self.runs.current().faults.clone()
    }

    /// Totals of all client VTXOs by state.
    pub fn ledger(&self) -> anyhow::Result<Ledger> {
        self.runs.current().store.ledger()
    }

    /// What the server knows about a client's VTXO.
    pub fn vtxo(&self, id: VtxoId) -> anyhow::Result<Option<VtxoRecord>> {
        self.runs.current().store.vtxo(id)
    }

    /// Where to send coins for the server to fund rounds and offboards with.
    pub fn coin_address(&self) -> Address {
        self.runs.current().coins.address()
    }

    /// What the server owns.
    pub async fn coin_balance(&self) -> anyhow::Result<CoinBalance> {
        self.runs.current().coins.balance().await
    }

    /// Runs a round now, or after the one in progress, and waits for its end. Fails if the server restarts meanwhile.
    pub async fn trigger_round(&self) -> anyhow::Result<RoundOutcome> {
        self.runs.current().trigger_round().await
    }

    /// Changes the timing of rounds. A restart does not undo it.
    pub fn change_round_config(&self, change: RoundConfigChange) -> anyhow::Result<()> {
        self.runs.current().change_round_config(change)
    }

    /// The Lightning network that the server is part of.
    pub fn lightning(&self) -> Arc<LightningNetwork> {
        self.runs.current().lightning.network.clone()
    }

    /// What Lightning payments moved.
    pub fn lightning_ledger(&self) -> anyhow::Result<LightningLedger> {
        self.runs.current().lightning_ledger()
    }

    /// The time that a client took to claim a payment: from the moment when the server noticed that its node holds it to that when the
    /// server stored the preimage. `None` if it did not claim.
    pub fn claim_time(&self, hash: PaymentHash) -> anyhow::Result<Option<Duration>> {
        self.runs.current().store.claim_time(hash)
    }

    /// Does at once what is due: notices payments, settles, ends what took too long. The server does the same by itself soon after
    /// each change, but a test that changed the clock, the chain or the network wants to wait for it.
    pub async fn run_lightning_jobs(&self) -> anyhow::Result<()> {
        Ok(self.runs.current().run_lightning_jobs().await?)
    }

    /// HTTP routes for faults, restart, rounds and inspection.
    pub fn control_router(&self) -> Router {
        control::router(self.runs.clone())
            .merge(lightning::control::router(self.runs.clone()))
            .merge(recovery::control::router(self.runs.clone()))
            .merge(watchman::control::router(self.runs.clone()))
    }

    /// HTTP routes by which somebody else takes VTXOs on chain, and pays for that with `coins`.
    pub fn stranger_router(&self, coins: Arc<CoinWallet>) -> Router {
        stranger::router(self.runs.clone(), coins)
    }

    /// Changes what the server does about VTXOs that are on chain. A restart does not undo it.
    pub fn change_watchman(&self, change: WatchmanChange) {
        self.runs.current().watchman().apply(change);
    }

    /// Reacts at once to all outputs that are on chain, whether or not the reactions are switched on, and sweeps what has expired if
    /// `sweeps`. Returns the transactions that were broadcast.
    pub async fn run_watchman(&self, sweeps: bool) -> anyhow::Result<Vec<Txid>> {
        Ok(self.runs.current().run_watchman(sweeps).await?)
    }

    /// Forgets everything that is not stored, breaking all connections, and serves again on the same port.
    pub async fn restart(&self) {
        self.runs.restart().await;
    }

    /// Forgets the sessions of all offboards, as if the time that the server keeps them were over.
    pub async fn forget_offboards(&self) {
        self.runs.current().forget_all_offboards().await;
    }

    /// Broadcasts the transactions that faults kept back.
    pub async fn publish_withheld(&self) -> anyhow::Result<()> {
        let ark = self.runs.current();
        ark.store.release_withheld()?;
        ark.broadcast_now().await;
        Ok(())
    }

    /// Ends all calls and streams and stops listening.
    pub async fn stop(self) {
        drop(self.stop_on_drop);
        // An error here is a panic of the serving task, which has been reported already.
        let _ = self.task.await;
    }
}

async fn listen(port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .with_context(|| format!("cannot listen on port {port}"))
}

/// The current run and its successors.
struct Runs {
    current: watch::Sender<Arc<Ark>>,
    /// Cancelled when there will be no successor.
    stop: CancellationToken,
}

impl Runs {
    fn current(&self) -> Arc<Ark> {
        self.current.borrow().clone()
    }

    /// Ends the current run and waits until the next one is in place, or the server stops.
    async fn restart(&self) {
        let mut next = self.current.subscribe();
        next.borrow_and_update().alive.cancel();
        tokio::select! {
            _ = next.changed() => {}
            () = self.stop.cancelled() => {}
        }
    }
}

/// One run after the other over the same socket, so that the port never closes in between.
async fn serve_runs(runs: Arc<Runs>, listener: TcpListener) {
    loop {
        let ark = runs.current();
        let (served, (), (), (), ()) = tokio::join!(
            serve(&listener, &ark),
            ark.follow_outputs(),
            ark.keep_broadcast(),
            ark.schedule_rounds(),
            ark.follow_lightning()
        );
        if let Err(error) = served {
            tracing::error!(%error, "Ark server failed");
            runs.stop.cancel();
        }
        if runs.stop.is_cancelled() {
            return;
        }
        let next = ark.next_run(runs.stop.child_token());
        runs.current.send_replace(Arc::new(next));
    }
}

/// Serves until the run ends.
async fn serve(listener: &TcpListener, ark: &Arc<Ark>) -> Result<(), Error> {
    let serving = Server::builder()
        .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_RESETS))
        .serve_with_incoming_shutdown(
            Gate::new(ark.clone()),
            connections(listener),
            ark.alive.cancelled(),
        );
    let overdue = async {
        ark.alive.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = serving => served,
        () = overdue => Ok(()),
    }
}

/// Serves the administration service until the server stops.
async fn serve_admin(runs: Arc<Runs>, listener: TcpListener) {
    let service = admin::service(runs.clone());
    let serving = Server::builder().serve_with_incoming(service, connections(&listener));
    if let Some(Err(error)) = runs.stop.run_until_cancelled(serving).await {
        tracing::error!(%error, "administration service of the Ark server failed");
    }
}

fn connections(listener: &TcpListener) -> impl Stream<Item = std::io::Result<TcpStream>> {
    stream::unfold(listener, |listener| async move {
        let accepted = match listener.accept().await {
            // Small messages go back and forth, so waiting to fill a packet only costs time.
            Ok((connection, _)) => connection.set_nodelay(true).map(|()| connection),
            Err(error) => Err(error),
        };
        Some((accepted, listener))
    })
}
