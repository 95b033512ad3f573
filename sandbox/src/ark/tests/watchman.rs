//! How the server defends what is its own against outputs that are on chain (docs/protocol.md §40.5).

use ark_lib::forfeit::create_hark_forfeit_tx;
use bitcoin::Txid;
use bitcoin::hashes::Hash;

use super::chains::on_both_chains;
use super::round::waiting_for;
use super::*;
use crate::ark::WatchmanChange;

on_both_chains! {
    a_checkpoint_follows_two_blocks_after_the_exit_and_nothing_behind_it
    without_the_signed_transaction_nothing_follows
    an_input_of_a_round_is_taken_only_once_it_is_forfeited
    a_server_can_keep_the_preimage_of_a_forfeit_to_itself
    an_exited_output_of_a_round_stays_its_owners
    what_has_expired_is_swept_on_demand
    nothing_is_swept_before_the_expiry
    an_exit_that_stops_half_way_is_swept
    a_server_without_coins_for_the_fee_does_not_react
    a_reorganisation_undoes_what_the_server_saw
}

const BY_HAND: WatchmanChange = WatchmanChange {
    tracking: None,
    reactions: Some(false),
    sweeps: None,
    claims: None,
    delay: None,
};

impl Sandbox {
    /// A sandbox whose server reacts only when it is told to.
    pub(super) async fn by_hand(chain: Chain, params: Params) -> (Sandbox, Wallet) {
        let sandbox = Sandbox::on(chain, params).await;
        sandbox.server.change_watchman(BY_HAND);
        let wallet = sandbox.wallet().await;
        (sandbox, wallet)
    }

    /// What the server broadcasts now.
    pub(super) async fn reactions(&self) -> Vec<Txid> {
        self.server.run_watchman(false).await.unwrap()
    }

    /// The one transaction that the server broadcasts now; it is mined, too.
    pub(super) async fn mined_reaction(&self) -> Transaction {
        let sent = self.reactions().await;
        assert_eq!(sent.len(), 1, "{sent:?}");
        self.chain.mine(1).await.unwrap();
        let mined = self.chain.tx(sent[0]).await.unwrap().unwrap();
        assert!(mined.block.is_some());
        mined.tx
    }

    async fn spender_of(&self, outpoint: OutPoint) -> Option<Txid> {
        let spender = self.chain.spender(outpoint).await.unwrap();
        spender.map(|spender| spender.txid)
    }
}

/// The transactions of a path.
fn path(vtxo: &Vtxo<Full>) -> Vec<Transaction> {
    vtxo.transactions().map(|item| item.tx).collect()
}

async fn a_checkpoint_follows_two_blocks_after_the_exit_and_nothing_behind_it(chain: Chain) {
    let (sandbox, wallet) = Sandbox::by_hand(chain, Params::free()).await;
    let board = sandbox.board(&wallet, sat(20_000)).await;
    let paid = wallet
        .pay(&board, &[(wallet.key.public_key(), 20_000)])
        .await
        .remove(0);
    let [_, checkpoint, arkoor] = path(&paid).try_into().unwrap();
    sandbox.exit(&board).await;
    assert!(sandbox.reactions().await.is_empty());
    sandbox.chain.mine(1).await.unwrap();
    assert!(sandbox.reactions().await.is_empty());
    sandbox.chain.mine(1).await.unwrap();
    assert_eq!(sandbox.mined_reaction().await, checkpoint);

    sandbox.chain.mine(10).await.unwrap();
    assert!(
        sandbox.reactions().await.is_empty(),
        "the rest is its owner's"
    );
    sandbox.mine_with_fee(arkoor).await;
    assert!(sandbox.reactions().await.is_empty());
}

