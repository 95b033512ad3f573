//! What an operation does about inputs that cannot be spent: it sets them aside when it ends, so that the next one goes on without
//! them (H51).

use ark_lib::VtxoId;

use super::end;
use crate::model::{MovementStatus, OperationId};
use crate::store::{WriteTx, vtxo};
use crate::wallet::coins::published::standings;
use crate::wallet::coins::set_aside::{Cause, set_aside};
use crate::wallet::engine::{Next, Step};
use crate::wallet::{CommitPoint, Error, ErrorKind, Result, Wallet};

/// An input that cannot be spent, and why.
pub(in crate::wallet) type Unusable = (VtxoId, Cause);

/// Those of these inputs that cannot be spent: the server names them in its refusal, or the chain shows that they are exited or
/// double-spent. The server reports exited VTXOs as spendable, and does not always name what it refuses, so the chain is asked
/// whatever the server says.
pub(in crate::wallet) async fn unusable(
    wallet: &Wallet,
    inputs: &[VtxoId],
    message: &str,
    named: &[VtxoId],
) -> Vec<Unusable> {
    let on_chain = on_chain(wallet, inputs).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot compare refused inputs with the chain");
        Vec::new()
    });
    let mut found = on_chain;
    for id in named.iter().filter(|id| inputs.contains(id)) {
        if !found.iter().any(|(known, _)| known == id) {
            found.push((*id, Cause::Refused(message.to_owned())));
        }
    }
    found
}

async fn on_chain(wallet: &Wallet, inputs: &[VtxoId]) -> Result<Vec<Unusable>> {
    let vtxos = wallet.full_vtxos(inputs.to_vec()).await?;
    let standings = standings(&wallet.chain, &vtxos).await?;
    let judged = inputs.iter().zip(standings);
    Ok(judged
        .filter_map(|(id, standing)| Some((*id, Cause::of(standing)?)))
        .collect())
}

/// Ends an operation that certainly changed nothing, as [`end::abort`] does, and sets aside the inputs that cannot be spent. Its
/// error names them.
pub(in crate::wallet) fn abort<F>(
    point: CommitPoint,
    id: &OperationId,
    reason: Error,
    unusable: Vec<Unusable>,
) -> Step<F> {
    if unusable.is_empty() {
        return end::abort(point, id, MovementStatus::Failed, reason);
    }
    let refused = unusable.iter().map(|(input, _)| *input);
    let reason = reason.with_resources(refused);
    let id = id.clone();
    Step::commit(point, Next::Failed(reason), move |tx| {
        vtxo::release(tx, &id)?;
        set_all_aside(tx, &unusable)?;
        end::fail_movement(tx, &id, MovementStatus::Failed)
    })
}

/// Sets aside inputs that no operation holds any more.
pub(in crate::wallet) fn set_all_aside(tx: &mut WriteTx<'_>, unusable: &[Unusable]) -> Result<()> {
    unusable
        .iter()
        .try_for_each(|(input, cause)| set_aside(tx, *input, cause))
}

/// How often a request starts again without the inputs that were set aside.
const MAX_RESTARTS: usize = 10;

/// Runs a request again, with other inputs, while it fails because of inputs that were set aside.
///
/// # Errors
/// The failure of the request. If the coins that are left do not suffice to start it again, the failure before that.
pub(in crate::wallet) async fn without_refused<T, F>(request: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let names_inputs =
        |error: &Error| error.kind() == ErrorKind::Conflict && !error.resources().is_empty();
    let mut refused = match request().await {
        Err(error) if names_inputs(&error) => error,
        answer => return answer,
    };
    for _ in 0..MAX_RESTARTS {
        tracing::warn!(error = %refused, coins = ?refused.resources(), "starting again without the coins that were set aside");
        match request().await {
            Err(error) if error.kind() == ErrorKind::BadRequest => break,
            Err(error) if names_inputs(&error) => refused = error,
            answer => return answer,
        }
    }
    Err(refused)
}
