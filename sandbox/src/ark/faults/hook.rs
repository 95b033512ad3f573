//! The points inside the handlers at which a fault can act.

use super::{Action, RecoveryFault};

/// A point in a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// A board's funding transaction is about to be checked.
    BoardFunding,
    /// A board has been cosigned; nothing is stored.
    BoardCosign,
    /// A board has been stored.
    BoardRegister,
    /// Signed transactions have been checked, before they are stored.
    Register,
    /// The inputs of an arkoor request are in use; nothing is checked.
    ArkoorLocked,
    /// An arkoor request has passed all checks; nothing is stored.
    ArkoorChecked,
    /// Inputs are marked spent and outputs are stored; nothing is signed.
    ArkoorPersisted,
    /// The arkoor answer is ready.
    ArkoorResponse,
    /// A post to a mailbox has passed all checks; nothing is stored.
    MailboxPost,
    /// A round is about to invite the clients.
    RoundAttempt,
    /// A round is about to drop a participation whose inputs cannot be spent.
    RoundDrop,
    /// A round is about to build its tree.
    RoundProposal,
    /// A round is stored; its funding transaction is not signed.
    RoundSign,
    /// The funding transaction of a stored round is signed, and not broadcast.
    RoundCommit,
    /// The funding transaction of a round is broadcast; the clients have not been told.
    RoundFinished,
    /// A client is about to hear how its participation stands.
    RoundStatus,
    /// The signature for an output of a round is ready.
    RoundLeaf,
    /// The forfeits are stored; the client does not know the preimage.
    RoundForfeitPersisted,
    /// An offboard is prepared; the client has not been told.
    OffboardPrepared,
    /// An offboard is stored; its transaction is not broadcast.
    OffboardPersisted,
    /// The server is about to ask the issuer of an offer for an invoice.
    LnFetchInvoice,
    /// The inputs of an HTLC are spent and it is stored; nothing is signed.
    LnHtlcPersisted,
    /// The signatures for an HTLC are ready.
    LnHtlcResponse,
    /// The attempt to pay an invoice is stored; the node does not know of it.
    LnAttempt,
    /// The node pays an invoice; the client has not been told.
    LnInitiated,
    /// A client of this server pays another one, and both halves are stored; the payee has not been told.
    LnIntraAccepted,
    /// The node is about to cancel the invoice that one client pays another.
    LnIntraCancel,
    /// The node told how a payment ended; nothing is stored.
    LnOutcome,
    /// The preimage of a payment is stored; the attempt is still open.
    LnPreimage,
    /// The end of an attempt is stored; the client has not been told.
    LnFinished,
    /// A client is about to hear how its payment stands.
    LnCheck,
    /// A revocation is stored; nothing is signed.
    LnRevokePersisted,
    /// The signatures for a revocation are ready.
    LnRevokeResponse,
    /// The node has the invoice of a client; the server has not stored it.
    LnInjected,
    /// A held payment is stored; its payee has not been told.
    LnAccepted,
    /// HTLCs are taken from the pool; the receive does not refer to them.
    LnGranted,
    /// The HTLCs of a receive are about to be built.
    LnGrant,
    /// The preimage of a receive is stored; its HTLCs are not spent.
    LnPreimageSeen,
    /// The claim of a receive is stored; nothing is signed.
    LnClaimPersisted,
    /// The signatures for a claim are ready.
    LnClaimResponse,
    /// The server is about to settle a held payment at the node.
    LnSettle,
    /// A client is about to get the body of one VTXO, alone or among others.
    RecoveryBody,
    /// A client is about to hear the state of one VTXO, alone or among others.
    RecoveryState,
    /// The answer to an extended public key is ready.
    RecoveryPage,
    /// A client is about to read a page of a recovery mailbox.
    RecoveryMailbox,
    /// `ArkInfo` is ready.
    Info,
    /// The server looks at its clock.
    Clock,
}