async fn without_the_signed_transaction_nothing_follows(chain: Chain) {
    let (sandbox, wallet) = Sandbox::by_hand(chain, Params::free()).await;
    let board = sandbox.board(&wallet, sat(20_000)).await;
    let payment = wallet.payment(&board, &[(new_key().public_key(), 20_000)]);
    wallet.cosign(&payment).await.unwrap();
    sandbox.exit(&board).await;
    sandbox.chain.mine(12).await.unwrap();
    assert!(sandbox.reactions().await.is_empty());
}

#[tokio::test]
async fn the_server_reacts_by_itself_after_a_block() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let board = sandbox.board(&wallet, sat(20_000)).await;
    wallet
        .pay(&board, &[(new_key().public_key(), 20_000)])
        .await;
    sandbox.exit(&board).await;
    sandbox.chain.mine(2).await.unwrap();
    let reaction = async {
        while sandbox.spender_of(board.point()).await.is_none() {
            tokio::task::yield_now().await;
        }
    };
    let time = Duration::from_secs(60);
    tokio::time::timeout(time, reaction).await.unwrap();
}

async fn an_input_of_a_round_is_taken_only_once_it_is_forfeited(chain: Chain) {
    let (sandbox, wallet) = Sandbox::by_hand(chain, waiting_for(1)).await;
    let old = sandbox.board(&wallet, sat(20_000)).await;
    let joined = sandbox.refresh(&wallet, &old).await;
    sandbox.chain.mine(1).await.unwrap();
    sandbox.exit(&old).await;
    sandbox.chain.mine(2).await.unwrap();
    assert!(sandbox.reactions().await.is_empty());

    let hash = joined.unlock_hash;
    wallet.claim(hash, &[&old]).await;
    let forfeit = sandbox.mined_reaction().await;
    let expected = create_hark_forfeit_tx(&old, hash, None).compute_txid();
    assert_eq!(forfeit.compute_txid(), expected);
    let claim = sandbox.mined_reaction().await;
    assert_eq!(claim.input[0].previous_output.txid, expected);
    let is_preimage = |item: &[u8]| bitcoin::hashes::sha256::Hash::hash(item) == hash;
    assert!(claim.input[0].witness.iter().any(is_preimage));
    assert!(sandbox.reactions().await.is_empty());
}

async fn a_server_can_keep_the_preimage_of_a_forfeit_to_itself(chain: Chain) {
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
    sandbox.mined_reaction().await;
    sandbox.chain.mine(12).await.unwrap();
    assert!(sandbox.reactions().await.is_empty());
}

async fn an_exited_output_of_a_round_stays_its_owners(chain: Chain) {
    let (sandbox, wallet) = Sandbox::by_hand(chain, waiting_for(1)).await;
    let old = sandbox.board(&wallet, sat(20_000)).await;
    let joined = sandbox.refresh(&wallet, &old).await;
    sandbox.chain.mine(1).await.unwrap();
    let new = wallet.claim(joined.unlock_hash, &[&old]).await;
    sandbox.exit(&new[0]).await;
    sandbox.chain.mine(10).await.unwrap();
    assert!(sandbox.reactions().await.is_empty());
}

/// The board's own output, the checkpoint behind an exit, and the tree of a round.
async fn what_has_expired_is_swept_on_demand(chain: Chain) {
    let (sandbox, wallet) = Sandbox::by_hand(chain, waiting_for(1)).await;
    let kept = sandbox.board(&wallet, sat(20_000)).await;
    let old = sandbox.board(&wallet, sat(20_000)).await;
    let joined = sandbox.refresh(&wallet, &old).await;
    let round = wallet.issued(joined.unlock_hash).await.1.compute_txid();
    let spent = sandbox.board(&wallet, sat(20_000)).await;
    let key = new_key().public_key();
    let paid = wallet.pay(&spent, &[(key, 20_000)]).await.remove(0);
    sandbox.exit(&spent).await;
    sandbox.chain.mine(2).await.unwrap();
    let checkpoint = sandbox.mined_reaction().await;
    assert_eq!(checkpoint, path(&paid)[1]);

    sandbox.chain.mine(440).await.unwrap();
    assert!(sandbox.reactions().await.is_empty());
    let swept = sandbox.server.run_watchman(true).await.unwrap();
    let outputs = [
        kept.chain_anchor(),
        OutPoint::new(round, 0),
        OutPoint::new(checkpoint.compute_txid(), 0),
    ];
    for output in outputs {
        let spender = sandbox.spender_of(output).await.unwrap();
        assert!(swept.contains(&spender), "{output}");
    }
    sandbox.chain.mine(1).await.unwrap();
    assert!(sandbox.server.run_watchman(true).await.unwrap().is_empty());
    let state = wallet.spend_state(&kept).await;
    assert_eq!(state, protos::VtxoSpendState::Spendable);
}

