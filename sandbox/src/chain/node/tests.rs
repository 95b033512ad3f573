//! The chain on a real node.

use std::time::Duration;

use bitcoin::{Amount, FeeRate, OutPoint, Transaction, TxOut};
use serde_json::json;

use crate::chain::testing::{SAT_PER_VB, anchor, config, output_of, unsigned};
use crate::chain::{AutoMine, BitcoindConfig, Chain, ChainTx, RejectKind, Reorg};
use crate::coin_wallet::{CoinKey, CoinWallet};
use crate::testing::Bitcoind;
use crate::{Sandbox, SandboxHandle};

pub(super) const COIN: u64 = 50 * 100_000_000;

pub(super) fn key() -> CoinKey {
    CoinKey::derive(&[7; 32], "test")
}

pub(super) fn own(sat: u64) -> TxOut {
    TxOut {
        value: Amount::from_sat(sat),
        script_pubkey: key().script(),
    }
}

/// A node without a transaction index: a sandbox must not need one.
pub(super) fn without_index() -> Bitcoind {
    Bitcoind::start_with(&["-txindex=0"])
}

pub(super) async fn connect(node: &Bitcoind) -> Chain {
    Chain::connect(node.config(), config(None, key().script()))
        .await
        .unwrap()
}

/// A chain with coins on a new node.
async fn start() -> (Bitcoind, Chain, CoinWallet) {
    let node = without_index();
    let chain = connect(&node).await;
    chain.mine(120).await.unwrap();
    let coins = CoinWallet::new(chain.clone(), key());
    (node, chain, coins)
}

/// The coin mined at a height.
pub(super) fn coinbase(chain: &Chain, height: u32) -> OutPoint {
    let txid = chain.read().ledger.at(height).unwrap().block.txdata[0].compute_txid();
    OutPoint { txid, vout: 0 }
}

/// A transaction that spends coins of the key; `parents` are not in the chain yet.
pub(super) fn spend(
    chain: &Chain,
    version: i32,
    inputs: &[OutPoint],
    outputs: Vec<TxOut>,
    parents: &[&Transaction],
) -> Transaction {
    let view = chain.read();
    let spent = |outpoint: &OutPoint| {
        let parent = parents
            .iter()
            .copied()
            .find(|parent| parent.compute_txid() == outpoint.txid);
        parent.or_else(|| view.tx(&outpoint.txid)).unwrap().output[outpoint.vout as usize].clone()
    };
    let spent: Vec<TxOut> = inputs.iter().map(spent).collect();
    key()
        .sign(unsigned(version, inputs, outputs), &spent)
        .unwrap()
}

/// An exit transaction as Ark has them, and the child that pays for it.
pub(super) fn exit(chain: &Chain, coin: OutPoint, fee_coin: OutPoint) -> [Transaction; 2] {
    let parent = spend(chain, 3, &[coin], vec![own(COIN), anchor(0)], &[]);
    let inputs = [output_of(&parent, 1), fee_coin];
    let child = spend(chain, 3, &inputs, vec![own(COIN - 1000)], &[&parent]);
    [parent, child]
}

