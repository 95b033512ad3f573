//! An out-of-round spend: the wallet's VTXOs become VTXOs of a payee, or of the wallet itself, and change (docs/protocol.md §4.2).
//!
//! Inputs, amounts and keys are fixed before the server is asked, so each request asks for the same transactions: the server
//! signs the same spend again, and refuses any other (H3, H4). From its first signature on, the server counts the inputs as
//! spent. So a refusal releases the inputs only when no earlier request can have succeeded, when the server reports an input as
//! unspent, or when a round has taken one.

use std::time::Duration;

use ark_lib::arkoor::ArkoorDestination;
use ark_lib::arkoor::package::{ArkoorPackageBuilder, ArkoorPackageCosignResponse};
use ark_lib::arkoor::state::UserGeneratedNonces;
use ark_lib::vtxo::Full;
use ark_lib::{Vtxo, VtxoId, VtxoPolicy};
use bitcoin::Amount;
use bitcoin::secp256k1::Keypair;
use serde::{Deserialize, Serialize};
use server_rpc::protos::VtxoSpendState;

use super::upload::{Upload, upload_inputs, upload_missing_inputs};
use crate::ark;
use crate::model::OperationId;
use crate::wallet::engine::encoding::{Encoded, Sats};
use crate::wallet::engine::{Tries, back_off};
use crate::wallet::{Error, Result, Wallet};

/// A spend, with all that the first request depends on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) struct ArkoorSpend {
    /// The VTXOs that are spent; the operation holds them.
    pub(in crate::wallet) inputs: Vec<VtxoId>,
    /// The policy of the VTXOs that the spend is for.
    pub(in crate::wallet) policy: Encoded<VtxoPolicy>,
    /// Their total.
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub(in crate::wallet) amount: Amount,
    /// Index of the key that all change goes to.
    pub(in crate::wallet) change_key: u32,
    /// The pieces of change.
    pub(in crate::wallet) change: Vec<Sats>,
    /// Whether this operation itself uploaded the chains of all inputs.
    pub(in crate::wallet) uploaded: bool,
    /// How often the server refused to sign without proof that no earlier request had succeeded.
    pub(in crate::wallet) doubts: u32,
}

/// What comes after the upload of the inputs' chains.
pub(in crate::wallet) enum Registered {
    /// The server has all chains; those of these VTXOs are new to it.
    Ready(ArkoorSpend, Vec<VtxoId>),
    /// Nothing was signed and nothing will be: the operation ends, for this reason.
    Abort(Failure),
}

/// Why a spend failed for good, with nothing signed.
pub(in crate::wallet) enum Failure {
    /// The server refuses it, for this reason.
    Refused(String),
    /// The server cannot be reached.
    Unavailable(Error),
}

/// Uploads the chains of the inputs that the server may lack: all of them when it has just reported that one is missing.
///
/// # Errors
/// A failure after which the upload has to be tried again.
pub(in crate::wallet) async fn register_inputs(
    wallet: &Wallet,
    mut spend: ArkoorSpend,
    tries: Tries,
) -> Result<Registered> {
    let uploaded = if spend.uploaded {
        upload_inputs(wallet, &spend.inputs, tries).await?
    } else {
        upload_missing_inputs(wallet, &spend.inputs, tries).await?
    };
    Ok(match uploaded {
        Upload::Done(ids) => {
            spend.uploaded |= ids.len() == spend.inputs.len();
            Registered::Ready(spend, ids)
        }
        Upload::Refused(message) => Registered::Abort(Failure::Refused(message)),
        Upload::GivenUp(error) if spend.doubts == 0 => {
            Registered::Abort(Failure::Unavailable(error))
        }
        Upload::GivenUp(error) => return Err(error),
    })
}

/// The answer to a request for the server's signatures.
pub(in crate::wallet) enum Cosigned {
    /// The new VTXOs, signed and validated.
    Signed(Outputs),
    /// The server refuses the very first request: nothing was signed.
    Refused(String),
    /// The server refuses, and an earlier request may have succeeded. The spend is in doubt after the pause, in which a
    /// request that is still on its way can arrive.
    InDoubt {
        spend: ArkoorSpend,
        refusal: String,
        pause: Duration,
    },
}

/// The VTXOs that a spend makes.
pub(in crate::wallet) struct Outputs {
    /// Those that the spend is for.
    pub(in crate::wallet) outgoing: Vec<Vtxo<Full>>,
    /// Those that come back to the wallet.
    pub(in crate::wallet) change: Vec<Vtxo<Full>>,
}