async fn nothing_is_swept_before_the_expiry(chain: Chain) {
    let (sandbox, wallet) = Sandbox::by_hand(chain, Params::free()).await;
    let board = sandbox.board(&wallet, sat(20_000)).await;
    let left = board.expiry_height().to_u32() - sandbox.chain.tip().await.unwrap().height;
    sandbox.chain.mine(left - 1).await.unwrap();
    assert!(sandbox.server.run_watchman(true).await.unwrap().is_empty());
    sandbox.chain.mine(1).await.unwrap();
    assert_eq!(sandbox.server.run_watchman(true).await.unwrap().len(), 1);
}

async fn a_reorganisation_undoes_what_the_server_saw(chain: Chain) {
    let (sandbox, wallet) = Sandbox::by_hand(chain, Params::free()).await;
    let board = sandbox.board(&wallet, sat(20_000)).await;
    let key = new_key().public_key();
    wallet.pay(&board, &[(key, 20_000)]).await;
    sandbox.exit(&board).await;
    sandbox.chain.mine(2).await.unwrap();
    let exit = crate::chain::Reorg::Drop(vec![board.point().txid]);
    sandbox.chain.reorg(3, exit).await.unwrap();
    assert!(sandbox.reactions().await.is_empty());
}

/// The last step of a path in a round's tree waits too long.
async fn an_exit_that_stops_half_way_is_swept(chain: Chain) {
    let (sandbox, wallet) = Sandbox::by_hand(chain, waiting_for(1)).await;
    let old = sandbox.board(&wallet, sat(20_000)).await;
    let joined = sandbox.refresh(&wallet, &old).await;
    sandbox.chain.mine(1).await.unwrap();
    let new = wallet.claim(joined.unlock_hash, &[&old]).await.remove(0);
    let mut steps = path(&new);
    let leaf = steps.pop().unwrap();
    for step in steps {
        sandbox.mine_with_fee(step).await;
    }
    sandbox.chain.mine(440).await.unwrap();
    let swept = sandbox.server.run_watchman(true).await.unwrap();
    let spent = leaf.input[0].previous_output;
    let spender = sandbox.spender_of(spent).await.unwrap();
    assert!(swept.contains(&spender));
}

async fn a_server_without_coins_for_the_fee_does_not_react(chain: Chain) {
    let (sandbox, wallet) = Sandbox::by_hand(chain, Params::free()).await;
    let board = sandbox.board(&wallet, sat(20_000)).await;
    let key = new_key().public_key();
    wallet.pay(&board, &[(key, 20_000)]).await;
    sandbox.exit(&board).await;
    sandbox.chain.mine(2).await.unwrap();
    let ark = sandbox.server.runs.current();
    let all = ark.coins.balance().await.unwrap().confirmed;
    let script = anyone_can_spend().to_p2wsh();
    let rate = FeeRate::from_sat_per_vb_u32(2);
    let rest = sat(9_000);
    ark.coins.pay(script, all - rest, rate).await.unwrap();
    sandbox.chain.mine(1).await.unwrap();
    assert!(ark.coins.balance().await.unwrap().confirmed <= rest);
    assert!(sandbox.reactions().await.is_empty());
    sandbox.fund_server().await;
    assert_eq!(sandbox.reactions().await.len(), 1);
}
