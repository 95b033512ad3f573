//! Recoveries: what they found, and what became of it.

use ark_lib::VtxoId;
use bitcoin::Amount;
use bitcoin_ext::BlockHeight;

use super::OperationId;

/// Why a recovery runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryCause {
    /// The wallet was created from its seed.
    Seed,
    /// A newer copy of the database exists, or existed.
    OlderDatabase,
}

impl RecoveryCause {
    /// The name of the cause in the API and in the database.
    pub fn name(self) -> &'static str {
        match self {
            RecoveryCause::Seed => "seed",
            RecoveryCause::OlderDatabase => "older_database",
        }
    }
}

/// Where a candidate was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CandidateSource {
    /// The server has it under a key of the wallet.
    Key,
    /// A message of the mailbox.
    Mailbox,
    /// A round that the mailbox has reported.
    Round,
    /// The recovery mailbox.
    RecoveryMailbox,
    /// The wallet's own database.
    Own,
}

impl CandidateSource {
    /// The name of the source in the database.
    pub fn name(self) -> &'static str {
        match self {
            CandidateSource::Key => "key",
            CandidateSource::Mailbox => "mailbox",
            CandidateSource::Round => "round",
            CandidateSource::RecoveryMailbox => "recovery_mailbox",
            CandidateSource::Own => "own",
        }
    }
}

/// What became of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The wallet has it, and can spend it.
    Recovered,
    /// It is spent; the wallet stores that.
    Spent,
    /// The same, and nothing but the server's word shows it.
    SpentUnproven,
    /// It is on chain, and the wallet's.
    Exited,
    /// It belongs to a round or a Lightning payment that is not complete.
    InFlight,
    /// It belongs to another wallet, or its key is beyond the gap limit.
    Foreign,
    /// It can never be spent.
    Invalid,
    /// Somebody else has its value, or it was claimed.
    Gone,
    /// The server does not send it.
    Missing,
    /// Whether it can be spent is not known.
    Doubtful,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Verdict; 10] = [
        Verdict::Recovered,
        Verdict::Spent,
        Verdict::SpentUnproven,
        Verdict::Exited,
        Verdict::InFlight,
        Verdict::Foreign,
        Verdict::Invalid,
        Verdict::Gone,
        Verdict::Missing,
        Verdict::Doubtful,
    ];

    /// The name of the verdict in the API and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Recovered => "recovered",
            Verdict::Spent => "spent",
            Verdict::SpentUnproven => "spent_unproven",
            Verdict::Exited => "exited",
            Verdict::InFlight => "in_flight",
            Verdict::Foreign => "foreign",
            Verdict::Invalid => "invalid",
            Verdict::Gone => "gone",
            Verdict::Missing => "missing",
            Verdict::Doubtful => "doubtful",
        }
    }
}

/// A VTXO that a recovery has found.
#[derive(Clone, Debug)]
pub struct FoundVtxo {
    /// Its id.
    pub id: VtxoId,
    /// Where.
    pub source: CandidateSource,
    /// The index of its key, if it was told.
    pub key_index: Option<u32>,
    /// Its encoding, if it was told.
    pub body: Option<Vec<u8>>,
    /// What the server says of it: a number of the protocol's enumeration.
    pub state: Option<i32>,
}

/// A candidate whose fate is not decided.
#[derive(Clone, Debug)]
pub struct OpenCandidate {
    /// Its id.
    pub id: VtxoId,
    /// Whether its id is in the recovery mailbox.
    pub backed_up: bool,
    /// The index of its key, as far as it is known.
    pub key_index: Option<u32>,
    /// Its encoding, as far as it is known.
    pub body: Option<Vec<u8>>,
    /// What the server says of it.
    pub state: Option<i32>,
    /// Tries without an answer.
    pub tries: u32,
}

/// A VTXO that counts as spent on the server's word alone.
#[derive(Clone, Debug)]
pub struct UnprovenSpend {
    /// Its id.
    pub id: VtxoId,
    /// What it is worth.
    pub amount: Amount,
    /// The height at which it expires.
    pub expiry_height: BlockHeight,
    /// Whether a recovery has found it spendable in this database.
    pub was_spendable: bool,
}

/// A candidate that is not the wallet's to spend now.
#[derive(Clone, Debug)]
pub struct LeftOut {
    /// Its id.
    pub id: VtxoId,
    /// What became of it: the name of a [`Verdict`].
    pub verdict: String,
    /// Why.
    pub reason: String,
}

/// The last recovery.
#[derive(Clone, Debug)]
pub struct RecoveryRow {
    /// Its operation.
    pub id: OperationId,
    /// Why it runs: the name of a [`RecoveryCause`].
    pub cause: String,
    /// When it began, unix milliseconds.
    pub started_at: i64,
    /// When it ended; `None` while it runs.
    pub finished_at: Option<i64>,
    /// Whether no VTXO is spent meanwhile.
    pub holds_spends: bool,
    /// Entries that are no VTXO and no id of one.
    pub undecodable: u64,
}
