//! Tells a story over and over: with a death at each of its failpoints, and with each of its answers lost.
//!
//! A row is one world in which a story is told once for each failpoint, with the same answer lost each time. The rows of a story
//! run side by side, each on a thread of its own: they mostly wait.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::resume_unwind;
use std::time::Duration;

use arkwalletd_sandbox::ark::Params;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Story;
use crate::support::{Daemon, Reply, World, assert_conserved, eventually};

/// How many rows run at a time, in all tests together.
static SEATS: Semaphore = Semaphore::const_new(10);

/// Calls that are made when the daemon starts, by the loops that listen: their answers are lost from before that.
const MADE_AT_START: [&str; 4] = [
    "SubscribeRounds",
    "LastRoundEvent",
    "SubscribeMailbox",
    "ReadMailbox",
];

/// A story that can be told many times in one world.
pub trait Tale: Sized {
    /// Makes a world for it.
    async fn begin() -> Self;

    /// The world, and who dies in it.
    fn scene(&mut self) -> &mut Scene;

    /// Tells it once, and checks how it ended.
    async fn tell(&mut self, turn: &Turn);
}

/// An answer that gets lost, once.
#[derive(Clone, Copy, Debug)]
pub struct Loss {
    rpc: &'static str,
    /// A stream breaks after its first message, instead of not being opened.
    midway: bool,
}

impl Loss {
    /// The ways in which the answer to a call can get lost.
    fn of(rpc: &'static str) -> impl Iterator<Item = Loss> {
        let streams = rpc.starts_with("Subscribe");
        let ways: &[bool] = if streams { &[false, true] } else { &[false] };
        ways.iter().map(move |midway| Loss {
            rpc,
            midway: *midway,
        })
    }

    fn rule(&self) -> Value {
        let action = if self.midway {
            json!({"type": "cut_stream_after", "messages": 1})
        } else {
            json!({"type": "drop_after"})
        };
        json!({"target": self.rpc, "times": 1, "action": action})
    }
}

/// How a story is told.
#[derive(Clone, Debug)]
pub struct Turn {
    failpoint: Option<String>,
    losses: Vec<Loss>,
}

impl Turn {
    /// Whether the daemon dies at a failpoint whose name begins like this.
    pub fn dies_at(&self, failpoint: &str) -> bool {
        self.failpoint
            .as_ref()
            .is_some_and(|name| name.starts_with(failpoint))
    }

    /// Whether the daemon dies at all.
    pub fn is_deadly(&self) -> bool {
        self.failpoint.is_some()
    }

    /// Whether the answer to this call gets lost.
    pub fn loses(&self, rpc: &str) -> bool {
        self.losses.iter().any(|loss| loss.rpc == rpc)
    }
}

impl fmt::Display for Turn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "death: {:?}, lost: {:?}",
            self.failpoint, self.losses
        )
    }
}

/// A world, and the daemon in it that dies.
pub struct Scene {
    /// The world.
    pub world: World,
    /// Who dies.
    pub mortal: Daemon,
    /// Who lives, pays and is paid, if there is somebody.
    peer: Option<Daemon>,
    /// The rules of this turn's losses.
    losses: Vec<u64>,
    /// How often each call had been made when the mortal was armed.
    calls: BTreeMap<&'static str, u64>,
    /// The rules that belong to this turn besides.
    misery: Vec<u64>,
    /// The rule that keeps the server from taking a backup.
    no_backup: Option<u64>,
}

impl Scene {
    /// A server whose rounds end as soon as one has joined and signed, and a daemon with an empty wallet.
    pub async fn new() -> Scene {
        let world = World::with(Params {
            round_participants: Some(1),
            round_submit_time: Duration::from_secs(2),
            round_sign_time: Duration::from_millis(700),
            ..Params::free()
        })
        .await;
        let mortal = Daemon::with_wallet(&world).await;
        Scene {
            world,
            mortal,
            peer: None,
            losses: Vec::new(),
            calls: BTreeMap::new(),
            misery: Vec::new(),
            no_backup: None,
        }
    }

