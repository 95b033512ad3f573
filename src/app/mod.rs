//! The process: it reads the command line and runs the daemon or a subcommand.
//!
//! This is the composition root. [`daemon`] assembles the parts of a daemon; no other module knows all of them.

mod daemon;
mod hardening;
#[cfg(feature = "sandbox")]
mod sandbox;
mod signals;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use self::daemon::{Access, Daemon, DaemonOptions, STOP_DEADLINE};
use self::signals::Signals;
use crate::cli::{Cli, Command, LimitArgs, LogArgs, SecretCommand};
use crate::config::Overrides;
use crate::datadir::DataDir;
use crate::http::server::Limits;
use crate::http::{self, auth::Secret, origin};
use crate::{logging, wallet};

/// Runs the program to its end. Results go to stdout, everything else to stderr and the log file.
pub fn main() -> ExitCode {
    // Before the command line is read, because it may contain a secret.
    hardening::forbid_dumps();
    let outcome = execute(Cli::read());
    if let Err(error) = &outcome {
        // Written to stderr directly, so that it is visible with every log setting.
        let _ = writeln!(std::io::stderr(), "Error: {error:#}");
    }
    ExitCode::from(u8::from(outcome.is_err()))
}

fn execute(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Some(Command::Openapi) => print(&http::openapi().to_pretty_json()?),
        #[cfg(feature = "sandbox")]
        Some(Command::Sandbox(args)) => {
            runtime()?.block_on(sandbox::run(cli.datadir, args, &cli.log))
        }
        Some(Command::Secret(command)) => secret(command, &open_datadir(cli.datadir, &cli.log)?),
        Some(Command::ImportBarkd { from }) => {
            let to = cli.datadir.map_or_else(default_datadir, Ok)?;
            runtime()?.block_on(import_barkd(&from, &to))
        }
        None => {
            let options = daemon_options(cli)?;
            let runtime = runtime()?;
            let outcome = runtime.block_on(run(options));
            // Operations that are unfinished after the deadline resume at the next start.
            runtime.shutdown_background();
            outcome
        }
    }
}

fn daemon_options(cli: Cli) -> anyhow::Result<DaemonOptions> {
    let path = cli.datadir.map_or_else(default_datadir, Ok)?;
    // Before anything is written there, even a log.
    anyhow::ensure!(
        !wallet::is_barkd(&path),
        "{0} is the datadir of barkd; take its wallet over with: arkwalletd import-barkd --from {0} --datadir <new folder>",
        path.display()
    );
    let datadir = open_datadir(Some(path), &cli.log)?;
    let access = match (
        cli.access.dangerously_allow_remote_no_auth,
        cli.access.no_auth,
    ) {
        (true, _) => Access::Anybody,
        (false, true) => Access::Local,
        (false, false) => Access::Token,
    };
    Ok(DaemonOptions {
        datadir,
        bind: cli.bind.address()?,
        access,
        allowed_origins: origin::parse_origins(&cli.access.allowed_origins)?,
        expose_mnemonic: cli.access.expose_mnemonic,
        limits: limits(&cli.limits),
        allow_mainnet: cli.allow_mainnet,
        stop_deadline: STOP_DEADLINE,
        overrides: Overrides::Environment,
    })
}

/// The limits of the listener, which leave descriptors for the database and the connections to other servers.
fn limits(args: &LimitArgs) -> Limits {
    let limits = args.limits();
    let connections = hardening::connections(limits.connections);
    if connections < limits.connections {
        tracing::warn!(
            connections,
            "the limit of open files allows fewer connections than --max-connections; raise it, e.g. with LimitNOFILE= in systemd"
        );
    }
    Limits {
        connections,
        ..limits
    }
}

/// Runs a daemon until SIGINT or SIGTERM. A second signal ends it immediately.
async fn run(options: DaemonOptions) -> anyhow::Result<()> {
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
            tracing::warn!("received a second signal; stopping immediately");
            Ok(())
        }
    }
}

/// Takes over a wallet of barkd, and says how it goes on.
async fn import_barkd(from: &Path, to: &Path) -> anyhow::Result<()> {
    let imported = wallet::import_barkd(from, to).await?;
    let (from, to) = (from.display(), to.display());
    print(&format!(
        "Took over wallet {} from {from}: {} VTXOs, {} of them spendable, and {} movements.\n\
         Start it with: arkwalletd --datadir {to}\n\
         Keep {from} as a backup, and do not start barkd on it again: two programs with one wallet spend each other's VTXOs.",
        imported.fingerprint, imported.vtxos, imported.spendable, imported.movements
    ))
}

fn secret(command: SecretCommand, datadir: &DataDir) -> anyhow::Result<()> {
    let path = datadir.auth_token();
    let secret = match command {
        SecretCommand::Show => Secret::load(&path)?.with_context(|| {
            format!(
                "there is no token at {}; start the daemon once to create it",
                path.display()
            )
        })?,
        SecretCommand::Refresh { secret } => {
            let secret = secret.map_or_else(Secret::random, Ok)?;
            secret
                .store(&path)
                .with_context(|| format!("cannot write {}", path.display()))?;
            tracing::info!("replaced the auth token; restart a running daemon to apply it");
            secret
        }
    };
    print(&secret.to_token())
}

/// Opens the datadir and starts logging.
fn open_datadir(path: Option<PathBuf>, log: &LogArgs) -> anyhow::Result<DataDir> {
    let path = path.map_or_else(default_datadir, Ok)?;
    let datadir = DataDir::open(&path)
        .with_context(|| format!("cannot use the datadir {}", path.display()))?;
    logging::init(log, &datadir)?;
    if datadir.is_open_to_others()? {
        tracing::warn!(
            path = %path.display(),
            "other users can access the datadir, which contains the seed; restrict it with chmod 700"
        );
    }
    Ok(datadir)
}

fn default_datadir() -> anyhow::Result<PathBuf> {
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    Ok(home
        .map_or_else(std::env::current_dir, Ok)?
        .join(".arkwalletd"))
}

fn print(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("cannot write to stdout")
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}
