//! The commit points of everything that moves money.
//!
//! Each write of a payment, on chain or off, a board, a round, an offboard or a receive goes through [`Wallet::commit`] under one of
//! these names. In a build with the feature `failpoints`, a test can kill the process at `<name>.before` and `<name>.after`, and make
//! the commit itself fail at `<name>.lost` and `<name>.kept`. The crash test visits [`CommitPoint::ALL`], and fails for a commit point
//! that none of its stories reaches. The steps of a creation and of a deletion of a wallet change files instead, through
//! [`CommitPoint::step`].

use crate::store::{Store, WriteTx};
use crate::wallet::{Result, Wallet};

macro_rules! commit_points {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// A write right before and right after which the process may die without loss.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum CommitPoint {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl CommitPoint {
            /// Every commit point.
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
    /// A creation: its request is on disk, so that it can be finished.
    WalletCreateBegun = "wallet.create.begun",
    /// A creation: `config.toml` is written.
    WalletCreateConfigured = "wallet.create.configured",
    /// A creation: the seed is written.
    WalletCreateSeeded = "wallet.create.seeded",
    /// A creation: the database knows whose wallet it is.
    WalletCreateStored = "wallet.create.stored",
    /// A creation: finished; its request is forgotten.
    WalletCreateFinished = "wallet.create.finished",
    /// A deletion: which wallet is deleted is on disk, so that the wallet is not opened again.
    WalletDeleteBegun = "wallet.delete.begun",
    /// A deletion: `config.toml` is removed.
    WalletDeleteConfigRemoved = "wallet.delete.config_removed",
    /// A deletion: the database is removed.
    WalletDeleteDatabaseRemoved = "wallet.delete.database_removed",
    /// A deletion: the seed is removed.
    WalletDeleteSeedRemoved = "wallet.delete.seed_removed",
    /// A deletion: finished.
    WalletDeleteFinished = "wallet.delete.finished",
    /// An import: the datadir of a wallet of barkd is complete.
    WalletImported = "wallet.imported",
    /// A payment: inputs locked, change key taken, movement written.
    SendStarted = "send.started",
    /// A payment: the server has the chains of its inputs.
    SendInputsRegistered = "send.inputs_registered",
    /// A payment: signed; inputs spent, change stored.
    SendCosigned = "send.cosigned",
    /// A payment: the server has the chains of its outputs, and the payee's mailbox the VTXOs.
    SendDelivered = "send.delivered",
    /// A payment: the server refused to sign, and is asked for the state of the inputs.
    SendDoubted = "send.doubted",
    /// A payment: it certainly did not happen; inputs released.
    SendAborted = "send.aborted",
    /// A board: coins held, key taken, movement written.
    BoardStarted = "board.started",
    /// A board: the exit is signed, the VTXO stored.
    BoardCosigned = "board.cosigned",
    /// A board: the funding transaction is broadcast.
    BoardBroadcast = "board.broadcast",
    /// A board: registered with the server, and spendable; or exited.
    BoardRegistered = "board.registered",
    /// A board: given up before anything was signed; coins released.
    BoardAborted = "board.aborted",
    /// A board: signed, but its transaction never confirms; coins released, the VTXO is worth nothing.
    BoardWrittenOff = "board.written_off",
    /// A round: inputs, keys and movement.
    RoundStarted = "round.started",
    /// A round: the server has the chains of its inputs.
    RoundInputsRegistered = "round.inputs_registered",
    /// A round: about to join an attempt; inputs locked.
    RoundJoining = "round.joining",
    /// A round: the server accepted the participation in its attempt.
    RoundJoined = "round.joined",
    /// A round: the wallet's signatures of the tree.
    RoundCosigned = "round.cosigned",
    /// A round: the server has the wallet's signatures of the tree.
    RoundSigned = "round.signed",
    /// A round: an attempt failed; inputs released until the next one.
    RoundMissed = "round.missed",
    /// A round: some inputs were spent otherwise, or the server refuses them; it continues with the rest.
    RoundShrunk = "round.shrunk",
    /// A round: the server has the delegated participation.
    RoundDelegated = "round.delegated",
    /// A round: issued; its transaction and the new VTXOs, still hash-locked.
    RoundIssued = "round.issued",
    /// A round: its transaction is broadcast; inputs locked for it.
    RoundSeen = "round.seen",
    /// A round: new VTXOs signed; the server may get the forfeits from here on.
    RoundForfeiting = "round.forfeiting",
    /// A round: preimage known; inputs spent, new VTXOs spendable.
    RoundUnlocked = "round.unlocked",
    /// A round: the server has the chains of the new VTXOs.
    RoundOutputsRegistered = "round.outputs_registered",
    /// A round: it certainly did not happen; inputs released.
    RoundAborted = "round.aborted",
    /// A round: issued, but nothing was forfeited and nothing will be, or the chain has given the inputs back; the new VTXOs dropped.
    RoundWithdrawn = "round.withdrawn",
    /// An offboard: inputs locked, amounts and fee fixed, movement.
    OffboardStarted = "offboard.started",
    /// An on-chain payment: the server has the chains of its inputs.
    OffboardInputsRegistered = "offboard.inputs_registered",
    /// An on-chain payment: the exact amount is split off; inputs spent, change stored.
    OffboardSplit = "offboard.split",
    /// An on-chain payment: the server refused the split, and is asked for the state of the inputs.
    OffboardDoubted = "offboard.doubted",
    /// An offboard: the server has the chains of what goes on chain.
    OffboardReady = "offboard.ready",
    /// An offboard: the checked transaction; the server may get the forfeits from here on.
    OffboardPrepared = "offboard.prepared",
    /// An offboard: the server has lost the session; its transaction is searched for.
    OffboardSessionLost = "offboard.session_lost",
    /// An offboard: the signed transaction.
    OffboardSigned = "offboard.signed",
    /// An offboard: the transaction is broadcast.
    OffboardBroadcast = "offboard.broadcast",
    /// An offboard: the transaction is deep enough; inputs spent, movement successful.
    OffboardSettled = "offboard.settled",
    /// An offboard: it certainly did not happen; inputs released.
    OffboardAborted = "offboard.aborted",
    /// A Lightning payment: inputs locked, keys taken, movement written.
    LightningSendStarted = "lightning_send.started",
    /// A Lightning payment: the server has the chains of its inputs.
    LightningSendInputsRegistered = "lightning_send.inputs_registered",
    /// A Lightning payment: the HTLCs are signed; inputs spent, change stored.
    LightningSendCosigned = "lightning_send.cosigned",
    /// A Lightning payment: the server refused to sign, and is asked for the state of the inputs, or for later HTLCs.
    LightningSendDoubted = "lightning_send.doubted",
    /// A Lightning payment: it certainly did not happen; inputs released.
    LightningSendAborted = "lightning_send.aborted",
    /// A Lightning payment: the server has the chains of the HTLCs and the change.
    LightningSendRegistered = "lightning_send.registered",
    /// A Lightning payment: the server has the order to pay.
    LightningSendInitiated = "lightning_send.initiated",
    /// A Lightning payment: the server has forgotten the order; it gets it again.
    LightningSendLost = "lightning_send.lost",
    /// A Lightning payment: it failed; its HTLCs have to come back.
    LightningSendFailed = "lightning_send.failed",
    /// A Lightning payment: the server keeps the HTLCs for now; the payment is followed again.
    LightningSendResumed = "lightning_send.resumed",
    /// A Lightning payment: preimage known; HTLCs spent, movement successful.
    LightningSendSettled = "lightning_send.settled",
    /// A Lightning payment: HTLCs spent, what came back spendable.
    LightningSendRevoked = "lightning_send.revoked",
    /// A Lightning payment: the server has the chains of what came back, or its HTLCs were exited; movement failed.
    LightningSendReturned = "lightning_send.returned",
    /// A receive: VTXOs, movement and mailbox cursor.
    ReceiveStored = "receive.stored",
    /// A receive: VTXOs whose validity was undecided at first.
    ReceiveReleased = "receive.released",
    /// A Lightning receive: the preimage of an invoice, before anybody sees the invoice.
    LightningReceiveInvoiced = "lightning_receive.invoiced",
    /// A Lightning receive: canceled before it was paid.
    LightningReceiveCanceled = "lightning_receive.canceled",
    /// A Lightning receive: the poll found that the server holds a payment.
    LightningReceiveNoticed = "lightning_receive.noticed",
    /// A Lightning receive: HTLCs locked, movement written; the server may get the preimage from here on.
    LightningReceiveRevealing = "lightning_receive.revealing",
    /// A Lightning receive: the claim is signed; HTLCs spent, the new VTXOs stored.
    LightningReceiveClaimed = "lightning_receive.claimed",
    /// A Lightning receive: the server has the chains of the new VTXOs, which are spendable; or the HTLCs were exited and claimed.
    LightningReceiveRegistered = "lightning_receive.registered",
    /// A Lightning receive: the mailbox of an Ark address has the new VTXOs.
    LightningReceiveDelivered = "lightning_receive.delivered",
    /// A Lightning receive: given up while the preimage was secret.
    LightningReceiveGivenUp = "lightning_receive.given_up",
    /// A Lightning receive: the daemon came back too late to reveal the preimage; HTLCs spent.
    LightningReceiveAbandoned = "lightning_receive.abandoned",
    /// An import: the VTXOs that a caller hands in, and their keys.
    ImportStored = "import.stored",
    /// An exit: row, movement and operation.
    ExitStarted = "exit.started",
    /// An exit: the child of its next transaction, with its coins.
    ExitChildBuilt = "exit.child_built",
    /// An exit: the child can never confirm; coins released.
    ExitChildDropped = "exit.child_dropped",
    /// An exit: the network has its next transaction.
    ExitPublished = "exit.published",
    /// An exit: what the chain says of it, or what keeps it from going on, has changed.
    ExitNoted = "exit.noted",
    /// An exit: all its transactions are confirmed; the VTXO is exited.
    ExitConfirmed = "exit.confirmed",
    /// An exit: a reorganisation took a transaction back.
    ExitUnconfirmed = "exit.unconfirmed",
    /// An exit: the transaction that claims its output, before it is broadcast.
    ExitClaimSigned = "exit.claim_signed",
    /// Exits: the payment of the on-chain wallet to itself that gives each of them a coin.
    ExitReserveSplit = "exit.reserve_split",
    /// An exit: the output is claimed; movement successful.
    ExitClaimed = "exit.claimed",
    /// An exit: a reorganisation took the claim back; the output has to be claimed again.
    ExitReopened = "exit.reopened",
    /// An exit: the claim is deep in the chain.
    ExitSettled = "exit.settled",
    /// An exit: ended by a person, before the VTXO was on chain; movement canceled.
    ExitCanceled = "exit.canceled",
    /// An exit: the VTXO was spent off chain; movement canceled.
    ExitOvertaken = "exit.overtaken",
    /// An exit: somebody else's transaction spent what the VTXO hangs from; movement failed.
    ExitSwept = "exit.swept",
    /// A recovery of a database that is older than the wallet: nothing is spent from here on.
    RecoveryStarted = "recovery.started",
    /// A recovery: what a page or a round has shown, and where the next one begins.
    RecoveryScanned = "recovery.scanned",
    /// A recovery: bodies and states of VTXOs.
    RecoveryFetched = "recovery.fetched",
    /// A recovery: a round that was not complete goes on.
    RecoveryRoundTaken = "recovery.round_taken",
    /// A recovery: judged VTXOs, and their movement.
    RecoveryAdopted = "recovery.adopted",
    /// A recovery: all is judged; VTXOs can be spent.
    RecoveryJudged = "recovery.judged",
    /// A recovery: nothing is doubtful.
    RecoveryCompleted = "recovery.completed",
    /// A payment from the on-chain wallet: the signed transaction, which is broadcast until it is confirmed.
    OnchainPaid = "onchain.paid",
}

