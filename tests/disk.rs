//! The disk of the data directory fails in the middle of each flow: it is full, it refuses writes, or a commit fails of which only
//! the disk knows whether it holds.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use arkwalletd_sandbox::ark::Params;
use serde_json::{Value, json};

use crate::outages::drive_rounds;
use crate::support::{Daemon, World, assert_conserved, eventually, rounds_of};

/// The exit code after a commit whose outcome is not known (docs/operations.md).
const COMMIT_UNCERTAIN: i32 = 74;

/// How long the server takes for the call during which the disk fails, in milliseconds.
const DELAY: u64 = 2_000;

/// A disk that fails on demand.
enum Disk {
    /// A file system of a few megabytes over the data directory.
    Small(PathBuf),
    /// The database's log, which can be made immutable.
    Log(PathBuf),
}

impl Disk {
    /// Moves the files of a stopped daemon to a small file system.
    fn small(folder: &Path) -> Disk {
        let files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.path(), std::fs::read(entry.path()).unwrap()))
            .collect();
        command(
            "mount",
            &["-t", "tmpfs", "-o", "size=16m,mode=700", "tmpfs"],
            folder,
        );
        for (path, content) in files {
            std::fs::write(path, content).unwrap();
        }
        Disk::Small(folder.to_owned())
    }

    fn fail(&self) {
        match self {
            Disk::Small(folder) => {
                let mut ballast = File::create(folder.join("ballast")).unwrap();
                while ballast.write_all(&[0; 512]).is_ok() {}
            }
            Disk::Log(log) => command("chattr", &["+i"], log),
        }
    }

    fn heal(&self) {
        match self {
            Disk::Small(folder) => std::fs::remove_file(folder.join("ballast")).unwrap(),
            Disk::Log(log) => command("chattr", &["-i"], log),
        }
    }

    /// The code of a request that the disk does not let through.
    fn code(&self) -> &'static str {
        match self {
            Disk::Small(_) => "disk_full",
            Disk::Log(_) => "database_unwritable",
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The folder could not be removed otherwise.
        let _ = match self {
            Disk::Small(folder) => Command::new("umount").arg("-l").arg(folder).status(),
            Disk::Log(log) => Command::new("chattr").arg("-i").arg(log).status(),
        };
    }
}

fn command(program: &str, arguments: &[&str], path: &Path) {
    let status = Command::new(program).args(arguments).arg(path).status();
    let done = status.is_ok_and(|status| status.success());
    assert!(
        done,
        "{program} {} failed: this test needs root, and a temporary folder on ext4 or xfs",
        path.display()
    );
}

/// Rounds of one participant, a daemon, and one that it is paid by.
async fn scene() -> (World, Daemon, Daemon) {
    let world = World::with(Params {
        round_submit_time: std::time::Duration::from_secs(2),
        ..rounds_of(1)
    })
    .await;
    let daemon = Daemon::with_wallet(&world).await;
    let peer = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 200_000).await;
    peer.fund_and_board(&world, 100_000).await;
    daemon.fund(&world, 100_000).await;
    world.fund_server(500_000).await;
    (world, daemon, peer)
}

/// Asserts that nothing can be written, and that what is known can be read.
async fn assert_read_only(daemon: &Daemon, disk: &Disk) {
    // A few small commits may still fit.
    let refusal = eventually("a write is refused", async || {
        let answer = daemon.post_empty("/wallet/addresses/next").await;
        (answer.status != 200).then_some(answer)
    });
    refusal.await.refused(503, disk.code());
    for path in [
        "/wallet/balance",
        "/wallet/vtxos",
        "/history",
        "/onchain/balance",
        "/wallet/rounds",
    ] {
        daemon.get(path).await.ok();
    }
}

/// Sends a request, fails the disk while the server works on this call, and heals it when the call was made again: the step's commit was
/// refused, and the step repeated.
async fn fail_during(
    world: &World,
    daemon: &Daemon,
    disk: &Disk,
    rpc: &str,
    request: impl Future<Output = ()>,
) {
    world.fault(json!({"target": rpc, "times": 1, "action": {"type": "delay", "ms": DELAY}}));
    let before = world.calls_of(rpc);
    let outage = async {
        eventually("the call is made", async || {
            (world.calls_of(rpc) > before).then_some(())
        })
        .await;
        disk.fail();
        assert_read_only(daemon, disk).await;
        eventually("the step is repeated", async || {
            (world.calls_of(rpc) > before + 1).then_some(())
        })
        .await;
        disk.heal();
    };
    tokio::join!(request, outage);
    assert_eq!(world.faults_fired(rpc), 1, "{rpc}");
    world.no_faults();
    settle(world, daemon).await;
}

