//! The wallet's on-chain bitcoin: a BDK wallet with one keychain, m/86'/c'/0'/0/* (docs/protocol.md §1.2, §10).
//!
//! # What is in memory and what is on disk
//!
//! The BDK wallet is in memory. The store has what is needed to rebuild it: change sets, our own transactions that no change
//! set contains yet, and the coins that operations hold. These rules keep the two consistent:
//!
//! - Our own transactions and holds are written in the caller's database transaction, and only there. Memory applies them with
//!   [`OnchainWallet::catch_up`] after the commit, so a rollback leaves nothing to undo.
//! - Coins are selected in the store's writer thread, where each earlier write is either visible or rolled back. So no coin is
//!   ever free in memory while it is held on disk.
//! - Memory may be ahead of the disk only with what can be recovered: revealed indexes, and what the backend reported. Such
//!   changes are kept until a write of them has succeeded.
//!
//! Reads use a view that is replaced after each change, without a lock. The lock on the BDK wallet is never held during a
//! network request.

mod blocks;
#[cfg(test)]
mod chain_tests;
mod child;
#[cfg(test)]
mod child_tests;
mod coin_picker;
mod error;
mod funding;
mod graph;
mod load;
mod reservation;
mod select;
mod spend;
mod state;
mod sync;
#[cfg(test)]
mod tests;
mod view;
mod wallet;

pub use child::{CHILD_WEIGHT, ChildFee, ReplacedChild, package_fee};
pub use error::Error;
pub use funding::{Funding, FundingAmount};
pub use load::ScanStart;
pub use spend::PreparedPayment;
pub use view::{OnchainBalance, OnchainTransaction, OnchainUtxo};
pub use wallet::OnchainWallet;
