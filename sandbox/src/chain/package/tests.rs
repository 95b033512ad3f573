//! Packages that the mempool accepts and refuses.

use super::*;
use crate::chain::testing::{Fixture, output_of, unsigned};

const COIN: u64 = 50 * 100_000_000;

fn reasons(outcome: &PackageOutcome) -> Vec<&str> {
    let results = outcome.results.iter().map(|tx| tx.result.as_ref());
    results
        .map(|result| result.map_or_else(|reject| reject.reason.as_str(), |_| "ok"))
        .collect()
}

#[test]
fn a_child_pays_for_a_parent_without_fee() {
    let mut fixture = Fixture::new();
    let parent = fixture.exit(fixture.coin(1));
    let child = fixture.child(&parent, fixture.coin(2), 1000);
    assert_eq!(
        fixture.submit(&child),
        Err("bad-txns-inputs-missingorspent".into()),
        "not without its parent"
    );
    let outcome = fixture.sim.accept_package(&[parent.clone(), child.clone()]);
    assert!(outcome.is_success(), "{outcome:?}");
    let accepted = outcome.results[0].result.as_ref().unwrap();
    let (rate, over) = accepted.effective.clone().unwrap();
    assert_eq!(accepted.fee, Amount::ZERO);
    assert_eq!(over, [parent.compute_wtxid(), child.compute_wtxid()]);
    assert!(rate > FeeRate::BROADCAST_MIN);

    let again = fixture.sim.accept_package(&[parent.clone(), child.clone()]);
    assert!(again.is_success());
    fixture.sim.mine_block().unwrap();
    assert!(fixture.sim.view.ledger.tx(&parent.compute_txid()).is_some());
    assert!(fixture.sim.view.ledger.tx(&child.compute_txid()).is_some());
}

#[test]
fn the_package_as_a_whole_must_pay_the_relay_fee() {
    let mut fixture = Fixture::new();
    let parent = fixture.exit(fixture.coin(1));
    let child = fixture.child(&parent, fixture.coin(2), 200);
    let outcome = fixture.sim.accept_package(&[parent, child]);
    assert_eq!(outcome.message, "transaction failed");
    assert!(
        reasons(&outcome)
            .iter()
            .all(|reason| reason.starts_with("min relay fee not met, ")),
        "{outcome:?}"
    );
    assert!(fixture.sim.view.mempool.is_empty());
}

#[test]
fn only_version_3_may_rely_on_its_child() {
    let mut fixture = Fixture::new();
    let parent = fixture.spend(2, &[fixture.coin(1)], vec![fixture.own(COIN)]);
    let child = fixture.sign(
        unsigned(2, &[output_of(&parent, 0)], vec![fixture.own(COIN - 9000)]),
        &[&parent],
    );
    let outcome = fixture.sim.accept_package(&[parent, child]);
    assert_eq!(reasons(&outcome)[1], "bad-txns-inputs-missingorspent");
    assert!(reasons(&outcome)[0].starts_with("min relay fee not met, 0 < "));
}

#[test]
fn the_child_must_spend_the_dust_of_its_parent() {
    let mut fixture = Fixture::new();
    let parent = fixture.exit(fixture.coin(1));
    let child = fixture.sign(
        unsigned(3, &[output_of(&parent, 0)], vec![fixture.own(COIN - 9000)]),
        &[&parent],
    );
    let outcome = fixture.sim.accept_package(&[parent, child]);
    assert_eq!(outcome.message, "unspent-dust");
    assert!(reasons(&outcome)[1].starts_with("missing-ephemeral-spends"));
}

