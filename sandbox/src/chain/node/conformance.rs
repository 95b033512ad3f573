//! The simulation against a real node: it takes all blocks, and through Esplora both give the same answers.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::opcodes::all::{OP_CLTV, OP_DROP};
use bitcoin::script::Builder;
use bitcoin::{Amount, ScriptBuf, Transaction, TxOut, Witness, absolute};
use serde_json::json;
use tower::ServiceExt;

use super::Node;
use super::tests::{COIN, coinbase, connect, exit, key, own, spend, without_index};
use crate::chain::testing::{SAT_PER_VB, anchor, config, output_of, unsigned};
use crate::chain::{Chain, Kind, Reorg, esplora};
use crate::coin_wallet::CoinWallet;
use crate::testing::Bitcoind;

fn node_of(chain: &Chain) -> &Node {
    match &chain.0.kind {
        Kind::Node(node) => node,
        Kind::Sim(_) => panic!("it is a simulation"),
    }
}

/// Gives a node all blocks of a simulation, and checks that it ends up with the same tip.
async fn replay(sim: &Chain, real: &Chain) {
    let tip = sim.tip().await.unwrap();
    for height in 1..=tip.height {
        let block = sim.read().ledger.at(height).unwrap().block.clone();
        node_of(real).hand_in(&block).await.unwrap();
    }
    assert_eq!(real.tip().await.unwrap(), tip);
}

/// A simulation with 120 blocks.
async fn simulation() -> Chain {
    let sim = Chain::start(config(None, key().script())).unwrap();
    sim.mine(120).await.unwrap();
    sim
}

async fn pay(sim: &Chain, sat: u64) -> bitcoin::Txid {
    let coins = CoinWallet::new(sim.clone(), key());
    let amount = Amount::from_sat(sat);
    coins.pay(key().script(), amount, SAT_PER_VB).await.unwrap()
}

/// Pays to a script that is open from a height on, and takes the money back once it is.
async fn wait_for_lock_time(sim: &Chain) {
    let height = sim.tip().await.unwrap().height + 3;
    let script = Builder::new()
        .push_int(height.into())
        .push_opcode(OP_CLTV)
        .push_opcode(OP_DROP)
        .push_int(1)
        .into_script();
    let locked = TxOut {
        value: Amount::from_sat(COIN - 1000),
        script_pubkey: script.to_p2wsh(),
    };
    let parent = spend(sim, 2, &[coinbase(sim, 5)], vec![locked], &[]);
    sim.submit(parent.clone()).await.unwrap().unwrap();
    sim.mine(3).await.unwrap();
    let mut claim = unsigned(2, &[output_of(&parent, 0)], vec![own(COIN - 2000)]);
    claim.input[0].witness = Witness::from_slice(&[script.as_bytes()]);
    claim.lock_time = absolute::LockTime::from_height(height).unwrap();
    sim.submit(claim).await.unwrap().unwrap();
    sim.mine(1).await.unwrap();
}

#[tokio::test]
#[ignore = "needs a real bitcoind: set ARKWALLETD_BITCOIND and run with --include-ignored"]
async fn a_node_takes_every_block_of_the_simulation() {
    let node = without_index();
    let (sim, real) = (simulation().await, connect(&node).await);
    for sat in [1000, 2000, 3000] {
        pay(&sim, sat).await;
    }
    sim.mine(1).await.unwrap();
    let package = exit(&sim, coinbase(&sim, 3), coinbase(&sim, 4)).to_vec();
    assert!(sim.submit_package(package).await.unwrap().is_success());
    sim.mine_empty(1).await.unwrap();
    sim.mine(1).await.unwrap();
    wait_for_lock_time(&sim).await;
    replay(&sim, &real).await;

    sim.reorg(3, Reorg::Keep).await.unwrap();
    let dropped = pay(&sim, 5000).await;
    sim.mine(1).await.unwrap();
    replay(&sim, &real).await;
    sim.reorg(2, Reorg::Drop(vec![dropped])).await.unwrap();
    let ahead = sim.read().ledger.at(100).unwrap().block.header.time + 3600;
    sim.set_time(Some(ahead)).await.unwrap();
    sim.mine(12).await.unwrap();
    sim.set_time(None).await.unwrap();
    pay(&sim, 6000).await;
    // Beyond the first halving of the subsidy.
    sim.mine(20).await.unwrap();
    replay(&sim, &real).await;
}

