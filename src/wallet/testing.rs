//! A wallet beside a sandbox, in one process, for the tests of flows.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ark_lib::VtxoId;
use bitcoin::{Amount, FeeRate, Network};
use tempfile::TempDir;

use crate::background::BackgroundTasks;
use crate::config::{ConfigFile, WalletConfig};
use crate::wallet::{
    BoardAmount, HistoryPage, Movement, PendingRound, RoundPhase, Wallet, WalletOptions,
};
use arkwalletd_sandbox::ark::{Action, Fault, Params, RoundOutcome};
use arkwalletd_sandbox::{Sandbox, SandboxHandle};

pub(in crate::wallet) const PATIENCE: Duration = Duration::from_secs(60);

pub(in crate::wallet) struct World {
    pub(in crate::wallet) sandbox: SandboxHandle,
    pub(in crate::wallet) dir: TempDir,
    mnemonic: bip39::Mnemonic,
}

pub(in crate::wallet) struct Running {
    pub(in crate::wallet) wallet: Arc<Wallet>,
    background: BackgroundTasks,
}

impl Running {
    pub(in crate::wallet) async fn stop(self) {
        self.background.stop().await;
        self.wallet.close().await;
    }
}

impl World {
    pub(in crate::wallet) async fn new(params: Params) -> World {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_test_writer()
            .try_init();
        let sandbox = Sandbox {
            ark: params,
            ..Sandbox::default()
        };
        let sandbox = sandbox.start().await.unwrap();
        let coins = sandbox.ark.coin_address().script_pubkey();
        let (amount, rate) = (
            Amount::from_sat(10_000_000),
            FeeRate::from_sat_per_vb_u32(2),
        );
        for _ in 0..3 {
            sandbox
                .faucet
                .pay(coins.clone(), amount, rate)
                .await
                .unwrap();
        }
        sandbox.chain.mine(1).await.unwrap();
        World {
            sandbox,
            dir: tempfile::tempdir().unwrap(),
            mnemonic: bip39::Mnemonic::generate(12).unwrap(),
        }
    }

    pub(in crate::wallet) fn options(&self) -> WalletOptions {
        let file = ConfigFile {
            server_address: Some(self.sandbox.ark_url.clone()),
            esplora_address: Some(self.sandbox.esplora_url.clone()),
            ..ConfigFile::default()
        };
        let database: &Path = self.dir.path();
        WalletOptions {
            config: Arc::new(WalletConfig::check(&file).unwrap()),
            network: Some(Network::Regtest),
            mnemonic: self.mnemonic.clone(),
            restored: false,
            birthday: None,
            database: database.join("db.sqlite"),
            allow_offline_server: false,
        }
    }

    pub(in crate::wallet) async fn create(&self) -> Running {
        let wallet = Wallet::create(self.options()).await.unwrap();
        let background = BackgroundTasks::start(&wallet);
        Running { wallet, background }
    }

    pub(in crate::wallet) async fn open(&self) -> Running {
        let wallet = Wallet::open(self.options()).await.unwrap();
        let background = BackgroundTasks::start(&wallet);
        Running { wallet, background }
    }

    /// Makes the server do this at that point, so many times.
    pub(in crate::wallet) fn fault(&self, target: &str, times: u32, action: Action) {
        let rule = Fault {
            target: target.to_owned(),
            skip: 0,
            times: Some(times),
            action,
        };
        self.sandbox.ark.faults().add(rule).unwrap();
    }

    /// Runs a round; answers whether it came to something.
    pub(in crate::wallet) async fn round(&self) -> bool {
        let outcome = self.sandbox.ark.trigger_round().await.unwrap();
        tracing::info!(?outcome, "round");
        matches!(outcome, RoundOutcome::Finished { .. })
    }

    pub(in crate::wallet) async fn mine(&self, blocks: u32) {
        self.sandbox.chain.mine(blocks).await.unwrap();
    }

    /// Boards this much, and waits until it can be spent.
    pub(in crate::wallet) async fn fund(&self, wallet: &Arc<Wallet>, sat: u64) -> VtxoId {
        let address = wallet.next_onchain_address().await.unwrap();
        let script = address.script_pubkey();
        let amount = Amount::from_sat(sat + 10_000);
        self.sandbox
            .faucet
            .pay(script, amount, FeeRate::from_sat_per_vb_u32(2))
            .await
            .unwrap();
        self.sandbox.chain.mine(1).await.unwrap();
        wallet.sync_onchain().await.unwrap();
        let board = wallet
            .board(BoardAmount::Exact(Amount::from_sat(sat)))
            .await
            .unwrap();
        let id = board.vtxos[0];
        self.sandbox.chain.mine(1).await.unwrap();
        until(wallet, "board", |wallet| {
            wallet
                .store
                .live_vtxos()
                .iter()
                .any(|vtxo| vtxo.id == id && vtxo.state == crate::wallet::VtxoState::Spendable)
        })
        .await;
        id
    }
}

/// Waits until exactly one round is pending and has come this far.
pub(in crate::wallet) async fn phase(wallet: &Arc<Wallet>, phase: RoundPhase) -> PendingRound {
    let wait = async {
        loop {
            let mut pending = wallet.pending_rounds().await.unwrap();
            if pending.len() == 1 && pending[0].phase == phase {
                return pending.remove(0);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(pending) => pending,
        Err(_) => panic!("{phase:?}: {:#?}", wallet.pending_rounds().await.unwrap()),
    }
}

/// Waits for something that a background task brings about.
pub(in crate::wallet) async fn until(
    wallet: &Arc<Wallet>,
    what: &str,
    done: impl Fn(&Arc<Wallet>) -> bool,
) {
    let wait = async {
        while !done(wallet) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, wait).await.is_err() {
        panic!(
            "timed out waiting for {what}: {:?} {:#?}",
            wallet.balance(),
            wallet.pending_rounds().await.unwrap()
        );
    }
}

pub(in crate::wallet) async fn no_rounds(wallet: &Arc<Wallet>) {
    let wait = async {
        while !wallet.pending_rounds().await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, wait).await.is_err() {
        panic!(
            "rounds go on: {:#?}",
            wallet.pending_rounds().await.unwrap()
        );
    }
}

/// The movements of this kind, newest first.
pub(in crate::wallet) async fn movements(wallet: &Wallet, kind: &str) -> Vec<Movement> {
    let all = wallet.history(HistoryPage::default()).await.unwrap();
    all.into_iter()
        .filter(|movement| movement.subsystem.kind() == kind)
        .collect()
}

pub(in crate::wallet) fn ids(wallet: &Wallet) -> Vec<VtxoId> {
    wallet
        .store
        .live_vtxos()
        .iter()
        .map(|vtxo| vtxo.id)
        .collect()
}

/// Rounds that are over as soon as one wallet has joined and signed.
pub(in crate::wallet) fn params() -> Params {
    Params {
        round_participants: Some(1),
        round_sign_time: Duration::from_millis(700),
        ..Params::free()
    }
}

/// The same, at the price of a public server.
pub(in crate::wallet) fn charging() -> Params {
    Params {
        fees: arkwalletd_sandbox::ark::charging_fees(),
        ..params()
    }
}