#[tokio::test]
#[ignore = "needs a real bitcoind: set ARKWALLETD_BITCOIND and run with --include-ignored"]
async fn coins_are_mined_paid_and_spent() {
    let (_node, chain, coins) = start().await;
    let mut tips = chain.subscribe_tips();
    assert_eq!(tips.borrow_and_update().height, 120);
    let taker = CoinWallet::new(chain.clone(), CoinKey::derive(&[8; 32], "taker"));
    let script = taker.key().script();
    let txid = coins
        .pay(script.clone(), Amount::from_sat(100_000), SAT_PER_VB)
        .await
        .unwrap();
    assert_eq!(chain.mempool().await.unwrap(), [txid]);
    assert_eq!(taker.balance().await.unwrap().pending.to_sat(), 100_000);

    chain.mine_empty(1).await.unwrap();
    assert_eq!(
        chain.mempool().await.unwrap(),
        [txid],
        "it was left waiting"
    );
    let mined = chain.mine(1).await.unwrap();
    assert!(chain.mempool().await.unwrap().is_empty());
    let ChainTx { tx, block } = chain.tx(txid).await.unwrap().unwrap();
    assert_eq!((tx.compute_txid(), block.unwrap().hash), (txid, mined[0]));
    assert_eq!(chain.block_hash(122).await.unwrap(), Some(mined[0]));
    assert_eq!(chain.block_hash(123).await.unwrap(), None);
    assert_eq!(tips.borrow_and_update().height, 122);

    let coin = chain.unspent(&script).await.unwrap().remove(0);
    assert_eq!((coin.height, coin.coinbase), (Some(122), false));
    let spending = taker
        .pay(key().script(), Amount::from_sat(50_000), SAT_PER_VB)
        .await
        .unwrap();
    let spender = chain.spender(coin.outpoint).await.unwrap().unwrap();
    assert_eq!((spender.txid, spender.block), (spending, None));
    chain.mine(1).await.unwrap();
    let spender = chain.spender(coin.outpoint).await.unwrap().unwrap();
    assert_eq!(spender.block.unwrap().height, 123);
    let tx = chain.tx(spending).await.unwrap().unwrap().tx;
    assert_eq!(
        chain.submit(tx).await.unwrap(),
        Ok(spending),
        "known already"
    );
}

#[tokio::test]
#[ignore = "needs a real bitcoind: set ARKWALLETD_BITCOIND and run with --include-ignored"]
async fn changes_made_at_the_node_are_visible_at_once() {
    let (node, chain, _) = start().await;
    let [first, ..] = exit(&chain, coinbase(&chain, 1), coinbase(&chain, 2));
    let tx = spend(
        &chain,
        2,
        &[first.input[0].previous_output],
        vec![own(COIN - 500)],
        &[],
    );
    node.cli(&[
        "sendrawtransaction",
        &bitcoin::consensus::encode::serialize_hex(&tx),
    ]);
    assert_eq!(chain.mempool().await.unwrap(), [tx.compute_txid()]);
    let mut tips = chain.subscribe_tips();
    let old = *tips.borrow_and_update();
    node.cli(&["generatetodescriptor", "2", "raw(51)"]);
    tips.changed().await.unwrap();
    assert_eq!(chain.tip().await.unwrap().height, 122);
    node.cli(&[
        "invalidateblock",
        &chain.block_hash(121).await.unwrap().unwrap().to_string(),
    ]);
    assert_eq!(chain.tip().await.unwrap(), old);
    assert_eq!(chain.mempool().await.unwrap(), [tx.compute_txid()]);
}

#[tokio::test]
#[ignore = "needs a real bitcoind: set ARKWALLETD_BITCOIND and run with --include-ignored"]
async fn a_free_parent_needs_the_child_that_pays() {
    let (_node, chain, _) = start().await;
    let [parent, child] = exit(&chain, coinbase(&chain, 1), coinbase(&chain, 2));
    let alone = chain.submit(parent.clone()).await.unwrap().unwrap_err();
    assert_eq!(alone.kind, RejectKind::Fee);
    assert!(
        alone.reason.starts_with("min relay fee not met, 0 <"),
        "{alone}"
    );
    let orphan = chain.submit(child.clone()).await.unwrap().unwrap_err();
    assert_eq!(orphan.kind, RejectKind::MissingInputs);

    let package = vec![parent.clone(), child.clone()];
    let outcome = chain.submit_package(package.clone()).await.unwrap();
    assert!(outcome.is_success(), "{outcome:?}");
    let fees: Vec<u64> = outcome
        .results
        .iter()
        .map(|tx| tx.result.as_ref().unwrap().fee.to_sat())
        .collect();
    assert_eq!(fees, [0, 1000]);
    let (_, together) = outcome.results[0]
        .result
        .clone()
        .unwrap()
        .effective
        .unwrap();
    assert_eq!(together.len(), 2);
    assert_eq!(
        chain.mempool().await.unwrap(),
        [parent.compute_txid(), child.compute_txid()]
    );
    assert!(chain.submit_package(package).await.unwrap().is_success());

    chain.mine(1).await.unwrap();
    let mined = chain.tx(parent.compute_txid()).await.unwrap().unwrap();
    assert_eq!(mined.block.unwrap().height, 121);

    let mut forged = exit(&chain, coinbase(&chain, 3), coinbase(&chain, 4));
    forged[0].input[0].witness.clear();
    let outcome = chain.submit_package(forged.to_vec()).await.unwrap();
    assert!(!outcome.is_success());
    assert!(outcome.results.iter().all(|tx| tx.result.is_err()));
    let unrelated = vec![
        spend(
            &chain,
            2,
            &[coinbase(&chain, 5)],
            vec![own(COIN - 500)],
            &[],
        ),
        spend(
            &chain,
            2,
            &[coinbase(&chain, 6)],
            vec![own(COIN - 500)],
            &[],
        ),
    ];
    let outcome = chain.submit_package(unrelated).await.unwrap();
    assert!(
        outcome.results.is_empty() && !outcome.is_success(),
        "{outcome:?}"
    );
}

