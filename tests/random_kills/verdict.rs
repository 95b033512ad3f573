//! The judgement after a run: the books of the world, and every single payment.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use arkwalletd_sandbox::lightning::HoldStatus;
use serde_json::Value;

use super::Shared;
use super::daemons::Wallet;
use super::lightning;
use super::load::{Attempt, Way};
use crate::support::{Books, Daemon, assert_balanced, hash_of};

/// Asserts that no sat is missing, that each payment that succeeded has arrived exactly once, and that no other has.
pub async fn judge(shared: &Shared, wallets: &[Wallet]) {
    let attempts = all_attempts(shared);
    let daemons: Vec<&Daemon> = wallets.iter().map(|wallet| &wallet.daemon).collect();
    judge_payments(shared, &daemons, &attempts).await;
    let outside = attempts
        .iter()
        .filter(|attempt| matches!(attempt.way, Way::Offboard | Way::Onchain));
    let outside: Vec<String> = outside.map(|attempt| attempt.to.clone()).collect();
    assert_balanced(&shared.world, &daemons, &outside).await;
}

/// Prints the exits and the refreshes that failed, which explain a difference in the books.
pub fn tell_exceptions(wallets: &[Wallet]) {
    let query = "SELECT kind || ' ' || id || ' ' || coalesce(outcome, '') || ': ' || coalesce(last_error, '') || ' ' || state
                 FROM operation WHERE kind = 'exit' OR (kind = 'round' AND outcome = 'failed') ORDER BY created_at";
    for (number, wallet) in wallets.iter().enumerate() {
        let database = wallet.daemon.folder().join("db.sqlite");
        let database = rusqlite::Connection::open(database).unwrap();
        let mut statement = database.prepare(query).unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(0));
        for line in rows.unwrap() {
            println!("wallet {number}: {}", line.unwrap());
        }
    }
}

fn all_attempts(shared: &Shared) -> Vec<Attempt> {
    let attempts = shared.attempts.lock();
    attempts.unwrap_or_else(PoisonError::into_inner).clone()
}

async fn judge_payments(shared: &Shared, daemons: &[&Daemon], attempts: &[Attempt]) {
    let books = Books::read(&shared.world).await;
    let (mut sent, mut arrived, mut claimed) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    for daemon in daemons {
        let history = daemon.history().await;
        for movement in &history {
            if movement["subsystem"]["name"] == "bark.lightning_receive" {
                note_claim(movement, &mut claimed);
                continue;
            }
            for receipt in movement["received_on"].as_array().unwrap() {
                let to = receipt["destination"]["value"].as_str().unwrap().to_owned();
                *arrived.entry(to).or_insert(0) += receipt["amount_sat"].as_u64().unwrap();
            }
        }
        sent.push(history);
    }
    let (mut wrong, mut outcomes) = (Vec::new(), BTreeMap::new());
    for attempt in attempts {
        let movements = movements_of(attempt, &sent[attempt.payer]);
        let got = match attempt.way {
            Way::Arkoor => arrived.remove(&attempt.to).into_iter().collect(),
            Way::Offboard | Way::Onchain => books.received(&attempt.to),
            Way::World => lightning::got_by_world(shared, attempt),
            Way::Invoice => claimed.remove(&hash_of(&attempt.to)).unwrap_or_default(),
        };
        if let Some(reason) = complaint(attempt, &movements, &got) {
            wrong.push(format!("{reason}: {attempt:?} {movements:#?} {got:?}"));
        }
        *outcomes.entry((attempt.way, !got.is_empty())).or_insert(0) += 1;
    }
    judge_receives(shared, &mut claimed, &mut wrong);
    println!("payments by their way and whether they arrived: {outcomes:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(arrived.is_empty(), "nobody sent {arrived:?}");
    assert!(claimed.is_empty(), "nobody paid {claimed:?}");
}

/// Adds the amount of a successful Lightning receive in sat, before the fee, to those of its hash.
fn note_claim(movement: &Value, claimed: &mut BTreeMap<String, Vec<u64>>) {
    if movement["status"] != "successful" {
        return;
    }
    let hash = movement["metadata"]["payment_hash"].as_str().unwrap();
    let sats = movement["intended_balance_sat"].as_u64().unwrap();
    claimed.entry(hash.to_owned()).or_default().push(sats);
}

/// Compares what the world paid with what the wallets claimed.
fn judge_receives(
    shared: &Shared,
    claimed: &mut BTreeMap<String, Vec<u64>>,
    wrong: &mut Vec<String>,
) {
    let paid = shared.paid_by_world.lock();
    for invoice in paid.unwrap_or_else(PoisonError::into_inner).iter() {
        let hash = hash_of(invoice);
        let claims = claimed.remove(&hash).unwrap_or_default().len();
        let settled = shared.world.hold(&hash) == HoldStatus::Settled;
        if claims != usize::from(settled) {
            wrong.push(format!(
                "the world paid {invoice}: settled {settled}, claimed {claims} times"
            ));
        }
    }
}

/// The movements of a payment. Those that failed count only if there is no other: a payment whose coins the server refuses is made again
/// with others, in a movement of its own.
fn movements_of<'a>(attempt: &Attempt, history: &'a [Value]) -> Vec<&'a Value> {
    let of_payment = history
        .iter()
        .filter(|movement| pays(movement, &attempt.to));
    let (failed, mut others): (Vec<&Value>, Vec<&Value>) =
        of_payment.partition(|movement| movement["status"] == "failed");
    if others.is_empty() {
        others.extend(failed.first());
    }
    others
}

fn pays(movement: &Value, to: &str) -> bool {
    let payees = movement["sent_to"].as_array().into_iter().flatten();
    payees
        .into_iter()
        .any(|payee| payee["destination"]["value"] == to)
}

/// What is wrong with a payment, by the answer, the payer's history and what the payee got.
fn complaint(attempt: &Attempt, movements: &[&Value], got: &[u64]) -> Option<&'static str> {
    if got.len() > 1 {
        return Some("it arrived more than once");
    }
    let got = got.first().copied();
    let accepted = attempt.status.map(|status| status == 200 || status == 202);
    let amount = match (attempt.way, movements) {
        // The on-chain wallet keeps no movements.
        (Way::Onchain, _) => match accepted {
            Some(true) => attempt.sats,
            Some(false) => None,
            None => got.and(attempt.sats),
        },
        (_, []) if accepted == Some(true) => {
            return Some("it was accepted and is not in the history");
        }
        (_, []) => None,
        (_, [movement]) => {
            let succeeded = movement["status"] == "successful";
            if accepted == Some(false) && succeeded {
                return Some("it was refused and has happened");
            }
            // A Lightning payment is answered before its outcome is known.
            let is_final = !matches!(attempt.way, Way::World | Way::Invoice);
            if is_final && attempt.status == Some(200) && !succeeded {
                return Some("it was answered as done and has failed");
            }
            let sats = movement["sent_to"][0]["amount_sat"].as_u64();
            if attempt.sats.is_some() && attempt.sats != sats {
                return Some("the history has another amount");
            }
            sats.filter(|_| succeeded)
        }
        _ => return Some("the history has it more than once"),
    };
    (got != amount).then_some("the payee did not get what the history says")
}
