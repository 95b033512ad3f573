//! A world with the daemon that is killed in it, and the steps that all stories share.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use arkwalletd_sandbox::ark::{Params, charging_fees};
use arkwalletd_sandbox::coin_wallet::CoinKey;
use serde_json::{Value, json};

use super::matrix::{Case, LostAnswer};
use crate::support::{
    Books, Daemon, Reply, World, assert_balanced, assert_history_adds_up, eventually,
};

/// Calls that the daemon's listening loops make when it starts: their answers are lost from before the start.
const MADE_AT_START: [&str; 4] = [
    "SubscribeRounds",
    "LastRoundEvent",
    "SubscribeMailbox",
    "ReadMailbox",
];

/// A world, the daemon that is killed, and perhaps a second daemon.
pub struct Scene {
    pub world: World,
    /// The daemon that is killed.
    pub victim: Daemon,
    peer: Option<Daemon>,
    /// Whether the victim still has to be killed in this case.
    kill_is_due: bool,
    /// The fault rules that lose answers in this case.
    losses: Vec<u64>,
    /// The other fault rules of this case.
    faults: Vec<u64>,
    /// The fault rule that keeps the victim's backup from the server.
    no_backup: Option<u64>,
    /// How often each call had been made when the victim was armed.
    calls: BTreeMap<&'static str, u64>,
    /// The bitcoin addresses that the victim was asked to pay, and the amount in sat that each has to get; `None` for nothing.
    payees: Vec<(String, Option<u64>)>,
    /// Whether a fault has made the server's ledger wrong.
    is_ledger_wrong: bool,
    /// Whether the victim owns VTXOs that are in no movement.
    is_history_partial: bool,
}

impl Scene {
    /// A server that charges fees and whose rounds end as soon as one wallet has joined and signed, and a victim with an empty
    /// wallet.
    pub async fn new() -> Scene {
        Scene::of(
            World::with(Params {
                round_participants: Some(1),
                round_submit_time: Duration::from_secs(2),
                round_sign_time: Duration::from_millis(700),
                fees: charging_fees(),
                ..Params::free()
            })
            .await,
        )
        .await
    }

    /// A server that charges nothing, and a victim with an empty wallet.
    pub async fn without_fees() -> Scene {
        Scene::of(World::with(Params::free()).await).await
    }

    /// The same, always on the simulated chain.
    pub async fn simulated() -> Scene {
        Scene::of(World::simulated(Params::free()).await).await
    }

    async fn of(world: World) -> Scene {
        let victim = Daemon::with_wallet(&world).await;
        Scene {
            world,
            victim,
            peer: None,
            kill_is_due: false,
            losses: Vec::new(),
            faults: Vec::new(),
            no_backup: None,
            calls: BTreeMap::new(),
            payees: Vec::new(),
            is_ledger_wrong: false,
            is_history_partial: false,
        }
    }

    /// As [`new`](Self::new), with a second daemon.
    pub async fn with_peer() -> Scene {
        Scene::new().await.and_peer().await
    }

    /// The same, with a second daemon.
    pub async fn and_peer(mut self) -> Scene {
        self.peer = Some(Daemon::with_wallet(&self.world).await);
        self
    }

    /// The same, in a story that makes the server's ledger wrong: at its end, only the wallet has to add up.
    pub fn with_wrong_ledger(mut self) -> Scene {
        self.is_ledger_wrong = true;
        self
    }

    /// The same, in a story whose victim imports VTXOs, of which its history knows nothing.
    pub fn with_partial_history(mut self) -> Scene {
        self.is_history_partial = true;
        self
    }

    /// The second daemon.
    pub fn peer(&self) -> &Daemon {
        self.peer.as_ref().expect("there is a second daemon")
    }

    /// Restarts the victim with the failpoint of this case, and then adds the faults that lose answers.
    pub async fn arm(&mut self, case: &Case) {
        self.victim.stop().await;
        self.lose_at_start(case);
        self.victim.restart(case.kill_point.as_deref()).await;
        self.victim.wait_for_connected(true).await;
        self.lose_after_start(case);
    }

    /// As [`arm`](Self::arm), for a victim without a wallet.
    pub async fn arm_without_wallet(&mut self, case: &Case) {
        self.victim.stop().await;
        self.lose_at_start(case);
        self.victim.restart(case.kill_point.as_deref()).await;
        self.lose_after_start(case);
    }

    /// As [`arm`](Self::arm), for a victim that is stopped already and may be killed before it is ready.
    pub async fn arm_from_start(&mut self, case: &Case) {
        self.lose_at_start(case);
        self.lose_after_start(case);
        match &case.kill_point {
            Some(failpoint) => self.victim.restart_without_waiting(failpoint),
            None => self.victim.restart(None).await,
        }
    }

    /// Stops the victim, and puts a daemon without a wallet in its place, with the failpoint of this case.
    pub async fn arm_anew(&mut self, case: &Case) {
        self.victim.stop().await;
        self.lose_at_start(case);
        self.lose_after_start(case);
        let points = case.kill_point.iter();
        let points: String = points.map(|point| format!("{point}=return")).collect();
        self.victim = Daemon::start_with(&[], &[("FAILPOINTS", &points)]).await;
    }

