//! HTLCs that are on chain (docs/protocol.md §40.5).

use ark_lib::vtxo::policy::clause::HashDelaySignClause;

use super::super::chains::on_both_chains;
use super::receive::held;
use super::*;

on_both_chains! {
    an_exited_htlc_of_a_payment_is_taken_with_the_preimage
    a_claimed_htlc_gets_its_checkpoint_and_an_unregistered_one_is_taken
    who_exits_a_later_grant_confirms_an_earlier_one
}

/// The server takes an HTLC with the preimage once the exit delta is over, and shows the preimage by that.
async fn an_exited_htlc_of_a_payment_is_taken_with_the_preimage(chain: Chain) {
    let (sandbox, wallet) = Sandbox::by_hand(chain, Params::free()).await;
    let hold = sandbox.world_invoice(1_000, Outcome::Hold);
    let htlc = wallet.try_to_pay(&sandbox, &hold, 1_000).await;
    sandbox.exit(&htlc).await;
    sandbox.mine_blocks(20).await;
    assert!(sandbox.reactions().await.is_empty(), "no preimage");
    let hash = hold.payment_hash();
    sandbox.server.lightning().settle_payment(hash).unwrap();
    sandbox.jobs().await;
    let claim = sandbox.mined_reaction().await;
    let witness = &claim.input[0].witness;
    assert!(HashDelaySignClause::extract_preimage_from_witness(witness, hash).is_some());

    let paid = sandbox.world_invoice(1_000, Outcome::default());
    let htlc = wallet.try_to_pay(&sandbox, &paid, 1_000).await;
    sandbox.exit(&htlc).await;
    sandbox.mine_blocks(10).await;
    assert!(sandbox.reactions().await.is_empty(), "too early");
    sandbox.mine_blocks(1).await;
    let claim = sandbox.mined_reaction().await;
    assert_eq!(claim.input[0].previous_output, htlc.point());
}

pub(in super::super) async fn prepared(
    sandbox: &Sandbox,
    wallet: &Wallet,
    amount: u64,
) -> (Preimage, Vec<Vtxo<Full>>) {
    let preimage = held(sandbox, wallet, amount).await;
    let hash = preimage.compute_payment_hash();
    let htlcs = wallet.ask_htlcs(sandbox, hash).await.unwrap();
    sandbox.mine_blocks(1).await;
    (preimage, htlcs)
}

async fn a_claimed_htlc_gets_its_checkpoint_and_an_unregistered_one_is_taken(chain: Chain) {
    let (sandbox, wallet) = Sandbox::by_hand(chain, Params::free()).await;
    let me = wallet.key.public_key();
    let (preimage, htlcs) = prepared(&sandbox, &wallet, 5_000).await;
    let claim = wallet.claim_of(&htlcs, me);
    let response = wallet.claim_receive(preimage, &claim).await.unwrap();
    wallet.complete(claim, response).await;
    sandbox.exit(&htlcs[0]).await;
    sandbox.mine_blocks(2).await;
    let checkpoint = sandbox.mined_reaction().await;
    assert_eq!(checkpoint.input[0].previous_output, htlcs[0].point());
    assert!(sandbox.reactions().await.is_empty());

    let (preimage, htlcs) = prepared(&sandbox, &wallet, 3_000).await;
    let claim = wallet.claim_of(&htlcs, me);
    wallet.claim_receive(preimage, &claim).await.unwrap();
    // It comes from the pool's change, so a part of its path is on chain.
    sandbox.publish(htlcs[0].id(), serde_json::json!({})).await;
    let expiry = htlcs[0].policy().as_server_htlc_recv().unwrap().htlc_expiry;
    let left = expiry.to_u32() - sandbox.tip().await;
    sandbox.mine_blocks(left - 1).await;
    assert!(sandbox.reactions().await.is_empty());
    sandbox.mine_blocks(1).await;
    let taken = sandbox.mined_reaction().await;
    assert_eq!(taken.input[0].previous_output, htlcs[0].point());
}

/// A grant shares its transaction with the pool's change, from which the next grant comes.
async fn who_exits_a_later_grant_confirms_an_earlier_one(chain: Chain) {
    let params = Params {
        ln_pool: vec![(1, sat(10_000))],
        ..Params::free()
    };
    let (sandbox, wallet) = Sandbox::by_hand(chain, params).await;
    let stranger = sandbox.wallet().await;
    let (preimage, mine) = prepared(&sandbox, &wallet, 4_000).await;
    let (_, others) = prepared(&sandbox, &stranger, 3_000).await;
    let shared = mine[0].point().txid;
    let path: Vec<_> = others[0].transactions().collect();
    assert!(path.iter().any(|item| item.tx.compute_txid() == shared));
    sandbox.publish(others[0].id(), serde_json::json!({})).await;

    let claim = wallet.claim_of(&mine, wallet.key.public_key());
    let refusal = wallet.claim_receive(preimage, &claim).await;
    refused(refusal, Code::InvalidArgument, "has exited onchain");
    let state = wallet.spend_state(&mine[0]).await;
    assert_eq!(state, VtxoSpendState::HtlcRecvUnclaimed);
    sandbox.jobs().await;
    let hash = preimage.compute_payment_hash();
    let status = wallet.receive_status(hash).await;
    assert_eq!(
        status,
        LightningReceiveStatus::Settled,
        "the preimage was stored"
    );
}

/// The server learns the preimage, and cannot settle any more.
#[tokio::test]
async fn a_preimage_of_a_cancelled_receive_is_stored_too() {
    let (sandbox, wallet) = start(Params::free()).await;
    let (preimage, htlcs) = prepared(&sandbox, &wallet, 5_000).await;
    let hash = preimage.compute_payment_hash();
    sandbox.advance(601).await;
    let canceled = LightningReceiveStatus::Canceled;
    assert_eq!(wallet.receive_status(hash).await, canceled);
    sandbox.exit(&htlcs[0]).await;
    sandbox.mine_blocks(18).await;
    let policy = htlcs[0].policy().as_server_htlc_recv().unwrap();
    let clause = policy.user_reveals_preimage_clause(htlcs[0].exit_delta());
    let claim = wallet.take(&htlcs[0], &clause.into(), Some(preimage.into()));
    sandbox.mine_tx(&claim).await;
    sandbox.jobs().await;
    let ark = sandbox.server.runs.current();
    assert_eq!(ark.store.settlement(hash).unwrap(), Some(preimage));
    assert_eq!(wallet.receive_status(hash).await, canceled);
}
