//! The command line of `arkwalletd`: flags, their environment variables, and the subcommands (docs/protocol.md §21.1 and §21.2).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand, value_parser};
#[cfg(feature = "sandbox")]
use clap::{CommandFactory, FromArgMatches};

use crate::http::auth::Secret;
use crate::http::server::Limits;

/// A self-custodial bitcoin wallet daemon for the Ark protocol.
///
/// Without a subcommand it runs the daemon in the foreground.
#[derive(Debug, Parser)]
#[command(name = "arkwalletd", version)]
pub struct Cli {
    /// Data directory [default: ~/.arkwalletd].
    #[arg(long, global = true, env = "BARKD_DATADIR", value_name = "DIR")]
    pub datadir: Option<PathBuf>,
    /// What is logged, and where.
    #[command(flatten)]
    pub log: LogArgs,
    /// Where the daemon listens.
    #[command(flatten)]
    pub bind: BindArgs,
    /// How many connections there are, and how long they may wait.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Who may use the API.
    #[command(flatten)]
    pub access: AccessArgs,
    /// Hold a wallet on mainnet, for which this release is not ready: money may be lost.
    #[arg(long, env = "BARKD_ALLOW_MAINNET", value_parser = BoolishValueParser::new())]
    pub allow_mainnet: bool,
    /// What to do instead of running the daemon.
    #[command(subcommand)]
    pub command: Option<Command>,
}

impl Cli {
    /// Reads the command line and the environment variables of the process; exits on a mistake, and for `--help` and `--version`.
    ///
    /// `arkwalletd sandbox` ignores the variables, which are meant for a real daemon.
    pub fn read() -> Cli {
        #[cfg(feature = "sandbox")]
        if let Some(cli) = Cli::read_sandbox(std::env::args_os()) {
            return cli;
        }
        Cli::parse()
    }

    /// The command line without environment variables, if its subcommand is `sandbox` and it has no mistake.
    #[cfg(feature = "sandbox")]
    fn read_sandbox(args: impl Iterator<Item = std::ffi::OsString>) -> Option<Cli> {
        let command = without_variables(Cli::command());
        let cli = Cli::from_arg_matches(&command.try_get_matches_from(args).ok()?).ok()?;
        matches!(cli.command, Some(Command::Sandbox(_))).then_some(cli)
    }
}

#[cfg(feature = "sandbox")]
fn without_variables(command: clap::Command) -> clap::Command {
    command
        .mut_args(|arg| arg.env(None::<&'static str>))
        .mut_subcommands(without_variables)
}

/// What is logged, and where.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// Log every detail.
    #[arg(short, long, global = true, env = "BARK_VERBOSE",
        conflicts_with = "quiet", value_parser = BoolishValueParser::new())]
    pub verbose: bool,
    /// Log nothing to the terminal.
    #[arg(short, long, global = true, env = "BARK_QUIET", value_parser = BoolishValueParser::new())]
    pub quiet: bool,
    /// Log file [default: <datadir>/debug.log].
    #[arg(
        long,
        global = true,
        env = "BARK_LOGFILE",
        value_name = "FILE",
        conflicts_with = "no_logfile"
    )]
    pub logfile: Option<PathBuf>,
    /// Write no log file.
    #[arg(long, global = true, env = "BARK_NO_LOGFILE", value_parser = BoolishValueParser::new())]
    pub no_logfile: bool,
}

/// Where the daemon listens.
#[derive(Debug, Clone, Args)]
pub struct BindArgs {
    /// Port of the REST API.
    #[arg(long, env = "BARKD_BIND_PORT", default_value_t = 3000)]
    pub port: u16,
    /// IP address of the REST API.
    #[arg(long, env = "BARKD_BIND_HOST", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_name = "IP")]
    pub host: IpAddr,
}

impl BindArgs {
    /// The socket address.
    ///
    /// # Errors
    /// The port is 0: the operator could not know which port the system chooses.
    pub fn address(&self) -> anyhow::Result<SocketAddr> {
        anyhow::ensure!(
            self.port != 0,
            "--port must not be 0; choose a port from 1 to 65535"
        );
        Ok(SocketAddr::new(self.host, self.port))
    }
}