    /// As [`new`](Self::new), with a second daemon.
    pub async fn with_peer() -> Scene {
        let mut scene = Scene::new().await;
        scene.peer = Some(Daemon::with_wallet(&scene.world).await);
        scene
    }

    /// The second daemon.
    pub fn peer(&self) -> &Daemon {
        self.peer.as_ref().expect("there is a second daemon")
    }

    /// Starts the mortal so that it dies at the failpoint of this turn.
    pub async fn arm(&mut self, turn: &Turn) {
        self.mortal.stop().await;
        self.lose_at_start(turn);
        self.mortal.restart(turn.failpoint.as_deref()).await;
        self.mortal.wait_for_connected(true).await;
        self.lose(turn);
    }

    /// As [`arm`](Self::arm), for a death that may come before anything can be asked.
    pub async fn arm_asleep(&mut self, turn: &Turn) {
        self.lose_at_start(turn);
        self.lose(turn);
        match &turn.failpoint {
            Some(failpoint) => self.mortal.restart_to_die(failpoint),
            None => self.mortal.restart(None).await,
        }
    }

    /// As [`arm`](Self::arm), as if the mortal's coins came from a backup: it does not know whether the server has their
    /// chains, and does not find out before they are spent, for the server does not take its backup until it
    /// [rises](Self::rise).
    pub async fn arm_unsure(&mut self, turn: &Turn) {
        self.forget_registrations().await;
        let no_backup = json!({"target": "PostRecoveryVtxoIds", "action": {"type": "drop_before"}});
        self.no_backup = Some(self.add_rule(no_backup));
        self.lose_at_start(turn);
        let tries = self.calls_of("PostRecoveryVtxoIds");
        self.mortal.restart(turn.failpoint.as_deref()).await;
        self.mortal.wait_for_connected(true).await;
        // What it uploads by itself is not what the story is about.
        eventually("it tries to complete the server's copy", async || {
            (self.calls_of("PostRecoveryVtxoIds") > tries).then_some(())
        })
        .await;
        self.lose(turn);
    }

    /// As [`arm_unsure`](Self::arm_unsure), with syncing left to the API.
    pub async fn arm_unsure_and_idle(&mut self, turn: &Turn) {
        self.forget_registrations().await;
        let manual = [("BARK_DAEMON_MANUAL_SYNC", "true")];
        let failpoint = turn.failpoint.as_deref();
        self.lose_at_start(turn);
        self.mortal.restart_with(failpoint, &manual).await;
        self.mortal.wait_for_connected(true).await;
        self.lose(turn);
    }

    /// Makes the mortal hand the server all that it backs up there, so that this is no part of the story.
    pub async fn back_up(&mut self) {
        self.mortal.stop().await;
        self.mortal.restart(None).await;
        eventually("the server's copy is complete", async || {
            let database = rusqlite::Connection::open(self.mortal.folder().join("db.sqlite"));
            let missing = database.unwrap().query_row(
                "SELECT count(*) FROM vtxo WHERE backed_up = 0",
                [],
                |row| row.get::<_, u32>(0),
            );
            (missing.ok() == Some(0)).then_some(())
        })
        .await;
    }

    async fn forget_registrations(&mut self) {
        self.mortal.stop().await;
        let database = rusqlite::Connection::open(self.mortal.folder().join("db.sqlite")).unwrap();
        database
            .execute_batch("UPDATE vtxo SET registered = 0")
            .unwrap();
    }

    fn lose_at_start(&mut self, turn: &Turn) {
        self.calls = self.world.sandbox.ark.faults().calls();
        self.lose_those(turn, |loss| MADE_AT_START.contains(&loss.rpc));
    }

    fn lose(&mut self, turn: &Turn) {
        self.lose_those(turn, |loss| !MADE_AT_START.contains(&loss.rpc));
    }

    fn lose_those(&mut self, turn: &Turn, which: impl Fn(&Loss) -> bool) {
        for loss in turn.losses.iter().filter(|loss| which(loss)) {
            let id = self.add_rule(loss.rule());
            self.losses.push(id);
        }
    }