/// Asks the server for its signatures, completes the new VTXOs, and validates them down to their anchor.
///
/// # Errors
/// A failure after which the same request has to be made again.
pub(in crate::wallet) async fn cosign(
    wallet: &Wallet,
    mut spend: ArkoorSpend,
    tries: Tries,
) -> Result<Cosigned> {
    let unsigned = Unsigned::build(wallet, &spend).await?;
    let request = unsigned.package.cosign_request();
    let response = match wallet.server.cosign_arkoor(request).await {
        Ok(response) => response,
        Err(ark::Error::Rejected { message, .. }) => {
            let first = !tries.earlier && spend.doubts == 0;
            // A refusal may also mean that the server lacks a chain that it had once; then the spend is in doubt as well.
            if first && spend.uploaded {
                return Ok(Cosigned::Refused(message));
            }
            spend.doubts = spend.doubts.saturating_add(1);
            return Ok(Cosigned::InDoubt {
                pause: if first {
                    Duration::ZERO
                } else {
                    back_off(spend.doubts)
                },
                spend,
                refusal: message,
            });
        }
        Err(error) => return Err(error.into()),
    };
    let outputs = unsigned.finish(response)?;
    for output in outputs.outgoing.iter().chain(&outputs.change) {
        wallet.check_own_output(output).await?;
    }
    Ok(Cosigned::Signed(outputs))
}

/// What follows from the state of an input at the server.
pub(in crate::wallet) enum Resolved {
    /// The spend did not happen, and will not: the operation ends, for this reason.
    Abort(String),
    /// The server lacks signed chains: upload them all again.
    Register(ArkoorSpend),
    /// The same request brings the signatures.
    Cosign(ArkoorSpend),
}

/// Asks the server for the state of an input of a spend that is in doubt. Its inputs are spent together or not at all, so one
/// tells for all.
///
/// # Errors
/// `server_unavailable`, also when the state decides nothing.
pub(in crate::wallet) async fn resolve_doubt(
    wallet: &Wallet,
    id: &OperationId,
    mut spend: ArkoorSpend,
    refusal: String,
) -> Result<Resolved> {
    let first = spend.inputs.iter().take(1).copied().collect();
    let signers = wallet.signers(first).await?;
    let Some((input, key)) = signers.first() else {
        return Ok(Resolved::Abort(refusal));
    };
    match wallet.server.vtxo_status(input.id(), key).await? {
        VtxoSpendState::Spendable if spend.uploaded => Ok(Resolved::Abort(refusal)),
        VtxoSpendState::Spendable | VtxoSpendState::Unregistered => {
            spend.uploaded = true;
            Ok(Resolved::Register(spend))
        }
        VtxoSpendState::Spent if !wallet.holds(id, &spend.inputs).await? => Ok(Resolved::Abort(
            "a refresh of these coins has just happened; pay again when it is done".into(),
        )),
        // Spent by this very spend, or by a round that the wallet has not heard of yet.
        VtxoSpendState::Spent => {
            wallet.round_events.wake();
            tracing::warn!(
                refusal,
                "server refuses to sign but reports the inputs spent; retrying"
            );
            Ok(Resolved::Cosign(spend))
        }
        other => Err(Error::unavailable(
            "server_unavailable",
            format!("the Ark server reports an input as {other:?}: {refusal}"),
        )),
    }
}

/// A spend that waits for the server's signatures.
struct Unsigned {
    package: ArkoorPackageBuilder<UserGeneratedNonces>,
    keys: Vec<Keypair>,
    policy: VtxoPolicy,
}

impl Unsigned {
    /// Builds the transactions, with fresh nonces. The transactions are the same each time.
    async fn build(wallet: &Wallet, spend: &ArkoorSpend) -> Result<Unsigned> {
        let signers = wallet.signers(spend.inputs.clone()).await?;
        let (inputs, keys): (Vec<_>, Vec<_>) = signers.into_iter().unzip();
        let change_key = wallet.keys.vtxo_key(spend.change_key)?.public_key();
        let policy = spend.policy.0.clone();
        let mut outputs = vec![ArkoorDestination {
            total_amount: spend.amount,
            policy: policy.clone(),
        }];
        outputs.extend(spend.change.iter().map(|piece| ArkoorDestination {
            total_amount: piece.0,
            policy: VtxoPolicy::new_pubkey(change_key),
        }));
        let package = ArkoorPackageBuilder::new_with_checkpoints(inputs, outputs)
            .map_err(|error| Error::internal(anyhow::Error::new(error)))?
            .generate_user_nonces(&keys)
            .map_err(|error| Error::internal(anyhow::Error::new(error)))?;
        Ok(Unsigned {
            package,
            keys,
            policy,
        })
    }

    /// Checks the server's signatures, adds the wallet's, and sorts the new VTXOs by owner.
    ///
    /// # Errors
    /// `server_unavailable`: the signatures are not valid, and can be asked for again.
    fn finish(self, response: ArkoorPackageCosignResponse) -> Result<Outputs> {
        let signed = self
            .package
            .user_cosign(&self.keys, response)
            .map_err(|error| {
                Error::unavailable(
                    "server_unavailable",
                    format!("the Ark server's signatures are not valid: {error}"),
                )
            })?;
        let (outgoing, change) = signed
            .build_signed_vtxos()
            .into_iter()
            .partition(|output| *output.policy() == self.policy);
        Ok(Outputs { outgoing, change })
    }
}
