//! Single transactions that the mempool accepts and refuses.

use bitcoin::opcodes::all::{OP_CHECKSIG, OP_CLTV, OP_CSV, OP_DROP};
use bitcoin::script::Builder;
use bitcoin::taproot::{LeafVersion, TaprootBuilder};
use bitcoin::{ScriptBuf, Sequence, Witness, absolute};

use super::*;
use crate::chain::testing::{Fixture, anchor, output_of, unsigned};

const COIN: u64 = 50 * 100_000_000;

#[test]
fn a_signature_by_the_wrong_key_is_refused_on_the_key_path() {
    let mut fixture = Fixture::new();
    let mut tx = fixture.spend(2, &[fixture.coin(1)], vec![fixture.own(COIN - 1000)]);
    let mut signature = tx.input[0].witness[0].to_vec();
    signature[40] ^= 1;
    tx.input[0].witness = Witness::from_slice(&[signature]);
    assert!(
        fixture
            .submit(&tx)
            .unwrap_err()
            .starts_with("mandatory-script-verify-flag-failed")
    );
}

#[test]
fn a_script_path_needs_its_conditions() {
    let mut fixture = Fixture::new();
    let secp = bitcoin::key::Secp256k1::new();
    let (internal, _) = bitcoin::key::Keypair::from_seckey_slice(&secp, &[9; 32])
        .unwrap()
        .x_only_public_key();
    let leaf = Builder::new()
        .push_int(10)
        .push_opcode(OP_CSV)
        .into_script();
    let info = TaprootBuilder::new()
        .add_leaf(0, leaf.clone())
        .unwrap()
        .finalize(&secp, internal)
        .unwrap();
    let pay = TxOut {
        value: Amount::from_sat(COIN - 1000),
        script_pubkey: ScriptBuf::new_p2tr_tweaked(info.output_key()),
    };
    let parent = fixture.spend(2, &[fixture.coin(1)], vec![pay]);
    fixture.submit(&parent).unwrap();
    fixture.sim.mine_block().unwrap();

    let control = info
        .control_block(&(leaf.clone(), LeafVersion::TapScript))
        .unwrap()
        .serialize();
    let claim = |sequence: u32, script: &ScriptBuf| {
        let mut tx = unsigned(2, &[output_of(&parent, 0)], vec![fixture.own(COIN - 2000)]);
        tx.input[0].sequence = Sequence(sequence);
        tx.input[0].witness = Witness::from_slice(&[script.as_bytes(), &control]);
        tx
    };
    let (early, late, forged) = (claim(9, &leaf), claim(10, &leaf), {
        let other = Builder::new().push_int(1).into_script();
        claim(0xffff_fffd, &other)
    });
    let undefined = claim(0xffff_fffd, &ScriptBuf::from_bytes(vec![0x50]));
    assert_eq!(
        fixture.submit(&undefined),
        Err("bad-witness-nonstandard".into())
    );
    assert!(
        fixture
            .submit(&forged)
            .unwrap_err()
            .starts_with("mandatory-script-verify-flag-failed")
    );
    assert_eq!(fixture.submit(&late), Err("non-BIP68-final".into()));
    for _ in 0..9 {
        fixture.sim.mine_block().unwrap();
    }
    assert!(
        fixture
            .submit(&early)
            .unwrap_err()
            .starts_with("mandatory-script-verify-flag-failed")
    );
    assert_eq!(fixture.submit(&late), Ok(late.compute_txid()));
}

#[test]
fn a_lock_time_and_a_script_that_asks_for_it_are_kept() {
    let mut fixture = Fixture::new();
    let script = Builder::new()
        .push_int(125)
        .push_opcode(OP_CLTV)
        .push_opcode(OP_DROP)
        .push_int(1)
        .into_script();
    let pay = TxOut {
        value: Amount::from_sat(COIN - 1000),
        script_pubkey: script.to_p2wsh(),
    };
    let parent = fixture.spend(2, &[fixture.coin(1)], vec![pay]);
    fixture.submit(&parent).unwrap();
    fixture.sim.mine_block().unwrap();

    let mut tx = unsigned(2, &[output_of(&parent, 0)], vec![fixture.own(COIN - 2000)]);
    tx.input[0].witness = Witness::from_slice(&[script.as_bytes()]);
    assert!(
        fixture
            .submit(&tx)
            .unwrap_err()
            .starts_with("mandatory-script-verify-flag-failed")
    );
    tx.lock_time = absolute::LockTime::from_height(125).unwrap();
    assert_eq!(fixture.submit(&tx), Err("non-final".into()));
    while fixture.sim.view.ledger.height() < 125 {
        fixture.sim.mine_block().unwrap();
    }
    assert_eq!(fixture.submit(&tx), Ok(tx.compute_txid()));
}

#[test]
fn young_coinbases_missing_inputs_and_spent_inputs_are_refused() {
    let mut fixture = Fixture::new();
    let young = fixture.spend(2, &[fixture.coin(22)], vec![fixture.own(COIN - 1000)]);
    assert!(
        fixture
            .submit(&young)
            .unwrap_err()
            .starts_with("bad-txns-premature-spend-of-coinbase")
    );

    let first = fixture.spend(2, &[fixture.coin(1)], vec![fixture.own(COIN - 1000)]);
    let second = fixture.spend(2, &[fixture.coin(1)], vec![fixture.own(COIN - 9000)]);
    fixture.submit(&first).unwrap();
    fixture.sim.mine_block().unwrap();
    assert_eq!(
        fixture.submit(&second),
        Err("bad-txns-inputs-missingorspent".into())
    );
    assert_eq!(
        fixture.submit(&first),
        Ok(first.compute_txid()),
        "what is mined is known"
    );
}