#[tokio::test]
#[ignore = "needs a real bitcoind: set ARKWALLETD_BITCOIND and run with --include-ignored"]
async fn three_blocks_are_reorganised() {
    let (_node, chain, coins) = start().await;
    let payment = coins
        .pay(key().script(), Amount::from_sat(70_000), SAT_PER_VB)
        .await
        .unwrap();
    chain.mine(1).await.unwrap();
    let [parent, child] = exit(&chain, coinbase(&chain, 3), coinbase(&chain, 4));
    let package = chain.submit_package(vec![parent.clone(), child.clone()]);
    assert!(package.await.unwrap().is_success());
    let old = chain.mine(2).await.unwrap();

    let hashes = chain.reorg(3, Reorg::Keep).await.unwrap();
    assert_eq!(hashes.len(), 4);
    assert_eq!(chain.tip().await.unwrap().height, 124);
    assert!(chain.read().ledger.height_of(&old[0]).is_none());
    for txid in [payment, parent.compute_txid(), child.compute_txid()] {
        let block = chain.tx(txid).await.unwrap().unwrap().block;
        assert_eq!(block.unwrap().height, 121);
    }

    chain.reorg(4, Reorg::Drop(vec![payment])).await.unwrap();
    chain.mine(1).await.unwrap();
    let dropped = chain.tx(payment).await.unwrap().unwrap();
    assert_eq!(dropped.block, None, "a node cannot forget, only hold");
    chain.unhold(payment).await.unwrap();
    chain.mine(1).await.unwrap();
    assert!(chain.tx(payment).await.unwrap().unwrap().block.is_some());

    let input = chain.tx(payment).await.unwrap().unwrap().tx.input[0].previous_output;
    let theft = spend(&chain, 2, &[input], vec![own(COIN - 5000)], &[]);
    chain
        .reorg(1, Reorg::Replace(vec![theft.clone()]))
        .await
        .unwrap();
    assert!(chain.tx(payment).await.unwrap().is_none());
    let spender = chain.spender(input).await.unwrap().unwrap();
    assert_eq!(spender.txid, theft.compute_txid());
    assert!(spender.block.is_some());
    assert!(chain.reorg(1000, Reorg::Keep).await.is_err());
}

#[tokio::test]
#[ignore = "needs a real bitcoind: set ARKWALLETD_BITCOIND and run with --include-ignored"]
async fn a_held_transaction_waits() {
    let (_node, chain, coins) = start().await;
    let amount = Amount::from_sat(70_000);
    let txid = coins.pay(key().script(), amount, SAT_PER_VB).await.unwrap();
    chain.hold(txid).await.unwrap();
    chain.hold(txid).await.unwrap();
    chain.mine(2).await.unwrap();
    assert_eq!(chain.mempool().await.unwrap(), [txid]);
    chain.reorg(1, Reorg::Keep).await.unwrap();
    assert_eq!(chain.mempool().await.unwrap(), [txid]);
    chain.unhold(txid).await.unwrap();
    chain.mine(1).await.unwrap();
    assert!(chain.mempool().await.unwrap().is_empty());
    assert!(chain.hold(txid).await.is_err(), "it is not in the mempool");
}

