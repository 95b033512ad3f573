//! The money invariant: what came in is the balance, what went out, and fees.

use serde_json::Value;

use super::daemon::Daemon;
use super::events::assert_events_tell_the_history;
use super::wallet::is_exit;
use super::world::World;

/// The parts of the balance, which are disjoint.
const PARTS: [&str; 9] = [
    "spendable_sat",
    "needs_refresh_sat",
    "pending_lightning_send_sat",
    "claimable_lightning_receive_sat",
    "pending_in_round_sat",
    "pending_board_sat",
    "pending_arkoor_send_sat",
    "pending_offboard_sat",
    "pending_exit_sat",
];

/// The sum of all parts of a wallet's balance, in sat.
pub async fn total(daemon: &Daemon) -> i64 {
    let balance = daemon.get("/wallet/balance").await.ok();
    PARTS
        .iter()
        .map(|part| {
            balance[part]
                .as_i64()
                .unwrap_or_else(|| panic!("no {part} in {balance:#}"))
        })
        .sum()
}

/// Asserts that a wallet's movements add up to what it owns, and that events have told of them. No operation may be under way.
pub async fn assert_history_adds_up(daemon: &Daemon) {
    if daemon.is_ours() {
        assert_events_tell_the_history(daemon).await;
    }
    let history = daemon.history().await;
    // What is exited counts as owned until it is claimed.
    let booked: i64 = history
        .iter()
        .filter(|movement| movement["status"] != "pending" || !is_exit(movement))
        .map(|movement| {
            movement["effective_balance_sat"]
                .as_i64()
                .expect("a number")
        })
        .sum();
    assert_eq!(booked, total(daemon).await, "{:#}", Value::from(history));
}

/// Asserts that each wallet's movements add up, that together the wallets own exactly what the server owes, and that they have paid
/// and received over Lightning what the server's node has. No operation may be under way.
pub async fn assert_conserved(world: &World, daemons: &[&Daemon]) {
    let mut owned = 0;
    for daemon in daemons {
        assert_history_adds_up(daemon).await;
        owned += total(daemon).await;
    }
    let ledger = world.sandbox.ark.ledger().expect("the server has a ledger");
    let owed = ledger.spendable.amount.to_sat() + ledger.unregistered.amount.to_sat();
    assert_eq!(owned, i64::try_from(owed).expect("an amount"), "{ledger:?}");
    assert_lightning_conserved(world, daemons).await;
}

/// Asserts that the wallets' successful Lightning movements add up to what the server's ledger and the world's say: what the wallets
/// gave is what the world got, or another wallet, or a fee of the server; the same for what they got. Nothing may be held but what
/// the server has canceled.
pub(super) async fn assert_lightning_conserved(world: &World, daemons: &[&Daemon]) {
    world.lightning_jobs().await;
    let ledger = world.lightning_ledger();
    let (mut given, mut taken, mut fees) = (0, 0, 0);
    for daemon in daemons {
        for movement in daemon.history().await {
            let number = |field: &str| movement[field].as_i64().expect("a number");
            let (intended, fee) = (number("intended_balance_sat"), number("offchain_fee_sat"));
            let succeeded = movement["status"] == "successful";
            match movement["subsystem"]["name"].as_str() {
                Some("bark.lightning_send") if succeeded => given += fee - intended,
                Some("bark.lightning_receive") if succeeded => taken += intended - fee,
                _ => continue,
            }
            fees += fee;
        }
    }
    let network = ledger.network;
    let stranded = i64::try_from(ledger.stranded_msat).expect("an amount");
    assert_eq!(
        [network.sending_msat, network.held_msat],
        [0, stranded],
        "{ledger:?}"
    );
    assert_eq!(
        [given, taken],
        [ledger.taken_sat, ledger.granted_sat],
        "{ledger:?}"
    );
    assert_eq!(fees * 1_000, ledger.earned_msat, "{ledger:?}");
}
