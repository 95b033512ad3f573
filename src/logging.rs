//! Logging to the terminal (stderr) and to a file, both with the same filter (docs/protocol.md §21.6).
//!
//! `BARK_LOG` sets the filter, e.g. `debug` or `arkwalletd=trace,h2=off`; otherwise it is `info`, or with `--verbose` everything of
//! this crate. Lines of crates that use `log` are included.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

use anyhow::Context;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

use crate::cli::LogArgs;
use crate::datadir::{DataDir, open_append};

/// Starts logging for the process; call it once.
///
/// # Errors
/// `BARK_LOG` is not a filter, the log file cannot be opened, or logging was started before.
pub fn init(args: &LogArgs, datadir: &DataDir) -> anyhow::Result<()> {
    let terminal = (!args.quiet).then(|| {
        fmt::layer()
            .with_timer(LocalTime)
            .with_target(args.verbose)
            .with_ansi(false)
            .with_writer(std::io::stderr)
    });
    let file = match (&args.logfile, args.no_logfile) {
        (_, true) => None,
        (Some(path), false) => Some(open(path)?),
        (None, false) => Some(open(&datadir.debug_log())?),
    };
    let file = file.map(|file| {
        fmt::layer()
            .with_timer(LocalTime)
            .with_ansi(false)
            .with_writer(Mutex::new(file))
    });
    tracing_subscriber::registry()
        .with(filter(args.verbose)?)
        .with(terminal)
        .with(file)
        .try_init()?;
    Ok(())
}

fn filter(verbose: bool) -> anyhow::Result<EnvFilter> {
    match std::env::var("BARK_LOG") {
        Ok(directives) if !directives.is_empty() => EnvFilter::try_new(directives).context(
            "BARK_LOG is not a log filter such as \"debug\" or \"arkwalletd=trace,h2=off\"",
        ),
        _ if verbose => Ok(EnvFilter::new(
            "debug,arkwalletd=trace,h2=info,hyper_util=info",
        )),
        _ => Ok(EnvFilter::new("info")),
    }
}

/// Opens the log file, and separates this start from earlier ones with two empty lines.
fn open(path: &Path) -> anyhow::Result<File> {
    let mut file = open_append(path)
        .with_context(|| format!("cannot open the log file {}", path.display()))?;
    file.write_all(b"\n\n")
        .with_context(|| format!("cannot write to the log file {}", path.display()))?;
    Ok(file)
}

struct LocalTime;

impl FormatTime for LocalTime {
    fn format_time(&self, w: &mut Writer<'_>) -> std::fmt::Result {
        write!(
            w,
            "{}",
            chrono::Local::now().format("%Y-%m-%d %H:%M:%S%.3f %:z")
        )
    }
}
