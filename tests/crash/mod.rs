//! `kill -9` at each commit point, right before and right after it, combined with the loss of each answer of the server: the
//! operation completes or is cleanly undone, no sat is lost, and nothing is paid twice.
//!
//! [`stories`] assigns every commit point to the stories in which it is reached; a new commit point does not compile without
//! a line there, and a story not without a tale and its test. Which calls a story makes is not written anywhere: it is found
//! out by telling it. It is told with a death at each of its failpoints, and that again for each call that was ever seen in
//! it, with the answer to that call lost, until there is no call left whose answer was not (see [`telling`]). All of this is
//! done on the simulated chain and on a real node alike.
//!
//! Two calls are no part of any story: the handshake and the question that serves as a sign of life. They are made once a
//! second by whoever is connected, whatever else happens, and their failure is told as the loss of the connection, without
//! which nothing new is begun. The other tests of connections are about that.

mod boards;
mod offboards;
mod onchain;
mod payments;
mod rounds;
mod telling;

use arkwalletd::wallet::CommitPoint;

pub use telling::assert_killed;
use telling::tell_in_all_ways;

/// Writes out the stories, each with its tale and its test.
macro_rules! stories {
    ($($(#[doc = $doc:literal])+ $story:ident = $tale:ty, $test:ident;)+) => {
        /// What has to happen for a commit point to be reached.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub enum Story {
            $($(#[doc = $doc])+ $story,)+
        }

        $(
            #[tokio::test]
            async fn $test() {
                tell_in_all_ways::<$tale>(Story::$story).await;
            }
        )+
    };
}

stories! {
    /// The payer pays with coins that the server may not know yet.
    Pay = payments::Pay, a_payer_may_die_anywhere;
    /// The payer pays, and the server refuses to sign.
    PayRefused = payments::PayRefused, a_payer_may_die_while_it_is_refused;
    /// The payee is paid.
    Receive = payments::Receive, a_payee_may_die_while_it_is_paid;
    /// The payee is paid with coins whose anchor is not confirmed; then it is.
    ReceiveLate = payments::ReceiveLate, a_payee_may_die_while_a_payment_is_released_from_quarantine;
    /// On-chain coins are boarded.
    Board = boards::Board, a_boarder_may_die_anywhere;
    /// On-chain coins are boarded, and the server refuses.
    BoardRefused = boards::BoardRefused, a_boarder_may_die_while_it_is_refused;
    /// Coins that the server may not know yet are refreshed in a round.
    Refresh = rounds::Refresh, a_refresh_may_die_anywhere;
    /// The tree of a round is not what was asked for; the next one is.
    RefreshMissed = rounds::RefreshMissed, a_missed_round_may_die_anywhere;
    /// The server refuses a coin of a refresh.
    RefreshRefused = rounds::RefreshRefused, a_refused_refresh_may_die_anywhere;
    /// A refresh is left with the server, and the round happens while nobody is there.
    Delegate = rounds::Delegate, a_delegated_refresh_may_die_anywhere;
    /// A coin of a delegated refresh is spent before the round.
    DelegateShrunk = rounds::DelegateShrunk, a_shrinking_delegated_refresh_may_die_anywhere;
    /// An on-chain address is paid an exact amount out of VTXOs.
    SendOnchain = offboards::SendOnchain, an_onchain_payment_may_die_anywhere;
    /// An on-chain address is paid out of VTXOs, and the server refuses after an answer was lost.
    SendOnchainRefused = offboards::SendOnchainRefused, a_refused_onchain_payment_may_die_anywhere;
    /// A whole VTXO goes on chain.
    Offboard = offboards::Offboard, an_offboard_may_die_anywhere;
    /// The server forgets an offboard that our forfeits went to.
    OffboardLost = offboards::OffboardLost, a_lost_offboard_may_die_anywhere;
    /// On-chain coins are paid to one, to many, and all of them away.
    PayOnchain = onchain::PayOnchain, a_payer_of_onchain_coins_may_die_anywhere;
}

fn stories(point: CommitPoint) -> &'static [Story] {
    match point {
        CommitPoint::SendStarted
        | CommitPoint::SendInputsRegistered
        | CommitPoint::SendCosigned
        | CommitPoint::SendDelivered => &[Story::Pay],
        CommitPoint::SendDoubted | CommitPoint::SendAborted => &[Story::PayRefused],
        CommitPoint::BoardStarted
        | CommitPoint::BoardCosigned
        | CommitPoint::BoardBroadcast
        | CommitPoint::BoardRegistered => &[Story::Board],
        CommitPoint::BoardAborted => &[Story::BoardRefused],
        CommitPoint::ReceiveStored => &[Story::Receive],
        CommitPoint::ReceiveReleased => &[Story::ReceiveLate],
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
        CommitPoint::RoundMissed => &[Story::RefreshMissed],
        CommitPoint::RoundAborted => &[Story::RefreshRefused],
        CommitPoint::RoundDelegated => &[Story::Delegate],
        CommitPoint::RoundShrunk => &[Story::DelegateShrunk],
        CommitPoint::OffboardInputsRegistered | CommitPoint::OffboardSplit => &[Story::SendOnchain],
        CommitPoint::OffboardStarted
        | CommitPoint::OffboardReady
        | CommitPoint::OffboardPrepared
        | CommitPoint::OffboardSigned
        | CommitPoint::OffboardBroadcast
        | CommitPoint::OffboardSettled => &[Story::SendOnchain, Story::Offboard],
        CommitPoint::OffboardDoubted | CommitPoint::OffboardAborted => &[Story::SendOnchainRefused],
        CommitPoint::OffboardSessionLost => &[Story::OffboardLost],
        CommitPoint::OnchainPaid => &[Story::PayOnchain],
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

    /// Whether a call belongs to the story. The daemon keeps listening for rounds and for mail whatever it does, but only
    /// some stories depend on what it hears.
    fn depends_on(self, rpc: &str) -> bool {
        let is_round = matches!(
            self,
            Story::Refresh
                | Story::RefreshMissed
                | Story::RefreshRefused
                | Story::Delegate
                | Story::DelegateShrunk
        );
        match rpc {
            "Handshake" | "GetArkInfo" => false,
            "SubscribeRounds" | "LastRoundEvent" => is_round,
            // The mailbox also tells of a round that has happened, for those who have missed it.
            "SubscribeMailbox" | "ReadMailbox" => {
                is_round || matches!(self, Story::Receive | Story::ReceiveLate)
            }
            _ => true,
        }
    }
}
