//! Rounds that a former copy of the wallet has delegated and not completed (H33): a refresh completes them.

use ark_lib::tree::signed::UnlockHash;
use ark_lib::vtxo::Full;
use ark_lib::{ProtocolEncoding, Vtxo, VtxoId};
use server_rpc::protos::VtxoSpendState;

use super::Recovery;
use super::fetch::open;
use super::scan::{PATIENCE, pass};
use crate::model::{OpenCandidate, OperationId, RecoveryCause, Verdict};
use crate::store::recovery::{self, Open};
use crate::wallet::engine::{Next, Step, Tries};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// Takes the next round. A person who creates the wallet from its seed agrees to what the wallet has once asked for, within the ceilings
/// (H46); for another recovery the operator is asked.
pub(super) async fn next(
    wallet: &Wallet,
    id: &OperationId,
    tries: Tries,
) -> Result<Step<Recovery>> {
    // The last step may have written a refresh, which waits to be driven.
    wallet.recovery_advanced.notify_one();
    let candidates = open(wallet, id, Open::Unjudged, u32::MAX, u32::MAX).await?;
    let Some((hash, outputs)) = incomplete_round(&candidates)? else {
        return Ok(pass(Recovery::Judge));
    };
    let examined = match wallet.examine_lost_round(hash).await {
        Err(error) if wallet.is_connected() && tries.failed >= PATIENCE => {
            Err(error.message().to_owned())
        }
        examined => examined?,
    };
    let last = wallet.store.read(recovery::last).await?;
    let agreed = last.is_some_and(|row| row.cause == RecoveryCause::Seed.name());
    let (keys, gap) = (wallet.keys.clone(), wallet.settings.key_gap);
    let complete = agreed && examined.as_ref().is_ok_and(|round| wallet.is_cheap(round));
    Ok(Step::commit(
        CommitPoint::RecoveryRoundTaken,
        Next::State(Recovery::Rounds),
        move |tx| {
            let reason = match examined {
                Err(reason) => reason,
                Ok(round) if complete => match round.enlist(tx, &keys, gap) {
                    Ok(()) => "a refresh completes its round".to_owned(),
                    Err(error) if error.code() == "round_not_recoverable" => {
                        error.message().to_owned()
                    }
                    Err(error) => return Err(error),
                },
                Ok(round) => {
                    round.ask_operator(tx, &keys, gap)?;
                    "its round waits for a decision of the operator".to_owned()
                }
            };
            for output in outputs {
                recovery::decide(tx, output, Verdict::InFlight, &reason)?;
            }
            Ok(())
        },
    ))
}

/// A round whose outputs wait for the forfeits, and those of the candidates that it issues.
fn incomplete_round(candidates: &[OpenCandidate]) -> Result<Option<(UnlockHash, Vec<VtxoId>)>> {
    let unclaimed = i32::from(VtxoSpendState::Unclaimed);
    let (mut hash, mut outputs) = (None, Vec::new());
    for candidate in candidates.iter().filter(|it| it.state == Some(unclaimed)) {
        let Some(body) = &candidate.body else {
            continue;
        };
        let vtxo = Vtxo::<Full>::deserialize(body).map_err(Error::internal)?;
        let Some(of) = vtxo.unlock_hash() else {
            continue;
        };
        if *hash.get_or_insert(of) == of {
            outputs.push(candidate.id);
        }
    }
    Ok(hash.map(|hash| (hash, outputs)))
}
