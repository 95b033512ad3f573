//! `kill -9` at each commit point, right before and right after it, combined with the loss of each answer of the server: the
//! operation completes or is cleanly undone, no sat is lost, and nothing is paid twice.
//!
//! A story is a function that goes through all cases of a [`Run`](matrix::Run): it arms the victim with the case, sends a
//! request, restarts the victim, and checks how it ended. [`stories`] assigns each commit point to the stories that reach it: a
//! new commit point does not compile without a line there, and a victim that is not killed fails the test. Which calls a story
//! makes is found out by running it: the answer to each call that was seen is lost in turn (see [`matrix`]).
//!
//! Two calls belong to no story: the handshake and the request that checks the connection, which a connected daemon repeats
//! every second. Their failure is the loss of the connection, which `connection.rs` and `outages.rs` test.

mod aborts;
mod boards;
mod exit_claims;
mod exits;
mod imports;
mod lifecycle;
mod lightning_pay;
mod lightning_receive;
mod matrix;
mod offboards;
mod onchain;
mod payments;
mod recovery;
mod rounds;
mod scene;

use arkwalletd::CommitPoint;

use matrix::Case;

pub use scene::assert_killed;

/// Declares each story with its function and its tests. The effective ones have two: without and with lost answers. The latter visits
/// all that the former does, so that one run of the tests needs only one of them. Those without effect and those without the server have no lost
/// answers.
macro_rules! stories {
    (
        effective { $($story:ident: $function:path, $test:ident;)+ }
        without_effect { $($abort:ident: $abort_function:path, $abort_test:ident;)+ }
        without_server { $($alone:ident: $alone_function:path, $alone_test:ident;)+ }
    ) => {
        /// What has to happen for a commit point to be reached.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub enum Story {
            $($story,)+
            $($abort,)+
            $($alone,)+
        }

        /// Those that make no call to the Ark server.
        mod without_server {
            use super::*;

            $(
                #[tokio::test]
                async fn $alone_test() {
                    matrix::visit_kills(Story::$alone, $alone_function).await;
                }
            )+
        }

        /// The ways in which operations end without effect.
        mod without_effect {
            use super::*;

            $(
                #[tokio::test]
                async fn $abort_test() {
                    matrix::visit_kills(Story::$abort, $abort_function).await;
                }
            )+
        }

        $(
            #[tokio::test]
            async fn $test() {
                matrix::visit_kills(Story::$story, $function).await;
            }
        )+

        /// The same stories, combined with the loss of each answer.
        mod with_lost_answers {
            use super::*;

            $(
                #[tokio::test]
                async fn $test() {
                    matrix::visit_kills_and_losses(Story::$story, $function).await;
                }
            )+
        }
    };
}