#[tokio::test]
#[ignore = "needs a real bitcoind: set ARKWALLETD_BITCOIND and run with --include-ignored"]
async fn below_the_floor_of_the_miners_a_package_waits_for_a_richer_child() {
    let (_node, chain, _) = start().await;
    let [parent, slow] = exit(&chain, coinbase(&chain, 1), coinbase(&chain, 2));
    let floor = FeeRate::from_sat_per_vb_u32(20);
    chain.set_min_mined_fee(floor).await.unwrap();
    let package = vec![parent.clone(), slow];
    assert!(chain.submit_package(package).await.unwrap().is_success());
    chain.mine(2).await.unwrap();
    assert_eq!(chain.tip().await.unwrap().height, 122);
    assert_eq!(chain.mempool().await.unwrap().len(), 2);

    let inputs = [output_of(&parent, 1), coinbase(&chain, 2)];
    let fast = spend(&chain, 3, &inputs, vec![own(COIN - 10_000)], &[&parent]);
    let package = vec![parent, fast.clone()];
    assert!(chain.submit_package(package).await.unwrap().is_success());
    chain.mine(1).await.unwrap();
    assert!(chain.mempool().await.unwrap().is_empty());
    let mined = chain.tx(fast.compute_txid()).await.unwrap().unwrap();
    assert!(mined.block.is_some());
}

#[tokio::test]
#[ignore = "needs a real bitcoind: set ARKWALLETD_BITCOIND and run with --include-ignored"]
async fn the_chain_survives_a_restart_of_the_node() {
    let (node, chain, coins) = start().await;
    let amount = Amount::from_sat(70_000);
    let txid = coins.pay(key().script(), amount, SAT_PER_VB).await.unwrap();
    node.stop();
    let error = format!("{:#}", chain.tip().await.unwrap_err());
    assert!(error.contains("does not answer"), "{error}");
    node.start_again();
    assert_eq!(chain.mempool().await.unwrap(), [txid]);
    chain.mine(1).await.unwrap();
    assert_eq!(chain.tip().await.unwrap().height, 121);

    let again = connect(&node).await;
    assert_eq!(again.tip().await.unwrap(), chain.tip().await.unwrap());
    assert!(again.tx(txid).await.unwrap().unwrap().block.is_some());
}

#[tokio::test]
#[ignore = "needs a real bitcoind: set ARKWALLETD_BITCOIND and run with --include-ignored"]
async fn fee_rates_fall_back_and_can_be_set() {
    let (_node, chain, _) = start().await;
    let mut rates = chain.fee_rates().await.unwrap();
    assert_eq!(rates.fast, SAT_PER_VB, "a young node has no estimate");
    rates.fast = FeeRate::from_sat_per_vb_u32(9);
    chain.set_fee_rates(rates).await.unwrap();
    assert_eq!(chain.fee_rates().await.unwrap(), rates);
}

#[tokio::test]
#[ignore = "needs a real bitcoind: set ARKWALLETD_BITCOIND and run with --include-ignored"]
async fn requests_that_only_a_simulation_supports_are_refused() {
    let (_node, chain, _) = start().await;
    let txid = coinbase(&chain, 1).txid;
    let refusals = [
        chain.evict(txid).await.map(drop),
        chain.reject_next("no".into()).await,
        chain.set_time(Some(1)).await,
        chain.set_min_relay_fee(SAT_PER_VB).await,
        chain.set_min_mempool_fee(SAT_PER_VB).await.map(drop),
        chain.hold(txid).await,
    ];
    for refusal in refusals {
        let text = refusal.unwrap_err().to_string();
        assert!(text.starts_with("a real node can"), "{text}");
    }
}

