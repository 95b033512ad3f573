//! A daemon process with its own data directory.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use arkwalletd_sandbox::testing::free_port;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::PATIENCE;
use super::http::Reply;
use super::published;
use super::wait::eventually;
use super::world::World;

/// The token of a secret of 32 bytes 0x2a (docs/protocol.md §22.1).
const TOKEN: &str = "ACoqKioqKioqKioqKioqKioqKioqKioqKioqKioqKioq";

/// The lines of a daemon's log that a failed test shows, at the level INFO and above.
const LAST_LINES: usize = 100;

/// What the peer prints, followed by the state of its source.
const BARKD_VERSION: &str = "barkd 0.8.0";

/// A running `arkwalletd`, or the `barkd` that it is compared with.
pub struct Daemon {
    program: PathBuf,
    folder: TempDir,
    port: u16,
    child: Child,
    http: reqwest::Client,
    token: Option<String>,
}

impl Daemon {
    /// Starts a daemon without a wallet.
    pub async fn start() -> Daemon {
        Daemon::start_with(&[], &[]).await
    }

    /// Starts a daemon without a wallet, with further flags and environment.
    pub async fn start_with(flags: &[&str], environment: &[(&str, &str)]) -> Daemon {
        Daemon::launch_program(program(), flags, environment).await
    }

    /// Starts barkd 0.8.0, unchanged, with a wallet in the world.
    pub async fn barkd(world: &World) -> Daemon {
        let environment = [("BARK_DAEMON_SYNC_INTERVAL_SECS", "1")];
        let daemon = Daemon::launch_program(barkd(), &[], &environment).await;
        daemon.create_wallet(world).await;
        daemon
    }

    /// Starts barkd 0.8.0, unchanged, with the wallet of a mnemonic.
    pub async fn barkd_from(world: &World, mnemonic: &str) -> Daemon {
        let environment = [("BARK_DAEMON_SYNC_INTERVAL_SECS", "1")];
        let daemon = Daemon::launch_program(barkd(), &[], &environment).await;
        let mut request = creation(world, world.chain_source());
        request["mnemonic"] = json!(mnemonic);
        // barkd insists on one with a node as its chain source.
        request["birthday_height"] = json!(1);
        daemon.post("/wallet/create", request).await.ok();
        daemon
    }

    async fn launch_program(
        program: PathBuf,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> Daemon {
        let folder = TempDir::new().expect("a temporary folder");
        std::fs::write(folder.path().join("auth_token"), TOKEN).expect("the folder is writable");
        Daemon::launch_on(folder, program, flags, environment).await
    }

    /// Starts a daemon on a folder that has the token of the tests, with further environment.
    pub async fn start_on(folder: TempDir, environment: &[(&str, &str)]) -> Daemon {
        Daemon::launch_on(folder, program(), &[], environment).await
    }

    async fn launch_on(
        folder: TempDir,
        program: PathBuf,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> Daemon {
        published::load();
        let port = free_port();
        let child = spawn(&program, folder.path(), port, flags, environment);
        let http = reqwest::Client::builder()
            .pool_max_idle_per_host(0)
            .build()
            .expect("a client");
        let mut daemon = Daemon {
            program,
            folder,
            port,
            child,
            http,
            token: Some(TOKEN.to_owned()),
        };
        daemon.wait_until_ready().await;
        daemon
    }

    /// Starts a daemon and makes a wallet in the world.
    pub async fn with_wallet(world: &World) -> Daemon {
        let daemon = Daemon::start().await;
        daemon.create_wallet(world).await;
        daemon
    }

    /// Starts a daemon and makes a wallet whose chain fails on demand.
    pub async fn on_faulty_chain(world: &World) -> Daemon {
        let daemon = Daemon::start().await;
        let source = world.faulty_chain_source();
        daemon
            .post("/wallet/create", creation(world, source))
            .await
            .ok();
        daemon
    }

    /// Makes a wallet in the world.
    pub async fn create_wallet(&self, world: &World) {
        let request = creation(world, world.chain_source());
        self.post("/wallet/create", request).await.ok();
    }

    /// The token that requests carry.
    pub fn token(&self) -> &str {
        self.token.as_deref().unwrap_or_default()
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Whether it is not the peer.
    pub(super) fn is_ours(&self) -> bool {
        self.program == program()
    }

    /// The port that it serves.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sets the token of the next requests; `None` sends none.
    pub fn use_token(&mut self, token: Option<&str>) {
        self.token = token.map(str::to_owned);
    }

    /// Asks it to stop, and answers its exit status.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .expect("it stops in time")
            .expect("it has a status")
    }

    /// As [`stop`](Self::stop), and asserts that it did not have to give up waiting for clients.
    pub async fn stop_unhindered(&mut self) {
        assert!(self.stop().await.success());
        let log = self.log();
        assert!(!log.contains("at the deadline"), "{log}");
    }

    /// Ends it as `kill -9` does, while requests to it are under way.
    pub fn kill_now(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it can be signalled");
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok());
        pid.and_then(Pid::from_raw)
            .expect("it has not been waited for")
    }

    /// A file of the system about its process, such as `status`.
    pub fn proc_file(&self, name: &str) -> String {
        let path = format!("/proc/{}/{name}", self.pid());
        std::fs::read_to_string(path).expect("the process runs")
    }

    /// The memory of its process that is in use, in KiB.
    pub fn memory(&self) -> u64 {
        let status = self.proc_file("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number
            .and_then(|number| number.parse().ok())
            .expect("the system knows its memory")
    }

    /// How many connections to its port are open, counting those that it has not accepted yet.
    pub fn connections(&self) -> usize {
        let sockets =
            std::fs::read_to_string("/proc/net/tcp").expect("the system lists its sockets");
        let (local, established) = (format!("0100007F:{:04X}", self.port), "01");
        let fields = sockets.lines().map(|line| line.split_whitespace());
        fields
            .filter(|fields| {
                let mut fields = fields.clone().skip(1);
                fields.next() == Some(&local) && fields.nth(1) == Some(established)
            })
            .count()
    }

    /// Ends it as `kill -9` does.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    /// What it has written to its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(log_file(self.folder())).expect("there is a log")
    }

    /// Sends a request and closes the connection as soon as `until` is true, unless the answer comes before.
    pub async fn post_and_leave(
        &self,
        path: &str,
        body: Value,
        mut until: impl AsyncFnMut() -> bool,
    ) {
        tokio::select! {
            _ = self.post(path, body) => {}
            () = eventually("the request has its effect", async || until().await.then_some(())) => {}
        }
    }

    /// Waits until the process has ended by itself.
    pub async fn wait_for_exit(&mut self) -> ExitStatus {
        tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .expect("it ends in time")
            .expect("it has a status")
    }

    /// The exit status, if the process has ended by itself.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it can be looked at")
    }