stories! {
    effective {
        Pay: payments::pay, killed_while_paying;
        PayRefused: payments::pay_refused, killed_while_a_payment_is_refused;
        Receive: payments::receive, killed_while_being_paid;
        ReceiveUnconfirmed: payments::receive_unconfirmed, killed_while_a_payment_leaves_quarantine;
        Board: boards::board, killed_while_boarding;
        BoardRefused: boards::board_refused, killed_while_a_board_is_refused;
        Refresh: rounds::refresh, killed_while_refreshing;
        RefreshMissed: rounds::refresh_missed, killed_while_a_round_is_missed;
        RefreshRefused: rounds::refresh_refused, killed_while_a_refresh_is_refused;
        Delegate: rounds::delegate, killed_while_delegating_a_refresh;
        DelegateShrunk: rounds::delegate_shrunk, killed_while_an_input_of_a_delegated_refresh_is_spent;
        DelegateReported: rounds::delegate_reported, killed_while_the_mailbox_reports_a_delegated_refresh;
        DelegateDropped: rounds::delegate_dropped, killed_while_a_delegated_refresh_is_dropped;
        SendOnchain: offboards::send_onchain, killed_while_sending_onchain;
        SendOnchainRefused: offboards::send_onchain_refused, killed_while_sending_onchain_is_refused;
        Offboard: offboards::offboard, killed_while_offboarding;
        OffboardSessionLost: offboards::offboard_session_lost, killed_while_an_offboard_session_is_lost;
        PayOnchain: onchain::pay_onchain, killed_while_paying_from_the_onchain_wallet;
        PayLightning: lightning_pay::pay, killed_while_paying_over_lightning;
        PayLightningFailed: lightning_pay::pay_failed, killed_while_a_lightning_payment_comes_back;
        PayLightningRefused: lightning_pay::pay_refused, killed_while_a_lightning_payment_is_refused;
        PayLightningLost: lightning_pay::pay_lost, killed_while_the_server_forgets_a_lightning_payment;
        LightningReceive: lightning_receive::receive, killed_while_receiving_over_lightning;
        LightningForward: lightning_receive::forward, killed_while_forwarding_a_lightning_payment;
        LightningNoticed: lightning_receive::notice, killed_while_the_poll_finds_a_lightning_payment;
        ExitClaim: exit_claims::claim, killed_while_claiming_an_exit;
        ExitSplit: exit_claims::split, killed_while_splitting_a_coin_for_exits;
        Import: imports::import, killed_while_importing;
        Recover: recovery::recover, killed_while_recovering;
        RecoverRound: recovery::recover_round, killed_while_recovering_a_round;
        RecoverDoubt: recovery::recover_doubt, killed_while_a_recovered_vtxo_is_doubtful;
        RecoverOlder: recovery::recover_older, killed_while_an_older_database_is_recovered;
    }
    without_effect {
        PayUploadRefused: aborts::pay_upload_refused, killed_when_the_inputs_of_a_payment_are_refused;
        OffboardRefused: aborts::offboard_refused, killed_when_an_offboard_is_refused;
        RefreshUploadRefused: aborts::refresh_upload_refused, killed_when_the_inputs_of_a_refresh_are_refused;
        RefreshGivenUp: aborts::refresh_given_up, killed_when_a_refresh_is_given_up;
        RefreshWithoutInputs: aborts::refresh_without_inputs, killed_when_the_inputs_of_a_refresh_are_gone;
        DelegateRefused: aborts::delegate_refused, killed_when_a_delegated_refresh_is_refused;
        DelegateForgotten: aborts::delegate_forgotten, killed_when_a_delegated_refresh_is_forgotten;
        RoundDoubleSpent: aborts::round_double_spent, killed_when_a_round_is_double_spent;
        BoardExpired: aborts::board_expired, killed_when_a_board_is_written_off;
        LightningCanceled: lightning_receive::cancel, killed_when_an_invoice_is_canceled;
        LightningGivenUp: lightning_receive::give_up, killed_when_a_lightning_payment_is_given_up;
        LightningAbandoned: lightning_receive::abandon, killed_when_a_lightning_payment_is_abandoned;
    }
    without_server {
        Create: lifecycle::create, killed_while_creating_a_wallet;
        Restore: lifecycle::restore, killed_while_restoring_a_wallet;
        Delete: lifecycle::delete, killed_while_deleting_a_wallet;
        Exit: exits::exit, killed_while_exiting;
        ExitCanceled: exits::canceled, killed_while_an_exit_is_canceled;
        ExitOvertaken: exits::overtaken, killed_while_a_vtxo_is_spent_before_its_exit;
        ExitRebuilt: exits::rebuilt, killed_while_a_child_of_an_exit_is_replaced;
        ExitReopened: exits::reopened, killed_while_a_claim_is_taken_back;
        ExitSwept: exits::swept, killed_while_an_exit_is_swept;
        TakeOver: lifecycle::import, killed_while_taking_over_a_wallet;
    }
}