#[tokio::test]
#[ignore = "needs a real bitcoind: set ARKWALLETD_BITCOIND and run with --include-ignored"]
async fn an_unsuitable_node_is_refused_with_a_reason() {
    let node = Bitcoind::start_with(&["-chain=signet"]);
    let with = |config: BitcoindConfig| async {
        let script = key().script();
        let refusal = Chain::connect(config, super::super::testing::config(None, script)).await;
        format!("{:#}", refusal.err().unwrap())
    };
    let wrong = with(node.config()).await;
    assert!(wrong.contains("must be on regtest"), "{wrong}");
    let password = "guessed".into();
    let wrong = with(BitcoindConfig {
        password,
        ..node.config()
    })
    .await;
    assert!(wrong.contains("password"), "{wrong}");
    assert!(!wrong.contains("guessed"), "{wrong}");
}

/// A sandbox on a node that mines new transactions at once.
async fn sandbox(node: &Bitcoind) -> SandboxHandle {
    let auto_mine = AutoMine {
        on: true,
        delay: Duration::ZERO,
    };
    let sandbox = Sandbox {
        bitcoind: Some(node.config()),
        auto_mine,
        ..Sandbox::default()
    };
    sandbox.start().await.unwrap()
}

#[tokio::test]
#[ignore = "needs a real bitcoind: set ARKWALLETD_BITCOIND and run with --include-ignored"]
async fn a_sandbox_on_a_node_fills_its_faucet_and_mines_new_transactions() {
    let node = without_index();
    let first = sandbox(&node).await;
    // The blocks of the faucet, and the one with the Ark server's coins.
    let start = first.chain.tip().await.unwrap().height;
    assert!(start >= 120);
    let mut tips = first.chain.subscribe_tips();
    let amount = Amount::from_sat(70_000);
    let txid = first
        .faucet
        .pay(key().script(), amount, SAT_PER_VB)
        .await
        .unwrap();
    tips.changed().await.unwrap();
    let mined = first.chain.tx(txid).await.unwrap().unwrap();
    assert_eq!(mined.block, Some(*tips.borrow_and_update()));

    let client = reqwest::Client::new();
    let refused = client
        .post(format!("{}/reject-next", first.control_url))
        .json(&json!({ "reason": "no" }))
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 422);
    assert!(refused.text().await.unwrap().contains("a real node cannot"));

    // A held transaction alone does not make the miner add blocks; another transaction does.
    let off = AutoMine {
        on: false,
        delay: Duration::ZERO,
    };
    first.chain.set_auto_mine(off).await.unwrap();
    let held = first
        .faucet
        .pay(key().script(), amount, SAT_PER_VB)
        .await
        .unwrap();
    first.chain.hold(held).await.unwrap();
    let on = AutoMine { on: true, ..off };
    first.chain.set_auto_mine(on).await.unwrap();
    let input = coinbase(&first.chain, 5);
    let output = TxOut {
        value: Amount::from_sat(COIN - 1000),
        ..own(0)
    };
    let spent = first.chain.tx(input.txid).await.unwrap().unwrap().tx.output[0].clone();
    let beside = first
        .faucet
        .key()
        .sign(unsigned(2, &[input], vec![output]), &[spent])
        .unwrap();
    let beside = first.chain.submit(beside).await.unwrap().unwrap();
    tips.changed().await.unwrap();
    assert!(
        first
            .chain
            .tx(beside)
            .await
            .unwrap()
            .unwrap()
            .block
            .is_some()
    );
    assert_eq!(first.chain.mempool().await.unwrap(), [held]);
    assert_eq!(first.chain.tip().await.unwrap().height, start + 2);
    first.chain.unhold(held).await.unwrap();
    tips.changed().await.unwrap();

    // On a chain that another sandbox started, a new faucet owns nothing at first.
    let second = sandbox(&node).await;
    assert!(second.chain.tip().await.unwrap().height > start + 120);
    assert!(second.faucet.balance().await.unwrap().confirmed > Amount::ZERO);

    // While the node is down, requests fail; transactions that arrive afterwards are mined.
    node.stop();
    let tip = format!("{}/blocks/tip/height", first.esplora_url);
    let away = client.get(&tip).send().await.unwrap();
    assert_eq!(away.status(), 503);
    node.start_again();
    tips.mark_unchanged();
    first
        .faucet
        .pay(key().script(), amount, SAT_PER_VB)
        .await
        .unwrap();
    tips.changed().await.unwrap();
    first.stop().await;
    second.stop().await;
}
