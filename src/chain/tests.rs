//! Tests of the chain source against an Esplora server with scripted answers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use bitcoin::absolute::LockTime;
use bitcoin::consensus::encode::serialize;
use bitcoin::constants::genesis_block;
use bitcoin::hashes::Hash as _;
use bitcoin::transaction::Version;
use bitcoin::{BlockHash, FeeRate, Network, Transaction, Txid};
use bitcoin_ext::BlockHeight;
use serde_json::json;

use super::*;

/// The answers by path, and the paths that were requested.
#[derive(Default)]
struct Script {
    answers: Mutex<HashMap<String, Vec<u8>>>,
    requested: Mutex<Vec<String>>,
}

impl Script {
    fn answer(&self, path: impl Into<String>, body: impl Into<Vec<u8>>) {
        self.answers
            .lock()
            .unwrap()
            .insert(path.into(), body.into());
    }

    fn take_requested(&self) -> Vec<String> {
        std::mem::take(&mut self.requested.lock().unwrap())
    }

    fn set_tip(&self, height: u32, hash: BlockHash) {
        let block = json!([{
            "id": hash, "height": height, "version": 1, "timestamp": 1, "tx_count": 1, "size": 1, "weight": 4,
            "merkle_root": "00".repeat(32), "previousblockhash": null, "mediantime": 1, "nonce": 0,
            "bits": 0x207f_ffff, "difficulty": 0.0,
        }]);
        self.answer("/blocks/tip/hash", hash.to_string());
        self.answer("/blocks", block.to_string());
    }
}

async fn play(State(script): State<Arc<Script>>, uri: Uri) -> (StatusCode, Vec<u8>) {
    let path = uri.path().to_owned();
    let answer = script.answers.lock().unwrap().get(&path).cloned();
    script.requested.lock().unwrap().push(path);
    match answer {
        Some(body) => (StatusCode::OK, body),
        None => (StatusCode::NOT_FOUND, b"not found".to_vec()),
    }
}

async fn serve() -> (Arc<Script>, ChainConfig) {
    let script = Arc::new(Script::default());
    let genesis = genesis_block(Network::Regtest).block_hash();
    script.answer("/block-height/0", genesis.to_string());
    script.set_tip(0, genesis);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let router = Router::new().fallback(play).with_state(Arc::clone(&script));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let config = ChainConfig {
        backend: BackendConfig::Esplora {
            url,
            socks5_proxy: None,
        },
        fallback_fee_rate: FeeRate::BROADCAST_MIN,
    };
    (script, config)
}

#[tokio::test]
async fn a_server_of_another_network_is_refused() {
    let (_script, config) = serve().await;
    let error = ChainSource::connect(&config, Network::Bitcoin)
        .await
        .err()
        .unwrap();
    assert!(matches!(error, Error::WrongNetwork { .. }), "{error}");
    assert!(error.to_string().contains("is not on bitcoin"), "{error}");
}

#[tokio::test]
async fn no_request_is_made_before_the_network_is_checked() {
    let (script, config) = serve().await;
    let chain = ChainSource::new(&config, Network::Bitcoin).unwrap();
    assert!(script.take_requested().is_empty());
    let tip = chain.tip().await;
    assert!(matches!(tip, Err(Error::WrongNetwork { .. })), "{tip:?}");
    let sent = chain.broadcast_package(&[]).await;
    assert!(
        matches!(sent, Err(BroadcastError::Unavailable(_))),
        "{sent:?}"
    );
    assert!(chain.wallet_source().await.is_err());
    assert_eq!(script.take_requested(), ["/block-height/0"; 3]);
}

