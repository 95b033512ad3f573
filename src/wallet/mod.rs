//! The wallet core: what can be done with the money, knowing neither HTTP nor JSON.
//!
//! [`Wallet`] is the whole of it. Its methods stand with the capability that they belong to, one file or folder each. What
//! moves money goes through [`operation`]; everything else is a read or a single write.

mod account;
mod barkd;
mod coins;
pub(crate) mod destination;
mod engine;
mod error;
mod events;
mod flows;
pub(crate) mod inbox;
pub mod lifecycle;
mod open;
mod payment_uri;
mod recovery;
mod requests;
mod sync;
mod webhooks;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bitcoin::{FeeRate, Network};
use bitcoin_ext::BlockDelta;

use crate::ark::Server;
use crate::chain::ChainSource;
use crate::config::{FeeCeiling, FeeCeilings};
use crate::lnurl;
use crate::onchain::OnchainWallet;
use crate::store::Store;

pub use crate::chain::Tip;
pub use crate::model::{
    Attention, Block, Delivery, Event, EventId, EventKind, ExitProblem, ExitState, ExitTx,
    ExitTxOrigin, ExitTxStatus, ExpiringVtxo, HistoryPage, KeptAnswer, Movement, MovementId,
    OperationProgress, RequestKey, Subsystem, Transfer, Verdict, VtxoRecord, VtxoState, Webhook,
    WebhookId,
};
pub use crate::onchain::{OnchainBalance, OnchainTransaction};
pub use account::balance::Balance;
pub use account::estimate::FeeEstimate;
pub use account::message::verify_message;
pub use barkd::{import_barkd, is_barkd};
pub use destination::payment_method;
pub(crate) use engine::clock::back_off;
pub use engine::commit_point::CommitPoint;
pub use engine::request_key::with_request_key;
pub use error::{Error, ErrorKind, Failure, Result};
pub use events::{EventPage, EventReader, EventStart};
pub use flows::board::{BoardAmount, PendingBoard};
pub use flows::exit::{
    ClaimOutcome, ExitDetail, ExitEstimate, ExitFilter, ExitPackage, ExitProgress, ExitQuestion,
    ExitStatus, ExitsBegun, PackageChild, VtxoEstimate,
};
pub use flows::lightning::pay::{Payment, PaymentOutcome, PaymentState, PaymentTerms};
pub use flows::lightning::receive::{InvoiceRequest, ReceiveInfo};
pub use flows::offboard::OffboardOutcome;
pub use flows::refresh::{PendingRound, RoundPhase};
pub use flows::send::{SendOutcome, SendRequest};
pub use open::WalletOptions;
pub use payment_uri::{PaymentUri, PaymentUriRequest};
pub use recovery::RecoveryReport;
pub use recovery::import::{ImportRequest, Imported};
pub use requests::{RequestOutcome, Standing};
pub use webhooks::{NewWebhook, NextDelivery, WebhookChange};

/// How long a request waits for its operation before it answers that the operation goes on by itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// An open wallet.
pub struct Wallet {
    keys: Arc<account::keys::WalletKeys>,
    network: Network,
    store: Store,
    server: Server,
    chain: ChainSource,
    onchain: OnchainWallet,
    /// Asks the servers of Lightning addresses and LNURLs for invoices.
    lnurl: lnurl::Client,
    settings: Settings,
    operations: engine::Registry,
    /// The requests with an idempotency key that are being served.
    requests_served: requests::RequestsServed,
    balance_cache: account::balance::BalanceCache,
    /// The newest event of the server's rounds.
    round_events: flows::refresh::RoundEvents,
    /// Cosigning keys and nonces of the rounds under way; in memory only.
    attempt_keys: flows::refresh::AttemptKeyring,
    /// Messages of the mailbox are worked off one at a time.
    mailbox_turn: tokio::sync::Mutex<()>,
    /// When the Ark server was last asked about each open invoice.
    invoice_poll: flows::lightning::receive::InvoicePoll,
    /// Coins are split for exits one at a time.
    exit_reserve_turn: tokio::sync::Mutex<()>,
    /// The watch on what the VTXOs hang from.
    chain_watch: coins::watch::ChainWatch,
    /// Whether this process has found no newer copy of the database, or recovers from one.
    is_newest_copy: AtomicBool,
    /// One look for a newer copy at a time.
    newer_copy_turn: tokio::sync::Mutex<()>,
    /// A recovery has left work for others.
    recovery_advanced: tokio::sync::Notify,
    /// The wallet may have got VTXOs that the server's copy lacks.
    vtxos_arrived: tokio::sync::Notify,
    /// What the webhooks share.
    webhooks: webhooks::Webhooks,
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
    /// Blocks that the claim of a Lightning payment on chain may take.
    claim_delta: BlockDelta,
    /// Failed claims of a Lightning payment after which the operator is told.
    claim_retries: u8,
    /// Whether HTLCs are exited by themselves shortly before they are lost.
    lightning_auto_exit: bool,
    /// Confirmations that a round's transaction needs; 0 takes it from the mempool.
    round_confirmations: u16,
    /// Blocks before expiry from which a refresh is urgent.
    refresh_threshold: BlockDelta,
    /// Confirmations after which an offboard is done; 0 takes it from the mempool.
    offboard_confirmations: u16,
    /// How long a vanished offboard transaction is broadcast again.
    offboard_grace: Duration,
    manual_sync: bool,
    /// Days for which events are kept.
    event_retention_days: u32,
    /// The most events that are kept.
    event_retention_rows: u64,
    /// The highest fees of the Ark server that are paid.
    ceilings: FeeCeilings,
    /// The highest fee rate that the wallet pays for exits by itself.
    max_exit_fee_rate: FeeRate,
    /// The highest fee of a claim of exits that the daemon makes by itself; `None` if it makes none.
    auto_claim: Option<FeeCeiling>,
}