    /// As [`arm`](Self::arm), as if the victim's VTXOs came from a backup: it does not know whether the server has their
    /// transactions, and cannot find out before it spends them, because the server does not accept its backup until the
    /// [restart](Self::restart).
    pub async fn arm_unregistered(&mut self, case: &Case) {
        self.forget_registrations().await;
        let no_backup = json!({"target": "PostRecoveryVtxoIds", "action": {"type": "drop_before"}});
        self.no_backup = Some(self.world.fault(no_backup));
        self.lose_at_start(case);
        let attempts = self.calls_of("PostRecoveryVtxoIds");
        self.victim.restart(case.kill_point.as_deref()).await;
        self.victim.wait_for_connected(true).await;
        // The uploads of the background loop are no part of the story.
        eventually("it tries to complete the server's copy", async || {
            (self.calls_of("PostRecoveryVtxoIds") > attempts).then_some(())
        })
        .await;
        self.lose_after_start(case);
    }

    /// As [`arm_unregistered`](Self::arm_unregistered), without background synchronisation.
    pub async fn arm_unregistered_without_sync(&mut self, case: &Case) {
        self.forget_registrations().await;
        let manual = [("BARK_DAEMON_MANUAL_SYNC", "true")];
        let failpoint = case.kill_point.as_deref();
        self.lose_at_start(case);
        self.victim.restart_with(failpoint, &manual).await;
        self.victim.wait_for_connected(true).await;
        self.lose_after_start(case);
    }

    /// Waits until the victim's backup at the server is complete, so that it is no part of the story.
    pub async fn complete_backup(&mut self) {
        self.victim.stop().await;
        self.victim.restart(None).await;
        eventually("the server's copy is complete", async || {
            let database = rusqlite::Connection::open(self.victim.folder().join("db.sqlite"));
            let missing = database.unwrap().query_row(
                "SELECT count(*) FROM vtxo WHERE backed_up = 0",
                [],
                |row| row.get::<_, u32>(0),
            );
            (missing.ok() == Some(0)).then_some(())
        })
        .await;
    }

    /// Lets the hour pass after which the victim uses again the VTXOs that the server has refused by their ids.
    pub async fn let_refused_back(&mut self) {
        self.alter_database("UPDATE attention SET raised_at = 0 WHERE code = 'vtxo_refused'")
            .await;
        self.victim.restart(None).await;
        self.victim.wait_for_connected(true).await;
        self.victim.post_empty("/wallet/sync").await.ok();
    }

    async fn forget_registrations(&mut self) {
        self.alter_database("UPDATE vtxo SET registered = 0").await;
    }

    /// Stops the victim and changes its database.
    async fn alter_database(&mut self, sql: &str) {
        self.victim.stop().await;
        let database = rusqlite::Connection::open(self.victim.folder().join("db.sqlite")).unwrap();
        database.execute_batch(sql).unwrap();
    }

    fn lose_at_start(&mut self, case: &Case) {
        self.kill_is_due = case.kills();
        self.calls = self.world.sandbox.ark.faults().calls();
        self.lose(case, |lost| MADE_AT_START.contains(&lost.rpc));
    }

    fn lose_after_start(&mut self, case: &Case) {
        self.lose(case, |lost| !MADE_AT_START.contains(&lost.rpc));
    }

    fn lose(&mut self, case: &Case, which: impl Fn(&LostAnswer) -> bool) {
        for lost in case.lost.iter().filter(|lost| which(lost)) {
            let id = self.world.optional_fault(lost.rule());
            self.losses.push(id);
        }
    }

    /// Adds a fault besides the lost answers. It has to fire, and ends with the [restart](Self::restart), or with the case after a
    /// [restart with faults](Self::restart_with_faults). Where both are due, an answer is lost first.
    pub fn fault(&mut self, rule: Value) -> u64 {
        let id = self.world.fault(rule);
        self.faults.push(id);
        id
    }

    /// Ends all faults but the lost answers.
    pub fn end_faults(&mut self) {
        for id in self.faults.drain(..) {
            self.world.end_fault(id);
        }
    }

    fn calls_of(&self, rpc: &str) -> u64 {
        self.world.sandbox.ark.faults().calls_of(rpc)
    }

    /// Sends a request to the victim; no reply if the victim is killed by it.
    ///
    /// A request that depends on an answer that was lost is refused with 503 before anything is written, and is sent again.
    pub async fn post(&self, path: &str, body: impl Into<Option<Value>>) -> Option<Reply> {
        let body = body.into();
        let before = self.victim.history().await.len();
        let request = || self.victim.try_send("POST", path, body.clone());
        let reply = request().await.ok()?;
        if reply.status != 503 {
            return Some(reply);
        }
        assert_eq!(self.victim.history().await.len(), before, "{reply:?}");
        request().await.ok()
    }

