//! The end of the load: no faults, blocks and rounds until nothing is under way.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::Shared;
use super::daemons::Wallet;
use super::exits;
use super::lightning;
use crate::support::Daemon;

/// How long it may take until nothing is under way: some back-offs of a minute.
const LIMIT: Duration = Duration::from_secs(240);

/// How often it is looked until time passes that ends what the server and its node wait for, and how much time.
const LOOKS: u32 = 8;
const SKIPPED_SECONDS: u64 = 100;

/// How often nothing may be under way in a row.
const QUIET_LOOKS: u32 = 8;

/// How often it is looked until a block is mined.
const LOOKS_PER_BLOCK: u32 = 4;

/// Waits until no wallet has anything under way, and starts all daemons so that they begin nothing by themselves, such as the refresh of what
/// an exit of another wallet endangers.
pub async fn settle(shared: &Shared, wallets: &mut [Wallet]) {
    shared.world.no_faults();
    shared.world.no_chain_faults();
    loop {
        for wallet in wallets.iter_mut() {
            wallet.start_for_good().await;
            wallet.daemon.wait_for_connected(true).await;
        }
        end_all(shared, wallets).await;
        let mut under_way = Vec::new();
        for wallet in wallets.iter_mut() {
            wallet.start_idle().await;
            under_way.extend(under_way_in(&wallet.daemon).await);
        }
        if under_way.is_empty() {
            return;
        }
    }
}

/// Lets blocks, rounds and time pass until nothing is under way.
async fn end_all(shared: &Shared, wallets: &[Wallet]) {
    let (start, mut quiet, mut looks) = (Instant::now(), 0, 0);
    while quiet < QUIET_LOOKS {
        lightning::resolve_all(shared).await;
        looks += 1;
        if looks % LOOKS == 0 {
            shared.world.advance_clock(SKIPPED_SECONDS).await;
        }
        let mut under_way = Vec::new();
        for (number, wallet) in wallets.iter().enumerate() {
            wallet.daemon.post_empty("/wallet/sync").await.ok();
            exits::bring_home(shared, &wallet.daemon).await;
            let of_wallet = under_way_in(&wallet.daemon).await;
            under_way.extend(of_wallet.into_iter().map(|what| (number, what)));
        }
        if start.elapsed() > LIMIT {
            for wallet in wallets {
                println!("for the operator: {:#?}", wallet.daemon.attention().await);
            }
            panic!("still under way: {under_way:#?}");
        }
        quiet = if under_way.is_empty() { quiet + 1 } else { 0 };
        // A lost answer about HTLCs can be asked for again for some twenty blocks only, so they must not rush by.
        let only_exits = under_way.iter().all(|(_, what)| exits::is_of_exit(what));
        if quiet == 0 && (only_exits || looks % LOOKS_PER_BLOCK == 0) {
            shared.world.mine(1).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    println!("settled after {:?}", start.elapsed());
}

/// What a wallet has under way, as its API and its database have it.
async fn under_way_in(daemon: &Daemon) -> Vec<Value> {
    let mut found = daemon.history().await;
    found.retain(|movement| movement["status"] == "pending");
    found.extend(daemon.rounds().await);
    let boards = daemon.get("/boards/pending").await.ok();
    found.extend(boards.as_array().expect("a list").clone());
    let database = rusqlite::Connection::open(daemon.folder().join("db.sqlite")).unwrap();
    let queries = [
        "SELECT kind || ' ' || id || ': ' || coalesce(last_error, '') || ' ' || state FROM operation WHERE outcome IS NULL",
        "SELECT 'quarantined: ' || reason FROM quarantine",
        "SELECT 'held: ' || hex(txid) FROM onchain_hold",
        "SELECT 'locked: ' || hex(id) FROM vtxo WHERE state = 'locked'",
        "SELECT 'no copy at the server: ' || hex(id) FROM vtxo WHERE state = 'spendable' AND backed_up = 0",
    ];
    for query in queries {
        let mut statement = database.prepare(query).unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(0));
        found.extend(rows.unwrap().map(|row| Value::from(row.unwrap())));
    }
    found
}