#[test]
fn a_parent_of_version_3_has_one_small_child() {
    let mut fixture = Fixture::new();
    let parent = fixture.spend(
        3,
        &[fixture.coin(1)],
        vec![fixture.own(COIN / 2), fixture.own(COIN / 2 - 1000)],
    );
    fixture.submit(&parent).unwrap();
    let plain = fixture.spend(
        2,
        &[output_of(&parent, 0)],
        vec![fixture.own(COIN / 2 - 1000)],
    );
    assert!(
        fixture
            .submit(&plain)
            .unwrap_err()
            .starts_with("TRUC-violation, non-version=3 tx")
    );
    let big = fixture.spend(
        3,
        &[output_of(&parent, 0)],
        vec![fixture.own(COIN / 60 - 1000); 30],
    );
    assert!(fixture.submit(&big).unwrap_err().contains("is too big"));

    let first = fixture.spend(
        3,
        &[output_of(&parent, 0)],
        vec![fixture.own(COIN / 2 - 1000)],
    );
    fixture.submit(&first).unwrap();
    let grandchild = fixture.spend(
        3,
        &[output_of(&first, 0)],
        vec![fixture.own(COIN / 2 - 3000)],
    );
    assert!(
        fixture
            .submit(&grandchild)
            .unwrap_err()
            .contains("too many ancestors")
    );

    let cheap = fixture.spend(
        3,
        &[output_of(&parent, 1)],
        vec![fixture.own(COIN / 2 - 1500)],
    );
    assert!(
        fixture
            .submit(&cheap)
            .unwrap_err()
            .starts_with("insufficient fee, rejecting replacement")
    );
    let rich = fixture.spend(
        3,
        &[output_of(&parent, 1)],
        vec![fixture.own(COIN / 2 - 9000)],
    );
    assert_eq!(
        fixture.submit(&rich),
        Ok(rich.compute_txid()),
        "a sibling that pays more evicts the first child"
    );
    assert!(!fixture.sim.view.mempool.contains(&first.compute_txid()));
}

#[test]
fn a_second_package_replaces_the_child_at_a_higher_fee() {
    let mut fixture = Fixture::new();
    let parent = fixture.exit(fixture.coin(1));
    let slow = fixture.child(&parent, fixture.coin(2), 1000);
    let fast = fixture.child(&parent, fixture.coin(3), 5000);
    assert!(
        fixture
            .sim
            .accept_package(&[parent.clone(), slow.clone()])
            .is_success()
    );
    let outcome = fixture.sim.accept_package(&[parent.clone(), fast.clone()]);
    assert!(outcome.is_success(), "{outcome:?}");
    assert_eq!(outcome.replaced, [slow.compute_txid()]);
    let refused = fixture.sim.accept_package(&[parent, slow]);
    assert_eq!(refused.message, "transaction failed");
    assert!(reasons(&refused)[1].starts_with("insufficient fee, rejecting replacement"));
}

#[test]
fn a_package_replaces_a_conflicting_parent() {
    let mut fixture = Fixture::new();
    let plain = fixture.spend(2, &[fixture.coin(1)], vec![fixture.own(COIN - 500)]);
    fixture.submit(&plain).unwrap();
    let parent = fixture.exit(fixture.coin(1));
    let cheap = fixture.child(&parent, fixture.coin(2), 600);
    let outcome = fixture.sim.accept_package(&[parent.clone(), cheap]);
    assert!(
        outcome
            .message
            .starts_with("package RBF failed: insufficient anti-DoS fees"),
        "{outcome:?}"
    );
    let child = fixture.child(&parent, fixture.coin(2), 5000);
    let outcome = fixture.sim.accept_package(&[parent, child]);
    assert_eq!(outcome.replaced, [plain.compute_txid()], "{outcome:?}");
}

#[test]
fn a_mined_parent_is_known_and_its_child_stands_alone() {
    let mut fixture = Fixture::new();
    let parent = fixture.spend(
        3,
        &[fixture.coin(1)],
        vec![fixture.own(COIN - 2000), fixture.own(1000)],
    );
    fixture.submit(&parent).unwrap();
    fixture.sim.mine_block().unwrap();
    let child = fixture.spend(3, &[output_of(&parent, 1)], vec![fixture.own(500)]);
    let outcome = fixture.sim.accept_package(&[parent, child.clone()]);
    assert_eq!(reasons(&outcome), ["txn-already-known", "ok"]);
    assert!(fixture.sim.view.mempool.contains(&child.compute_txid()));
}