impl CommitPoint {
    /// Runs a change of files. It has to be durable when it returns.
    pub(in crate::wallet) fn step<T>(self, change: impl FnOnce() -> Result<T>) -> Result<T> {
        self.fire("before");
        let answer = change()?;
        self.fire("after");
        Ok(answer)
    }

    #[cfg(feature = "failpoints")]
    fn fire(self, moment: &str) {
        fail::fail_point!(&format!("{}.{moment}", self.name()), |_| kill_process());
    }

    #[cfg(not(feature = "failpoints"))]
    fn fire(self, _moment: &str) {}

    /// Makes the commit fail: at `<name>.lost` the disk does not have it, at `<name>.kept` it has.
    #[cfg(feature = "failpoints")]
    fn fail_commit(self, tx: &mut WriteTx<'_>) {
        use crate::store::CommitFailure;
        for (moment, failure) in [("lost", CommitFailure::Lost), ("kept", CommitFailure::Kept)] {
            fail::fail_point!(&format!("{}.{moment}", self.name()), |_| tx
                .fail_commit(failure));
        }
    }

    #[cfg(not(feature = "failpoints"))]
    fn fail_commit(self, _tx: &mut WriteTx<'_>) {}
}

/// Dies like under `kill -9`: no destructor runs, nothing is flushed.
#[cfg(feature = "failpoints")]
fn kill_process() {
    let this = rustix::process::getpid();
    let _ = rustix::process::kill_process(this, rustix::process::Signal::KILL);
    std::process::abort();
}

impl Wallet {
    /// Runs a write that moves money; it is durable when this returns.
    pub(in crate::wallet) async fn commit<T, F>(&self, point: CommitPoint, body: F) -> Result<T>
    where
        F: FnOnce(&mut WriteTx<'_>) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        commit(&self.store, point, body).await
    }
}

/// As [`Wallet::commit`], for a wallet that is not assembled yet.
pub(in crate::wallet) async fn commit<T, F>(store: &Store, point: CommitPoint, body: F) -> Result<T>
where
    F: FnOnce(&mut WriteTx<'_>) -> Result<T> + Send + 'static,
    T: Send + 'static,
{
    point.fire("before");
    let answer = store
        .write(move |tx| -> Result<T> {
            let answer = body(tx)?;
            point.fail_commit(tx);
            Ok(answer)
        })
        .await?;
    point.fire("after");
    Ok(answer)
}