/// Mines what waits to be mined and runs rounds, until no operation is under way.
async fn settle(world: &World, daemon: &Daemon) {
    drive_rounds(world, daemon, "settle").await;
    eventually("nothing is pending", async || {
        if !world.sandbox.chain.mempool().await.unwrap().is_empty() {
            world.mine(1).await;
        }
        let boards = daemon.get("/boards/pending").await.ok();
        let history = daemon.history().await;
        let waits = history
            .iter()
            .any(|movement| movement["status"] == "pending");
        (!waits && boards.as_array().unwrap().is_empty()).then_some(())
    })
    .await;
}

/// A fresh on-chain address of the wallet.
async fn onchain_address(daemon: &Daemon) -> String {
    let next = daemon.post_empty("/onchain/addresses/next").await.ok();
    next["address"].as_str().unwrap().to_owned()
}

/// Nothing is started on a disk that fails; what is under way goes on when it is healed, once.
async fn each_flow_survives(disk: impl Fn(&Path) -> Disk) {
    let (world, mut daemon, peer) = scene().await;
    daemon.stop().await;
    let disk = disk(daemon.folder());
    daemon.restart(None).await;
    daemon.wait_for_connected(true).await;
    let (outside, to) = (onchain_address(&peer).await, peer.address().await);

    disk.fail();
    assert_read_only(&daemon, &disk).await;
    let onchain = daemon.get("/onchain/balance").await.ok();
    let requests = [
        (
            "/wallet/send",
            json!({"destination": to, "amount_sat": 1_000}),
        ),
        ("/boards/board-amount", json!({"amount_sat": 20_000})),
        (
            "/onchain/send",
            json!({"destination": outside, "amount_sat": 5_000}),
        ),
        (
            "/wallet/send-onchain",
            json!({"destination": outside, "amount_sat": 5_000}),
        ),
        (
            "/wallet/refresh/vtxos",
            json!({"vtxos": daemon.vtxos().await}),
        ),
    ];
    for (path, body) in requests {
        daemon.post(path, body).await.refused(503, disk.code());
    }
    peer.send(&first_address(&daemon).await, 3_000).await.ok();
    eventually("the payment cannot be stored", async || {
        let read = daemon.post_empty("/wallet/sync/mailbox").await;
        (read.status == 503 && read.body["code"] == disk.code()).then_some(())
    })
    .await;
    assert_eq!(daemon.balance("spendable_sat").await, 200_000);
    disk.heal();
    daemon.wait_for_spendable(203_000).await;
    assert_eq!(daemon.get("/onchain/balance").await.ok(), onchain);

    let pay = async { drop(daemon.send(&to, 1_000).await.ok()) };
    fail_during(&world, &daemon, &disk, "RequestArkoorCosign", pay).await;
    peer.wait_for_spendable(100_000 - 3_000 + 1_000).await;

    let board = async { daemon.board(&world, 20_000).await };
    fail_during(&world, &daemon, &disk, "RequestBoardCosign", board).await;
    daemon.wait_for_spendable(222_000).await;

    let refresh = async {
        daemon.refresh_all().await;
        drive_rounds(&world, &daemon, "refresh").await;
    };
    fail_during(&world, &daemon, &disk, "RequestForfeitNonces", refresh).await;
    daemon.wait_for_spendable(222_000).await;

    let body = json!({"destination": outside, "amount_sat": 22_000});
    let pay = async { drop(daemon.post("/wallet/send-onchain", body).await.ok()) };
    fail_during(&world, &daemon, &disk, "PrepareOffboard", pay).await;
    assert_eq!(world.received(&outside).await, 22_000);

    assert!(daemon.exit_status().is_none(), "it goes on");
    assert_conserved(&world, &[&daemon, &peer]).await;
}

/// An address that was given out before.
async fn first_address(daemon: &Daemon) -> String {
    let first = daemon.get("/wallet/addresses/index/0").await.ok();
    first["address"].as_str().unwrap().to_owned()
}