#[test]
fn dust_is_refused_unless_the_transaction_pays_no_fee() {
    let mut fixture = Fixture::new();
    let paying = fixture.spend(
        3,
        &[fixture.coin(1)],
        vec![fixture.own(COIN - 1000), anchor(0)],
    );
    assert_eq!(
        fixture.submit(&paying),
        Err("dust, tx with dust output must be 0-fee".into())
    );
    let two = fixture.spend(
        3,
        &[fixture.coin(1)],
        vec![fixture.own(COIN), anchor(0), anchor(0)],
    );
    assert_eq!(fixture.submit(&two), Err("dust".into()));
    let free = fixture.exit(fixture.coin(1));
    assert!(
        fixture
            .submit(&free)
            .unwrap_err()
            .starts_with("min relay fee not met, 0 < ")
    );
    let enough = fixture.spend(
        3,
        &[fixture.coin(1)],
        vec![fixture.own(COIN - 1000), anchor(240)],
    );
    assert_eq!(fixture.submit(&enough), Ok(enough.compute_txid()));
}

#[test]
fn an_anchor_is_spent_with_an_empty_witness_only() {
    let mut fixture = Fixture::new();
    let parent = fixture.spend(
        2,
        &[fixture.coin(1)],
        vec![fixture.own(COIN - 1000 - 5000), anchor(5000)],
    );
    fixture.submit(&parent).unwrap();
    fixture.sim.mine_block().unwrap();
    let mut tx = unsigned(2, &[output_of(&parent, 1)], vec![fixture.own(4000)]);
    tx.input[0].witness = Witness::from_slice(&[[1]]);
    assert_eq!(fixture.submit(&tx), Err("bad-witness-nonstandard".into()));
    tx.input[0].witness = Witness::new();
    assert_eq!(fixture.submit(&tx), Ok(tx.compute_txid()));
}

#[test]
fn a_replacement_must_pay_more_in_rate_and_in_sum() {
    let mut fixture = Fixture::new();
    let pay = |fixture: &Fixture, fee: u64| {
        fixture.spend(2, &[fixture.coin(1)], vec![fixture.own(COIN - fee)])
    };
    let first = pay(&fixture, 1000);
    fixture.submit(&first).unwrap();
    let same = fixture.spend(
        2,
        &[fixture.coin(1)],
        vec![fixture.own(COIN - 1000 - 400), fixture.own(400)],
    );
    assert!(
        fixture
            .submit(&same)
            .unwrap_err()
            .starts_with("insufficient fee, rejecting replacement")
    );
    let little = pay(&fixture, 1050);
    assert!(
        fixture
            .submit(&little)
            .unwrap_err()
            .contains("not enough additional fees to relay; 0.0000005 < ")
    );
    let child = fixture.spend(2, &[output_of(&first, 0)], vec![fixture.own(COIN - 9000)]);
    fixture.submit(&child).unwrap();
    let enough = pay(&fixture, 5000);
    assert!(
        fixture
            .submit(&enough)
            .unwrap_err()
            .contains("less fees than conflicting txs")
    );
    let more = pay(&fixture, 12_000);
    assert_eq!(fixture.submit(&more), Ok(more.compute_txid()));
    assert_eq!(
        fixture.sim.view.mempool.in_order(),
        [more.compute_txid()],
        "the replaced one went with its child"
    );
}

#[test]
fn a_chain_of_unconfirmed_transactions_ends_at_25() {
    let mut fixture = Fixture::new();
    let mut coin = fixture.coin(1);
    for length in 1..=26 {
        let tx = fixture.spend(2, &[coin], vec![fixture.own(COIN - 1000 * length)]);
        let result = fixture.submit(&tx);
        assert_eq!(result.is_ok(), length <= 25, "{length}: {result:?}");
        coin = output_of(&tx, 0);
    }
}

#[test]
fn odd_shapes_are_not_relayed() {
    let mut fixture = Fixture::new();
    let old = fixture.spend(4, &[fixture.coin(1)], vec![fixture.own(COIN - 1000)]);
    assert_eq!(fixture.submit(&old), Err("version".into()));
    let script_pubkey = Builder::new().push_opcode(OP_CHECKSIG).into_script();
    let unknown = TxOut {
        value: Amount::from_sat(COIN - 1000),
        script_pubkey,
    };
    let odd = fixture.spend(2, &[fixture.coin(1)], vec![unknown]);
    assert_eq!(fixture.submit(&odd), Err("scriptpubkey".into()));
    let burning = fixture.spend(2, &[fixture.coin(1)], vec![fixture.own(COIN / 2)]);
    assert!(
        fixture
            .submit(&burning)
            .unwrap_err()
            .starts_with("Fee exceeds maximum")
    );
    let inflating = fixture.spend(2, &[fixture.coin(1)], vec![fixture.own(COIN + 1)]);
    assert!(
        fixture
            .submit(&inflating)
            .unwrap_err()
            .starts_with("bad-txns-in-belowout")
    );
}
