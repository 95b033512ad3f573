//! A real bitcoind on regtest, for tests.

use std::collections::VecDeque;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bitcoin::absolute::LockTime;
use bitcoin::consensus::encode::{deserialize_hex, serialize_hex};
use bitcoin::transaction::Version;
use bitcoin::{
    Address, Amount, BlockHash, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid,
    Witness,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;
use url::Url;

use crate::chain::bitcoind::rpc::Rpc;
use crate::chain::{BackendConfig, BitcoindAuth};
use arkwalletd_sandbox::coins::CoinKey;

/// A user whose password is [`PASSWORD`], beside the cookie.
pub(crate) const USER: &str = "lab";
pub(crate) const PASSWORD: &str = "lab password";
const RPC_AUTH: &str = "-rpcauth=lab:a1b2c3d4e5f60718$6e27dc68a4b6828edfd2805149494f2844d517a6d13b283e0945549f80619096";

/// A running node. Blocks are mined to `key`, and payments are made from coinbase outputs.
pub(crate) struct Node {
    pub(crate) key: CoinKey,
    pub(crate) zmq: String,
    rpc: Rpc,
    url: Url,
    folder: TempDir,
    process: Mutex<Child>,
    command: Mutex<Command>,
    coinbases: Mutex<VecDeque<(OutPoint, TxOut)>>,
    /// Blocks pay to another address after each reorganisation, or they would be the abandoned ones again.
    reorganisations: AtomicU32,
}

/// The program, unless this machine has none.
fn program() -> Option<PathBuf> {
    let named = std::env::var_os("ARKWALLETD_BITCOIND")
        .map(|folder| PathBuf::from(folder).join("bitcoind"));
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let cached = home.map(|home| home.join(".cache/arkwalletd/bitcoind/bitcoind"));
    let found = named.or_else(|| cached.filter(|path| path.exists()));
    if found.is_none() {
        println!("skipped: there is no bitcoind; name one in ARKWALLETD_BITCOIND");
    }
    found
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Node {
    /// Starts a node with an empty chain; `None` when this machine has no bitcoind.
    pub(crate) async fn start_bare(options: &[&str]) -> Option<Node> {
        let program = program()?;
        let version = Command::new(&program).arg("-version").output().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let zmq = format!("tcp://127.0.0.1:{}", free_port());
        let mut command = Command::new(&program);
        command
            .arg(format!("-datadir={}", folder.path().display()))
            .arg(format!("-rpcport={port}"))
            .arg(format!("-zmqpubhashblock={zmq}"))
            .args(["-regtest", "-listen=0", "-txindex=1", RPC_AUTH])
            .args(options)
            .stdout(Stdio::null());
        if String::from_utf8_lossy(&version.stdout).contains("Knots") {
            command.arg("-corepolicy");
        }
        let url: Url = format!("http://127.0.0.1:{port}").parse().unwrap();
        let cookie = BitcoindAuth::Cookie(folder.path().join("regtest/.cookie"));
        let node = Node {
            key: CoinKey::derive(&[7; 32], "lab"),
            zmq,
            rpc: Rpc::new(url.clone(), cookie).unwrap(),
            url,
            folder,
            process: Mutex::new(command.spawn().unwrap()),
            command: Mutex::new(command),
            coinbases: Mutex::default(),
            reorganisations: AtomicU32::new(0),
        };
        node.wait_until_up().await;
        Some(node)
    }

    /// Starts a node with some money to pay.
    pub(crate) async fn start() -> Option<Node> {
        let node = Node::start_bare(&[]).await?;
        node.mine(120).await;
        for height in 1..=20 {
            let hash: BlockHash = node.call("getblockhash", json!([height])).await;
            let hex: String = node.call("getblock", json!([hash, 0])).await;
            let block: bitcoin::Block = deserialize_hex(&hex).unwrap();
            let coinbase = &block.txdata[0];
            let outpoint = OutPoint::new(coinbase.compute_txid(), 0);
            let coin = (outpoint, coinbase.output[0].clone());
            node.coinbases.lock().unwrap().push_back(coin);
        }
        Some(node)
    }

    async fn wait_until_up(&self) {
        for _ in 0..600 {
            if self
                .rpc
                .call::<Value>("getindexinfo", json!([]))
                .await
                .is_ok()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("bitcoind does not come up");
    }

    pub(crate) fn cookie(&self) -> BitcoindAuth {
        BitcoindAuth::Cookie(self.folder.path().join("regtest/.cookie"))
    }

    pub(crate) fn backend(&self, auth: BitcoindAuth) -> BackendConfig {
        BackendConfig::Bitcoind {
            url: self.url.clone(),
            auth,
            zmq: None,
        }
    }

    pub(crate) async fn call<T: DeserializeOwned>(&self, method: &str, params: Value) -> T {
        self.rpc.call(method, params).await.unwrap()
    }

    pub(crate) async fn stop(&self) {
        let _: String = self.call("stop", json!([])).await;
        let mut process = self.process.lock().unwrap();
        tokio::task::block_in_place(|| process.wait()).unwrap();
    }

    pub(crate) async fn start_again(&self) {
        *self.process.lock().unwrap() = self.command.lock().unwrap().spawn().unwrap();
        self.wait_until_up().await;
    }

    fn miner(&self) -> Address {
        match self.reorganisations.load(Ordering::Relaxed) {
            0 => self.key.address(),
            n => CoinKey::derive(&[7; 32], &format!("miner {n}")).address(),
        }
    }

    pub(crate) async fn mine(&self, blocks: u32) {
        let params = json!([blocks, self.miner().to_string()]);
        let _: Vec<BlockHash> = self.call("generatetoaddress", params).await;
    }

    /// Mines a block of these transactions alone.
    pub(crate) async fn mine_only(&self, txs: &[Transaction]) {
        let txs: Vec<String> = txs.iter().map(serialize_hex).collect();
        let params = json!([self.miner().to_string(), txs]);
        let _: Value = self.call("generateblock", params).await;
    }

    /// Abandons the newest blocks; their transactions are back in the mempool.
    pub(crate) async fn disconnect(&self, blocks: u32) {
        let height: u32 = self.call("getblockcount", json!([])).await;
        let first: BlockHash = self
            .call("getblockhash", json!([height + 1 - blocks]))
            .await;
        let _: Value = self.call("invalidateblock", json!([first])).await;
        self.reorganisations.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) async fn transaction(&self, txid: Txid) -> Transaction {
        let hex: String = self.call("getrawtransaction", json!([txid])).await;
        deserialize_hex(&hex).unwrap()
    }

    pub(crate) async fn pay(&self, script: ScriptBuf, amount: Amount) -> Txid {
        let coin = self.coinbases.lock().unwrap().pop_front();
        let (outpoint, spent) = coin.expect("twenty payments are enough for a test");
        let change = spent.value - amount - Amount::from_sat(1_000);
        let output = |value, script_pubkey| TxOut {
            value,
            script_pubkey,
        };
        let payment = Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn {
                previous_output: outpoint,
                script_sig: ScriptBuf::new(),
                sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
                witness: Witness::new(),
            }],
            output: vec![output(amount, script), output(change, self.key.script())],
        };
        let payment = self.key.sign(payment, &[spent]).unwrap();
        self.call("sendrawtransaction", json!([serialize_hex(&payment)]))
            .await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let process = self.process.get_mut().unwrap();
        // It may have been stopped already.
        let _ = process.kill();
        let _ = process.wait();
    }
}