impl Hook {
    /// Every hook.
    pub const ALL: [Hook; 47] = [
        Hook::BoardFunding,
        Hook::BoardCosign,
        Hook::BoardRegister,
        Hook::Register,
        Hook::ArkoorLocked,
        Hook::ArkoorChecked,
        Hook::ArkoorPersisted,
        Hook::ArkoorResponse,
        Hook::MailboxPost,
        Hook::RoundAttempt,
        Hook::RoundDrop,
        Hook::RoundProposal,
        Hook::RoundSign,
        Hook::RoundCommit,
        Hook::RoundFinished,
        Hook::RoundStatus,
        Hook::RoundLeaf,
        Hook::RoundForfeitPersisted,
        Hook::OffboardPrepared,
        Hook::OffboardPersisted,
        Hook::LnFetchInvoice,
        Hook::LnHtlcPersisted,
        Hook::LnHtlcResponse,
        Hook::LnAttempt,
        Hook::LnInitiated,
        Hook::LnIntraAccepted,
        Hook::LnIntraCancel,
        Hook::LnOutcome,
        Hook::LnPreimage,
        Hook::LnFinished,
        Hook::LnCheck,
        Hook::LnRevokePersisted,
        Hook::LnRevokeResponse,
        Hook::LnInjected,
        Hook::LnAccepted,
        Hook::LnGranted,
        Hook::LnGrant,
        Hook::LnPreimageSeen,
        Hook::LnClaimPersisted,
        Hook::LnClaimResponse,
        Hook::LnSettle,
        Hook::RecoveryBody,
        Hook::RecoveryState,
        Hook::RecoveryPage,
        Hook::RecoveryMailbox,
        Hook::Info,
        Hook::Clock,
    ];

