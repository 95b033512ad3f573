//! The step that reveals the preimage.

use ark_lib::arkoor::package::ArkoorPackageBuilder;
use ark_lib::lightning::PaymentHash;
use ark_lib::{Address, Vtxo, VtxoId, VtxoPolicy};
use bitcoin::secp256k1::Keypair;

use super::LightningReceive;
use crate::model::{Attention, Invoice, OperationId, VtxoState};
use crate::store::{vtxo, vtxo_body};
use crate::wallet::engine::steps::end;
use crate::wallet::engine::{Next, Step, Tries, attention};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// The fact that the server has the preimage and refuses the money.
const REFUSED: &str = "lightning_claim_refused";

/// Claims the HTLCs with the preimage. Each try asks for the same transactions, so the server answers it again. A refusal proves
/// nothing: the server stores the preimage before its last checks (W4).
pub(super) async fn claim(
    wallet: &Wallet,
    id: &OperationId,
    hash: PaymentHash,
    htlcs: Vec<VtxoId>,
    tries: Tries,
) -> Result<Step<LightningReceive>> {
    let invoice = wallet.invoice(hash).await?;
    if tries.failed >= u32::from(wallet.settings.claim_retries).max(1) {
        wallet.raise(refused(id, &invoice)).await?;
    }
    let destination = payee(&invoice)?;
    let policy = match &destination {
        Some(address) => address.policy().clone(),
        None => VtxoPolicy::new_pubkey(wallet.keys.vtxo_key(invoice.key_index)?.public_key()),
    };
    let signers = wallet.signers(htlcs.clone()).await?;
    let (inputs, keys): (Vec<_>, Vec<Keypair>) = signers.into_iter().unzip();
    let package = ArkoorPackageBuilder::new_claim_all_with_checkpoints(inputs, policy)
        .map_err(|error| Error::internal(anyhow::Error::new(error)))?
        .generate_user_nonces(&keys)
        .map_err(|error| Error::internal(anyhow::Error::new(error)))?;
    let request = package.cosign_request();
    let claimed = wallet
        .server
        .claim_lightning_receive(invoice.preimage, request);
    let response = claimed.await?;
    let outputs = package
        .user_cosign(&keys, response)
        .map_err(|error| {
            Error::unavailable(
                "server_unavailable",
                format!("the Ark server's signatures are not valid: {error}"),
            )
        })?
        .build_signed_vtxos();
    for output in &outputs {
        wallet.check_own_output(output).await?;
    }
    let ids: Vec<VtxoId> = outputs.iter().map(Vtxo::id).collect();
    let is_own = destination.is_none();
    let next = if is_own {
        LightningReceive::Register {
            hash,
            outputs: ids.clone(),
        }
    } else {
        LightningReceive::Deliver {
            hash,
            outputs: ids.clone(),
        }
    };
    let id = id.clone();
    // Stored before they are registered (W5).
    Ok(Step::commit(
        CommitPoint::LightningReceiveClaimed,
        Next::State(next),
        move |tx| {
            attention::clear(tx, REFUSED, id.as_str())?;
            for htlc in &htlcs {
                vtxo::spend_held(tx, *htlc, &id)?;
            }
            for output in &outputs {
                if is_own {
                    vtxo::insert(tx, output, VtxoState::Locked(Some(id.clone())))?;
                } else {
                    vtxo_body::put(tx, output)?;
                }
            }
            if is_own {
                end::add_outputs(tx, &id, &ids)?;
            }
            Ok(())
        },
    ))
}

/// The Ark address that gets what is claimed, if it is not the wallet.
pub(super) fn payee(invoice: &Invoice) -> Result<Option<Address>> {
    let address = invoice.destination.as_deref().map(str::parse).transpose();
    address.map_err(|error| Error::internal(anyhow::anyhow!("the payee of an invoice: {error}")))
}

fn refused(id: &OperationId, invoice: &Invoice) -> Attention {
    Attention {
        code: REFUSED.into(),
        subject: id.to_string(),
        message: format!(
            "The Ark server does not hand over a Lightning payment of {} sat, although the wallet has revealed the preimage to it.",
            invoice.amount.to_sat()
        ),
        what_to_do: "The wallet keeps claiming, at least once a minute. Make sure that the daemon reaches the Ark server. If the server refuses, contact its operator with the payment hash.".into(),
    }
}
