//! What the server says about VTXOs that are on chain (docs/protocol.md §40).

use ark_lib::attestations::VtxoStatusAttestation;
use server_rpc::StatusExt;
use server_rpc::protos::VtxoSpendState;
use server_rpc::tonic::Code;

use super::*;
use crate::ark::{Ledger, WatchmanChange};
use crate::chain::Reorg;

impl Wallet {
    pub(super) async fn spend_state(&self, vtxo: &Vtxo<Full>) -> VtxoSpendState {
        let attestation = VtxoStatusAttestation::new(vtxo.id(), &self.key);
        let request = protos::GetVtxoStatusRequest {
            vtxo_id: vtxo.id().to_bytes().to_vec(),
            attestation: attestation.serialize(),
        };
        let mut client = self.rpc.client.clone();
        let answer = client.get_vtxo_status(request).await.unwrap();
        answer.into_inner().spend_state()
    }
}

#[tokio::test]
async fn an_exited_vtxo_is_refused_without_its_id_and_reported_as_spendable() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let vtxo = sandbox.board(&wallet, sat(20_000)).await;
    sandbox.exit(&vtxo).await;

    let payment = wallet.payment(&vtxo, &[(new_key().public_key(), 20_000)]);
    let status = wallet.cosign(&payment).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("has exited onchain"), "{status}");
    assert!(status.rejected_vtxos().is_empty(), "{status}");
    assert_eq!(wallet.spend_state(&vtxo).await, VtxoSpendState::Spendable);
    ledger_shows(&sandbox, |ledger| ledger.exited.amount == sat(20_000)).await;

    let undone = Reorg::Drop(vec![vtxo.point().txid]);
    sandbox.chain.reorg(1, undone).await.unwrap();
    ledger_shows(&sandbox, |ledger| ledger.exited.count == 0).await;
    wallet.cosign(&payment).await.unwrap();
}

/// Waits until the server, which follows the chain on its own, has noticed.
async fn ledger_shows(sandbox: &Sandbox, expected: impl Fn(&Ledger) -> bool) {
    while !expected(&sandbox.server.ledger().unwrap()) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_round_names_the_vtxos_that_are_on_chain() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let vtxo = sandbox.board(&wallet, sat(20_000)).await;
    sandbox.exit(&vtxo).await;
    let refused = wallet
        .delegate(&[&vtxo], &[20_000], None, None)
        .await
        .err()
        .unwrap();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(
        refused.message().contains("has exited onchain"),
        "{refused}"
    );
    assert_eq!(refused.rejected_vtxos(), vec![vtxo.id()]);
}

#[tokio::test]
async fn only_the_confirmation_of_its_own_transaction_makes_a_vtxo_exited() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let board = sandbox.board(&wallet, sat(20_000)).await;
    let me = wallet.key.public_key();
    let paid = wallet.pay(&board, &[(me, 20_000)]).await.remove(0);
    let chain: Vec<Transaction> = paid.transactions().map(|item| item.tx).collect();
    let (own, ancestors) = chain.split_last().unwrap();
    for ancestor in ancestors {
        sandbox.mine_with_fee(ancestor.clone()).await;
    }
    let payment = wallet.payment(&paid, &[(me, 20_000)]);
    wallet.cosign(&payment).await.unwrap();

    sandbox.mine_with_fee(own.clone()).await;
    let other = wallet.payment(&paid, &[(me, 15_000), (me, 5_000)]);
    let status = wallet.cosign(&other).await.unwrap_err();
    assert!(status.message().contains("has exited onchain"), "{status}");
}

#[tokio::test]
async fn an_old_spend_is_signed_again_after_the_exit() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let vtxo = sandbox.board(&wallet, sat(20_000)).await;
    let to = new_key().public_key();
    let payment = wallet.payment(&vtxo, &[(to, 20_000)]);
    wallet.cosign(&payment).await.unwrap();
    sandbox.exit(&vtxo).await;
    wallet.cosign(&payment).await.unwrap();
    assert_eq!(wallet.spend_state(&vtxo).await, VtxoSpendState::Spent);
}

#[tokio::test]
async fn an_exit_in_the_mempool_is_none() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let vtxo = sandbox.board(&wallet, sat(20_000)).await;
    let own = vtxo.transactions().last().unwrap();
    sandbox.submit_with_fee(own.tx).await;
    let payment = wallet.payment(&vtxo, &[(new_key().public_key(), 20_000)]);
    wallet.cosign(&payment).await.unwrap();
}

#[tokio::test]
async fn a_server_that_does_not_look_lets_exited_vtxos_be_spent() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let blind = WatchmanChange {
        tracking: Some(false),
        ..WatchmanChange::default()
    };
    sandbox.server.change_watchman(blind);
    let vtxo = sandbox.board(&wallet, sat(20_000)).await;
    sandbox.exit(&vtxo).await;
    let payment = wallet.payment(&vtxo, &[(new_key().public_key(), 20_000)]);
    wallet.cosign(&payment).await.unwrap();
}

#[tokio::test]
async fn an_expired_vtxo_is_spendable_and_registered_again_after_its_exit() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let vtxo = sandbox.board(&wallet, sat(20_000)).await;
    sandbox.exit(&vtxo).await;
    sandbox.chain.mine(440).await.unwrap();
    assert_eq!(wallet.spend_state(&vtxo).await, VtxoSpendState::Spendable);
    wallet.register([&vtxo]).await.unwrap();
}
