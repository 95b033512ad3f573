//! What the owner of an exited VTXO can do alone: the block from which each claim is valid, and not one earlier.

use ark_lib::ServerVtxo;
use ark_lib::lightning::Invoice;
use ark_lib::vtxo::policy::HarkForfeitVtxoPolicy;
use ark_lib::vtxo::policy::clause::VtxoClause;

use super::chains::on_both_chains;
use super::lightning::onchain::prepared;
use super::round::waiting_for;
use super::*;
use crate::ark::WatchmanChange;
use crate::ark::watchman::take::take;
use crate::chain::Reorg;
use crate::lightning::{InvoiceRequest, Outcome};

on_both_chains! {
    a_payment_five_deep_is_claimed
    an_output_of_a_round_is_claimed
    a_received_htlc_is_claimed_with_the_preimage
    an_unpaid_htlc_is_claimed_after_its_expiry
    a_forfeit_without_preimage_is_claimed
    three_reorganised_blocks_take_a_claim_back
}

impl Wallet {
    /// Spends an exited VTXO alone.
    pub(super) fn take(
        &self,
        vtxo: &Vtxo<Full>,
        clause: &VtxoClause,
        preimage: Option<[u8; 32]>,
    ) -> Transaction {
        let vtxo = ServerVtxo::from(vtxo.to_bare());
        self.take_output(&vtxo, clause, preimage)
    }

    fn take_output(
        &self,
        vtxo: &ServerVtxo,
        clause: &VtxoClause,
        preimage: Option<[u8; 32]>,
    ) -> Transaction {
        let to = anyone_can_spend().to_p2wsh();
        let rate = FeeRate::from_sat_per_vb_u32(2);
        let tx = take(vtxo, (clause, preimage), &self.key, to, rate).unwrap();
        tx.unwrap()
    }
}

impl Sandbox {
    /// Checks that a transaction is mined in the block of this height, and not relayed one block earlier.
    async fn first_valid_at(&self, height: u32, tx: Transaction) {
        let tip = self.chain.tip().await.unwrap().height;
        self.chain.mine(height - 2 - tip).await.unwrap();
        let refused = self.chain.submit(tx.clone()).await.unwrap().unwrap_err();
        assert!(refused.reason.contains("non-"), "{refused}");
        self.chain.mine(1).await.unwrap();
        self.mine_tx(&tx).await;
        assert_eq!(self.height_of(&tx).await, height);
    }

    async fn height_of(&self, tx: &Transaction) -> u32 {
        let mined = self.chain.tx(tx.compute_txid()).await.unwrap().unwrap();
        mined.block.unwrap().height
    }

    /// Puts a VTXO on chain; returns the height.
    async fn exited_at(&self, vtxo: &Vtxo<Full>) -> u32 {
        self.exit(vtxo).await;
        self.chain.tip().await.unwrap().height
    }
}

fn key_clause(vtxo: &Vtxo<Full>) -> VtxoClause {
    let policy = vtxo.policy().as_pubkey().unwrap();
    policy.user_pubkey_claim_clause(vtxo.exit_delta()).into()
}

async fn a_payment_five_deep_is_claimed(chain: Chain) {
    let (sandbox, wallet) = Sandbox::by_hand(chain, Params::free()).await;
    let mut vtxo = sandbox.board(&wallet, sat(20_000)).await;
    for _ in 0..5 {
        let me = wallet.key.public_key();
        vtxo = wallet.pay(&vtxo, &[(me, 20_000)]).await.remove(0);
    }
    assert_eq!(vtxo.transactions().count(), 11);
    let height = sandbox.exited_at(&vtxo).await;
    let claim = wallet.take(&vtxo, &key_clause(&vtxo), None);
    sandbox.first_valid_at(height + 12, claim).await;
}

async fn an_output_of_a_round_is_claimed(chain: Chain) {
    let (sandbox, wallet) = Sandbox::by_hand(chain, waiting_for(1)).await;
    let old = sandbox.board(&wallet, sat(20_000)).await;
    let joined = sandbox.refresh(&wallet, &old).await;
    sandbox.chain.mine(1).await.unwrap();
    let new = wallet.claim(joined.unlock_hash, &[&old]).await.remove(0);
    let height = sandbox.exited_at(&new).await;
    let claim = wallet.take(&new, &key_clause(&new), None);
    sandbox.first_valid_at(height + 12, claim).await;
}

