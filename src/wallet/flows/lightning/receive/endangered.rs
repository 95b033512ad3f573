//! HTLCs of a receive that are about to be lost: the server does not answer the claim, and has or may have the preimage (H22).

use ark_lib::vtxo::Full;
use ark_lib::{Vtxo, VtxoId, VtxoPolicy};
use bitcoin_ext::BlockHeight;

use super::LightningReceive;
use crate::model::{Attention, OperationId, OperationRow};
use crate::wallet::engine::state_of;
use crate::wallet::engine::steps::exited::{Exited, exited, savable};
use crate::wallet::{Result, Wallet};

/// The code of the fact that HTLCs of a receive are about to be lost, or on chain and not claimed.
pub(super) const ENDANGERED: &str = "lightning_receive_endangered";

/// The HTLCs of a receive that have to be exited. From the confirmation of the exit on, the claim has to wait for the exit delay of the
/// HTLC, and from the expiry of the HTLC on, the server can take it (docs/protocol.md §40.5). A tree that expires takes it as well.
///
/// Whether they are exited by themselves is a setting; without it, the operator is told.
pub(in crate::wallet) async fn endangered(
    wallet: &Wallet,
    row: &OperationRow,
    tip: BlockHeight,
) -> Result<Vec<VtxoId>> {
    let LightningReceive::Claim { htlcs, .. } = state_of(row)? else {
        return Ok(Vec::new());
    };
    let vtxos = wallet.full_vtxos(htlcs.clone()).await?;
    let is_late = vtxos
        .iter()
        .any(|htlc| tip >= wallet.last_claim_start(htlc));
    if !is_late && exited(wallet, &htlcs).await? == Exited::None {
        return Ok(Vec::new());
    }
    let savable = savable(wallet, &htlcs).await?;
    if savable.is_empty() || wallet.exits_htlcs(&savable).await? {
        return Ok(savable);
    }
    let what_to_do = format!(
        "POST /api/v1/exits/start/vtxos with {:?} at once, and claim the outputs with POST /api/v1/exits/claim/vtxos as soon as they can \
         be claimed.",
        htlcs.iter().map(VtxoId::to_string).collect::<Vec<_>>()
    );
    wallet.raise(fact(&row.id, &vtxos, what_to_do)).await?;
    Ok(Vec::new())
}

impl Wallet {
    /// The last height at which the exit of an HTLC should begin, so that it can be claimed before the server can take it (H9).
    fn last_claim_start(&self, htlc: &Vtxo<Full>) -> BlockHeight {
        let by_tree = self.last_exit_start(htlc);
        let VtxoPolicy::ServerHtlcRecv(policy) = htlc.policy() else {
            return by_tree;
        };
        let by_htlc = policy
            .htlc_expiry
            .saturating_sub(htlc.exit_delta())
            .saturating_sub(policy.htlc_expiry_delta)
            .saturating_sub(self.settings.exit_margin)
            .saturating_sub(self.settings.claim_delta);
        by_htlc.min(by_tree)
    }
}

/// What the operator has to do about HTLCs, and until when.
pub(super) fn fact(id: &OperationId, htlcs: &[Vtxo<Full>], what_to_do: String) -> Attention {
    let expiry = htlcs.iter().filter_map(|htlc| match htlc.policy() {
        VtxoPolicy::ServerHtlcRecv(policy) => Some(policy.htlc_expiry),
        _ => None,
    });
    let expiry = expiry.min().unwrap_or(BlockHeight::ZERO);
    Attention {
        code: ENDANGERED.into(),
        subject: id.to_string(),
        message: format!(
            "The Ark server does not hand over a Lightning payment whose preimage it may have. From height {expiry} on it can keep the money."
        ),
        what_to_do,
    }
}
