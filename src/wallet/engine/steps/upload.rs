//! Registering signed chains with the server: it cosigns no spend of a VTXO whose chain it lacks (H34).

use ark_lib::VtxoId;

use crate::ark;
use crate::store::vtxo;
use crate::wallet::engine::Tries;
use crate::wallet::{Error, Result, Wallet};

/// What came of uploading the chains of an operation's inputs.
pub(in crate::wallet) enum Upload {
    /// The server has the chains. Those of these VTXOs were uploaded now.
    Done(Vec<VtxoId>),
    /// The server refuses a chain.
    Refused {
        /// The reason.
        message: String,
        /// The VTXOs that the server names.
        vtxos: Vec<VtxoId>,
    },
    /// The upload has failed too often, and the server cannot know of the operation yet.
    GivenUp(Error),
}

/// Uploads the chains of the inputs before the server is asked to sign anything. A flow ends when the result is
/// [`Upload::Refused`] or [`Upload::GivenUp`]: nothing was signed, so its inputs can be released.
///
/// # Errors
/// A failure after which the upload has to be tried again.
pub(in crate::wallet) async fn upload_inputs(
    wallet: &Wallet,
    inputs: &[VtxoId],
    tries: Tries,
) -> Result<Upload> {
    upload(wallet, inputs.to_vec(), tries).await
}

/// Uploads the chains that the server is not known to have.
///
/// # Errors
/// See [`upload_inputs`].
pub(in crate::wallet) async fn upload_missing_inputs(
    wallet: &Wallet,
    inputs: &[VtxoId],
    tries: Tries,
) -> Result<Upload> {
    let inputs = inputs.to_vec();
    let missing = wallet
        .store
        .read(move |connection| {
            let mut missing = Vec::new();
            for id in inputs {
                if vtxo::get(connection, id)?.is_none_or(|record| !record.registered) {
                    missing.push(id);
                }
            }
            Ok::<_, Error>(missing)
        })
        .await?;
    upload(wallet, missing, tries).await
}

async fn upload(wallet: &Wallet, ids: Vec<VtxoId>, tries: Tries) -> Result<Upload> {
    if ids.is_empty() {
        return Ok(Upload::Done(ids));
    }
    let vtxos = wallet.full_vtxos(ids.clone()).await?;
    match wallet.server.register_chains(&vtxos).await {
        Ok(()) => Ok(Upload::Done(ids)),
        Err(ark::Error::Rejected { message, vtxos }) => Ok(Upload::Refused { message, vtxos }),
        Err(error) if tries.exhausted() => Ok(Upload::GivenUp(error.into())),
        Err(error) => Err(error.into()),
    }
}

/// Uploads the chains of new VTXOs, the wallet's own and those signed for a payee. Returns whether the server took them: a
/// refusal does not undo the spend, and whoever spends the VTXOs uploads their chains again.
///
/// # Errors
/// A failure after which the upload has to be tried again.
pub(in crate::wallet) async fn upload_outputs(wallet: &Wallet, ids: &[VtxoId]) -> Result<bool> {
    let vtxos = wallet.full_vtxos(ids.to_vec()).await?;
    match wallet.server.register_chains(&vtxos).await {
        Ok(()) => Ok(true),
        Err(error @ ark::Error::Rejected { .. }) => {
            tracing::warn!(%error, "server refuses the signed chains of new VTXOs; continuing");
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// Uploads the chains of VTXOs that the next step cannot do without.
///
/// # Errors
/// A failure or a refusal, after which the upload has to be tried again.
pub(in crate::wallet) async fn upload_all(wallet: &Wallet, ids: &[VtxoId]) -> Result<()> {
    let vtxos = wallet.full_vtxos(ids.to_vec()).await?;
    Ok(wallet.server.register_chains(&vtxos).await?)
}
