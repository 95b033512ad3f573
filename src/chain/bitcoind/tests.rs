//! Tests of what only bitcoind has: logins, requirements on the node, restarts, block notifications.

use std::time::Duration;

use arkwalletd_sandbox::testing;
use bitcoin::Network;
use bitcoin::constants::genesis_block;

use super::*;
use crate::chain::fixture::{FEE_RATE, NETWORK, backend, connect_to, cookie};
use crate::chain::{BackendConfig, ChainConfig, ChainSource};

async fn failure(backend: BackendConfig, network: Network) -> Error {
    let config = ChainConfig {
        backend,
        fallback_fee_rate: FEE_RATE,
    };
    let connected = ChainSource::connect(&config, network).await;
    connected.err().expect("the node must be refused")
}

fn password(password: &str) -> BitcoindAuth {
    BitcoindAuth::UserPass {
        user: testing::Bitcoind::USER.into(),
        password: password.to_owned().into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real bitcoind: set ARKWALLETD_BITCOIND and run with --include-ignored"]
async fn both_logins_work_and_the_error_names_a_wrong_one() {
    let node = testing::Bitcoind::start();
    for auth in [cookie(&node), password(testing::Bitcoind::PASSWORD)] {
        let chain = connect_to(backend(&node, auth)).await;
        let genesis = genesis_block(NETWORK).block_hash();
        assert_eq!(chain.tip().await.unwrap().hash, genesis);
    }
    let error = failure(backend(&node, password("wrong")), NETWORK).await;
    assert!(matches!(error, Error::Config(_)), "{error}");
    assert!(error.to_string().contains("the password of user test"));
    let nowhere = BitcoindAuth::Cookie("/nowhere/.cookie".into());
    let error = failure(backend(&node, nowhere), NETWORK).await;
    assert!(error.to_string().contains("/nowhere/.cookie"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real bitcoind: set ARKWALLETD_BITCOIND and run with --include-ignored"]
async fn a_node_of_another_network_or_without_txindex_is_refused() {
    let node = testing::Bitcoind::start_with(&["-txindex=0"]);
    let error = failure(backend(&node, cookie(&node)), Network::Signet).await;
    assert!(error.to_string().contains("is not on signet"), "{error}");
    let error = failure(backend(&node, cookie(&node)), NETWORK).await;
    assert!(error.to_string().contains("put txindex=1"), "{error}");
    assert!(!matches!(error, Error::Unavailable(_) | Error::Invalid(_)));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real bitcoind: set ARKWALLETD_BITCOIND and run with --include-ignored"]
async fn a_restarted_node_is_used_with_its_new_cookie() {
    let node = testing::Bitcoind::start();
    let backend = backend(&node, cookie(&node));
    let BackendConfig::Bitcoind { url, auth, .. } = backend else {
        unreachable!()
    };
    let source = Bitcoind::new(url, auth, None).unwrap();
    let before = source.tip(None).await.unwrap();
    let BitcoindAuth::Cookie(path) = cookie(&node) else {
        unreachable!()
    };
    let first = std::fs::read_to_string(&path).unwrap();
    node.stop();
    let stopped = source.tip(None).await.unwrap_err();
    assert!(matches!(stopped, Error::Unavailable(_)), "{stopped}");
    assert!(matches!(
        source.broadcast(&[]).await,
        Err(BroadcastError::Unavailable(_))
    ));

    node.start_again();
    assert_ne!(std::fs::read_to_string(&path).unwrap(), first);
    assert_eq!(source.tip(None).await.unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real bitcoind: set ARKWALLETD_BITCOIND and run with --include-ignored"]
async fn blocks_are_announced_before_and_after_a_restart() {
    let node = testing::Bitcoind::start();
    let BackendConfig::Bitcoind { url, auth, .. } = backend(&node, cookie(&node)) else {
        unreachable!()
    };
    let zmq = Some(node.zmq());
    let chain = connect_to(BackendConfig::Bitcoind { url, auth, zmq }).await;
    for _ in 0..2 {
        let before = chain.tip().await.unwrap().height;
        // A subscription takes effect some time after it was sent, so mine until one block is announced.
        let announced = async {
            loop {
                chain.next_block_notification().await;
                if chain.tip().await.is_ok_and(|tip| tip.height > before) {
                    break;
                }
            }
        };
        let mining = async {
            loop {
                node.cli(&["generatetodescriptor", "1", "raw(51)"]);
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        let announced = async {
            tokio::select! {
                () = announced => {}
                () = mining => {}
            }
        };
        let patience = Duration::from_secs(60);
        tokio::time::timeout(patience, announced).await.unwrap();
        node.stop();
        node.start_again();
    }
}
