//! The commit points of everything that moves money.
//!
//! Each write that belongs to a payment, on chain or off, a board, a round, an offboard or a receive goes through
//! [`Wallet::commit`] under one of these names. In a build with the feature `failpoints`, `<name>.before` and `<name>.after` are
//! places where a test can kill the process. A new commit point cannot be had without its failpoints, and the test that walks
//! [`CommitPoint::ALL`] fails for one that none of its stories reaches.

use crate::store::WriteTx;
use crate::wallet::{Result, Wallet};

macro_rules! commit_points {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// A write that must hold also when the process dies right before or right after it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum CommitPoint {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl CommitPoint {
            /// Every commit point that there is.
            pub const ALL: &'static [CommitPoint] = &[$(CommitPoint::$variant),+];

            /// Its name, as the failpoints spell it.
            pub fn name(self) -> &'static str {
                match self {
                    $(CommitPoint::$variant => $name,)+
                }
            }
        }
    };
}

commit_points! {
    /// A payment: inputs locked, change key taken, movement written.
    SendStarted = "send.started",
    /// A payment: the server has the chains of its inputs.
    SendInputsRegistered = "send.inputs_registered",
    /// A payment: signed; inputs spent, change stored.
    SendCosigned = "send.cosigned",
    /// A payment: the server has the chains of its outputs, and the payee's mailbox the VTXOs.
    SendDelivered = "send.delivered",
    /// A payment: the server refused something, and is asked what it holds.
    SendDoubted = "send.doubted",
    /// A payment: proven not to have happened; inputs free again.
    SendAborted = "send.aborted",
    /// A board: coins held, key taken, movement written.
    BoardStarted = "board.started",
    /// A board: the exit is signed, the VTXO stored.
    BoardCosigned = "board.cosigned",
    /// A board: the funding transaction is out.
    BoardBroadcast = "board.broadcast",
    /// A board: the server took it, the VTXO is spendable.
    BoardRegistered = "board.registered",
    /// A board: given up before anything was signed.
    BoardAborted = "board.aborted",
    /// A round: intent, keys, movement.
    RoundStarted = "round.started",
    /// A round: the server has the chains of its inputs.
    RoundInputsRegistered = "round.inputs_registered",
    /// A round: about to join an attempt; inputs locked.
    RoundJoining = "round.joining",
    /// A round: the server took us into its attempt.
    RoundJoined = "round.joined",
    /// A round: our signatures of the tree.
    RoundCosigned = "round.cosigned",
    /// A round: the server has our signatures of the tree.
    RoundSigned = "round.signed",
    /// A round: an attempt came to nothing; inputs free until the next.
    RoundMissed = "round.missed",
    /// A round: some inputs went elsewhere; the rest goes on.
    RoundShrunk = "round.shrunk",
    /// A round: the server has our delegated participation.
    RoundDelegated = "round.delegated",
    /// A round: it has happened; its transaction and our new VTXOs, still locked.
    RoundIssued = "round.issued",
    /// A round: its transaction is out; inputs are ours to give up.
    RoundSeen = "round.seen",
    /// A round: new VTXOs signed; the forfeits are about to be sent.
    RoundForfeiting = "round.forfeiting",
    /// A round: preimage known; inputs spent, new VTXOs spendable.
    RoundUnlocked = "round.unlocked",
    /// A round: the server has the chains of the new VTXOs.
    RoundOutputsRegistered = "round.outputs_registered",
    /// A round: it did not happen; inputs free again.
    RoundAborted = "round.aborted",
    /// An offboard: inputs locked, amounts and fee fixed, movement.
    OffboardStarted = "offboard.started",
    /// An on-chain payment: the server has the chains of its inputs.
    OffboardInputsRegistered = "offboard.inputs_registered",
    /// An on-chain payment: the exact amount is split off; inputs spent, change stored.
    OffboardSplit = "offboard.split",
    /// An on-chain payment: the server refused the split, and is asked what it holds.
    OffboardDoubted = "offboard.doubted",
    /// An offboard: the server has the chains of what goes on chain.
    OffboardReady = "offboard.ready",
    /// An offboard: the checked transaction; the forfeits are about to be sent.
    OffboardPrepared = "offboard.prepared",
    /// An offboard: the server has lost the session; its transaction is looked for.
    OffboardSessionLost = "offboard.session_lost",
    /// An offboard: the signed transaction.
    OffboardSigned = "offboard.signed",
    /// An offboard: the transaction is out.
    OffboardBroadcast = "offboard.broadcast",
    /// An offboard: the transaction is deep enough; inputs spent, the movement's end.
    OffboardSettled = "offboard.settled",
    /// An offboard: it did not happen; inputs free again.
    OffboardAborted = "offboard.aborted",
    /// A receive: VTXOs, movement and mailbox cursor.
    ReceiveStored = "receive.stored",
    /// A receive: VTXOs that had to wait for their verdict.
    ReceiveReleased = "receive.released",
    /// A payment from the on-chain wallet: the signed transaction, which is broadcast until it is confirmed.
    OnchainPaid = "onchain.paid",
}

impl CommitPoint {
    #[cfg(feature = "failpoints")]
    fn fire(self, moment: &str) {
        fail::fail_point!(&format!("{}.{moment}", self.name()), |_| kill_process());
    }

    #[cfg(not(feature = "failpoints"))]
    fn fire(self, _moment: &str) {}
}

/// Dies as `kill -9` would have it: no destructor runs, nothing is flushed.
#[cfg(feature = "failpoints")]
fn kill_process() {
    let this = rustix::process::getpid();
    let _ = rustix::process::kill_process(this, rustix::process::Signal::KILL);
    std::process::abort();
}

impl Wallet {
    /// Writes one step of something that moves money, durable when it returns.
    pub(in crate::wallet) async fn commit<T, F>(&self, point: CommitPoint, body: F) -> Result<T>
    where
        F: FnOnce(&mut WriteTx<'_>) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        point.fire("before");
        let answer = self.store.write(body).await?;
        point.fire("after");
        Ok(answer)
    }
}