    fn add_rule(&self, rule: Value) -> u64 {
        let rule = serde_json::from_value(rule).expect("a fault rule");
        let faults = self.world.sandbox.ark.faults();
        faults.add(rule).expect("a rule that can act")
    }

    /// Makes the server misbehave until the mortal [rises](Self::rise), or until the end of the turn when it rises in misery.
    /// A lost answer comes first where both are due.
    pub fn fault(&mut self, rule: Value) -> u64 {
        let id = self.add_rule(rule);
        self.misery.push(id);
        id
    }

    /// Ends all misbehaviour but the loss.
    pub fn calm(&mut self) {
        for id in self.misery.drain(..) {
            self.world.sandbox.ark.faults().remove(id);
        }
    }

    /// How often a rule has acted.
    pub fn fired(&self, id: u64) -> u32 {
        let rules = self.world.sandbox.ark.faults().active();
        let rule = rules.iter().find(|rule| rule.id == id);
        rule.map_or(0, |rule| rule.fired)
    }

    fn calls_of(&self, rpc: &str) -> u64 {
        self.world.sandbox.ark.faults().calls_of(rpc)
    }

    /// Asks the mortal for something; no answer when it dies of it.
    ///
    /// When the server's answer was lost that the request depends on, it is refused before anything is written: then whoever
    /// asked asks again.
    pub async fn ask(&self, path: &str, body: impl Into<Option<Value>>) -> Option<Reply> {
        let body = body.into();
        let before = self.mortal.history().await.len();
        let request = || self.mortal.try_send("POST", path, body.clone());
        let reply = request().await.ok()?;
        if reply.status != 503 {
            return Some(reply);
        }
        assert_eq!(self.mortal.history().await.len(), before, "{reply:?}");
        request().await.ok()
    }

    /// Waits for the death of this turn, if it is a deadly one.
    pub async fn death(&mut self, turn: &Turn) {
        if turn.is_deadly() {
            assert_killed(self.mortal.death().await);
        }
    }

    /// Whether the death of this turn has come.
    pub fn is_dead(&mut self) -> bool {
        let status = self.mortal.has_died();
        status.map(assert_killed).is_some()
    }

    /// Starts the mortal again for good, in a world without misbehaviour but the loss, if that is still to come.
    pub async fn rise(&mut self, turn: &Turn) {
        self.calm();
        self.rise_in_misery(turn).await;
    }

    /// Starts the mortal again for good; the server goes on misbehaving.
    pub async fn rise_in_misery(&mut self, turn: &Turn) {
        if !turn.is_deadly() {
            self.mortal.stop().await;
        }
        self.start_for_good().await;
    }

    /// Restarts the mortal for good although it has not died: what would have killed it is not reached.
    pub async fn revive(&mut self) {
        self.mortal.stop().await;
        self.start_for_good().await;
    }

    async fn start_for_good(&mut self) {
        if let Some(id) = self.no_backup.take() {
            self.world.sandbox.ark.faults().remove(id);
        }
        self.mortal.restart(None).await;
        self.mortal.wait_for_connected(true).await;
    }

    /// Whether all losses of this turn have happened.
    fn all_lost(&self) -> bool {
        self.losses.iter().all(|loss| self.fired(*loss) > 0)
    }

    /// Ends a turn; answers the calls that were made since the mortal was armed.
    fn end_turn(&mut self) -> BTreeSet<&'static str> {
        self.misery.clear();
        self.losses.clear();
        self.world.no_faults();
        let now = self.world.sandbox.ark.faults().calls();
        let made = now
            .into_iter()
            .filter(|(rpc, times)| self.calls.get(rpc) != Some(times));
        made.map(|(rpc, _)| rpc).collect()
    }
}

/// It died of SIGKILL.
pub fn assert_killed(status: std::process::ExitStatus) {
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(status.signal(), Some(9), "{status}");
}