#[tokio::test]
async fn a_tip_with_an_impossible_height_is_invalid() {
    let (script, config) = serve().await;
    let chain = ChainSource::connect(&config, Network::Regtest)
        .await
        .unwrap();
    chain.expire_tip();
    script.set_tip(500_000_000, BlockHash::from_byte_array([7; 32]));
    assert!(matches!(chain.tip().await, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn an_unreachable_server_is_unavailable() {
    let (_script, mut config) = serve().await;
    config.backend = BackendConfig::Esplora {
        url: "http://127.0.0.1:1".into(),
        socks5_proxy: None,
    };
    let error = ChainSource::connect(&config, Network::Regtest)
        .await
        .err()
        .unwrap();
    assert!(
        matches!(error, Error::Unavailable(_) | Error::Invalid(_)),
        "{error}"
    );
}

#[tokio::test]
async fn the_tip_is_requested_once_a_second_and_its_height_once_a_block() {
    let (script, config) = serve().await;
    let chain = ChainSource::connect(&config, Network::Regtest)
        .await
        .unwrap();
    let mut tips = chain.subscribe_tips();
    tips.mark_unchanged();
    script.take_requested();
    let first = chain.tip().await.unwrap();
    assert!(script.take_requested().is_empty());

    chain.expire_tip();
    assert_eq!(chain.tip().await.unwrap(), first);
    assert_eq!(script.take_requested(), ["/blocks/tip/hash"]);
    assert!(!tips.has_changed().unwrap());

    let hash = BlockHash::from_byte_array([7; 32]);
    script.set_tip(1, hash);
    chain.expire_tip();
    let height = BlockHeight::new(1);
    assert_eq!(chain.tip().await.unwrap(), Tip { height, hash });
    assert_eq!(chain.last_tip(), Some(Tip { height, hash }));
    assert!(tips.has_changed().unwrap());
}

#[tokio::test]
async fn transactions_are_checked_and_confirmed_ones_cached() {
    let (script, config) = serve().await;
    let chain = ChainSource::connect(&config, Network::Regtest)
        .await
        .unwrap();
    let transaction = Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![],
        output: vec![],
    };
    let txid = transaction.compute_txid();
    assert_eq!(chain.transaction(txid).await.unwrap(), None);
    assert_eq!(chain.status(txid).await.unwrap(), TxStatus::NotFound);

    let hash = BlockHash::from_byte_array([7; 32]);
    let info = json!({
        "txid": txid, "version": 2, "locktime": 0, "vin": [], "vout": [], "size": 10, "weight": 40, "fee": 0,
        "status": { "confirmed": true, "block_height": 3, "block_hash": hash, "block_time": 1 },
    });
    script.answer(format!("/tx/{txid}"), info.to_string());
    script.answer(format!("/tx/{txid}/raw"), serialize(&transaction));
    let height = BlockHeight::new(3);
    let confirmed = TxStatus::Confirmed { height, hash };
    assert_eq!(chain.status(txid).await.unwrap(), confirmed);
    assert_eq!(
        chain.transaction(txid).await.unwrap().as_ref(),
        Some(&transaction)
    );
    script.take_requested();
    assert_eq!(
        chain.transaction(txid).await.unwrap(),
        Some(transaction.clone())
    );
    assert!(script.take_requested().is_empty());

    let other = Txid::from_byte_array([9; 32]);
    script.answer(format!("/tx/{other}/raw"), serialize(&transaction));
    let swapped = chain.transaction(other).await;
    assert!(matches!(swapped, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn a_failed_fee_estimate_leaves_the_known_rates() {
    let (script, config) = serve().await;
    let chain = ChainSource::connect(&config, Network::Regtest)
        .await
        .unwrap();
    assert!(chain.refresh_fee_rates().await.is_err());
    assert_eq!(chain.fee_rates().fast, FeeRate::BROADCAST_MIN);
    script.answer("/fee-estimates", r#"{"1": 5.0, "144": 1.0}"#);
    let rates = chain.refresh_fee_rates().await.unwrap();
    assert_eq!(rates.fast, FeeRate::from_sat_per_vb_u32(5));
    assert_eq!(chain.fee_rates(), rates);
}