/// The stories that reach a commit point.
fn stories(point: CommitPoint) -> &'static [Story] {
    match point {
        CommitPoint::WalletCreateBegun
        | CommitPoint::WalletCreateConfigured
        | CommitPoint::WalletCreateSeeded
        | CommitPoint::WalletCreateStored
        | CommitPoint::WalletCreateFinished => &[Story::Create, Story::Restore],
        CommitPoint::WalletDeleteBegun
        | CommitPoint::WalletDeleteConfigRemoved
        | CommitPoint::WalletDeleteDatabaseRemoved
        | CommitPoint::WalletDeleteSeedRemoved
        | CommitPoint::WalletDeleteFinished => &[Story::Delete],
        CommitPoint::WalletImported => &[Story::TakeOver],
        CommitPoint::SendStarted
        | CommitPoint::SendInputsRegistered
        | CommitPoint::SendCosigned
        | CommitPoint::SendDelivered => &[Story::Pay],
        CommitPoint::RecoveryScanned
        | CommitPoint::RecoveryFetched
        | CommitPoint::RecoveryAdopted
        | CommitPoint::RecoveryCompleted => &[Story::Recover],
        CommitPoint::RecoveryRoundTaken => &[Story::RecoverRound],
        CommitPoint::RecoveryJudged => &[Story::RecoverDoubt],
        CommitPoint::RecoveryStarted => &[Story::RecoverOlder],
        CommitPoint::SendDoubted => &[Story::PayRefused],
        CommitPoint::SendAborted => &[Story::PayRefused, Story::PayUploadRefused],
        CommitPoint::BoardStarted
        | CommitPoint::BoardCosigned
        | CommitPoint::BoardBroadcast
        | CommitPoint::BoardRegistered => &[Story::Board],
        CommitPoint::BoardAborted => &[Story::BoardRefused],
        CommitPoint::BoardWrittenOff => &[Story::BoardExpired],
        CommitPoint::ReceiveStored => &[Story::Receive, Story::DelegateReported],
        CommitPoint::ReceiveReleased => &[Story::ReceiveUnconfirmed],
        // Once a round has happened, a delegated refresh is the same as any other.
        CommitPoint::RoundStarted
        | CommitPoint::RoundInputsRegistered
        | CommitPoint::RoundIssued => &[Story::Refresh, Story::Delegate],
        CommitPoint::RoundJoining
        | CommitPoint::RoundJoined
        | CommitPoint::RoundCosigned
        | CommitPoint::RoundSigned
        | CommitPoint::RoundSeen
        | CommitPoint::RoundForfeiting
        | CommitPoint::RoundUnlocked
        | CommitPoint::RoundOutputsRegistered => &[Story::Refresh],
        CommitPoint::RoundMissed => &[Story::RefreshMissed, Story::DelegateDropped],
        CommitPoint::RoundAborted => &[
            Story::RefreshRefused,
            Story::RefreshUploadRefused,
            Story::RefreshGivenUp,
            Story::RefreshWithoutInputs,
            Story::DelegateRefused,
            Story::DelegateForgotten,
        ],
        CommitPoint::RoundWithdrawn => &[Story::RoundDoubleSpent],
        CommitPoint::RoundDelegated => &[Story::Delegate],
        CommitPoint::RoundShrunk => &[Story::DelegateShrunk],
        CommitPoint::OffboardInputsRegistered | CommitPoint::OffboardSplit => &[Story::SendOnchain],
        CommitPoint::OffboardStarted
        | CommitPoint::OffboardReady
        | CommitPoint::OffboardPrepared
        | CommitPoint::OffboardSigned
        | CommitPoint::OffboardBroadcast
        | CommitPoint::OffboardSettled => &[Story::SendOnchain, Story::Offboard],
        CommitPoint::OffboardDoubted => &[Story::SendOnchainRefused],
        CommitPoint::OffboardAborted => &[Story::SendOnchainRefused, Story::OffboardRefused],
        CommitPoint::OffboardSessionLost => &[Story::OffboardSessionLost],
        CommitPoint::LightningSendStarted
        | CommitPoint::LightningSendInputsRegistered
        | CommitPoint::LightningSendCosigned
        | CommitPoint::LightningSendRegistered
        | CommitPoint::LightningSendInitiated
        | CommitPoint::LightningSendSettled => &[Story::PayLightning],
        CommitPoint::LightningSendDoubted | CommitPoint::LightningSendAborted => {
            &[Story::PayLightningRefused]
        }
        CommitPoint::LightningSendFailed
        | CommitPoint::LightningSendResumed
        | CommitPoint::LightningSendRevoked
        | CommitPoint::LightningSendReturned => &[Story::PayLightningFailed],
        CommitPoint::LightningSendLost => &[Story::PayLightningLost],
        CommitPoint::ExitStarted
        | CommitPoint::ExitChildBuilt
        | CommitPoint::ExitPublished
        | CommitPoint::ExitNoted
        | CommitPoint::ExitConfirmed
        | CommitPoint::ExitClaimed
        | CommitPoint::ExitSettled => &[Story::Exit],
        CommitPoint::ExitReopened => &[Story::ExitReopened],
        CommitPoint::ExitClaimSigned => &[Story::Exit, Story::ExitClaim],
        CommitPoint::ExitChildDropped | CommitPoint::ExitUnconfirmed => &[Story::ExitRebuilt],
        CommitPoint::ExitCanceled => &[Story::ExitCanceled],
        CommitPoint::ExitOvertaken => &[Story::ExitOvertaken],
        CommitPoint::ExitSwept => &[Story::ExitSwept],
        CommitPoint::ExitReserveSplit => &[Story::ExitSplit],
        CommitPoint::OnchainPaid => &[Story::PayOnchain],
        CommitPoint::ImportStored => &[Story::Import],
        CommitPoint::LightningReceiveInvoiced
        | CommitPoint::LightningReceiveRevealing
        | CommitPoint::LightningReceiveClaimed => {
            &[Story::LightningReceive, Story::LightningForward]
        }
        CommitPoint::LightningReceiveRegistered => &[Story::LightningReceive],
        CommitPoint::LightningReceiveDelivered => &[Story::LightningForward],
        CommitPoint::LightningReceiveNoticed => &[Story::LightningNoticed],
        CommitPoint::LightningReceiveCanceled => &[Story::LightningCanceled],
        CommitPoint::LightningReceiveGivenUp => &[Story::LightningGivenUp],
        CommitPoint::LightningReceiveAbandoned => &[Story::LightningAbandoned],
    }
}