    /// Starts it again on the same folder; with a failpoint, if one is given, that kills it there.
    pub async fn restart(&mut self, failpoint: Option<&str>) {
        self.restart_with(failpoint, &[]).await;
    }

    /// Starts it again with further environment.
    pub async fn restart_with(&mut self, failpoint: Option<&str>, environment: &[(&str, &str)]) {
        self.launch(failpoint, environment);
        self.wait_until_ready().await;
    }

    /// Starts it again with a failpoint, without waiting until it is ready: the failpoint may kill it before.
    pub fn restart_without_waiting(&mut self, failpoint: &str) {
        self.launch(Some(failpoint), &[]);
    }

    /// Starts it again with failpoints as the crate `fail` writes them; false if one of them killed it before it was ready.
    pub async fn restart_unless_killed(&mut self, failpoints: &str) -> bool {
        self.launch(None, &[("FAILPOINTS", failpoints)]);
        let url = self.ping_url();
        let (http, child) = (self.http.clone(), &mut self.child);
        eventually("the daemon answers /ping or is killed", async || {
            let status = child.try_wait().expect("it can be looked at");
            if status.is_some() {
                return Some(false);
            }
            answers(&http, &url).await.then_some(true)
        })
        .await
    }

    fn launch(&mut self, failpoint: Option<&str>, environment: &[(&str, &str)]) {
        let points = failpoint.map(|point| format!("{point}=return"));
        let points = points.unwrap_or_default();
        let mut all = vec![("FAILPOINTS", points.as_str())];
        all.extend(environment);
        self.port = free_port();
        self.child = spawn(&self.program, self.folder.path(), self.port, &[], &all);
    }

    async fn wait_until_ready(&mut self) {
        let url = self.ping_url();
        let http = self.http.clone();
        let log = log_file(self.folder());
        let child = &mut self.child;
        eventually("the daemon answers /ping", async || {
            if let Some(status) = child.try_wait().expect("it can be looked at") {
                panic!(
                    "the daemon ended at its start, {status}: {}",
                    std::fs::read_to_string(&log).unwrap_or_default()
                );
            }
            answers(&http, &url).await.then_some(())
        })
        .await;
    }

