//! Every call after a round can be repeated at any time (docs/protocol.md §38, item 9).

use ark_lib::forfeit::{HashLockedForfeitBundle, create_hark_forfeit_tx};
use bitcoin::hashes::Hash;
use server_rpc::protos::RoundParticipationStatus;
use server_rpc::tonic::Code;

use super::participant::Joined;
use super::round::waiting_for;
use super::*;

async fn refreshed() -> (Sandbox, Wallet, Vtxo<Full>, Joined) {
    refreshed_with(waiting_for(1)).await
}

async fn refreshed_with(params: Params) -> (Sandbox, Wallet, Vtxo<Full>, Joined) {
    let sandbox = Sandbox::start(params).await;
    let wallet = sandbox.wallet().await;
    let old = sandbox.board(&wallet, sat(20_000)).await;
    let joined = sandbox.refresh(&wallet, &old).await;
    sandbox.chain.mine(1).await.unwrap();
    (sandbox, wallet, old, joined)
}

async fn restarted(sandbox: &Sandbox, wallet: Wallet) -> Wallet {
    sandbox.server.restart().await;
    Wallet {
        rpc: sandbox.connect().await,
        ..wallet
    }
}

#[tokio::test]
async fn every_step_of_a_claim_can_be_repeated() {
    let (sandbox, wallet, old, joined) = refreshed().await;
    let hash = joined.unlock_hash;
    let (outputs, funding) = wallet.issued(hash).await;
    let mut output = outputs[0].clone();
    assert!(wallet.cosign_leaf(&mut output, &funding).await);
    assert!(wallet.cosign_leaf(&mut output, &funding).await);

    let nonces = wallet.nonces(hash, &[&old]).await.unwrap();
    assert_eq!(wallet.nonces(hash, &[&old]).await.unwrap(), nonces);
    let forfeits = wallet.forfeits(hash, &[&old], &nonces);
    let preimage = wallet.forfeit(forfeits.clone()).await.unwrap();
    assert_eq!(wallet.forfeit(forfeits).await.unwrap(), preimage);
    let later = wallet.nonces(hash, &[&old]).await.unwrap();
    assert_ne!(later, nonces);
    let again = wallet.forfeits(hash, &[&old], &later);
    assert_eq!(wallet.forfeit(again).await.unwrap(), preimage);

    let status = wallet.status(hash).await.unwrap();
    assert_eq!(status.status(), RoundParticipationStatus::RoundPartReleased);
    assert_eq!(status.unlock_preimage.unwrap(), preimage);
    assert!(output.provide_unlock_preimage(preimage));
    wallet.register([&output]).await.unwrap();
    assert!(wallet.cosign_leaf(&mut output.clone(), &funding).await);
    assert_eq!(sandbox.server.ledger().unwrap().spendable.count, 1);
}

/// A real server refuses forfeits whose nonces it has forgotten.
fn assert_missing_nonces<T: std::fmt::Debug>(answer: Result<T, Status>) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(
        status.message().contains("missing forfeit nonces"),
        "{status}"
    );
}

#[tokio::test]
async fn a_restart_forgets_the_nonces_and_nothing_else() {
    let (sandbox, wallet, old, joined) = refreshed().await;
    let hash = joined.unlock_hash;
    let nonces = wallet.nonces(hash, &[&old]).await.unwrap();
    let stale = wallet.forfeits(hash, &[&old], &nonces);

    let wallet = restarted(&sandbox, wallet).await;
    assert_missing_nonces(wallet.forfeit(stale.clone()).await);
    let fresh = wallet.nonces(hash, &[&old]).await.unwrap();
    assert_ne!(fresh, nonces);
    let status = wallet.forfeit(stale.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(wallet.nonces(hash, &[&old]).await.unwrap(), fresh);
    let forfeits = wallet.forfeits(hash, &[&old], &fresh);
    let preimage = wallet.forfeit(forfeits).await.unwrap();

    let wallet = restarted(&sandbox, wallet).await;
    assert_eq!(wallet.forfeit(stale).await.unwrap(), preimage);
    wallet.claim(hash, &[&old]).await;
}

#[tokio::test]
async fn nonces_that_are_too_old_are_replaced() {
    let (_sandbox, wallet, old, joined) = refreshed_with(Params {
        round_forfeit_nonces_timeout: Duration::ZERO,
        ..waiting_for(1)
    })
    .await;
    let hash = joined.unlock_hash;
    let nonces = wallet.nonces(hash, &[&old]).await.unwrap();
    let late = wallet.forfeits(hash, &[&old], &nonces);
    assert_missing_nonces(wallet.forfeit(late).await);
    assert_ne!(wallet.nonces(hash, &[&old]).await.unwrap(), nonces);
}

#[tokio::test]
async fn forfeits_have_to_be_complete_and_right() {
    let sandbox = Sandbox::start(waiting_for(1)).await;
    let wallet = sandbox.wallet().await;
    let one = sandbox.board(&wallet, sat(5_000)).await;
    let two = sandbox.board(&wallet, sat(5_000)).await;
    let mut events = wallet.events().await;
    let (_, hash) = tokio::join!(sandbox.server.trigger_round(), async {
        let attempt = events.attempt().await;
        let inputs = [&one, &two];
        let mut joined = wallet.join(&attempt, &inputs, &[10_000]).await.unwrap();
        let proposal = events.proposal().await;
        wallet.sign(&mut joined, &proposal).await;
        joined.unlock_hash
    });
    let foreign = sandbox.board(&wallet, sat(5_000)).await;
    let status = wallet.nonces(hash, &[&foreign]).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let other = Hash::hash(b"other");
    let status = wallet.nonces(other, &[&one]).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let status = wallet.status(other).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);

    let inputs = [&one, &two];
    let nonces = wallet.nonces(hash, &inputs).await.unwrap();
    let right = wallet.forfeits(hash, &inputs, &nonces);
    let mut one_only = right.clone();
    one_only.forfeit_bundles.pop();
    let mut twice = right.clone();
    twice.forfeit_bundles.push(right.forfeit_bundles[0].clone());
    let swapped = wallet.forfeits(hash, &inputs, &[nonces[1], nonces[0]]);
    let mut mixed = right.clone();
    mixed.forfeit_bundles[1] =
        HashLockedForfeitBundle::new(&two, other, &wallet.key, &nonces[1]).serialize();
    for request in [one_only, twice, swapped, mixed, Default::default()] {
        let status = wallet.forfeit(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    }
    wallet.forfeit(right).await.unwrap();
}

#[tokio::test]
async fn a_claimed_output_can_be_taken_on_chain() {
    let (sandbox, wallet, old, joined) = refreshed().await;
    let new = wallet.claim(joined.unlock_hash, &[&old]).await;
    sandbox.exit(&new[0]).await;
    let exited = sandbox.chain.tx(new[0].point().txid).await.unwrap();
    assert!(exited.unwrap().block.is_some());
}

#[tokio::test]
async fn the_server_claims_the_exit_of_a_forfeited_vtxo() {
    let (sandbox, wallet, old, joined) = refreshed().await;
    wallet.claim(joined.unlock_hash, &[&old]).await;
    sandbox.exit(&old).await;
    let ark = sandbox.server.runs.current();
    let forfeit = create_hark_forfeit_tx(&old, joined.unlock_hash, None).compute_txid();
    let signed = ark.store.signed_tx(forfeit).unwrap().unwrap();
    sandbox.mine_with_fee(signed).await;
}