async fn ask(router: &Router, path: &str, body: Option<String>) -> (u16, String) {
    let request = match body {
        Some(body) => Request::post(path).body(Body::from(body)),
        None => Request::get(path).body(Body::empty()),
    };
    let response = router.clone().oneshot(request.unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// All that can be asked about the chain as it is.
fn paths(sim: &Chain) -> Vec<String> {
    let view = sim.read();
    let top = view.ledger.height();
    let script = key().script();
    let hash = crate::chain::ledger::script_hash(&script);
    let anchors = crate::chain::ledger::script_hash(&ScriptBuf::new_p2a());
    let mut paths: Vec<String> = [
        "/blocks/tip/height",
        "/blocks/tip/hash",
        "/blocks",
        "/blocks/7",
        "/blocks/9999",
        "/block-height/0",
        "/block-height/9999",
        "/block-height/x",
        "/mempool",
        "/mempool/txids",
        "/mempool/recent",
        "/fee-estimates",
    ]
    .map(str::to_owned)
    .into();
    let mut txids = view.mempool.in_order();
    for height in [0, 1, top - 2, top - 1, top] {
        let at = view.ledger.at(height).unwrap();
        paths.push(format!("/block-height/{height}"));
        for part in [
            "", "/status", "/header", "/raw", "/txids", "/txid/0", "/txs", "/txs/25",
        ] {
            paths.push(format!("/block/{}{part}", at.hash));
        }
        txids.extend(at.block.txdata.iter().map(Transaction::compute_txid));
    }
    txids.push(bitcoin::hashes::Hash::all_zeros());
    for txid in txids {
        for part in [
            "",
            "/status",
            "/raw",
            "/hex",
            "/outspend/0",
            "/outspend/1",
            "/outspends",
            "/merkle-proof",
            "/merkleblock-proof",
        ] {
            paths.push(format!("/tx/{txid}{part}"));
        }
    }
    let last = view.ledger.history(&hash)[30];
    for part in ["", "/txs", "/txs/chain", "/txs/mempool", "/utxo"] {
        paths.push(format!("/scripthash/{hash}{part}"));
        paths.push(format!("/scripthash/{anchors}{part}"));
        paths.push(format!("/address/{}{part}", key().address()));
    }
    paths.push(format!("/scripthash/{hash}/txs/chain/{last}"));
    paths
}

#[tokio::test]
#[ignore = "needs a real bitcoind: set ARKWALLETD_BITCOIND and run with --include-ignored"]
async fn esplora_answers_the_same() {
    let options = ["-minrelaytxfee=0.00001", "-incrementalrelayfee=0.00001"];
    let node = Bitcoind::start_with(&options);
    let (sim, real) = (simulation().await, connect(&node).await);
    pay(&sim, 1000).await;
    sim.mine(1).await.unwrap();
    let package = exit(&sim, coinbase(&sim, 3), coinbase(&sim, 4)).to_vec();
    assert!(sim.submit_package(package).await.unwrap().is_success());
    sim.mine(1).await.unwrap();
    sim.reorg(1, Reorg::Keep).await.unwrap();
    replay(&sim, &real).await;
    let routers = [esplora::router(sim.clone()), esplora::router(real.clone())];

    let mut differences = Vec::new();
    for (path, body) in broadcasts(&sim) {
        differences.extend(compare(&routers, path, Some(body)).await);
    }
    for path in paths(&sim) {
        differences.extend(compare(&routers, &path, None).await);
    }
    sim.mine(1).await.unwrap();
    replay(&sim, &real).await;
    for path in paths(&sim) {
        differences.extend(compare(&routers, &path, None).await);
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// How the answers differ, if they do.
async fn compare(routers: &[Router; 2], path: &str, body: Option<String>) -> Option<String> {
    let simulated = ask(&routers[0], path, body.clone()).await;
    let real = ask(&routers[1], path, body.clone()).await;
    let body = body.unwrap_or_default();
    (comparable(&simulated) != comparable(&real))
        .then(|| format!("{path} {body}\n  simulated: {simulated:?}\n  real: {real:?}"))
}

/// An answer without what differs between one node and another.
fn comparable((status, body): &(u16, String)) -> (u16, String) {
    // Knots has a word of its own for each way to break the rules of version 3.
    let mut body = body.clone();
    for word in [
        "truc-spends-nontruc",
        "truc-spent-by-nontruc",
        "truc-ancestors-toomany",
    ] {
        body = body.replace(word, "TRUC-violation");
    }
    // The simulation's library does not tell why a script failed.
    let failure = body
        .find("mandatory-script-verify")
        .or(body.find("mempool-script-verify"));
    if let Some(failure) = failure {
        body.truncate(failure);
    }
    (*status, body)
}

/// Transactions good and bad, each with the route that it is sent to.
fn broadcasts(sim: &Chain) -> Vec<(&'static str, String)> {
    let simple =
        |height: u32, fee: u64| spend(sim, 2, &[coinbase(sim, height)], vec![own(COIN - fee)], &[]);
    let good = simple(5, 1000);
    let child = spend(
        sim,
        2,
        &[output_of(&good, 0)],
        vec![own(COIN - 3000)],
        &[&good],
    );
    let mut forged = simple(6, 1000);
    let mut signature = forged.input[0].witness[0].to_vec();
    signature[40] ^= 1;
    forged.input[0].witness = Witness::from_slice(&[signature]);
    let mut unsigned = simple(6, 1000);
    unsigned.input[0].witness.clear();
    let mut early = simple(6, 1000);
    early.lock_time = absolute::LockTime::from_height(9999).unwrap();
    let immature = simple(100, 1000);
    let dust = spend(
        sim,
        2,
        &[coinbase(sim, 6)],
        vec![own(COIN - 2000), own(100)],
        &[],
    );
    let anchored = spend(
        sim,
        3,
        &[coinbase(sim, 6)],
        vec![own(COIN - 2000), anchor(0)],
        &[],
    );
    let first = spend(sim, 3, &[coinbase(sim, 13)], vec![own(COIN - 1000)], &[]);
    let heir = |version, parent: &Transaction| {
        let value = parent.output[0].value.to_sat() - 2000;
        spend(
            sim,
            version,
            &[output_of(parent, 0)],
            vec![own(value)],
            &[parent],
        )
    };
    let mut singles: Vec<String> = [
        &forged,
        &unsigned,
        &early,
        &immature,
        &dust,
        &anchored,
        &simple(6, 0),
        &simple(6, 50_000_000),
        &child,
        &good,
        &good,
        &simple(5, 1001),
        &child,
        &simple(5, 50_000),
        &simple(5, 90_000),
        &heir(3, &simple(5, 90_000)),
        &first,
        &heir(2, &first),
        &heir(3, &first),
        &heir(3, &heir(3, &first)),
    ]
    .map(serialize_hex)
    .into();
    singles.extend(["".to_owned(), "zz".to_owned(), "00".to_owned()]);
    let in_chain = sim.read().ledger.at(121).unwrap().block.txdata[1].clone();
    singles.push(serialize_hex(&in_chain));

    let [parent, payer] = exit(sim, coinbase(sim, 7), coinbase(sim, 8));
    let poor_inputs = [output_of(&parent, 1), coinbase(sim, 8)];
    let poor = spend(sim, 3, &poor_inputs, vec![own(COIN - 10)], &[&parent]);
    let rich_inputs = [output_of(&parent, 1), coinbase(sim, 9)];
    let rich = spend(sim, 3, &rich_inputs, vec![own(COIN - 9000)], &[&parent]);
    let careless = spend(
        sim,
        3,
        &[output_of(&parent, 0)],
        vec![own(COIN - 900)],
        &[&parent],
    );
    let rival_inputs = [
        output_of(&simple(14, 500), 0),
        output_of(&simple(14, 600), 0),
    ];
    let rivals = [&simple(14, 500), &simple(14, 600)];
    let rival_child = spend(sim, 2, &rival_inputs, vec![own(COIN)], &rivals);
    let packages: [&[&Transaction]; 16] = [
        &[rivals[0], rivals[1], &rival_child],
        &[rivals[0], rivals[0]],
        &[rivals[0], rivals[0], &heir(2, rivals[0])],
        &[&parent, &simple(6, 50_000_000)],
        &[],
        &[&parent],
        &[&payer, &parent],
        &[&parent, &poor],
        &[&parent, &careless],
        &[&parent, &payer],
        &[&parent, &payer],
        &[&parent, &rich],
        &[&simple(10, 500)],
        &[&simple(11, 500), &simple(12, 500)],
        &[&forged],
        &[&in_chain],
    ];
    let singles = singles.into_iter().map(|hex| ("/tx", hex));
    let packages = packages.iter().map(|txs| {
        let hexes: Vec<String> = txs.iter().map(|tx| serialize_hex(*tx)).collect();
        ("/txs/package", json!(hexes).to_string())
    });
    let broken = [("/txs/package", "[\"00\"]".to_owned())];
    singles.chain(packages).chain(broken).collect()
}
