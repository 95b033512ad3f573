//! The API against the clients that it is for: the Rust Esplora client and a BDK wallet.

use std::time::Duration;

use bdk_esplora::EsploraAsyncExt;
use bdk_esplora::esplora_client::{AsyncClient, Builder};
use bdk_wallet::{KeychainKind, SignOptions, Wallet};
use bitcoin::{Address, Amount, FeeRate, Network, OutPoint, Transaction, Txid};

use crate::chain::AutoMine;
use crate::chain::testing::{SAT_PER_VB, anchor, output_of, unsigned};
use crate::coin_wallet::{CoinKey, CoinWallet};
use crate::{Sandbox, SandboxHandle};

async fn start() -> (SandboxHandle, AsyncClient) {
    let auto_mine = AutoMine {
        on: false,
        delay: Duration::ZERO,
    };
    let sandbox = Sandbox {
        auto_mine,
        ..Sandbox::default()
    }
    .start()
    .await
    .unwrap();
    let client = Builder::new(&sandbox.esplora_url).build_async().unwrap();
    (sandbox, client)
}

async fn pay(sandbox: &SandboxHandle, to: &Address, sat: u64) -> Txid {
    sandbox
        .faucet
        .pay(to.script_pubkey(), Amount::from_sat(sat), SAT_PER_VB)
        .await
        .unwrap()
}

const XPRV: &str = "tprv8ZgxMBicQKsPf2qfrEygW6fdYseJDDrVnDv26PH5BHdvSuG6ecCbHqLVof9yZcMoM31z9ur3tTYbSnr1WBqbGX97CbXcmp5H6qeMpyvx35B";

/// A wallet of one kind of script, `tr` or `wpkh`.
fn bdk_wallet(kind: &str) -> Wallet {
    let (external, internal) = (format!("{kind}({XPRV}/0/*)"), format!("{kind}({XPRV}/1/*)"));
    Wallet::create(external, internal)
        .network(Network::Regtest)
        .create_wallet_no_persist()
        .unwrap()
}

async fn sync(wallet: &mut Wallet, client: &AsyncClient) {
    let request = wallet.start_sync_with_revealed_spks();
    let update = client.sync(request, 4).await.unwrap();
    wallet.apply_update(update).unwrap();
}

#[expect(
    deprecated,
    reason = "the wallet that holds its own keys is the shortest way to a signature"
)]
fn send(wallet: &mut Wallet, to: &Address, sat: u64) -> Transaction {
    let mut builder = wallet.build_tx();
    builder
        .add_recipient(to.script_pubkey(), Amount::from_sat(sat))
        .fee_rate(FeeRate::from_sat_per_vb_u32(2));
    let mut psbt = builder.finish().unwrap();
    assert!(wallet.sign(&mut psbt, SignOptions::default()).unwrap());
    psbt.extract_tx().unwrap()
}

#[tokio::test]
async fn a_bdk_wallet_syncs_sends_and_sees_its_change() {
    for kind in ["tr", "wpkh"] {
        sync_send_and_scan(kind).await;
    }
}

async fn sync_send_and_scan(kind: &str) {
    let (sandbox, client) = start().await;
    let mut wallet = bdk_wallet(kind);
    let address = wallet.reveal_next_address(KeychainKind::External).address;
    pay(&sandbox, &address, 100_000).await;
    sync(&mut wallet, &client).await;
    assert_eq!(
        wallet.balance().untrusted_pending,
        Amount::from_sat(100_000)
    );
    sandbox.chain.mine(1).await.unwrap();
    sync(&mut wallet, &client).await;
    assert_eq!(wallet.balance().confirmed, Amount::from_sat(100_000));
    assert_eq!(wallet.latest_checkpoint().height(), 121);

    let tx = send(&mut wallet, &sandbox.faucet.address(), 30_000);
    client.broadcast(&tx).await.unwrap();
    client
        .broadcast(&tx)
        .await
        .expect("a second broadcast is no error");
    sync(&mut wallet, &client).await;
    let fee = wallet.calculate_fee(&tx).unwrap();
    let left = Amount::from_sat(70_000) - fee;
    assert_eq!(wallet.balance().trusted_pending, left);
    sandbox.chain.mine(1).await.unwrap();
    sync(&mut wallet, &client).await;
    assert_eq!(wallet.balance().confirmed, left);

    // A wallet that starts over finds the same by scanning.
    let mut again = bdk_wallet(kind);
    let request = again.start_full_scan();
    again
        .apply_update(client.full_scan(request, 5, 2).await.unwrap())
        .unwrap();
    assert_eq!(again.balance().confirmed, left);
}

