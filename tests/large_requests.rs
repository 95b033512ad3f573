//! Batches larger than the Ark server's largest request, which a wallet has to send in pieces (H49).

use ark_lib::ProtocolEncoding;
use arkwalletd_sandbox::ark::Params;
use bitcoin::Network;
use serde_json::json;
use server_rpc::tonic::Code;
use server_rpc::{ServerConnection, protos};

use crate::support::{Daemon, World, assert_conserved, eventually, rounds_of};

/// The server's largest request: small, so that few payments make a batch that is larger. Each payment alone fits.
const MAX_REQUEST_BYTES: usize = 24 * 1024;
const PAYMENTS: u64 = 16;
const SATS: u64 = 1_000;

/// A payer, and a payee who holds one VTXO of each payment. Their chains grow, because each payment spends the change of the last.
async fn after_many_payments() -> (World, Daemon, Daemon) {
    let world = World::with(Params {
        max_request_bytes: MAX_REQUEST_BYTES,
        ..rounds_of(1)
    })
    .await;
    let payer = Daemon::with_wallet(&world).await;
    payer.fund_and_board(&world, 100_000).await;
    let payee = Daemon::with_wallet(&world).await;
    let to = payee.address().await;
    for _ in 0..PAYMENTS {
        payer.send(&to, SATS).await.ok();
    }
    payee.wait_for_spendable(PAYMENTS * SATS).await;
    (world, payer, payee)
}

/// Uploads the chains of all VTXOs of a wallet in a single request, and asserts that the server refuses it for its size.
async fn assert_larger_than_a_request(world: &World, daemon: &Daemon) {
    let mut vtxos = Vec::new();
    for id in daemon.vtxos().await {
        let record = world.sandbox.ark.vtxo(id.parse().unwrap()).unwrap();
        vtxos.push(record.unwrap().vtxo.serialize());
    }
    let connection = ServerConnection::builder()
        .address(world.sandbox.ark.address())
        .network(Network::Regtest)
        .connect()
        .await
        .unwrap();
    let upload = async |vtxos: Vec<Vec<u8>>| {
        let request = protos::RegisterVtxoTransactionsRequest { vtxos };
        let mut client = connection.client.clone();
        client.register_vtxo_transactions(request).await
    };
    upload(vtxos[..1].to_vec()).await.unwrap();
    let refused = upload(vtxos).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
}

#[tokio::test]
async fn a_refresh_of_more_than_fits_into_one_request_succeeds() {
    let (world, payer, payee) = after_many_payments().await;
    assert_larger_than_a_request(&world, &payee).await;
    let uploads = world.calls_of("RegisterVtxoTransactions");
    payee.refresh_all().await;
    world.successful_round().await;
    payee.finish_round(&world).await;
    assert!(world.calls_of("RegisterVtxoTransactions") > uploads + 2);
    assert_eq!(payee.vtxos().await.len(), 1);
    assert_eq!(payee.balance("spendable_sat").await, PAYMENTS * SATS);
    assert_conserved(&world, &[&payer, &payee]).await;
}

#[tokio::test]
async fn a_payment_of_more_than_fits_into_one_request_is_delivered() {
    let (world, payer, payee) = after_many_payments().await;
    assert_larger_than_a_request(&world, &payee).await;
    let before = payer.balance("spendable_sat").await;
    let posts = world.calls_of("PostArkoorMessage");
    let to = payer.address().await;
    payee.send(&to, PAYMENTS * SATS).await.ok();
    payer.wait_for_spendable(before + PAYMENTS * SATS).await;
    assert!(world.calls_of("PostArkoorMessage") > posts + 2);
    assert_eq!(payee.balance("spendable_sat").await, 0);
    assert_conserved(&world, &[&payer, &payee]).await;
}

/// The server finds every upload too large, even of a single chain. Nothing has been signed, so the refresh ends. The fault begins
/// before the board, so that the catch-up cannot upload the chain first.
#[tokio::test]
async fn a_refresh_whose_upload_stays_too_large_ends_and_frees_its_coins() {
    let world = World::with(rounds_of(1)).await;
    let daemon = Daemon::with_wallet(&world).await;
    let refusal = json!({"type": "status", "code": Code::OutOfRange as i32, "message": "too big"});
    world.fault(json!({"target": "RegisterVtxoTransactions", "action": refusal}));
    daemon.fund_and_board(&world, 50_000).await;
    daemon.post_empty("/wallet/refresh/all").await;
    eventually("the refresh has failed", async || {
        let history = daemon.history().await;
        let failed = history
            .iter()
            .any(|movement| movement["status"] == "failed");
        failed.then_some(())
    })
    .await;
    assert_eq!(daemon.balance("spendable_sat").await, 50_000);
    world.no_faults();
    daemon.refresh_all().await;
    world.successful_round().await;
    daemon.finish_round(&world).await;
    assert_eq!(daemon.balance("spendable_sat").await, 50_000);
    assert_conserved(&world, &[&daemon]).await;
}
