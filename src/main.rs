//! The `arkwalletd` program: it reads the command line and hands over.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use arkwalletd::app::{self, Access, DaemonOptions, STOP_DEADLINE};
use arkwalletd::cli::{Cli, Command, SecretCommand};
use arkwalletd::datadir::DataDir;
use arkwalletd::http::auth::Secret;
use arkwalletd::http::{self, origin};
use arkwalletd::logging;
use clap::Parser;

fn main() -> ExitCode {
    // Builds for tests die where the variable FAILPOINTS says.
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    let outcome = start(Cli::parse());
    if let Err(error) = &outcome {
        // Straight to stderr: whoever started us must see it whatever the log is set to.
        let _ = writeln!(std::io::stderr(), "Error: {error:#}");
    }
    ExitCode::from(u8::from(outcome.is_err()))
}

fn start(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Some(Command::Openapi) => return print(&http::openapi().to_pretty_json()?),
        #[cfg(feature = "sandbox")]
        Some(Command::Sandbox(args)) => {
            return runtime()?.block_on(app::sandbox::run(cli.datadir, args, &cli.log));
        }
        Some(Command::Secret(_)) | None => {}
    }
    let path = cli.datadir.map_or_else(default_datadir, Ok)?;
    let datadir = DataDir::open(&path)
        .with_context(|| format!("cannot use the datadir {}", path.display()))?;
    logging::init(&cli.log, &datadir)?;
    if datadir.is_open_to_others()? {
        tracing::warn!(path = %path.display(), "others may enter the datadir, where the seed lies; chmod 700 keeps them out");
    }
    if let Some(Command::Secret(command)) = cli.command {
        return secret(command, &datadir);
    }
    let access = match (
        cli.access.dangerously_allow_remote_no_auth,
        cli.access.no_auth,
    ) {
        (true, _) => Access::Anybody,
        (false, true) => Access::Local,
        (false, false) => Access::Token,
    };
    let options = DaemonOptions {
        datadir,
        bind: cli.bind.address()?,
        access,
        allowed_origins: origin::parse_origins(&cli.access.allowed_origins)?,
        expose_mnemonic: cli.access.expose_mnemonic,
        stop_deadline: STOP_DEADLINE,
    };
    let runtime = runtime()?;
    let outcome = runtime.block_on(app::run(options));
    // What is still under way after the deadline is taken up again at the next start.
    runtime.shutdown_background();
    outcome
}

fn secret(command: SecretCommand, datadir: &DataDir) -> anyhow::Result<()> {
    let path = datadir.auth_token();
    let secret = match command {
        SecretCommand::Show => Secret::load(&path)?.with_context(|| {
            format!(
                "there is no token at {}; the daemon makes one when it starts",
                path.display()
            )
        })?,
        SecretCommand::Refresh { secret } => {
            let secret = secret.map_or_else(Secret::random, Ok)?;
            secret
                .store(&path)
                .with_context(|| format!("cannot write {}", path.display()))?;
            tracing::info!(
                "the auth token was replaced; a running daemon keeps the old one until it restarts"
            );
            secret
        }
    };
    print(&secret.to_token())
}

/// Results go to stdout, everything else to stderr.
fn print(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("cannot write to stdout")
}

fn default_datadir() -> anyhow::Result<PathBuf> {
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    Ok(home
        .map_or_else(std::env::current_dir, Ok)?
        .join(".arkwalletd"))
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}
