//! The recovery of a round that the wallet has no record of, started by a person (docs/protocol.md §4.5.4).

use std::sync::Arc;

use ark_lib::tree::signed::UnlockHash;
use bitcoin::Amount;

use super::list::PendingRound;
use super::reported::{ReportedRound, not_recoverable, refresh_of};
use super::resolve::not_signed;
use crate::ark::{self, ParticipationStatus};
use crate::model::OperationId;
use crate::store::WriteTx;
use crate::wallet::account::ceiling::{Charge, check_fee};
use crate::wallet::account::keys::WalletKeys;
use crate::wallet::engine::enlist;
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// The largest share of its inputs that a round may keep which nobody has confirmed, in percent.
const MAX_FEE_PERCENT: u64 = 5;

impl Wallet {
    /// Examines a round that a recovery has found incomplete. The inner error says why the wallet does not complete it.
    ///
    /// # Errors
    /// `server_unavailable` or `chain_unavailable`.
    pub(in crate::wallet) async fn examine_lost_round(
        &self,
        unlock_hash: UnlockHash,
    ) -> Result<Result<ReportedRound, String>> {
        let known = self
            .store
            .read(move |connection| refresh_of(connection, unlock_hash));
        if known.await?.is_some() {
            return Ok(Err("a refresh completes it".into()));
        }
        let round = match self.server.participation_status(unlock_hash).await {
            Ok(ParticipationStatus::Issued(round)) => round,
            Ok(_) => return Ok(Err("the Ark server has not issued the round".into())),
            Err(ark::Error::Malformed(reason)) => return Ok(Err(reason)),
            Err(error) => return Err(error.into()),
        };
        self.examine_round(unlock_hash, round).await
    }

    /// Whether the server keeps so little of a round that the wallet completes it without asking its operator.
    pub(in crate::wallet) fn is_cheap(&self, round: &ReportedRound) -> bool {
        let allowed = check_fee(
            &self.settings.ceilings,
            Charge::Refresh,
            round.fee,
            round.taken,
        );
        let percent = round.fee.to_sat().saturating_mul(100);
        allowed.is_ok() && percent <= round.taken.to_sat().saturating_mul(MAX_FEE_PERCENT)
    }

    /// Completes a round that the server reports and the wallet has no record of: forfeits its inputs for its outputs, which must
    /// all be ours. A round that a refresh waits for or has completed is not begun again; that refresh is returned.
    ///
    /// The server alone has signed such a round, so only the person who asked for it can know that it is genuine.
    ///
    /// # Errors
    /// `round_not_found` if the server has issued no such round, `fee_too_high` if it keeps more than `max_fee`,
    /// `round_not_recoverable` if it is not ours or not valid, `server_unavailable`, `chain_unavailable`.
    pub async fn recover_round(
        self: &Arc<Wallet>,
        unlock_hash: UnlockHash,
        max_fee: Amount,
    ) -> Result<PendingRound> {
        // The mailbox may report the same round now.
        let _turn = self.mailbox_turn.lock().await;
        let known = self
            .store
            .read(move |connection| refresh_of(connection, unlock_hash))
            .await?;
        if let Some(id) = known {
            return self.pending_round(&id).await;
        }
        let round = match self.server.participation_status(unlock_hash).await? {
            ParticipationStatus::Issued(round) => round,
            ParticipationStatus::Unsigned => return Err(not_signed()),
            ParticipationStatus::Pending | ParticipationStatus::Unknown => {
                let message = "the Ark server has issued no round with this unlock hash";
                return Err(Error::not_found("round_not_found", message, unlock_hash));
            }
        };
        let examined = self.examine_round(unlock_hash, round).await?;
        let reported = examined.map_err(|reason| not_recoverable(unlock_hash, &reason))?;
        if reported.fee > max_fee {
            let message = format!(
                "the round keeps {} sat, more than max_fee_sat allows; nothing was done",
                reported.fee.to_sat()
            );
            return Err(Error::conflict("fee_too_high", message));
        }
        let (keys, gap) = (self.keys.clone(), self.settings.key_gap);
        let id = OperationId::random();
        self.start(id.clone(), CommitPoint::RoundStarted, move |tx, id| {
            // A refresh whose answer was late may have learned the hash by now.
            if refresh_of(tx, unlock_hash)?.is_some() {
                return Err(not_recoverable(
                    unlock_hash,
                    "a refresh waits for it already",
                ));
            }
            reported.begin(tx, id, &keys, gap)
        })
        .await?;
        self.pending_round(&id).await
    }
}

impl ReportedRound {
    /// Writes the refresh that completes the round, in the transaction of its caller, who has it taken up.
    ///
    /// # Errors
    /// `round_not_recoverable`.
    pub(in crate::wallet) fn enlist(
        &self,
        tx: &mut WriteTx<'_>,
        keys: &WalletKeys,
        gap: u32,
    ) -> Result<()> {
        let id = OperationId::random();
        let round = self.begin(tx, &id, keys, gap)?;
        enlist(tx, &id, &round)
    }
}
