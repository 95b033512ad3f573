//! What a fault of the Ark server does.

use serde::{Deserialize, Serialize};

/// The RPCs whose handlers ask whether their stream has to break.
const STREAMS: [&str; 2] = ["SubscribeMailbox", "SubscribeRounds"];

/// What a fault does. Each action says whether it acts on an RPC or at a hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// RPC: the handler runs after a delay.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// RPC: the handler does not run and the connection breaks. With target `*` and unlimited, the server is down.
    DropBefore,
    /// RPC: the handler runs and its answer is lost.
    DropAfter,
    /// RPC: the handler does not run and the caller sees this status.
    Status {
        /// Number of the gRPC code, such as 3 for `InvalidArgument`.
        code: i32,
        /// The text.
        message: String,
        /// Ids to attach, if any.
        #[serde(default)]
        identifiers: Vec<String>,
    },
    /// RPC: the handler runs and the caller sees this status instead of its answer, as if the server lied.
    StatusAfter {
        /// Number of the gRPC code, such as 3 for `InvalidArgument`.
        code: i32,
        /// The text.
        message: String,
    },
    /// Streaming RPC: the stream breaks after a number of messages.
    CutStreamAfter {
        /// Messages that arrive before the break.
        messages: usize,
    },
    /// Hook: the server restarts, and the call ends with `Internal`.
    Crash,
    /// Hook: the connection of the caller breaks, and the handler goes on once the fault is removed.
    Hold,
    /// Hook: one partial signature does not verify.
    WrongSignature,
    /// Hook: the last partial signature is left out.
    MissingSignature,
    /// Hook: the inputs are refused, with their ids.
    RefuseInputs,
    /// Hook: the server acknowledges an upload but treats its VTXOs as never registered; or it forgets a prepared offboard.
    Forget,
    /// Hook: the next step does not happen: a post is acknowledged but not delivered, a transaction is stored but not broadcast,
    /// an event is not sent, a preimage is not returned, or the Lightning node does not hear of it or fails. A round's transaction
    /// that is not signed is signed at the next block. A participation that is not dropped is carried out although its inputs are
    /// spent.
    Withhold,
    /// Hook: the post is delivered twice; or each output of a round is reported as the first one.
    Duplicate,
    /// Hook: the round fails.
    FailRound,
    /// Hook: the server adds a participation that nobody asked for: it takes all spendable VTXOs, gives one VTXO to the key of
    /// the first of them, and is reported to the mailbox that was read last.
    ForgeParticipation {
        /// Satoshis that the server keeps.
        fee_sat: u64,
    },
    /// Hook: the server proposes nothing, and signs alone the tree of those who joined.
    SignAlone,
    /// Hook: the tree of the round is not what the clients asked for.
    AlterTree {
        /// The change.
        change: TreeFault,
    },
    /// Hook: the transaction differs from the announced one, so its id does too.
    OtherTxid,
    /// Hook: the prepared offboard is not what the client asked for.
    AlterOffboard {
        /// The change.
        change: OffboardFault,
    },
    /// Hook: a field of `ArkInfo` is wrong.
    ReplaceArkInfo {
        /// The field.
        field: InfoFault,
    },
    /// Hook: the HTLCs of a Lightning receive are not what the client asked for.
    AlterGrant {
        /// The change.
        change: GrantFault,
    },
    /// Hook: the invoice for an offer is not what the client asked for.
    AlterInvoice {
        /// The change.
        change: InvoiceFault,
    },
    /// Hook: what the server tells for a recovery is wrong.
    AlterRecovery {
        /// The change.
        change: RecoveryFault,
    },
    /// Hook: the server's node knows no unconfirmed transactions, as one that has just started.
    NodeLags,
    /// Hook: the server's clock is wrong: in the `Date` of its answers, when it judges the age of proofs, and when it ends Lightning
    /// payments that took too long.
    SkewClock {
        /// Seconds that it is ahead of the sandbox's clock.
        seconds: i64,
    },
    /// Hook: the server answers `NotFound`.
    NotFound,
    /// Hook: the preimage does not fit the hash.
    WrongPreimage,
}