/// How many connections there are, and how long they may wait for their clients.
#[derive(Debug, Args)]
pub struct LimitArgs {
    /// Highest number of open connections. At it, the one that has waited longest for its client is closed.
    #[arg(long, env = "BARKD_MAX_CONNECTIONS", default_value_t = 4_096, value_name = "NUMBER",
        value_parser = value_parser!(u32).range(1..))]
    pub max_connections: u32,
    /// Seconds after which a connection without a request is closed.
    #[arg(long, env = "BARKD_IDLE_TIMEOUT_SECS", default_value_t = 75, value_name = "SECONDS",
        value_parser = value_parser!(u32).range(1..))]
    pub idle_timeout_secs: u32,
    /// Seconds that a client may take to send the head of a request, to send its body, or to take any part of an answer.
    #[arg(long, env = "BARKD_CLIENT_TIMEOUT_SECS", default_value_t = 30, value_name = "SECONDS",
        value_parser = value_parser!(u32).range(1..))]
    pub client_timeout_secs: u32,
}

impl LimitArgs {
    /// The limits of the listener.
    pub(crate) fn limits(&self) -> Limits {
        let seconds = |number: u32| Duration::from_secs(number.into());
        Limits {
            connections: usize::try_from(self.max_connections).unwrap_or(usize::MAX),
            idle: seconds(self.idle_timeout_secs),
            client: seconds(self.client_timeout_secs),
        }
    }
}

/// Who may use the API.
#[derive(Debug, Args)]
pub struct AccessArgs {
    /// Origins of web pages that may call the API, comma separated.
    #[arg(
        long,
        env = "BARKD_ALLOWED_ORIGINS",
        value_delimiter = ',',
        value_name = "ORIGIN"
    )]
    pub allowed_origins: Vec<String>,
    /// Let `GET /wallet/mnemonic` return the seed words.
    #[arg(long, env = "BARKD_EXPOSE_MNEMONIC", value_parser = BoolishValueParser::new())]
    pub expose_mnemonic: bool,
    /// Require no bearer token; allowed only if the daemon listens on loopback.
    // Deliberately without a variable: an inherited environment must not switch authentication off.
    #[arg(long)]
    pub no_auth: bool,
    /// Require no bearer token on any address: everybody who can reach the port controls the wallet.
    #[arg(long)]
    pub dangerously_allow_remote_no_auth: bool,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show or replace the bearer token of the REST API.
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Make the data directory of a wallet of barkd 0.8.0, whose own directory stays as it is.
    ImportBarkd {
        /// The data directory of barkd, which must not be running.
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
    },
    /// Print the OpenAPI document of the REST API.
    Openapi,
    /// Run a regtest chain, an Ark server and two wallets. Ignores BARK_* and BARKD_* variables, except BARK_LOG.
    #[cfg(feature = "sandbox")]
    Sandbox(SandboxArgs),
}

/// The subcommands of `secret`.
#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// Print the token.
    Show,
    /// Replace the token and print the new one; a running daemon keeps the old one until it restarts.
    Refresh {
        /// The secret inside the token, 64 hex characters; random if not given.
        #[arg(long, value_name = "HEX")]
        secret: Option<Secret>,
    },
}

/// Options of `arkwalletd sandbox`.
#[cfg(feature = "sandbox")]
#[derive(Debug, Args)]
pub struct SandboxArgs {
    /// Where the first daemon listens; the sandbox also uses the three ports above.
    #[command(flatten)]
    pub bind: BindArgs,
    /// Port of the Ark server. Wallets use 3535 by default.
    #[arg(long, default_value_t = 3535, value_name = "PORT")]
    pub ark_port: u16,
    /// Use this bitcoind in regtest mode instead of the built-in chain, as http://user:password@127.0.0.1:18443.
    #[arg(long, value_name = "URL")]
    pub bitcoind: Option<url::Url>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from([&["arkwalletd"], args].concat())
    }

    #[test]
    fn the_definition_is_valid() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn port_zero_and_host_names_are_refused() {
        assert!(parse(&["--port", "0"]).unwrap().bind.address().is_err());
        assert!(parse(&["--host", "localhost"]).is_err());
        assert_eq!(
            parse(&[]).unwrap().bind.address().unwrap(),
            "127.0.0.1:3000".parse().unwrap()
        );
    }

    #[test]
    fn contradictory_log_flags_are_refused() {
        assert!(parse(&["--logfile", "a", "--no-logfile"]).is_err());
        assert!(parse(&["-v", "-q"]).is_err());
        assert!(
            parse(&["secret", "show", "--datadir", "d", "-q"])
                .unwrap()
                .log
                .quiet
        );
    }

    #[test]
    fn a_secret_is_64_hex_characters() {
        let refresh = |secret: &str| parse(&["secret", "refresh", "--secret", secret]);
        assert!(refresh(&"2a".repeat(32)).is_ok());
        assert_eq!(refresh("2a").unwrap_err().exit_code(), 2);
    }
}