#[tokio::test]
#[ignore = "mounts a small file system, which needs root"]
async fn each_flow_survives_a_full_disk() {
    each_flow_survives(Disk::small).await;
}

#[tokio::test]
#[ignore = "makes a file immutable, which needs root"]
async fn each_flow_survives_a_database_that_turns_read_only() {
    each_flow_survives(|folder| {
        let log = folder.join("db.sqlite-wal");
        // The daemon creates it, unless it is there.
        drop(
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(&log)
                .unwrap(),
        );
        Disk::Log(log)
    })
    .await;
}

fn assert_uncertain(status: ExitStatus, case: &str) {
    assert_eq!(status.code(), Some(COMMIT_UNCERTAIN), "{case}: {status}");
}

/// One commit fails so that only the disk knows whether it holds: the process ends at once, and the next start goes on from the disk.
async fn ends_and_goes_on(flow: &str, points: &[&str]) {
    let (world, mut daemon, peer) = scene().await;
    let (outside, to) = (onchain_address(&peer).await, peer.address().await);
    let (mut spendable, mut sent, mut paid, mut ends) = (200_000, 0, 0, 0);
    for case in points
        .iter()
        .flat_map(|point| ["lost", "kept"].map(|moment| format!("{point}.{moment}")))
    {
        daemon.stop().await;
        daemon.restart(Some(&case)).await;
        daemon.wait_for_connected(true).await;
        let (path, body) = match flow {
            "send" => (
                "/wallet/send",
                json!({"destination": to, "amount_sat": 1_000}),
            ),
            "board" => ("/boards/board-amount", json!({"amount_sat": 20_000})),
            "refresh" => (
                "/wallet/refresh/vtxos",
                json!({"vtxos": daemon.vtxos().await}),
            ),
            "offboard" => (
                "/wallet/send-onchain",
                json!({"destination": outside, "amount_sat": 5_000}),
            ),
            _ => ("", Value::Null),
        };
        if path.is_empty() {
            peer.send(&first_address(&daemon).await, 1_000).await.ok();
        } else {
            // The process may end before it answers.
            drop(daemon.try_send("POST", path, Some(body)).await);
        }
        eventually(&case, async || {
            if flow == "refresh" {
                world.round().await;
                world.mine(1).await;
            }
            daemon
                .exit_status()
                .map(|status| assert_uncertain(status, &case))
        })
        .await;
        ends += 1;
        let log = daemon.log();
        let said = log.matches("only the disk knows whether it holds").count();
        assert_eq!(said, ends, "{case}");
        daemon.restart(None).await;
        daemon.wait_for_connected(true).await;
        settle(&world, &daemon).await;
        let happened = !case.ends_with(".started.lost");
        match flow {
            "send" if happened => (spendable, sent) = (spendable - 1_000, sent + 1_000),
            "board" if happened => spendable += 20_000,
            "offboard" if happened => paid += 5_000,
            "receive" => spendable += 1_000,
            _ => {}
        }
        match flow {
            // The fee depends on the size of the transaction.
            "offboard" => assert_eq!(world.received(&outside).await, paid, "{case}"),
            _ => daemon.wait_for_spendable(spendable).await,
        }
        if flow == "send" {
            peer.wait_for_spendable(100_000 + sent).await;
        }
    }
    assert_conserved(&world, &[&daemon, &peer]).await;
}

#[tokio::test]
async fn a_payment_goes_on_after_an_uncertain_commit() {
    ends_and_goes_on("send", &["send.started", "send.cosigned", "send.delivered"]).await;
}

#[tokio::test]
async fn a_board_goes_on_after_an_uncertain_commit() {
    ends_and_goes_on(
        "board",
        &["board.started", "board.cosigned", "board.broadcast"],
    )
    .await;
}

#[tokio::test]
async fn a_refresh_goes_on_after_an_uncertain_commit() {
    ends_and_goes_on(
        "refresh",
        &["round.issued", "round.forfeiting", "round.unlocked"],
    )
    .await;
}

#[tokio::test]
async fn an_onchain_payment_goes_on_after_an_uncertain_commit() {
    ends_and_goes_on(
        "offboard",
        &[
            "offboard.started",
            "offboard.split",
            "offboard.prepared",
            "offboard.signed",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_receipt_goes_on_after_an_uncertain_commit() {
    ends_and_goes_on("receive", &["receive.stored"]).await;
}
