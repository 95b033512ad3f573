//! A real `bitcoind -regtest`, for the runs in which the world has one.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use arkwalletd_sandbox::chain::BitcoindConfig;
use tempfile::TempDir;

const USER: &str = "test";
const PASSWORD: &str = "test";

/// A running node, with its folder.
pub struct Node {
    folder: TempDir,
    rpc_port: u16,
    zmq_port: u16,
    process: Child,
}

impl Node {
    /// Starts a node when `ARKWALLETD_TEST_CHAIN=bitcoind` asks for one.
    pub fn if_wanted() -> Option<Node> {
        match std::env::var("ARKWALLETD_TEST_CHAIN").as_deref() {
            Ok("bitcoind") => Some(Node::start()),
            Ok("sandbox") | Err(_) => None,
            Ok(other) => panic!("ARKWALLETD_TEST_CHAIN is bitcoind or sandbox, not {other}"),
        }
    }

    /// Starts a node.
    pub fn start() -> Node {
        let folder = TempDir::new().expect("a temporary folder");
        let (rpc_port, zmq_port) = (free_port(), free_port());
        let process = launch(&folder, rpc_port, zmq_port);
        let node = Node {
            folder,
            rpc_port,
            zmq_port,
            process,
        };
        node.cli(&["-rpcwait", "-rpcwaittimeout=30", "getblockcount"]);
        node
    }

    /// Stops the node in good order and starts it again; its cookie changes.
    pub fn restart(&mut self) {
        self.cli(&["stop"]);
        self.process.wait().expect("it ends");
        self.process = launch(&self.folder, self.rpc_port, self.zmq_port);
        self.cli(&["-rpcwait", "-rpcwaittimeout=30", "getblockcount"]);
    }

    /// How the sandbox reaches it.
    pub fn config(&self) -> BitcoindConfig {
        BitcoindConfig {
            url: self.url(),
            user: USER.into(),
            password: PASSWORD.into(),
        }
    }

    /// How a daemon reaches it, in the words of `POST /wallet/create`: with a password, or with the cookie.
    pub fn chain_source(&self, with_cookie: bool) -> serde_json::Value {
        let auth = if with_cookie {
            serde_json::json!({"cookie": {"cookie": self.folder.path().join("regtest/.cookie")}})
        } else {
            serde_json::json!({"user-pass": {"user": USER, "pass": PASSWORD}})
        };
        serde_json::json!({"bitcoind": {"bitcoind": self.url(), "bitcoind_auth": auth}})
    }

    /// How a daemon reaches it through something else that listens at `url`.
    pub fn chain_source_at(&self, url: &str) -> serde_json::Value {
        let auth = serde_json::json!({"user-pass": {"user": USER, "pass": PASSWORD}});
        serde_json::json!({"bitcoind": {"bitcoind": url, "bitcoind_auth": auth}})
    }

    /// Where it announces blocks.
    pub fn zmq(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.zmq_port)
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.rpc_port)
    }

    fn cli(&self, arguments: &[&str]) {
        let output = Command::new(programs().join("bitcoin-cli"))
            .arg("-regtest")
            .arg(format!("-datadir={}", self.folder.path().display()))
            .arg(format!("-rpcport={}", self.rpc_port))
            .args([
                format!("-rpcuser={USER}"),
                format!("-rpcpassword={PASSWORD}"),
            ])
            .args(arguments)
            .output()
            .expect("bitcoin-cli runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Both logins at once: `-rpcauth` of the fixed password leaves the cookie in place.
fn launch(folder: &TempDir, rpc_port: u16, zmq_port: u16) -> Child {
    let auth = format!("{USER}:{SALT}${HASH}");
    Command::new(programs().join("bitcoind"))
        .args([
            "-regtest",
            "-txindex=1",
            "-listen=0",
            "-connect=0",
            "-fallbackfee=0.0001",
        ])
        .arg(format!("-datadir={}", folder.path().display()))
        .arg(format!("-rpcport={rpc_port}"))
        .arg(format!("-rpcauth={auth}"))
        .arg(format!("-zmqpubhashblock=tcp://127.0.0.1:{zmq_port}"))
        .args(knots_option())
        .stdout(Stdio::null())
        .spawn()
        .expect("bitcoind starts")
}

/// HMAC-SHA256 of the password "test" under this salt, as bitcoind's `rpcauth.py` prints it.
const SALT: &str = "00112233445566778899aabbccddeeff";
const HASH: &str = "34b86160185f3b05247ed39a5bd83f928f65de29814ed632f9caa9b2127d4c61";

/// Lets Knots relay what Core does.
fn knots_option() -> Option<&'static str> {
    let version = Command::new(programs().join("bitcoind"))
        .arg("-version")
        .output()
        .expect("bitcoind runs");
    String::from_utf8_lossy(&version.stdout)
        .contains("Knots")
        .then_some("-corepolicy")
}

/// The folder that `tests/bitcoind` fills.
fn programs() -> PathBuf {
    let folder = std::env::var_os("ARKWALLETD_BITCOIND").map(PathBuf::from);
    folder.expect("ARKWALLETD_BITCOIND names the folder of bitcoind; ./tests/run sets it")
}

/// A port that nobody used a moment ago. None of those that the system hands out by itself: with many tests at a time, an
/// outgoing connection would take one before it is listened on.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    // Tests of another process begin elsewhere.
    let first = std::process::id().wrapping_mul(97);
    loop {
        let next = first.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        let port = 10_000 + u16::try_from(next % 20_000).expect("it is small");
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