impl Story {
    /// Its failpoints: both sides of each of its commit points.
    fn failpoints(self) -> Vec<String> {
        let points = CommitPoint::ALL
            .iter()
            .filter(|point| stories(**point).contains(&self));
        points
            .flat_map(|point| {
                ["before", "after"].map(|moment| format!("{}.{moment}", point.name()))
            })
            .collect()
    }

    /// Whether the calls whose answers are lost in this case are made in it.
    fn tells(self, case: &Case) -> bool {
        let kill_point = case.kill_point.as_deref().unwrap_or_default();
        if case.lost.is_empty() {
            return true;
        }
        // Nothing was written, so there is nothing that goes on after the restart.
        if kill_point.ends_with(".started.before") {
            return false;
        }
        // The refresh is over. Where its end was not written, it joins the next round.
        self != Story::RefreshRefused || kill_point != "round.aborted.after"
    }

    /// Whether a call belongs to the story. The daemon always listens to rounds and to its mailbox, but only some stories depend
    /// on what it receives.
    fn depends_on(self, rpc: &str) -> bool {
        let is_round = matches!(
            self,
            Story::Refresh
                | Story::RefreshMissed
                | Story::RefreshRefused
                | Story::Delegate
                | Story::DelegateShrunk
                | Story::DelegateReported
                | Story::DelegateDropped
        );
        let is_recovery = matches!(
            self,
            Story::Recover | Story::RecoverRound | Story::RecoverDoubt | Story::RecoverOlder
        );
        match rpc {
            // The server's copy is complete, or is completed when the recovery is over.
            "PostRecoveryVtxoIds" | "RegisterVtxoTransactions" if is_recovery => false,
            "Handshake" | "GetArkInfo" => false,
            "SubscribeRounds" | "LastRoundEvent" => is_round,
            // The mailbox also reports a round to a participant that has missed it.
            "SubscribeMailbox" | "ReadMailbox" => {
                is_round || matches!(self, Story::Receive | Story::ReceiveUnconfirmed)
            }
            // It takes the only VTXO, so that nothing is left to post, unless that was posted before.
            // The victim that forwards a payment owns nothing; its peer posts.
            "PostRecoveryVtxoIds" => !matches!(
                self,
                Story::Offboard | Story::OffboardSessionLost | Story::LightningForward
            ),
            // The poll is only the safety net where the mailbox tells of the payment.
            "CheckLightningReceive" => {
                !matches!(self, Story::LightningReceive | Story::LightningForward)
            }
            _ => true,
        }
    }
}
