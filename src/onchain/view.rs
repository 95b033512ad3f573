//! What the on-chain wallet shows: values that are computed once after each change and then only read.

use std::collections::HashSet;
use std::sync::Arc;

use bdk_wallet::chain::ChainPosition;
use bdk_wallet::{LocalOutput, Wallet, WalletTx};
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, SignedAmount, Transaction, Txid};
use bitcoin_ext::{BlockHeight, BlockRef};

use super::graph::trusted_unconfirmed;

/// Blocks after which a coinbase output can be spent.
const COINBASE_MATURITY: u32 = 100;

/// The balance by certainty. Coins that an operation holds count like any other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnchainBalance {
    /// In a block.
    pub confirmed: Amount,
    /// Unconfirmed change of our own.
    pub trusted_pending: Amount,
    /// Unconfirmed and sent by others.
    pub untrusted_pending: Amount,
    /// Mined, but too young to spend.
    pub immature: Amount,
}

impl OnchainBalance {
    /// Everything.
    pub fn total(&self) -> Amount {
        self.trusted_spendable() + self.untrusted_pending + self.immature
    }

    /// What can be spent now.
    pub fn trusted_spendable(&self) -> Amount {
        self.confirmed + self.trusted_pending
    }
}

/// A coin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnchainUtxo {
    /// Where it is.
    pub outpoint: OutPoint,
    /// What it is worth.
    pub amount: Amount,
    /// The height of its block; `None` while unconfirmed.
    pub confirmation_height: Option<BlockHeight>,
}

/// A transaction that moved our coins.
#[derive(Clone, Debug)]
pub struct OnchainTransaction {
    /// Its id.
    pub txid: Txid,
    /// All of it.
    pub transaction: Arc<Transaction>,
    /// What it paid to the miner; `None` when not all it spends is known.
    pub fee: Option<Amount>,
    /// What it brought us, negative when it cost us.
    pub balance_change: SignedAmount,
    /// Its block; `None` while unconfirmed.
    pub confirmation: Option<BlockRef>,
}

impl OnchainTransaction {
    /// Whether it pays the fee of a parent through the parent's anchor, an output that takes neither signature nor script.
    pub fn is_cpfp(&self) -> bool {
        self.transaction
            .input
            .iter()
            .any(|input| input.witness.is_empty() && input.script_sig.is_empty())
    }
}

/// The wallet at one moment.
#[derive(Default)]
pub(super) struct View {
    pub(super) balance: OnchainBalance,
    pub(super) utxos: Vec<OnchainUtxo>,
    /// Oldest first, unconfirmed last.
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
        txid: found.tx_node.txid,
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

/// The coins that a new transaction may spend, whoever holds them.
pub(super) fn spendable(wallet: &Wallet) -> Vec<LocalOutput> {
    let trusted = trusted_unconfirmed(wallet);
    // Nodes do not relay an ordinary transaction that spends an unconfirmed version 3 one.
    let is_restricted = |txid| {
        let transaction = wallet.tx_graph().get_tx(txid);
        transaction.is_some_and(|transaction| transaction.version == Version(3))
    };
    let mut coins: Vec<LocalOutput> = wallet.list_unspent().collect();
    coins.retain(|coin| match certainty(wallet, &trusted, coin) {
        Certainty::Confirmed => true,
        Certainty::Trusted => !is_restricted(coin.outpoint.txid),
        Certainty::Untrusted | Certainty::Immature => false,
    });
    coins
}