#[tokio::test]
async fn a_bdk_wallet_follows_a_reorganisation() {
    let (sandbox, client) = start().await;
    let mut wallet = bdk_wallet("tr");
    let address = wallet.reveal_next_address(KeychainKind::External).address;
    let txid = pay(&sandbox, &address, 100_000).await;
    sandbox.chain.mine(3).await.unwrap();
    sync(&mut wallet, &client).await;
    assert_eq!(wallet.balance().confirmed, Amount::from_sat(100_000));
    sandbox
        .chain
        .reorg(3, crate::chain::Reorg::Drop(vec![txid]))
        .await
        .unwrap();
    sync(&mut wallet, &client).await;
    assert_eq!(wallet.balance().total(), Amount::ZERO);
    assert_eq!(wallet.latest_checkpoint().height(), 124);
}

#[tokio::test]
async fn a_long_history_is_read_in_pages() {
    let (sandbox, client) = start().await;
    let mut wallet = bdk_wallet("tr");
    let address = wallet.reveal_next_address(KeychainKind::External).address;
    for block in 0..3 {
        for _ in 0..20 {
            pay(&sandbox, &address, 1000).await;
        }
        if block < 2 {
            sandbox.chain.mine(1).await.unwrap();
        }
    }
    sync(&mut wallet, &client).await;
    assert_eq!(wallet.balance().confirmed, Amount::from_sat(40_000));
    assert_eq!(wallet.balance().untrusted_pending, Amount::from_sat(20_000));
}

/// An exit transaction without fee and a child that pays for it, of a key that owns two coins.
async fn exit_and_child(sandbox: &SandboxHandle, fee: u64) -> [Transaction; 2] {
    let key = CoinKey::derive(&[8; 32], "exit");
    let own = |sat| bitcoin::TxOut {
        value: Amount::from_sat(sat),
        script_pubkey: key.script(),
    };
    let first = pay(sandbox, &key.address(), 50_000).await;
    let second = pay(sandbox, &key.address(), 60_000).await;
    sandbox.chain.mine(1).await.unwrap();
    let (first, second) = (OutPoint::new(first, 0), OutPoint::new(second, 0));
    let parent = key
        .sign(
            unsigned(3, &[first], vec![own(50_000), anchor(0)]),
            &[own(50_000)],
        )
        .unwrap();
    let child = unsigned(3, &[output_of(&parent, 1), second], vec![own(60_000 - fee)]);
    let child = key.sign(child, &[anchor(0), own(60_000)]).unwrap();
    [parent, child]
}

#[tokio::test]
async fn a_package_is_answered_as_a_node_answers() {
    let (sandbox, client) = start().await;
    let [parent, child] = exit_and_child(&sandbox, 100).await;
    let poor = client
        .submit_package(&[parent.clone(), child.clone()], None, None)
        .await
        .unwrap();
    assert_eq!(poor.package_msg, "transaction failed");
    let error = poor.tx_results[&child.compute_wtxid()]
        .error
        .clone()
        .unwrap();
    assert!(
        error.starts_with("min relay fee not met, 100 < "),
        "{error}"
    );

    let key = CoinKey::derive(&[8; 32], "exit");
    let mut rich = child.clone();
    rich.output[0].value = Amount::from_sat(58_000);
    let spent = [
        anchor(0),
        bitcoin::TxOut {
            value: Amount::from_sat(60_000),
            script_pubkey: key.script(),
        },
    ];
    let rich = key.sign(rich, &spent).unwrap();
    let outcome = client
        .submit_package(&[parent.clone(), rich.clone()], None, None)
        .await
        .unwrap();
    assert_eq!(outcome.package_msg, "success");
    let result = &outcome.tx_results[&rich.compute_wtxid()];
    assert_eq!(result.fees.as_ref().unwrap().base, Amount::from_sat(2000));
    assert_eq!(u64::from(result.vsize.unwrap()), rich.vsize() as u64);
    assert!(result.fees.as_ref().unwrap().effective_feerate.unwrap() > FeeRate::BROADCAST_MIN);

    let single = client.submit_package(&[rich], None, None).await.unwrap();
    assert_eq!(
        single.package_msg, "success",
        "a package of one that is known"
    );
    client
        .submit_package(&[child, parent], None, None)
        .await
        .expect_err("children first is malformed");
}

