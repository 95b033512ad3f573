//! A real bitcoind on regtest.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

use super::free_port;
use crate::chain::BitcoindConfig;

/// Environment variable: the folder that holds the programs `bitcoind` and `bitcoin-cli`.
const FOLDER: &str = "ARKWALLETD_BITCOIND";
/// Option that lets [`Bitcoind::PASSWORD`] log in beside the cookie: salt, and HMAC-SHA256 of the password under that salt.
const RPC_AUTH: &str = "-rpcauth=test:a1b2c3d4e5f607181726354453627180$23106968c7cc890693e3b23a4c4ea0363631ad420483c264ec4494a4b1374169";

/// A running bitcoind with a new data directory of its own. Dropping it kills the process and deletes the directory.
///
/// It has no peers, keeps a transaction index, and publishes block hashes over ZMQ.
pub struct Bitcoind {
    directory: TempDir,
    rpc_port: u16,
    zmq_port: u16,
    options: Vec<String>,
    process: Mutex<Child>,
}

impl Bitcoind {
    /// RPC user that logs in with [`Bitcoind::PASSWORD`].
    pub const USER: &str = "test";
    /// RPC password of [`Bitcoind::USER`].
    pub const PASSWORD: &str = "hazelnut";

    /// Starts a node with an empty chain and waits until it answers.
    ///
    /// # Panics
    /// If `ARKWALLETD_BITCOIND` is not set, or the node does not start within 30 seconds.
    pub fn start() -> Bitcoind {
        Bitcoind::start_with(&[])
    }

    /// Like [`Bitcoind::start`], with more command line options. They override the defaults, for example `-chain=signet` or
    /// `-txindex=0`.
    ///
    /// # Panics
    /// As [`Bitcoind::start`].
    pub fn start_with(options: &[&str]) -> Bitcoind {
        let directory = tempfile::tempdir().expect("a temporary directory can be created");
        let (rpc_port, zmq_port) = (free_port(), free_port());
        let mut all = vec![
            format!("-datadir={}", directory.path().display()),
            format!("-rpcport={rpc_port}"),
            format!("-zmqpubhashblock=tcp://127.0.0.1:{zmq_port}"),
            RPC_AUTH.to_owned(),
        ];
        let defaults = ["-chain=regtest", "-txindex=1", "-listen=0", "-connect=0"];
        all.extend(defaults.map(str::to_owned));
        if is_knots() {
            // Knots then relays what Core relays.
            all.push("-corepolicy".into());
        }
        all.extend(options.iter().map(|&option| option.to_owned()));
        let node = Bitcoind {
            process: Mutex::new(launch(&all)),
            directory,
            rpc_port,
            zmq_port,
            options: all,
        };
        node.wait_until_ready();
        node
    }

    /// URL and login, for a sandbox that runs on this node.
    pub fn config(&self) -> BitcoindConfig {
        BitcoindConfig {
            url: self.url(),
            user: Bitcoind::USER.into(),
            password: Bitcoind::PASSWORD.into(),
        }
    }

    /// URL of the JSON-RPC interface.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.rpc_port)
    }

    /// Path of the cookie file. The node writes a new cookie at each start.
    pub fn cookie_file(&self) -> PathBuf {
        self.directory.path().join("regtest/.cookie")
    }

    /// ZMQ endpoint at which the node publishes `hashblock`.
    pub fn zmq(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.zmq_port)
    }

    /// Calls an RPC method through `bitcoin-cli` and returns what it prints, without the final line break.
    ///
    /// # Panics
    /// If the node refuses the call.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let output = self.run_cli(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "bitcoin-cli {arguments:?}: {error}"
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Shuts the node down and waits for the end of its process.
    pub fn stop(&self) {
        self.cli(&["stop"]);
        self.process()
            .wait()
            .expect("the process is a child of this one");
    }

    /// Starts the node after [`Bitcoind::stop`], with the same options, ports and data directory.
    pub fn start_again(&self) {
        *self.process() = launch(&self.options);
        self.wait_until_ready();
    }

    fn wait_until_ready(&self) {
        let waiting = self.run_cli(&["-rpcwait", "-rpcwaittimeout=30", "getblockcount"]);
        let ended = self
            .process()
            .try_wait()
            .expect("the process is a child of this one");
        assert!(ended.is_none(), "bitcoind ended at its start: {ended:?}");
        let error = String::from_utf8_lossy(&waiting.stderr);
        assert!(
            waiting.status.success(),
            "bitcoind does not answer: {error}"
        );
    }

    fn run_cli(&self, arguments: &[&str]) -> Output {
        Command::new(program("bitcoin-cli"))
            .arg(format!("-datadir={}", self.directory.path().display()))
            .arg(format!("-rpcport={}", self.rpc_port))
            .arg(format!("-rpcuser={}", Bitcoind::USER))
            .arg(format!("-rpcpassword={}", Bitcoind::PASSWORD))
            .args(arguments)
            .output()
            .expect("bitcoin-cli can be run")
    }

    fn process(&self) -> MutexGuard<'_, Child> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Bitcoind {
    fn drop(&mut self) {
        let mut process = self.process();
        // Both fail if the process has ended already.
        let _ = process.kill();
        let _ = process.wait();
    }
}

fn launch(options: &[String]) -> Child {
    Command::new(program("bitcoind"))
        .args(options)
        .stdout(Stdio::null())
        .spawn()
        .expect("bitcoind can be run")
}

fn is_knots() -> bool {
    let version = Command::new(program("bitcoind")).arg("-version").output();
    let version = version.expect("bitcoind can be run");
    String::from_utf8_lossy(&version.stdout).contains("Knots")
}

fn program(name: &str) -> PathBuf {
    let folder = std::env::var_os(FOLDER).unwrap_or_else(|| {
        panic!("{FOLDER} is not set: set it to the folder of bitcoind; tests/bitcoind prints one")
    });
    Path::new(&folder).join(name)
}
