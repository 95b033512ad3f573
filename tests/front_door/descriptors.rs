//! The process's limits: descriptors, core files.

use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, prlimit};

use super::daemon;
use crate::support::{Daemon, RawConnection, eventually};

/// "Max open files" and its soft and hard limit.
fn limit(limits: &str, name: &str) -> Vec<String> {
    let line = limits.lines().find(|line| line.starts_with(name));
    let numbers = line.expect("a limit of the system")[name.len()..].split_whitespace();
    numbers.take(2).map(str::to_owned).collect()
}

#[tokio::test]
async fn the_process_raises_its_descriptors_and_leaves_no_core_file() {
    let daemon = daemon(&[]).await;
    let limits = daemon.proc_file("limits");
    let files = limit(&limits, "Max open files");
    assert_eq!(files[0], files[1], "{limits}");
    assert_eq!(limit(&limits, "Max core file size"), ["0", "0"]);
}

/// The clock ticks, of 10 ms, that a daemon has run.
fn ticks(daemon: &Daemon) -> u64 {
    let stat = daemon.proc_file("stat");
    let (_, fields) = stat.rsplit_once(") ").expect("the name is in brackets");
    let fields: Vec<&str> = fields.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[tokio::test]
async fn without_descriptors_the_daemon_waits_and_goes_on() {
    let daemon = daemon(&[]).await;
    let pid = daemon.pid();
    let few = Rlimit {
        current: Some(8),
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    let before = prlimit(Some(pid), Resource::Nofile, few);
    let before = before.expect("the limit of a child can be set");
    let mut waiting = RawConnection::open(&daemon).await;
    assert!(waiting.send("GET /ping HTTP/1.1\r\nhost: x\r\n\r\n").await);
    eventually("the refusal is logged", async || {
        let log = daemon.log();
        log.contains("cannot accept connections").then_some(())
    })
    .await;
    let (begun, used) = (Instant::now(), ticks(&daemon));
    assert!(waiting.is_silent_for(Duration::from_secs(2)).await);
    let used = ticks(&daemon) - used;
    let passed = begun.elapsed().as_millis() / 10;
    assert!(u128::from(used) < passed / 4, "{used} of {passed} ticks");
    let refusals = daemon.log().matches("cannot accept connections").count();
    assert_eq!(refusals, 1);

    prlimit(Some(pid), Resource::Nofile, before).expect("it can be set back");
    waiting.read_until("pong").await;
    daemon.get("/wallet").await.ok();
}
