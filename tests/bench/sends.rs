//! What a payment costs: time, of which some is the Ark server's, and the disk.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::process::Daemon;
use crate::proxy::Proxy;
use crate::times::Times;

/// Payments whose time is taken.
const TIMED: usize = 200;
/// Payments under the eyes of strace, which slows them down.
const TRACED: u32 = 50;
/// The call that ends the work of a payment: the ids of the change are posted to the recovery mailbox. barkd makes it before it answers.
const LAST_CALL: &str = "PostRecoveryVtxoIds";
/// What each pays, in sat: an amount that leaves change each time, whose id is posted then.
const AMOUNT: u64 = 1_003;

/// What a payment costs.
pub struct Cost {
    /// From the request to the answer.
    answered: Times,
    /// Of it, while the Ark server worked on a call.
    server: Times,
    /// The rest.
    own: Times,
    /// From the request to the end of all work: the Ark server has all chains, and the ids for a recovery.
    done: Times,
    /// Calls to the Ark server until all work is done.
    calls: f64,
    /// Bytes written to disk.
    written: f64,
    /// Flushes to disk, `None` where strace cannot be had.
    pub flushes: Option<f64>,
}

impl Cost {
    /// All but the flushes, under their names.
    pub fn rows(&self) -> [(&'static str, f64); 10] {
        [
            ("payment answered, ms, median", self.answered.p50),
            ("payment answered, ms, p99", self.answered.p99),
            ("of it the Ark server, ms, median", self.server.p50),
            ("of it the Ark server, ms, p99", self.server.p99),
            ("of it the daemon, ms, median", self.own.p50),
            ("of it the daemon, ms, p99", self.own.p99),
            ("all work of the payment done, ms, median", self.done.p50),
            ("all work of the payment done, ms, p99", self.done.p99),
            ("calls to the Ark server per payment", self.calls),
            ("KiB written to disk per payment", self.written / 1024.0),
        ]
    }
}

/// Pays an address again and again. Each payment begins when all work of the one before is done.
pub async fn measure(daemon: &Daemon, proxy: &Proxy, to: &str) -> Cost {
    for _ in 0..10 {
        let begun = Instant::now();
        pay(daemon, to).await;
        proxy.answered(LAST_CALL, begun).await;
    }
    let (mut answered, mut server) = (Vec::new(), Vec::new());
    let (mut own, mut done) = (Vec::new(), Vec::new());
    let mut calls = 0;
    let written = daemon.written();
    for _ in 0..TIMED {
        proxy.forget();
        let begun = Instant::now();
        pay(daemon, to).await;
        let answer = Instant::now();
        let last = proxy.answered(LAST_CALL, begun).await;
        let (busy, _) = proxy.busy(begun, answer);
        let (_, count) = proxy.busy(begun, last.max(answer));
        answered.push(answer - begun);
        server.push(busy);
        own.push(answer - begun - busy);
        done.push(last.max(answer) - begun);
        calls += count;
    }
    let timed = u32::try_from(TIMED).map_or(f64::MAX, f64::from);
    Cost {
        answered: Times::of(answered),
        server: Times::of(server),
        own: Times::of(own),
        done: Times::of(done),
        calls: u32::try_from(calls).map_or(f64::MAX, f64::from) / timed,
        written: (daemon.written() - written) / timed,
        flushes: flushes(daemon, to).await,
    }
}

async fn pay(daemon: &Daemon, to: &str) {
    let request = json!({"destination": to, "amount_sat": AMOUNT});
    daemon.post("/wallet/send", Some(request)).await;
}

/// Calls of fsync and fdatasync per payment.
async fn flushes(daemon: &Daemon, to: &str) -> Option<f64> {
    let log = daemon.folder().join("strace.log");
    let mut strace = trace(daemon.pid(), &log)?;
    for _ in 0..TRACED {
        pay(daemon, to).await;
    }
    let pid = i32::try_from(strace.id()).ok().and_then(Pid::from_raw)?;
    kill_process(pid, Signal::INT).ok()?;
    strace.wait().ok()?;
    let text = std::fs::read_to_string(&log).ok()?;
    let begun = text.lines().filter(|line| line.contains("sync("));
    Some(f64::from(u32::try_from(begun.count()).ok()?) / f64::from(TRACED))
}

/// Starts strace, and waits until it has a hold of all threads.
fn trace(pid: u32, log: &Path) -> Option<Child> {
    let mut strace = Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=fsync,fdatasync", "-p"])
        .arg(pid.to_string())
        .arg("-o")
        .arg(log)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    loop {
        if strace.try_wait().ok()?.is_some() {
            return None;
        }
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
        let held = threads.flatten().all(|thread| {
            let status = std::fs::read_to_string(thread.path().join("status"));
            !status.is_ok_and(|status| status.contains("TracerPid:\t0\n"))
        });
        if held {
            return Some(strace);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