impl Action {
    /// Whether it acts on the messages of a stream rather than on the call.
    pub(super) fn cuts_streams(&self) -> bool {
        matches!(self, Action::CutStreamAfter { .. })
    }

    /// Whether it can act on this RPC.
    pub(super) fn acts_on_rpc(&self, rpc: &str) -> bool {
        match self {
            Action::CutStreamAfter { .. } => STREAMS.contains(&rpc),
            Action::Delay { .. }
            | Action::DropBefore
            | Action::DropAfter
            | Action::Status { .. }
            | Action::StatusAfter { .. } => true,
            _ => false,
        }
    }
}

/// A wrong field of `ArkInfo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InfoFault {
    /// The exit delta is zero.
    ExitDelta,
    /// `nb_round_nonces` is 2^32 - 1.
    NonceCount,
    /// The server's public key is a random one.
    ServerKey,
    /// The mailbox public key is a random one.
    MailboxKey,
    /// The refresh fee table is not in ascending order.
    FeeTable,
    /// A refresh costs 99.9 %.
    RefreshFee,
    /// A refresh costs 1000 sat more.
    RefreshBaseFee,
    /// The exit depth from which an arkoor spend is refused is 1.
    ExitDepth,
    /// The largest VTXO is worth 331 sat.
    VtxoAmount,
    /// The lifetime of a VTXO is one block.
    Lifetime,
}

/// A change to the HTLCs of a Lightning receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantFault {
    /// They are locked with another hash.
    WrongHash,
    /// They belong to another key.
    WrongKey,
    /// They expire at the current height.
    ShortExpiry,
    /// They are worth one satoshi less.
    WrongAmount,
}

/// A change to the invoice for an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceFault {
    /// The server signs it with its own key.
    OtherIssuer,
    /// It is over one satoshi more.
    OtherAmount,
}

/// A change to what the server tells a wallet that recovers its VTXOs. A change to a VTXO of an answer by extended public key applies to
/// all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecoveryFault {
    /// The body cannot be decoded. In a recovery mailbox: each message has an entry that is no id.
    Garbage,
    /// The body is that of another client's VTXO, if there is one.
    Foreign,
    /// The VTXO is reported as unknown, or left out.
    Missing,
    /// The state is spendable.
    Spendable,
    /// The state is spent.
    Spent,
    /// The state is one that no client knows.
    NewState,
    /// The index is that of the next key.
    WrongIndex,
    /// The answer moves past no key, and says that there is more. In a recovery mailbox: the messages come again and again, each time as
    /// new ones.
    Endless,
    /// A signature of the body is wrong.
    BadSignature,
    /// The ids of a recovery mailbox are told twice.
    Repeated,
}

/// A change to what the server prepares for an offboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OffboardFault {
    /// The client gets one satoshi less.
    WrongAmount,
    /// The output pays to another script.
    WrongScript,
    /// The connector output that the forfeits spend is missing.
    MissingConnector,
    /// One nonce is missing.
    MissingNonce,
}

/// A change to the tree of a round. A change to a leaf applies to the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TreeFault {
    /// A leaf is left out.
    MissingOutput,
    /// A leaf is worth one satoshi less.
    WrongAmount,
    /// A leaf belongs to another key.
    WrongPolicy,
    /// A leaf is locked with another hash.
    WrongUnlockHash,
    /// A leaf occurs twice; its owner signs one of the two.
    DuplicateOutput,
    /// The tree expires after half the time.
    ShortExpiry,
    /// The exit delta is one block longer.
    ExitDelta,
    /// The tree's server key is a random one.
    ServerKey,
    /// The transaction puts one satoshi less into the tree than its leaves are worth.
    Underfunded,
    /// One aggregated nonce is missing.
    MissingNonce,
}