    fn ping_url(&self) -> String {
        format!("http://127.0.0.1:{}/ping", self.port)
    }

    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let request = self
            .http
            .request(method, format!("http://127.0.0.1:{}{path}", self.port));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request below `/api/v1`. An error means that there was no answer.
    pub async fn try_send(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Result<Reply, reqwest::Error> {
        let path = format!("/api/v1{path}");
        self.answer(method, &path, |request| match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    }

    /// Sends a request that is built by hand.
    pub async fn raw(
        &self,
        method: &str,
        path: &str,
        shape: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Reply {
        self.answer(method, path, shape).await.expect("an answer")
    }

    /// Sends a request. It, and the answer of `arkwalletd`, have to fit the published documents.
    async fn answer(
        &self,
        method: &str,
        path: &str,
        shape: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Result<Reply, reqwest::Error> {
        let request = shape(self.request(method.parse().expect("a method"), path)).build()?;
        let sent = published::Sent::of(&request);
        let reply = Reply::read(self.http.execute(request).await?).await?;
        if self.is_ours() {
            let complaints = published::complaints(&sent, &reply);
            assert!(complaints.is_empty(), "{complaints:#?} {:#}", reply.body);
        }
        Ok(reply)
    }

    /// GET below `/api/v1`.
    pub async fn get(&self, path: &str) -> Reply {
        self.try_send("GET", path, None).await.expect("an answer")
    }

    /// POST of JSON below `/api/v1`.
    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.try_send("POST", path, Some(body))
            .await
            .expect("an answer")
    }

    /// POST below `/api/v1` with an idempotency key. An error means that there was no answer.
    pub async fn try_post_once(
        &self,
        key: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Reply, reqwest::Error> {
        let path = format!("/api/v1{path}");
        self.answer("POST", &path, |request| {
            let request = request.header("idempotency-key", key);
            match body {
                Some(body) => request.json(body),
                None => request,
            }
        })
        .await
    }

    /// POST below `/api/v1` with an idempotency key.
    pub async fn post_once(&self, key: &str, path: &str, body: impl Into<Option<Value>>) -> Reply {
        let body = body.into();
        let reply = self.try_post_once(key, path, body.as_ref()).await;
        reply.expect("an answer")
    }

    /// POST without a body below `/api/v1`.
    pub async fn post_empty(&self, path: &str) -> Reply {
        self.try_send("POST", path, None).await.expect("an answer")
    }

    /// A client that was generated from barkd's published document.
    pub fn generated_client(&self) -> bark_rest_client::apis::configuration::Configuration {
        bark_rest_client::apis::configuration::Configuration {
            base_path: format!("http://127.0.0.1:{}", self.port),
            bearer_access_token: self.token.clone(),
            ..Default::default()
        }
    }
}

/// The body that makes a wallet in the world.
pub fn creation(world: &World, chain_source: Value) -> Value {
    json!({
        "network": "regtest",
        "ark_server": world.sandbox.ark_url,
        "chain_source": chain_source,
    })
}

async fn answers(http: &reqwest::Client, url: &str) -> bool {
    let answer = http.get(url).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}

fn spawn(
    program: &Path,
    folder: &Path,
    port: u16,
    flags: &[&str],
    environment: &[(&str, &str)],
) -> Child {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log_file(folder));
    Command::new(program)
        .arg("--datadir")
        .arg(folder)
        .args(["--port", &port.to_string(), "--verbose"])
        .args(flags)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log.expect("a log file"))
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts")
}

/// Where the log of a daemon with this data directory goes.
fn log_file(folder: &Path) -> PathBuf {
    folder.join("stderr.log")
}

/// A failed test shows what its daemons logged last.
impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(log_file(self.folder())).unwrap_or_default();
            let lines: Vec<_> = log
                .lines()
                .filter(|line| !line.contains(" DEBUG "))
                .collect();
            let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
            println!(
                "the end of the log at port {}:\n{}",
                self.port,
                last.join("\n")
            );
        }
    }
}

/// The program under test.
pub fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_arkwalletd"))
}

/// The peer that `tests/run` installs.
fn barkd() -> PathBuf {
    let path = std::env::var_os("ARKWALLETD_BARKD").map_or_else(
        || {
            let home = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
            let cache = home
                .or_else(|| Some(std::env::home_dir()?.join(".cache")))
                .expect("a home folder");
            cache.join("arkwalletd/bark-cli/bin/barkd")
        },
        PathBuf::from,
    );
    assert!(
        path.exists(),
        "there is no barkd at {}; ./tests/run installs it",
        path.display()
    );
    let printed = std::process::Command::new(&path).arg("--version").output();
    let printed = printed.expect("barkd can be run").stdout;
    let version = String::from_utf8_lossy(&printed);
    assert!(
        version.starts_with(BARKD_VERSION),
        "{} is {version:?}, not {BARKD_VERSION}; ./tests/run installs the right one",
        path.display()
    );
    path
}
