//! A wallet daemon as a child process, ours or the peer, in a folder of its own and with its default settings.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use arkwalletd_sandbox::testing::free_port;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::rate::{Connection, TOKEN};

/// How long anything that is bound to happen may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whose daemon it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// arkwalletd of this package.
    Ours,
    /// barkd 0.8.0.
    Barkd,
}

impl Product {
    fn program(self) -> PathBuf {
        match self {
            Product::Ours => PathBuf::from(env!("CARGO_BIN_EXE_arkwalletd")),
            Product::Barkd => barkd(),
        }
    }
}

/// A daemon with its folder.
pub struct Daemon {
    product: Product,
    folder: TempDir,
    port: u16,
    child: Option<Child>,
    http: reqwest::Client,
}

impl Daemon {
    /// An empty folder, in which nothing runs yet.
    pub fn new(product: Product) -> Daemon {
        let folder = TempDir::new().expect("a temporary folder");
        std::fs::write(folder.path().join("auth_token"), TOKEN).expect("the folder is writable");
        Daemon {
            product,
            folder,
            port: 0,
            child: None,
            http: reqwest::Client::new(),
        }
    }

    /// Starts it, and answers how long it took until `path` was answered with 200.
    pub fn start(&mut self, path: &str, environment: &[(&str, &str)]) -> Duration {
        self.port = free_port();
        let begun = Instant::now();
        let child = Command::new(self.product.program())
            .arg("--datadir")
            .arg(self.folder.path())
            .args(["--port", &self.port.to_string()])
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        self.child = Some(child);
        while Connection::open(self.port)
            .and_then(|mut to| to.get(path))
            .ok()
            != Some(200)
        {
            assert!(
                begun.elapsed() < PATIENCE,
                "{:?} does not start",
                self.product
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        begun.elapsed()
    }

    /// Stops it, and waits until it has stopped.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), Signal::TERM).expect("it can be signalled");
        child.wait().expect("it has a status");
    }

    /// The port that it serves.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// GET below `/api/v1`, which has to be answered with 200.
    pub async fn get(&self, path: &str) -> Value {
        self.request(reqwest::Method::GET, path, None).await
    }

    /// POST below `/api/v1`, which has to be answered with 200.
    pub async fn post(&self, path: &str, body: Option<Value>) -> Value {
        self.request(reqwest::Method::POST, path, body).await
    }

    /// POST below `/api/v1`; an error is the answer if its status is not 200.
    pub async fn try_post(&self, path: &str, body: Value) -> Result<Value, String> {
        self.attempt(reqwest::Method::POST, path, Some(body)).await
    }

    /// GET below `/api/v1`; an error is the answer if its status is not 200.
    pub async fn try_get(&self, path: &str) -> Result<Value, String> {
        self.attempt(reqwest::Method::GET, path, None).await
    }

    async fn request(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> Value {
        let answer = self.attempt(method, path, body).await;
        answer.unwrap_or_else(|refusal| panic!("{:?} {path}: {refusal}", self.product))
    }

    async fn attempt(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, String> {
        let url = format!("http://127.0.0.1:{}/api/v1{path}", self.port);
        let mut request = self.http.request(method, url).bearer_auth(TOKEN);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status();
        let text = answer.text().await.expect("a body");
        if status == 200 {
            Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
        } else {
            Err(format!("{status} {text}"))
        }
    }

    /// Memory in RAM, in KiB.
    pub fn resident(&self) -> f64 {
        self.proc_field("status", "VmRSS:")
    }

    /// Bytes that it made the disk write so far.
    pub fn written(&self) -> f64 {
        self.proc_field("io", "write_bytes:")
    }

    fn proc_field(&self, file: &str, name: &str) -> f64 {
        let text = self.proc_file(file);
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|rest| rest.split_whitespace().next());
        number
            .and_then(|number| number.parse().ok())
            .unwrap_or_else(|| panic!("no {name} in {text}"))
    }

    /// CPU time that each of its threads has used so far, in nanoseconds.
    pub fn cpu_times(&self) -> HashMap<String, u64> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("it runs");
        let names = threads.map(|thread| thread.expect("it runs").file_name());
        let names = names.map(|name| name.to_string_lossy().into_owned());
        names
            .filter_map(|name| Some((name.clone(), self.thread_time(&name)?)))
            .collect()
    }

    /// `None` when the thread has ended.
    fn thread_time(&self, thread: &str) -> Option<u64> {
        let path = format!("/proc/{}/task/{thread}/schedstat", self.pid());
        let text = std::fs::read_to_string(path).ok()?;
        text.split(' ').next()?.parse().ok()
    }

    fn proc_file(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.pid())).expect("it runs")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
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
    assert!(path.exists(), "there is no barkd; ./tests/run installs it");
    path
}