    /// Waits until the victim is killed, in a case that kills it.
    pub async fn wait_for_kill(&mut self, case: &Case) {
        if case.kills() {
            assert_killed(self.victim.wait_for_exit().await);
            self.kill_is_due = false;
        }
    }

    /// Whether the victim has been killed by now.
    pub fn is_killed(&mut self) -> bool {
        let Some(status) = self.victim.exit_status() else {
            return false;
        };
        assert_killed(status);
        self.kill_is_due = false;
        true
    }

    /// Restarts the victim without a failpoint, and ends all faults but the lost answers.
    pub async fn restart(&mut self, case: &Case) {
        self.end_faults();
        self.restart_with_faults(case).await;
    }

    /// Restarts the victim without a failpoint; the faults go on.
    pub async fn restart_with_faults(&mut self, case: &Case) {
        assert!(!self.kill_is_due, "the victim was not killed");
        if !case.kills() {
            self.victim.stop().await;
        }
        self.restart_for_good().await;
    }

    /// Restarts the victim, which may have no wallet, without a failpoint.
    pub async fn restart_without_wallet(&mut self, case: &Case) {
        assert!(!self.kill_is_due, "the victim was not killed");
        if !case.kills() {
            self.victim.stop().await;
        }
        self.victim.restart(None).await;
    }

    /// Restarts the victim without a failpoint although it was not killed, where this case cannot reach its failpoint.
    pub async fn restart_unkilled(&mut self) {
        self.kill_is_due = false;
        self.victim.stop().await;
        self.restart_for_good().await;
    }

    async fn restart_for_good(&mut self) {
        if let Some(id) = self.no_backup.take() {
            self.world.end_fault(id);
        }
        self.victim.restart(None).await;
        self.victim.wait_for_connected(true).await;
    }

    /// Whether all answers of this case have been lost.
    pub fn all_lost(&self) -> bool {
        self.losses.iter().all(|loss| self.world.fired(*loss) > 0)
    }

    /// Ends a case; answers the calls that were made since the victim was armed.
    pub fn end_case(&mut self, case: &Case) -> BTreeSet<&'static str> {
        assert!(!self.kill_is_due, "the victim was not killed: {case}");
        self.faults.clear();
        self.losses.clear();
        self.world.no_faults();
        let now = self.world.sandbox.ark.faults().calls();
        let made = now
            .into_iter()
            .filter(|(rpc, times)| self.calls.get(rpc) != Some(times));
        made.map(|(rpc, _)| rpc).collect()
    }

    /// A bitcoin address of someone else, which only this case pays.
    pub fn payee(&self) -> String {
        let key = CoinKey::derive(&rand::random(), "payee");
        key.address().to_string()
    }

    /// Asserts that a [payee](Self::payee) got this amount in one output, or nothing. The end of the story asserts it again.
    pub async fn assert_paid(&mut self, payee: String, sats: Option<u64>) {
        assert_received(&Books::read(&self.world).await, &payee, sats);
        self.payees.push((payee, sats));
    }

    /// Asserts that no sat is missing in the whole world, and that each payee got what it has to get, once.
    pub async fn assert_conserved(&self) {
        self.victim.settled().await;
        if self.is_history_partial {
            return;
        }
        if self.is_ledger_wrong {
            return assert_history_adds_up(&self.victim).await;
        }
        let daemons: Vec<&Daemon> = [&self.victim].into_iter().chain(&self.peer).collect();
        let payees = self.payees.iter().map(|(payee, _)| payee.clone());
        assert_balanced(&self.world, &daemons, &payees.collect::<Vec<_>>()).await;
        let books = Books::read(&self.world).await;
        for (payee, sats) in &self.payees {
            assert_received(&books, payee, *sats);
        }
    }
}

fn assert_received(books: &Books, payee: &str, sats: Option<u64>) {
    let sats: Vec<u64> = sats.into_iter().collect();
    assert_eq!(books.received(payee), sats, "{payee}");
}

/// The amounts that an Ark address of a daemon has received by its history, in sat.
pub async fn receipts(daemon: &Daemon, address: &str) -> Vec<u64> {
    let history = daemon.history().await;
    let received = history
        .iter()
        .flat_map(|movement| movement["received_on"].as_array().unwrap());
    let on_address = received.filter(|receipt| receipt["destination"]["value"] == address);
    on_address
        .map(|receipt| receipt["amount_sat"].as_u64().unwrap())
        .collect()
}

/// The Ark server's fee of a daemon's newest movement of a kind, in sat.
pub async fn last_fee(daemon: &Daemon, kind: &str) -> u64 {
    daemon.movement(kind).await["offchain_fee_sat"]
        .as_u64()
        .unwrap()
}

/// Asserts that a process was ended by SIGKILL.
pub fn assert_killed(status: std::process::ExitStatus) {
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(status.signal(), Some(9), "{status}");
}

/// The statuses and effective balances of a daemon's movements of a kind, newest first, when none is pending any more.
pub async fn movements(daemon: &Daemon, kind: &str) -> Vec<(String, i64)> {
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
