//! Receives whose HTLCs are on chain: the preimage claims them there (H22).

use std::time::Duration;

use ark_lib::VtxoId;
use ark_lib::lightning::PaymentHash;

use super::claim::REFUSED;
use super::endangered::{ENDANGERED, fact};
use super::{LightningReceive, finish};
use crate::model::{ExitState, InvoiceOutcome, OperationId};
use crate::store::{exit, lightning_receive};
use crate::wallet::engine::steps::end;
use crate::wallet::engine::steps::exited::{Exited, exited};
use crate::wallet::engine::{Next, Step, attention, clock};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// Why a receive brought nothing although the preimage went out.
const LOST: &str = "the Ark server has taken the HTLCs on chain before the wallet has claimed them";

/// The pause between two looks at the exits.
const PAUSE: Duration = Duration::from_secs(5);

/// The step of a receive whose HTLCs are all exited; `None` if one is not. The server signs nothing for them any more.
pub(super) async fn go_on(
    wallet: &Wallet,
    id: &OperationId,
    hash: PaymentHash,
    htlcs: &[VtxoId],
) -> Result<Option<Step<LightningReceive>>> {
    match exited(wallet, htlcs).await? {
        Exited::None | Exited::Some => Ok(None),
        Exited::All => {
            let vtxos = wallet.full_vtxos(htlcs.to_vec()).await?;
            let what_to_do = "its HTLCs are on chain: claim them with POST /api/v1/exits/claim/vtxos or /api/v1/exits/claim/all as soon as \
                              GET /api/v1/exits/status/live shows them as claimable, and before that height";
            wallet.raise(fact(id, &vtxos, what_to_do.into())).await?;
            Ok(Some(Step::AwaitNudge(PAUSE)))
        }
        Exited::Claimed => claimed(wallet, id, hash, htlcs).await.map(Some),
    }
}

/// Ends a receive whose outputs are spent on chain: by the wallet, or by the server after their expiry.
async fn claimed(
    wallet: &Wallet,
    id: &OperationId,
    hash: PaymentHash,
    htlcs: &[VtxoId],
) -> Result<Step<LightningReceive>> {
    let invoice = wallet.invoice(hash).await?;
    let vtxos = htlcs.to_vec();
    let is_ours = wallet
        .store
        .read(move |connection| {
            for vtxo in vtxos {
                let last = exit::last_of(connection, vtxo)?;
                let is_ours = last.is_some_and(|exit| match exit.state {
                    ExitState::Claimed { txid, .. } => exit.claim == Some(txid),
                    _ => false,
                });
                if !is_ours {
                    return Ok::<_, Error>(false);
                }
            }
            Ok(true)
        })
        .await?;
    let next = if is_ours {
        Next::Done
    } else {
        tracing::error!(payment_hash = %hash, "the Ark server has taken HTLCs of a Lightning payment that the wallet has not claimed on chain in time");
        Next::Failed(Error::conflict("receive_lost", LOST))
    };
    let id = id.clone();
    Ok(Step::commit(
        CommitPoint::LightningReceiveRegistered,
        next,
        move |tx| {
            for code in [REFUSED, ENDANGERED] {
                attention::clear(tx, code, id.as_str())?;
            }
            if is_ours {
                finish::settle(tx, &id, &invoice)?;
            } else {
                let now = clock::now_millis();
                lightning_receive::end(tx, hash, InvoiceOutcome::Failed, Some(LOST), now)?;
            }
            // The HTLCs have come in, and their exits have taken them out again.
            end::succeed(tx, &id)
        },
    ))
}