    /// The target of faults that act at this point.
    pub fn name(self) -> &'static str {
        match self {
            Hook::BoardFunding => "board.funding",
            Hook::BoardCosign => "board.cosign",
            Hook::BoardRegister => "board.register",
            Hook::Register => "register",
            Hook::ArkoorLocked => "arkoor.locked",
            Hook::ArkoorChecked => "arkoor.checked",
            Hook::ArkoorPersisted => "arkoor.persisted",
            Hook::ArkoorResponse => "arkoor.response",
            Hook::MailboxPost => "mailbox.post",
            Hook::RoundAttempt => "round.attempt",
            Hook::RoundDrop => "round.drop",
            Hook::RoundProposal => "round.proposal",
            Hook::RoundSign => "round.sign",
            Hook::RoundCommit => "round.commit",
            Hook::RoundFinished => "round.finished",
            Hook::RoundStatus => "round.status",
            Hook::RoundLeaf => "round.leaf",
            Hook::RoundForfeitPersisted => "round.forfeit.persisted",
            Hook::OffboardPrepared => "offboard.prepared",
            Hook::OffboardPersisted => "offboard.persisted",
            Hook::LnFetchInvoice => "lnsend.fetch_invoice",
            Hook::LnHtlcPersisted => "lnsend.htlc.persisted",
            Hook::LnHtlcResponse => "lnsend.htlc.response",
            Hook::LnAttempt => "lnsend.attempt",
            Hook::LnInitiated => "lnsend.initiated",
            Hook::LnIntraAccepted => "lnsend.intra.accepted",
            Hook::LnIntraCancel => "lnsend.intra.cancel",
            Hook::LnOutcome => "lnsend.outcome",
            Hook::LnPreimage => "lnsend.preimage",
            Hook::LnFinished => "lnsend.finished",
            Hook::LnCheck => "lnsend.check",
            Hook::LnRevokePersisted => "lnsend.revoke.persisted",
            Hook::LnRevokeResponse => "lnsend.revoke.response",
            Hook::LnInjected => "lnrecv.injected",
            Hook::LnAccepted => "lnrecv.accepted",
            Hook::LnGranted => "lnrecv.granted",
            Hook::LnGrant => "lnrecv.grant",
            Hook::LnPreimageSeen => "lnrecv.preimage_seen",
            Hook::LnClaimPersisted => "lnrecv.claim.persisted",
            Hook::LnClaimResponse => "lnrecv.claim.response",
            Hook::LnSettle => "lnrecv.settle",
            Hook::RecoveryBody => "recovery.body",
            Hook::RecoveryState => "recovery.state",
            Hook::RecoveryPage => "recovery.page",
            Hook::RecoveryMailbox => "recovery.mailbox",
            Hook::Info => "info",
            Hook::Clock => "clock",
        }
    }

    /// Whether the handler implements this action at this point.
    pub fn accepts(self, action: &Action) -> bool {
        match action {
            Action::Crash => self != Hook::Clock,
            Action::Hold => self == Hook::ArkoorLocked,
            Action::WrongSignature => matches!(
                self,
                Hook::BoardCosign
                    | Hook::ArkoorResponse
                    | Hook::RoundFinished
                    | Hook::RoundLeaf
                    | Hook::LnHtlcResponse
                    | Hook::LnRevokeResponse
                    | Hook::LnClaimResponse
            ),
            Action::MissingSignature => matches!(
                self,
                Hook::ArkoorResponse
                    | Hook::LnHtlcResponse
                    | Hook::LnRevokeResponse
                    | Hook::LnClaimResponse
            ),
            Action::RefuseInputs => matches!(
                self,
                Hook::ArkoorChecked
                    | Hook::ArkoorPersisted
                    | Hook::LnHtlcPersisted
                    | Hook::LnRevokePersisted
                    | Hook::LnPreimageSeen
                    | Hook::LnClaimPersisted
            ),
            Action::Forget => matches!(self, Hook::Register | Hook::OffboardPrepared),
            Action::Withhold => matches!(
                self,
                Hook::MailboxPost
                    | Hook::RoundDrop
                    | Hook::RoundSign
                    | Hook::RoundCommit
                    | Hook::RoundFinished
                    | Hook::RoundForfeitPersisted
                    | Hook::OffboardPersisted
                    | Hook::LnIntraCancel
                    | Hook::LnOutcome
                    | Hook::LnFinished
                    | Hook::LnAccepted
                    | Hook::LnSettle
            ),
            Action::Duplicate => matches!(self, Hook::MailboxPost | Hook::RoundStatus),
            Action::FailRound => self == Hook::RoundAttempt,
            Action::ForgeParticipation { .. } => self == Hook::RoundAttempt,
            Action::AlterTree { .. } | Action::SignAlone => self == Hook::RoundProposal,
            Action::OtherTxid => matches!(self, Hook::RoundFinished | Hook::OffboardPersisted),
            Action::AlterOffboard { .. } => self == Hook::OffboardPrepared,
            Action::ReplaceArkInfo { .. } => self == Hook::Info,
            Action::AlterGrant { .. } => self == Hook::LnGrant,
            Action::AlterInvoice { .. } => self == Hook::LnFetchInvoice,
            Action::AlterRecovery { change } => change.acts_at(self),
            Action::NodeLags => self == Hook::BoardFunding,
            Action::SkewClock { .. } => self == Hook::Clock,
            Action::NotFound => matches!(self, Hook::RoundStatus | Hook::LnCheck),
            Action::WrongPreimage => matches!(self, Hook::RoundForfeitPersisted | Hook::LnCheck),
            _ => false,
        }
    }
}

impl RecoveryFault {
    fn acts_at(self, hook: Hook) -> bool {
        match self {
            RecoveryFault::Garbage => matches!(
                hook,
                Hook::RecoveryBody | Hook::RecoveryPage | Hook::RecoveryMailbox
            ),
            RecoveryFault::Foreign | RecoveryFault::Missing | RecoveryFault::BadSignature => {
                matches!(hook, Hook::RecoveryBody | Hook::RecoveryPage)
            }
            RecoveryFault::Spendable | RecoveryFault::Spent | RecoveryFault::NewState => {
                matches!(hook, Hook::RecoveryState | Hook::RecoveryPage)
            }
            RecoveryFault::WrongIndex => hook == Hook::RecoveryPage,
            RecoveryFault::Endless => {
                matches!(hook, Hook::RecoveryPage | Hook::RecoveryMailbox)
            }
            RecoveryFault::Repeated => hook == Hook::RecoveryMailbox,
        }
    }
}
