//! Blocks, reorganisations and restarts of the simulated chain.

use super::*;
use crate::chain::testing::{Fixture, config, output_of};

const COIN: u64 = 50 * 100_000_000;

#[test]
fn a_reorganisation_mines_kept_transactions_again() {
    let mut fixture = Fixture::new();
    let first = fixture.spend(2, &[fixture.coin(1)], vec![fixture.own(COIN - 1000)]);
    fixture.submit(&first).unwrap();
    fixture.sim.mine_block().unwrap();
    let second = fixture.spend(2, &[output_of(&first, 0)], vec![fixture.own(COIN - 2000)]);
    fixture.submit(&second).unwrap();
    let old = fixture.sim.mine_block().unwrap();

    let hashes = fixture.sim.reorg(2, &Reorg::Keep).unwrap();
    assert_eq!(hashes.len(), 3);
    assert_eq!(fixture.sim.view.ledger.height(), 123);
    assert!(fixture.sim.view.ledger.height_of(&old).is_none());
    assert_eq!(
        fixture
            .sim
            .view
            .ledger
            .tx(&second.compute_txid())
            .unwrap()
            .1,
        121
    );

    fixture
        .sim
        .reorg(3, &Reorg::Drop(vec![first.compute_txid()]))
        .unwrap();
    assert!(fixture.sim.view.tx(&first.compute_txid()).is_none());
    assert!(
        fixture.sim.view.tx(&second.compute_txid()).is_none(),
        "its child cannot stay"
    );
    assert!(fixture.sim.view.ledger.coin(&fixture.coin(1)).is_some());
    assert_eq!(
        fixture
            .sim
            .view
            .spender(&fixture.coin(1))
            .map(|spender| spender.txid),
        None
    );
}

#[test]
fn a_reorganisation_can_double_spend() {
    let mut fixture = Fixture::new();
    let honest = fixture.spend(2, &[fixture.coin(1)], vec![fixture.own(COIN - 1000)]);
    fixture.submit(&honest).unwrap();
    fixture.sim.mine_block().unwrap();
    let theft = fixture.spend(2, &[fixture.coin(1)], vec![fixture.own(COIN - 900)]);
    fixture
        .sim
        .reorg(1, &Reorg::Replace(vec![theft.clone()]))
        .unwrap();
    assert!(fixture.sim.view.tx(&honest.compute_txid()).is_none());
    assert!(fixture.sim.view.ledger.tx(&theft.compute_txid()).is_some());
}

#[test]
fn a_failed_reorganisation_changes_nothing() {
    let mut fixture = Fixture::new();
    let waiting = fixture.spend(2, &[fixture.coin(2)], vec![fixture.own(COIN - 1000)]);
    fixture.submit(&waiting).unwrap();
    let tip = fixture.sim.view.ledger.tip();
    let mut broken = fixture.spend(2, &[fixture.coin(1)], vec![fixture.own(COIN - 900)]);
    broken.input[0].witness.clear();
    assert!(fixture.sim.reorg(1, &Reorg::Replace(vec![broken])).is_err());
    assert!(fixture.sim.reorg(121, &Reorg::Keep).is_err());
    assert_eq!(fixture.sim.view.ledger.tip(), tip);
    assert!(fixture.sim.view.mempool.contains(&waiting.compute_txid()));
}

#[test]
fn a_held_transaction_and_its_child_are_not_mined() {
    let mut fixture = Fixture::new();
    let parent = fixture.spend(2, &[fixture.coin(1)], vec![fixture.own(COIN - 1000)]);
    fixture.submit(&parent).unwrap();
    let child = fixture.spend(2, &[output_of(&parent, 0)], vec![fixture.own(COIN - 3000)]);
    fixture.submit(&child).unwrap();
    fixture.sim.held.insert(parent.compute_txid());
    assert!(!fixture.sim.has_work());
    fixture.sim.mine_block().unwrap();
    assert_eq!(
        fixture.sim.view.mempool.in_order(),
        [parent.compute_txid(), child.compute_txid()]
    );
    fixture.sim.held.clear();
    fixture.sim.mine_block().unwrap();
    assert!(fixture.sim.view.mempool.is_empty());
}

#[test]
fn a_restart_finds_the_same_chain_and_mempool() {
    let dir = tempfile::tempdir().unwrap();
    let path = Some(dir.path().to_owned());
    let mut fixture = Fixture::at(path.clone());
    let mined = fixture.spend(2, &[fixture.coin(1)], vec![fixture.own(COIN - 1000)]);
    fixture.submit(&mined).unwrap();
    fixture.sim.mine_block().unwrap();
    fixture.sim.save().unwrap();
    fixture.sim.reorg(1, &Reorg::Keep).unwrap();
    let parent = fixture.exit(fixture.coin(2));
    let child = fixture.child(&parent, fixture.coin(3), 1000);
    assert!(fixture.sim.submit_package(&[parent, child]).is_success());
    fixture.sim.save().unwrap();
    let (tip, waiting) = (
        fixture.sim.view.ledger.tip(),
        fixture.sim.view.mempool.in_order(),
    );
    assert!(
        Sim::open(config(path.clone(), ScriptBuf::new())).is_err(),
        "one at a time"
    );
    drop(fixture);

    // A record that a crash cut short is ignored.
    let blocks = dir.path().join("blocks.dat");
    let mut bytes = std::fs::read(&blocks).unwrap();
    let whole = bytes.len();
    bytes.extend([200, 0, 0, 0, 1, 2, 3, 4, 5]);
    std::fs::write(&blocks, bytes).unwrap();

    let again = Sim::open(config(path, ScriptBuf::new())).unwrap();
    assert_eq!(again.view.ledger.tip(), tip);
    assert_eq!(again.view.mempool.in_order(), waiting);
    assert!(again.view.ledger.tx(&mined.compute_txid()).is_some());
    assert_eq!(std::fs::metadata(&blocks).unwrap().len(), whole as u64);
}

#[test]
fn mining_at_the_largest_timestamp_fails_without_a_panic() {
    let mut fixture = Fixture::new();
    fixture.sim.time = Some(u32::MAX);
    let mined = (0..20).try_for_each(|_| fixture.sim.mine_block().map(drop));
    assert!(format!("{:#}", mined.unwrap_err()).contains("time-too-old"));
}

#[test]
fn the_subsidy_halves_every_150_blocks() {
    let mut fixture = Fixture::new();
    while fixture.sim.view.ledger.height() < 150 {
        fixture.sim.mine_block().unwrap();
    }
    let value = |height: u32| {
        fixture.sim.view.ledger.at(height).unwrap().block.txdata[0].output[0]
            .value
            .to_sat()
    };
    assert_eq!((value(149), value(150)), (COIN, COIN / 2));
}
