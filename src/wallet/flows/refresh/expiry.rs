//! Expiry heights that leave time for exits: of new VTXOs, and of the inputs whose forfeits were sent (H11, W11).

use ark_lib::Vtxo;
use ark_lib::vtxo::Full;
use bitcoin_ext::{BlockDelta, BlockHeight};

use super::Exchange;
use crate::wallet::{Result, Wallet};

/// The lowest expiry height that new VTXOs may have: if the server withholds the preimage, there must be time to exit the
/// inputs first and the new VTXOs afterwards. `None` if all inputs are expired: then any new VTXO is an improvement.
///
/// # Errors
/// `chain_unavailable`.
pub(super) async fn least_for_outputs(
    wallet: &Wallet,
    inputs: &[Vtxo<Full>],
) -> Result<Option<BlockHeight>> {
    let tip = wallet.chain.tip().await?.height;
    if inputs.iter().all(|input| input.expiry_height() <= tip) {
        return Ok(None);
    }
    Ok(Some(wallet.exit_room(tip, longest_exit(inputs))?))
}

/// The last height at which exits of the inputs should start if the preimage does not arrive: before the inputs expire, and
/// with time left to exit the new VTXOs afterwards.
///
/// # Errors
/// The database cannot be read.
pub(super) async fn exit_deadline(wallet: &Wallet, exchange: &Exchange) -> Result<BlockHeight> {
    let inputs = wallet.full_vtxos(exchange.plan.inputs.clone()).await?;
    let outputs = wallet.full_vtxos(exchange.outputs.clone()).await?;
    let margin = wallet.settings.exit_margin;
    let by_inputs = inputs.iter().map(Vtxo::expiry_height);
    let by_outputs = outputs.iter().map(|output| {
        output
            .expiry_height()
            .saturating_sub(longest_exit(&inputs))
            .saturating_sub(margin)
    });
    let earliest = by_inputs.chain(by_outputs).min();
    Ok(earliest.unwrap_or(BlockHeight::ZERO).saturating_sub(margin))
}

fn longest_exit(vtxos: &[Vtxo<Full>]) -> BlockDelta {
    let deltas = vtxos.iter().map(Vtxo::exit_delta);
    deltas.max().unwrap_or(BlockDelta::ZERO)
}
