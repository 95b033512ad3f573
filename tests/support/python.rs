//! The Python tools that `tests/python` installs.

use std::ffi::OsStr;
use std::path::PathBuf;

use tempfile::TempDir;
use tokio::process::Command;

/// Runs one of the tools, and answers what it printed.
///
/// # Panics
/// It is not installed, or fails.
pub async fn run_tool<T: AsRef<OsStr>>(tool: &str, arguments: &[T]) -> String {
    // Schemathesis keeps what it has found in the working directory.
    let folder = TempDir::new().expect("a temporary folder");
    let output = Command::new(tools().join(tool))
        .args(arguments)
        .current_dir(folder.path())
        .kill_on_drop(true)
        .output()
        .await
        .expect("the tool can be run");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{tool} failed: {printed}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    printed
}

/// The folder with the tools.
fn tools() -> PathBuf {
    let folder = std::env::var_os("ARKWALLETD_PYTHON").map_or_else(
        || {
            let home = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
            let cache = home
                .or_else(|| Some(std::env::home_dir()?.join(".cache")))
                .expect("a home folder");
            cache.join("arkwalletd/python/bin")
        },
        PathBuf::from,
    );
    assert!(
        folder.join("python").exists(),
        "there is no Python in {}; ./tests/run installs it",
        folder.display()
    );
    folder
}