async fn a_received_htlc_is_claimed_with_the_preimage(chain: Chain) {
    let (sandbox, wallet) = Sandbox::by_hand(chain, Params::free()).await;
    let (preimage, htlcs) = prepared(&sandbox, &wallet, 5_000).await;
    let height = sandbox.exited_at(&htlcs[0]).await;
    let policy = htlcs[0].policy().as_server_htlc_recv().unwrap();
    let clause = policy.user_reveals_preimage_clause(htlcs[0].exit_delta());
    let claim = wallet.take(&htlcs[0], &clause.into(), Some(preimage.into()));
    sandbox.first_valid_at(height + 6 + 12, claim).await;
}

/// Both the expiry of the HTLC and twice the exit delta have to pass.
async fn an_unpaid_htlc_is_claimed_after_its_expiry(chain: Chain) {
    let (sandbox, wallet) = Sandbox::by_hand(chain, Params::free()).await;
    for late in [false, true] {
        let request = InvoiceRequest {
            amount_msat: Some(1_000_000),
            outcome: Outcome::Hold,
            ..InvoiceRequest::default()
        };
        let invoice = sandbox.server.lightning().issue(request).unwrap();
        let invoice = Invoice::Bolt11(invoice);
        let htlc = wallet.try_to_pay(&sandbox, &invoice, 1_000).await;
        let policy = htlc.policy().as_server_htlc_send().unwrap().clone();
        let expiry = policy.htlc_expiry.to_u32();
        if late {
            let tip = sandbox.chain.tip().await.unwrap().height;
            sandbox.chain.mine(expiry - tip).await.unwrap();
        }
        let height = sandbox.exited_at(&htlc).await;
        let clause = policy.user_claim_after_expiry_clause(htlc.exit_delta());
        let claim = wallet.take(&htlc, &clause.into(), None);
        let first = if late { height + 2 * 12 } else { expiry + 1 };
        sandbox.first_valid_at(first, claim).await;
    }
}

/// The server publishes the forfeit, and keeps the preimage to itself.
async fn a_forfeit_without_preimage_is_claimed(chain: Chain) {
    let (sandbox, wallet) = Sandbox::by_hand(chain, waiting_for(1)).await;
    sandbox.server.change_watchman(WatchmanChange {
        claims: Some(false),
        delay: Some(0),
        ..WatchmanChange::default()
    });
    let old = sandbox.board(&wallet, sat(20_000)).await;
    let joined = sandbox.refresh(&wallet, &old).await;
    sandbox.chain.mine(1).await.unwrap();
    wallet.claim(joined.unlock_hash, &[&old]).await;
    sandbox.exit(&old).await;
    let forfeit = sandbox.mined_reaction().await;
    let height = sandbox.height_of(&forfeit).await;
    let policy = HarkForfeitVtxoPolicy {
        user_pubkey: wallet.key.public_key(),
        unlock_hash: joined.unlock_hash,
    };
    let ark = sandbox.server.runs.current();
    let id = OutPoint::new(forfeit.compute_txid(), 0).into();
    let output = ark.store.server_vtxo(id).unwrap().unwrap().vtxo;
    let clause = policy.user_exit_clause(output.exit_delta());
    let claim = wallet.take_output(&output, &clause.into(), None);
    sandbox.first_valid_at(height + 12, claim).await;
}

async fn three_reorganised_blocks_take_a_claim_back(chain: Chain) {
    let (sandbox, wallet) = Sandbox::by_hand(chain, Params::free()).await;
    let vtxo = sandbox.board(&wallet, sat(20_000)).await;
    let height = sandbox.exited_at(&vtxo).await;
    let claim = wallet.take(&vtxo, &key_clause(&vtxo), None);
    sandbox.first_valid_at(height + 12, claim.clone()).await;
    sandbox.chain.mine(2).await.unwrap();
    let block = sandbox.chain.block_hash(height + 12).await.unwrap();
    sandbox.chain.reorg(3, Reorg::Keep).await.unwrap();
    assert_ne!(sandbox.chain.block_hash(height + 12).await.unwrap(), block);
    assert_eq!(sandbox.height_of(&claim).await, height + 12);
}
