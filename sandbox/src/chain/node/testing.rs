//! Real nodes for the tests: each in a directory of its own, on a free port.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::chain::BitcoindConfig;

/// The folder that holds `bitcoind` and `bitcoin-cli`.
const FOLDER: &str = "ARKWALLETD_BITCOIND";
const USER: &str = "sandbox";
const PASSWORD: &str = "hazelnut";

/// A running node; it ends with this.
pub(super) struct RealNode {
    folder: PathBuf,
    dir: TempDir,
    port: u16,
    process: Child,
}

impl RealNode {
    /// Starts a node and waits until it answers. `None`, with a line that says so, where there is no `bitcoind`.
    pub(super) fn start(test: &str) -> Option<RealNode> {
        RealNode::start_with(test, &["-regtest"])
    }

    pub(super) fn start_with(test: &str, options: &[&str]) -> Option<RealNode> {
        let folder = std::env::var_os(FOLDER).map(PathBuf::from);
        let Some(folder) = folder.filter(|folder| folder.join("bitcoind").exists()) else {
            println!("skipped {test}: {FOLDER} names no folder with bitcoind");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let lines = format!("rpcuser={USER}\nrpcpassword={PASSWORD}\n");
        std::fs::write(dir.path().join("bitcoin.conf"), lines).unwrap();
        let process = launch(&folder, &dir, port, options);
        let node = RealNode {
            folder,
            dir,
            port,
            process,
        };
        node.wait(options);
        Some(node)
    }

    pub(super) fn config(&self) -> BitcoindConfig {
        BitcoindConfig {
            url: format!("http://127.0.0.1:{}", self.port),
            user: USER.into(),
            password: PASSWORD.into(),
        }
    }

    /// Ends the node in good order.
    pub(super) fn stop(&mut self) {
        self.cli(&["stop"]);
        self.process.wait().unwrap();
    }

    /// Starts the node again where it was.
    pub(super) fn start_again(&mut self) {
        let options = ["-regtest"];
        self.process = launch(&self.folder, &self.dir, self.port, &options);
        self.wait(&options);
    }

    /// Tells the node something behind the chain's back.
    pub(super) fn cli(&self, arguments: &[&str]) -> String {
        self.run_cli(&[&["-regtest"], arguments].concat())
    }

    fn wait(&self, options: &[&str]) {
        let waiting = ["-rpcwait", "-rpcwaittimeout=30", "getblockcount"];
        self.run_cli(&[&options[..1], &waiting].concat());
    }

    fn run_cli(&self, arguments: &[&str]) -> String {
        let output = Command::new(self.folder.join("bitcoin-cli"))
            .arg(format!("-datadir={}", self.dir.path().display()))
            .arg(format!("-rpcport={}", self.port))
            .args(arguments)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

fn launch(folder: &std::path::Path, dir: &TempDir, port: u16, options: &[&str]) -> Child {
    Command::new(folder.join("bitcoind"))
        .arg(format!("-datadir={}", dir.path().display()))
        .arg(format!("-rpcport={port}"))
        .args(["-listen=0", "-connect=0"])
        .args(knots_option(folder))
        .args(options)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Lets Knots relay what Core does.
fn knots_option(folder: &std::path::Path) -> Option<&'static str> {
    let version = Command::new(folder.join("bitcoind"))
        .arg("-version")
        .output()
        .unwrap();
    let is_knots = String::from_utf8_lossy(&version.stdout).contains("Knots");
    is_knots.then_some("-corepolicy")
}

impl Drop for RealNode {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