#[test]
fn malformed_packages_are_named() {
    let mut fixture = Fixture::new();
    let parent = fixture.exit(fixture.coin(1));
    let child = fixture.child(&parent, fixture.coin(2), 1000);
    let stranger = fixture.spend(2, &[fixture.coin(3)], vec![fixture.own(COIN - 1000)]);
    let rival = fixture.spend(2, &[fixture.coin(1)], vec![fixture.own(COIN - 1000)]);
    let inputs = [output_of(&parent, 0), output_of(&rival, 0)];
    let both = fixture.sign(
        unsigned(2, &inputs, vec![fixture.own(COIN)]),
        &[&parent, &rival],
    );
    let mut message = |txs: &[&Transaction]| {
        let txs: Vec<Transaction> = txs.iter().map(|tx| (*tx).clone()).collect();
        fixture.sim.accept_package(&txs).message
    };
    assert_eq!(
        message(&[&parent, &parent, &child]),
        "package-contains-duplicates"
    );
    assert_eq!(message(&[&parent, &rival, &both]), "conflict-in-package");
    assert!(message(&[&child, &parent]).starts_with("package topology disallowed"));
    assert!(message(&[&stranger, &parent]).starts_with("package topology disallowed"));
    assert!(message(&[]).starts_with("Array must contain"));
}

/// A fee spike: what was mined at the next block before now needs a child that pays more.
#[test]
fn below_the_floor_of_the_miners_a_package_waits_for_a_richer_child() {
    let mut fixture = Fixture::new();
    let parent = fixture.exit(fixture.coin(1));
    let slow = fixture.child(&parent, fixture.coin(2), 1000);
    let outcome = fixture.sim.accept_package(&[parent.clone(), slow]);
    assert!(outcome.is_success());
    fixture.sim.min_mined_fee = FeeRate::from_sat_per_vb_u32(20);
    assert!(!fixture.sim.has_work());
    fixture.sim.mine_block().unwrap();
    assert!(fixture.sim.view.mempool.contains(&parent.compute_txid()));

    let fast = fixture.child(&parent, fixture.coin(2), 10_000);
    let outcome = fixture.sim.accept_package(&[parent.clone(), fast.clone()]);
    assert!(outcome.is_success(), "{outcome:?}");
    fixture.sim.mine_block().unwrap();
    assert!(fixture.sim.view.mempool.is_empty());
    assert!(fixture.sim.view.ledger.tx(&fast.compute_txid()).is_some());
}

#[test]
fn a_full_mempool_drops_and_refuses_what_pays_too_little() {
    let mut fixture = Fixture::new();
    let parent = fixture.exit(fixture.coin(1));
    let slow = fixture.child(&parent, fixture.coin(2), 1000);
    let rich = fixture.spend(2, &[fixture.coin(3)], vec![fixture.own(COIN - 20_000)]);
    fixture.submit(&rich).unwrap();
    let package = [parent.clone(), slow.clone()];
    assert!(fixture.sim.accept_package(&package).is_success());
    let floor = FeeRate::from_sat_per_vb_u32(20);
    fixture.sim.min_mempool_fee = floor;
    let mut gone = fixture.sim.view.mempool.remove_below(floor);
    gone.sort();
    let mut dropped = [parent.compute_txid(), slow.compute_txid()];
    dropped.sort();
    assert_eq!(gone, dropped);
    assert_eq!(fixture.sim.view.mempool.in_order(), [rich.compute_txid()]);

    let outcome = fixture.sim.accept_package(&package);
    assert_eq!(outcome.message, "transaction failed");
    assert!(
        reasons(&outcome)
            .iter()
            .any(|reason| reason.starts_with("mempool min fee not met, 1000 < ")),
        "{outcome:?}"
    );
    let poor = fixture.spend(2, &[fixture.coin(4)], vec![fixture.own(COIN - 500)]);
    let refused = fixture.submit(&poor).unwrap_err();
    assert!(
        refused.starts_with("mempool min fee not met, 500 < "),
        "{refused}"
    );
    let fast = fixture.child(&parent, fixture.coin(2), 10_000);
    assert!(fixture.sim.accept_package(&[parent, fast]).is_success());
}
