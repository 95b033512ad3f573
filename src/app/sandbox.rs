//! `arkwalletd sandbox`: a regtest network with two wallets in one process.
//!
//! [`arkwalletd_sandbox`] provides the chain, behind an Esplora API, and the Ark server. Two daemons use them, each with its own datadir
//! and token; the first has on-chain and off-chain funds. With `--datadir` everything is kept for the next run; without it, everything
//! is in a temporary folder.
//!
//! The sandbox ignores the environment variables of a real daemon: they could direct it to a real datadir or a real server.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bitcoin::{Amount, FeeRate};
use url::Url;

use super::{Access, Daemon, DaemonOptions, STOP_DEADLINE, Signals};
use crate::cli::{LogArgs, SandboxArgs};
use crate::config::{ConfigFile, NetworkName, Overrides};
use crate::datadir::DataDir;
use crate::http::auth::Secret;
use crate::http::server::Limits;
use crate::logging;
use crate::wallet::lifecycle::CreateWallet;
use crate::wallet::{BoardAmount, HistoryPage, Wallet};
use arkwalletd_sandbox::ark::Params;
use arkwalletd_sandbox::chain::BitcoindConfig;
use arkwalletd_sandbox::{Sandbox, SandboxHandle};

/// The on-chain funds of the first wallet, and the part of them that it boards.
const FUNDS: Amount = Amount::from_sat(1_000_000);
const BOARD: Amount = Amount::from_sat(500_000);
/// How long the first board may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the sandbox until SIGINT or SIGTERM.
///
/// # Errors
/// A port is taken, or the folder cannot be used.
pub(super) async fn run(
    datadir: Option<PathBuf>,
    args: SandboxArgs,
    log: &LogArgs,
) -> anyhow::Result<()> {
    let mut signals = Signals::install()?;
    // Dropping it at the end removes the folder.
    let mut temporary = None;
    let folder = match datadir {
        Some(folder) => folder,
        None => temporary.insert(tempfile::tempdir()?).path().to_owned(),
    };
    let folder = DataDir::open(&folder)
        .with_context(|| format!("cannot use the folder {}", folder.display()))?;
    // The terminal shows the curl commands; the log goes to the file unless --verbose is given.
    let log = LogArgs {
        quiet: !log.verbose,
        logfile: log.logfile.clone(),
        ..*log
    };
    logging::init(&log, &folder)?;

    let running = tokio::select! {
        running = Running::start(folder.path(), &args) => running?,
        () = signals.next() => return Ok(()),
    };
    let printed = running.describe(temporary.is_none());
    std::io::stdout().write_all(printed.as_bytes())?;
    signals.next().await;
    tokio::select! {
        stopped = running.stop() => stopped,
        () = signals.next() => Ok(()),
    }
}

/// The running sandbox and its two daemons.
struct Running {
    world: SandboxHandle,
    payer: Party,
    payee: Party,
    /// An address of the second wallet, for the printed example.
    address: String,
}

struct Party {
    daemon: Daemon,
    datadir: PathBuf,
    token: String,
}

impl Running {
    async fn start(folder: &Path, args: &SandboxArgs) -> anyhow::Result<Running> {
        let first = args.bind.address()?;
        let port = |offset: u16| {
            first
                .port()
                .checked_add(offset)
                .context("--port is too high: the sandbox uses the three ports above it")
        };
        let (second_port, world_port, proxy_port) = (port(1)?, port(2)?, port(3)?);
        let sandbox = Sandbox {
            data_dir: Some(folder.join("world")),
            http_port: world_port,
            chain_proxy_port: proxy_port,
            ark_port: args.ark_port,
            ark: Params::demo(),
            bitcoind: args.bitcoind.as_ref().map(node),
            ..Sandbox::default()
        };
        let world = sandbox.start().await?;
        let payer = Party::start(folder.join("wallet-1"), first, &world).await?;
        let payee = Party::start(
            folder.join("wallet-2"),
            SocketAddr::new(first.ip(), second_port),
            &world,
        )
        .await?;
        fund(&payer.wallet()?, &world).await?;
        let address = payee.wallet()?.next_address().await?.to_string();
        Ok(Running {
            world,
            payer,
            payee,
            address,
        })
    }

