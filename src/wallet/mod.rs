//! The wallet core: what can be done with the money, knowing neither HTTP nor JSON.
//!
//! [`Wallet`] is the whole of it. Its methods stand with the capability that they belong to, one file or folder each. What
//! moves money goes through [`operation`]; everything else is a read or a single write.

mod address;
mod arkoor;
mod balance;
mod board;
mod catch_up;
mod clock;
mod commit_point;
mod error;
mod fees;
mod history;
mod info;
mod keys;
pub mod lifecycle;
mod mailbox;
mod offboard;
mod onchain;
mod open;
mod operation;
mod payment;
mod refresh;
mod round;
mod selection;
mod send;
mod synchronize;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod vtxo;

use std::sync::Arc;
use std::time::Duration;

use bitcoin::Network;
use bitcoin_ext::BlockDelta;

use crate::ark::Server;
use crate::chain::ChainSource;
use crate::onchain::OnchainWallet;
use crate::store::Store;

pub use crate::chain::Tip;
pub use crate::onchain::{OnchainBalance, OnchainTransaction, OnchainUtxo};
pub use crate::store::movement::{
    Destination, Excerpt, Movement, MovementId, MovementStatus, PaymentMethod, Subsystem,
};
pub use crate::store::operation::OperationId;
pub use crate::store::vtxo::{VtxoRecord, VtxoState};
pub use balance::Balance;
pub use board::{BoardAmount, PendingBoard};
pub(crate) use clock::back_off;
pub use commit_point::CommitPoint;
pub use error::{Error, ErrorKind, Result};
pub use fees::FeeEstimate;
pub use offboard::OffboardOutcome;
pub use open::WalletOptions;
pub use round::{PendingRound, RoundOutput, RoundPhase};
pub use send::{SendOutcome, SendRequest};

/// How long a request waits for its operation before it answers that the operation goes on by itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// An open wallet.
pub struct Wallet {
    keys: Arc<keys::WalletKeys>,
    network: Network,
    store: Store,
    server: Server,
    chain: ChainSource,
    onchain: OnchainWallet,
    settings: Settings,
    operations: operation::Registry,
    balance_cache: balance::BalanceCache,
    /// What the server says about its rounds.
    round_feed: round::RoundFeed,
    /// What running rounds sign with; never on disk.
    round_secrets: round::Secrets,
    /// Messages of the mailbox are worked off one at a time.
    mailbox_turn: tokio::sync::Mutex<()>,
    /// Something came in that the server's copy should follow.
    received: tokio::sync::Notify,
}

/// What the operator decided.
struct Settings {
    /// Pieces that large change is split into.
    change_pieces: u8,
    /// How far beyond the last known key a key may be ours.
    key_gap: u32,
    sync_interval: Duration,
    /// Blocks that an exit may take.
    exit_margin: BlockDelta,
    /// Confirmations that a round's transaction needs; 0 takes it from the mempool.
    round_confirmations: u16,
    /// Blocks before expiry from which a refresh is urgent.
    refresh_threshold: BlockDelta,
    /// Confirmations after which an offboard is done; 0 takes it from the mempool.
    offboard_confirmations: u16,
    /// How long a vanished offboard transaction is broadcast again.
    offboard_grace: Duration,
    manual_sync: bool,
}