#[tokio::test]
async fn the_client_reads_blocks_and_transactions() {
    let (sandbox, client) = start().await;
    let to = CoinKey::derive(&[9; 32], "to").address();
    let txid = pay(&sandbox, &to, 7000).await;
    let waiting = client.get_tx_info(&txid).await.unwrap().unwrap();
    assert!(!waiting.status.confirmed && waiting.fee > 0);
    assert_eq!(client.get_mempool_txids().await.unwrap(), [txid]);
    assert_eq!(client.get_mempool_stats().await.unwrap().count, 1);
    assert_eq!(client.get_mempool_recent_txs().await.unwrap()[0].txid, txid);
    sandbox.chain.mine(1).await.unwrap();

    let tip = sandbox.chain.tip().await.unwrap();
    assert_eq!(client.get_height().await.unwrap(), 121);
    assert_eq!(client.get_tip_hash().await.unwrap(), tip.hash);
    assert_eq!(
        client.get_block_hash(0).await.unwrap(),
        bitcoin::constants::genesis_block(Network::Regtest).block_hash()
    );
    assert!(client.get_block_hash(122).await.is_err());
    let infos = client.get_block_infos(None).await.unwrap();
    assert_eq!(
        (infos.len(), infos[0].id, infos[0].tx_count),
        (10, tip.hash, 2)
    );
    assert_eq!(client.get_block_infos(Some(3)).await.unwrap().len(), 4);
    let block = client.get_block_by_hash(&tip.hash).await.unwrap().unwrap();
    assert_eq!(
        client.get_header_by_hash(&tip.hash).await.unwrap(),
        block.header
    );
    assert_eq!(client.get_block_txids(&tip.hash).await.unwrap()[1], txid);
    assert!(
        client
            .get_block_status(&tip.hash)
            .await
            .unwrap()
            .in_best_chain
    );

    let info = client.get_tx_info(&txid).await.unwrap().unwrap();
    assert_eq!(info.to_tx(), client.get_tx(&txid).await.unwrap().unwrap());
    assert_eq!(info.status.block_height, Some(121));
    let spent = info.vin[0].clone();
    let outspend = client
        .get_output_status(&spent.txid, u64::from(spent.vout))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (outspend.txid, outspend.status.unwrap().block_hash),
        (Some(txid), Some(tip.hash))
    );
    assert!(
        client
            .get_tx(&tip.hash.to_string().parse().unwrap())
            .await
            .unwrap()
            .is_none()
    );

    let proof = client.get_merkle_proof(&txid).await.unwrap().unwrap();
    assert_eq!(
        (proof.block_height, proof.pos, proof.merkle.len()),
        (121, 1, 1)
    );
    assert!(client.get_merkle_block(&txid).await.unwrap().is_some());
    let stats = client.get_address_stats(&to).await.unwrap().chain_stats;
    assert_eq!(
        (stats.funded_txo_sum, stats.spent_txo_sum, stats.tx_count),
        (7000, 0, 1)
    );
    assert_eq!(
        client.get_address_utxos(&to).await.unwrap()[0].value,
        Amount::from_sat(7000)
    );
    assert_eq!(client.get_fee_estimates().await.unwrap()[&1], 3.0);
}

#[tokio::test]
async fn a_refused_transaction_is_a_bad_request_with_the_reason() {
    let (sandbox, client) = start().await;
    let [_, child] = exit_and_child(&sandbox, 1000).await;
    let error = client.broadcast(&child).await.unwrap_err().to_string();
    assert!(
        error.contains("400") && error.contains("bad-txns-inputs-missingorspent"),
        "{error}"
    );
    let coins = CoinWallet::new(sandbox.chain.clone(), CoinKey::derive(&[8; 32], "exit"));
    assert_eq!(
        coins.balance().await.unwrap().confirmed,
        Amount::from_sat(110_000)
    );
}