    fn describe(&self, kept: bool) -> String {
        let (one, other) = (&self.payer, &self.payee);
        let (url_one, url_other) = (one.url(), other.url());
        let folder = one.datadir.parent().unwrap_or(&one.datadir).display();
        let fate = if kept {
            "kept for the next run"
        } else {
            "removed at the end"
        };
        format!(
            r#"
A bitcoin regtest, an Ark server and two wallets are running. Stop them with Ctrl-C.

  wallet 1     {url_one}   {board} sat boarded; API at /api/v1, document at /swagger-ui
  token 1      {token_one}
  wallet 2     {url_other}   empty
  token 2      {token_other}
  Ark server   {ark}
  chain        {esplora} (Esplora); the wallets use it through {proxy}, where POST {control}/chain-faults injects faults
  Lightning    {lnurl}
               an LNURL that takes every payment; the world issues invoices with POST {control}/ln/invoice {{"amount_msat": 21000000}}
               and pays those of wallets with POST {control}/ln/pay {{"invoice": "lnbcrt…"}}
  control      {control}   e.g. POST /mine {{"n": 1}}, POST /faucet {{"address": "…", "amount_sat": 10000}}
  files        {folder}, {fate}

Paste these, one after the other:

  curl -s -H 'Authorization: Bearer {token_one}' {url_one}/api/v1/wallet/balance
  curl -s -H 'Authorization: Bearer {token_other}' -X POST {url_other}/api/v1/wallet/addresses/next
  curl -s -H 'Authorization: Bearer {token_one}' -H 'Content-Type: application/json' {url_one}/api/v1/wallet/send -d '{{"destination": "{address}", "amount_sat": 21000}}'
  curl -s -H 'Authorization: Bearer {token_other}' {url_other}/api/v1/wallet/balance
  curl -s -H 'Authorization: Bearer {token_one}' -H 'Content-Type: application/json' {url_one}/api/v1/wallet/send -d '{{"destination": "{lnurl}", "amount_sat": 500, "comment": "Thanks!"}}'
  curl -s -H 'Authorization: Bearer {token_one}' {url_one}/api/v1/history; curl -s -H 'Authorization: Bearer {token_other}' {url_other}/api/v1/history

"#,
            board = BOARD.to_sat(),
            token_one = one.token,
            token_other = other.token,
            ark = self.world.ark_url,
            esplora = self.world.esplora_url,
            proxy = self.world.chain_proxy.url(),
            control = self.world.control_url,
            lnurl = self.world.lnurl,
            address = self.address,
        )
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.payer.daemon.stop().await?;
        self.payee.daemon.stop().await?;
        self.world.stop().await;
        Ok(())
    }
}

impl Party {
    /// Starts a daemon, and creates its wallet at the first run.
    async fn start(
        path: PathBuf,
        bind: SocketAddr,
        world: &SandboxHandle,
    ) -> anyhow::Result<Party> {
        let datadir = DataDir::open(&path)?;
        let options = DaemonOptions {
            datadir: datadir.clone(),
            bind,
            access: Access::Token,
            allowed_origins: Vec::new(),
            expose_mnemonic: true,
            limits: Limits::default(),
            allow_mainnet: false,
            stop_deadline: STOP_DEADLINE,
            overrides: Overrides::None,
        };
        let daemon = Daemon::start(options).await?;
        if daemon.wallets().loaded().is_none() {
            let config = ConfigFile {
                server_address: Some(world.ark_url.clone()),
                esplora_address: Some(world.chain_proxy.url().to_owned()),
                ..ConfigFile::default()
            };
            let request = CreateWallet {
                network: NetworkName::Regtest,
                config,
                mnemonic: None,
                birthday: None,
                force: false,
            };
            daemon.wallets().create(request).await?;
        }
        let token = Secret::load(&datadir.auth_token())?
            .context("the daemon has not created its token")?
            .to_token();
        Ok(Party {
            daemon,
            datadir: path,
            token,
        })
    }

    fn url(&self) -> String {
        format!("http://{}", self.daemon.address())
    }

    fn wallet(&self) -> anyhow::Result<Arc<Wallet>> {
        let wallet = self.daemon.wallets().loaded();
        wallet
            .map(|wallet| Arc::clone(&wallet))
            .context("the wallet is not open")
    }
}

/// The node at a URL of the form `http://user:password@host:port`.
fn node(url: &Url) -> BitcoindConfig {
    let mut bare = url.clone();
    // These fail only for URLs that cannot have a login.
    let _ = bare.set_username("");
    let _ = bare.set_password(None);
    BitcoindConfig {
        url: bare.to_string(),
        user: url.username().to_owned(),
        password: url.password().unwrap_or_default().to_owned(),
    }
}

/// Gives a new wallet on-chain funds, and boards a part of them.
async fn fund(wallet: &Arc<Wallet>, world: &SandboxHandle) -> anyhow::Result<()> {
    if !wallet.history(HistoryPage::default()).await?.is_empty() {
        return Ok(());
    }
    let address = wallet.next_onchain_address().await?;
    world
        .faucet
        .pay(
            address.script_pubkey(),
            FUNDS,
            FeeRate::from_sat_per_vb_u32(2),
        )
        .await?;
    world.chain.mine(1).await?;
    wallet.sync_onchain().await?;
    wallet.board(BoardAmount::Exact(BOARD)).await?;
    let mut tips = world.chain.subscribe_tips();
    let boarded = async {
        world.chain.mine(1).await?;
        while !wallet.pending_boards().await?.is_empty() {
            wallet.sync().await;
            // The sandbox mines by itself while the mempool has transactions, so that the board gets its confirmations.
            let _ = tokio::time::timeout(Duration::from_millis(100), tips.changed()).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, boarded)
        .await
        .context("the first board did not finish")?
}
