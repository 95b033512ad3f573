//! The points inside the handlers at which a fault can act.

use super::Action;

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
    /// `ArkInfo` is ready.
    Info,
    /// The server looks at its clock.
    Clock,
}

impl Hook {
    /// Every hook.
    pub const ALL: [Hook; 22] = [
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
                Hook::BoardCosign | Hook::ArkoorResponse | Hook::RoundFinished | Hook::RoundLeaf
            ),
            Action::MissingSignature => self == Hook::ArkoorResponse,
            Action::RefuseInputs => matches!(self, Hook::ArkoorChecked | Hook::ArkoorPersisted),
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
            ),
            Action::Duplicate => matches!(self, Hook::MailboxPost | Hook::RoundStatus),
            Action::FailRound => self == Hook::RoundAttempt,
            Action::ForgeParticipation { .. } => self == Hook::RoundAttempt,
            Action::AlterTree { .. } | Action::SignAlone => self == Hook::RoundProposal,
            Action::OtherTxid => matches!(self, Hook::RoundFinished | Hook::OffboardPersisted),
            Action::AlterOffboard { .. } => self == Hook::OffboardPrepared,
            Action::ReplaceArkInfo { .. } => self == Hook::Info,
            Action::NodeLags => self == Hook::BoardFunding,
            Action::SkewClock { .. } => self == Hook::Clock,
            Action::NotFound => self == Hook::RoundStatus,
            Action::WrongPreimage => self == Hook::RoundForfeitPersisted,
            _ => false,
        }
    }
}
