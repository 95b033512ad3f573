//! What readers of the on-chain wallet see. It is computed once after each change.

use std::collections::HashSet;
use std::sync::Arc;

use bdk_wallet::chain::ChainPosition;
use bdk_wallet::{LocalOutput, Wallet, WalletTx};
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, SignedAmount, Transaction, Txid};
use bitcoin_ext::{BlockHeight, BlockRef};

use super::graph::{spends_anchor, trusted_unconfirmed};

/// The number of blocks after which a coinbase output can be spent.
const COINBASE_MATURITY: u32 = 100;

/// The balance. It includes the coins that operations hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnchainBalance {
    /// Confirmed coins.
    pub confirmed: Amount,
    /// Unconfirmed coins of our own transactions.
    pub trusted_pending: Amount,
    /// Unconfirmed coins of transactions that others could double-spend.
    pub untrusted_pending: Amount,
    /// Coinbase outputs that cannot be spent yet.
    pub immature: Amount,
}

impl OnchainBalance {
    /// The sum of all parts.
    pub fn total(&self) -> Amount {
        self.trusted_spendable() + self.untrusted_pending + self.immature
    }

    /// The confirmed and the trusted part, which can be spent now.
    pub fn trusted_spendable(&self) -> Amount {
        self.confirmed + self.trusted_pending
    }
}

/// An unspent output of the wallet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnchainUtxo {
    /// The transaction and the index of the output.
    pub outpoint: OutPoint,
    /// The value.
    pub amount: Amount,
    /// The height of the block; `None` while unconfirmed.
    pub confirmation_height: Option<BlockHeight>,
}

/// A transaction that spends or creates coins of the wallet.
#[derive(Clone, Debug)]
pub struct OnchainTransaction {
    /// The transaction.
    pub transaction: Arc<Transaction>,
    /// The fee; `None` if the value of an input is unknown.
    pub fee: Option<Amount>,
    /// What the wallet received minus what it spent.
    pub balance_change: SignedAmount,
    /// The block; `None` while unconfirmed.
    pub confirmation: Option<BlockRef>,
}

impl OnchainTransaction {
    /// Whether the transaction pays for its parent.
    pub fn is_cpfp(&self) -> bool {
        spends_anchor(&self.transaction)
    }
}

/// The wallet at one point in time.
#[derive(Default)]
pub(super) struct View {
    pub(super) balance: OnchainBalance,
    pub(super) utxos: Vec<OnchainUtxo>,
    /// Oldest first, unconfirmed ones last.
    pub(super) transactions: Vec<OnchainTransaction>,
}

impl View {
    pub(super) fn of(wallet: &Wallet) -> View {
        let trusted = trusted_unconfirmed(wallet);
        let mut view = View::default();
        for coin in wallet.list_unspent() {
            let amount = coin.txout.value;
            *match certainty(wallet, &trusted, &coin) {
                Certainty::Confirmed => &mut view.balance.confirmed,
                Certainty::Trusted => &mut view.balance.trusted_pending,
                Certainty::Untrusted => &mut view.balance.untrusted_pending,
                Certainty::Immature => &mut view.balance.immature,
            } += amount;
            view.utxos.push(OnchainUtxo {
                outpoint: coin.outpoint,
                amount,
                confirmation_height: coin
                    .chain_position
                    .confirmation_height_upper_bound()
                    .map(BlockHeight::new),
            });
        }

        let mut found: Vec<WalletTx<'_>> = wallet.transactions().collect();
        found.sort_by_key(|found| {
            let height = found.chain_position.confirmation_height_upper_bound();
            let node = &found.tx_node;
            (height.unwrap_or(u32::MAX), node.first_seen, node.txid)
        });
        view.transactions = found
            .iter()
            .map(|found| show_transaction(wallet, found))
            .collect();
        view
    }
}

fn show_transaction(wallet: &Wallet, found: &WalletTx<'_>) -> OnchainTransaction {
    let transaction = Arc::clone(&found.tx_node.tx);
    let (sent, received) = wallet.sent_and_received(&transaction);
    // Amounts of real transactions are below 21 million bitcoin, so both fit.
    let signed = |amount: Amount| amount.to_signed().unwrap_or(SignedAmount::MAX_MONEY);
    OnchainTransaction {
        fee: wallet.calculate_fee(&transaction).ok(),
        balance_change: signed(received) - signed(sent),
        confirmation: match &found.chain_position {
            ChainPosition::Confirmed { anchor, .. } => Some(BlockRef {
                height: BlockHeight::new(anchor.block_id.height),
                hash: anchor.block_id.hash,
            }),
            ChainPosition::Unconfirmed { .. } => None,
        },
        transaction,
    }
}

enum Certainty {
    Confirmed,
    Trusted,
    Untrusted,
    Immature,
}

fn certainty(wallet: &Wallet, trusted: &HashSet<Txid>, coin: &LocalOutput) -> Certainty {
    let Some(height) = coin.chain_position.confirmation_height_upper_bound() else {
        return if trusted.contains(&coin.outpoint.txid) {
            Certainty::Trusted
        } else {
            Certainty::Untrusted
        };
    };
    let coinbase = wallet
        .tx_graph()
        .get_tx(coin.outpoint.txid)
        .is_some_and(|transaction| transaction.is_coinbase());
    let next_block = wallet.latest_checkpoint().height().saturating_add(1);
    if coinbase && next_block < height.saturating_add(COINBASE_MATURITY) {
        Certainty::Immature
    } else {
        Certainty::Confirmed
    }
}

/// The confirmed coins, including those that operations hold, and those that `replaced` spends.
pub(super) fn confirmed(wallet: &Wallet, replaced: Option<&Transaction>) -> Vec<LocalOutput> {
    let trusted = HashSet::new();
    let replaced_inputs: HashSet<OutPoint> = replaced
        .into_iter()
        .flat_map(|transaction| &transaction.input)
        .map(|input| input.previous_output)
        .collect();
    let replaced = replaced.map(Transaction::compute_txid);
    let spent_by_replaced = |coin: &LocalOutput| {
        let graph = wallet.tx_graph();
        replaced_inputs.contains(&coin.outpoint)
            && !graph
                .outspends(coin.outpoint)
                .iter()
                .any(|txid| Some(*txid) != replaced && wallet.get_tx(*txid).is_some())
    };
    let mut coins: Vec<LocalOutput> = wallet.list_output().collect();
    coins.retain(|coin| {
        (!coin.is_spent || spent_by_replaced(coin))
            && matches!(certainty(wallet, &trusted, coin), Certainty::Confirmed)
    });
    coins
}

/// The coins that a new transaction may spend, including those that operations hold.
pub(super) fn spendable(wallet: &Wallet) -> Vec<LocalOutput> {
    let trusted = trusted_unconfirmed(wallet);
    // Nodes do not relay a version 2 transaction that spends an unconfirmed output of a version 3 transaction.
    let is_version_3 = |txid| {
        let transaction = wallet.tx_graph().get_tx(txid);
        transaction.is_some_and(|transaction| transaction.version == Version(3))
    };
    let mut coins: Vec<LocalOutput> = wallet.list_unspent().collect();
    coins.retain(|coin| match certainty(wallet, &trusted, coin) {
        Certainty::Confirmed => true,
        Certainty::Trusted => !is_version_3(coin.outpoint.txid),
        Certainty::Untrusted | Certainty::Immature => false,
    });
    coins
}