/// The statuses and effective balances of a daemon's movements of a kind, newest first.
pub async fn booked(daemon: &Daemon, kind: &str) -> Vec<(String, i64)> {
    daemon.settled().await;
    let history = daemon.history().await;
    let of_kind = history
        .iter()
        .filter(|movement| movement["subsystem"]["kind"] == kind);
    of_kind
        .map(|movement| {
            (
                movement["status"].as_str().unwrap().to_owned(),
                movement["effective_balance_sat"].as_i64().unwrap(),
            )
        })
        .collect()
}

/// Tells a story without any mishap, with a death at each of its failpoints, and that again with the answer lost to each call
/// that was seen in any telling. Ends when there is no call left whose answer was not lost.
///
/// A call that is only made because another answer was lost is lost together with that.
pub async fn tell_in_all_ways<T: Tale>(story: Story) {
    let failpoints: Vec<_> = story.failpoints().into_iter().map(Some).collect();
    let mut rows = JoinSet::new();
    // The first row is short and finds most calls, so that their rows can begin.
    let mut planned = vec![(Vec::new(), vec![None]), (Vec::new(), failpoints.clone())];
    let mut without_loss = planned.len();
    let (mut seen, mut lost) = (BTreeSet::new(), BTreeSet::new());
    let mut found_by_loss = Vec::new();
    loop {
        for (losses, failpoints) in planned.drain(..) {
            rows.spawn_blocking(move || {
                let calls = tell_row::<T>(story, &losses, &failpoints);
                (losses, calls)
            });
        }
        let Some(row) = rows.join_next().await else {
            break;
        };
        let (losses, calls) = row.unwrap_or_else(|panic| resume_unwind(panic.into_panic()));
        seen.extend(calls.iter().copied().filter(|rpc| story.depends_on(rpc)));
        let mut found = Vec::new();
        if losses.is_empty() {
            without_loss -= 1;
            found.push((losses, calls));
        } else {
            found_by_loss.push((losses, calls));
        }
        // What is called without any loss is lost by itself, so it has to be known first.
        if without_loss == 0 {
            found.append(&mut found_by_loss);
        }
        for (losses, calls) in found {
            for rpc in calls {
                if story.depends_on(rpc) && lost.insert(rpc) {
                    planned.extend(Loss::of(rpc).map(|loss| {
                        let together = losses.iter().copied().chain([loss]).collect();
                        (together, failpoints.clone())
                    }));
                }
            }
        }
    }
    assert_eq!(seen, lost, "{story:?}: a call whose answer was never lost");
    println!(
        "{story:?}: {} failpoints, lost were {lost:?}",
        failpoints.len()
    );
}

/// Tells a story once for each of these failpoints, in one world; answers the calls that were made in it.
fn tell_row<T: Tale>(
    story: Story,
    losses: &[Loss],
    failpoints: &[Option<String>],
) -> BTreeSet<&'static str> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let _seat = SEATS.acquire().await.expect("it is never closed");
        let mut tale = T::begin().await;
        let mut calls = BTreeSet::new();
        let mut all_lost = false;
        for failpoint in failpoints {
            let turn = Turn {
                failpoint: failpoint.clone(),
                losses: losses.to_vec(),
            };
            let _telling = Telling(format!("{story:?}, {turn}"));
            tale.tell(&turn).await;
            let scene = tale.scene();
            if !all_lost && failpoints.last() == Some(failpoint) {
                // Some answers are only asked for when all else is done.
                eventually("the answers get lost", async || {
                    scene.all_lost().then_some(())
                })
                .await;
            }
            all_lost |= scene.all_lost();
            calls.extend(scene.end_turn());
        }
        let _telling = Telling(format!("{story:?}, at the end, lost: {losses:?}"));
        let scene = tale.scene();
        scene.mortal.settled().await;
        let everybody: Vec<&Daemon> = [&scene.mortal].into_iter().chain(&scene.peer).collect();
        assert_conserved(&scene.world, &everybody).await;
        calls
    })
}

/// Says which telling it was that panicked.
struct Telling(String);

impl Drop for Telling {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("failed: {}", self.0);
        }
    }
}
