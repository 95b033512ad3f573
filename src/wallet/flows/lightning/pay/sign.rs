//! The step that gets the HTLCs signed.

use ark_lib::{ArkInfo, Vtxo, VtxoId, VtxoPolicy};
use bitcoin_ext::BlockHeight;

use super::{Htlcs, LightningSend, Order};
use crate::model::{Fact, OperationId, VtxoState};
use crate::store::vtxo;
use crate::wallet::account::keys::WalletKeys;
use crate::wallet::engine::encoding::Encoded;
use crate::wallet::engine::steps::arkoor::{self, CosignCall, Signed, Signing, SigningFlow};
use crate::wallet::engine::steps::end;
use crate::wallet::engine::{Next, Step, Tries};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

const PAYMENT: SigningFlow = SigningFlow {
    what: "Lightning payment",
    call: CosignCall::LightningSend,
    registered: CommitPoint::LightningSendInputsRegistered,
    doubted: CommitPoint::LightningSendDoubted,
    aborted: CommitPoint::LightningSendAborted,
};

/// What the server says when the HTLCs would expire too early for it.
const EXPIRY_TOO_LOW: &str = "requested expiry is too low";

/// Blocks that the HTLCs live longer than the server asks for. A lost answer can be asked for again only as long as they live long
/// enough, and a payee on the same server needs some of them.
const EXPIRY_SLACK: u32 = 20;

impl Order {
    /// The policy of the HTLCs.
    pub(super) fn policy(&self, keys: &WalletKeys) -> Result<VtxoPolicy> {
        let key = keys.vtxo_key(self.htlc_key)?.public_key();
        Ok(VtxoPolicy::new_server_htlc_send(
            key,
            self.hash(),
            self.expiry,
        ))
    }
}

/// The height at which HTLCs expire that are asked for at `tip`.
///
/// # Errors
/// `internal` when it overflows.
pub(super) fn expiry(info: &ArkInfo, tip: BlockHeight) -> Result<BlockHeight> {
    tip.checked_add(info.htlc_send_expiry_delta)
        .and_then(|height| height.to_u32().checked_add(EXPIRY_SLACK))
        .map(BlockHeight::new)
        .ok_or_else(|| Error::internal(anyhow::anyhow!("the expiry of the HTLCs overflows")))
}

/// Runs a step of the signing, and stores the new VTXOs once they are signed.
pub(super) async fn sign(
    wallet: &Wallet,
    id: &OperationId,
    order: Order,
    signing: Signing,
    tries: Tries,
) -> Result<Step<LightningSend>> {
    if let Some(later) = with_later_expiry(wallet, &order, &signing, tries).await? {
        return Ok(later);
    }
    let again = |signing| LightningSend::Sign {
        order: order.clone(),
        signing,
    };
    let (inputs, outputs) = match signing.step(wallet, id, tries, &PAYMENT, again).await? {
        Signed::Done { inputs, outputs } => (inputs, outputs),
        Signed::Not(step) => return Ok(step),
    };
    let change: Vec<VtxoId> = outputs.change.iter().map(Vtxo::id).collect();
    let htlcs: Vec<VtxoId> = outputs.outgoing.iter().map(Vtxo::id).collect();
    let names: Vec<String> = htlcs.iter().map(VtxoId::to_string).collect();
    let next = LightningSend::Register {
        htlcs: Htlcs { order, ids: htlcs },
        change,
    };
    let id = id.clone();
    Ok(Step::commit(
        CommitPoint::LightningSendCosigned,
        Next::State(next),
        move |tx| {
            arkoor::complete(tx, &id, &inputs, &outputs.change)?;
            for htlc in &outputs.outgoing {
                vtxo::insert(tx, htlc, VtxoState::Locked(Some(id.clone())))?;
            }
            end::note(tx, &id, [(Fact::HtlcVtxos, names.into())])
        },
    ))
}

/// The same spend with HTLCs that expire later, if the server refused the first and only request because of a tip that was too old.
async fn with_later_expiry(
    wallet: &Wallet,
    order: &Order,
    signing: &Signing,
    tries: Tries,
) -> Result<Option<Step<LightningSend>>> {
    let Signing::Doubted { spend, refusal, .. } = signing else {
        return Ok(None);
    };
    // After an unclear request the server may have signed the former HTLCs.
    if !refusal.contains(EXPIRY_TOO_LOW) || spend.unclear_at.is_some() || tries.exhausted() {
        return Ok(None);
    }
    let info = wallet.connected_info()?;
    let later = expiry(&info, wallet.chain.tip().await?.height)?;
    if later <= order.expiry {
        let message =
            "the Ark server knows newer blocks than the chain backend; the payment waits for them";
        return Err(Error::unavailable("chain_unavailable", message));
    }
    let order = Order {
        expiry: later,
        ..order.clone()
    };
    let mut spend = spend.clone();
    spend.policy = Encoded(order.policy(&wallet.keys)?);
    Ok(Some(Step::commit(
        CommitPoint::LightningSendDoubted,
        Next::State(LightningSend::Sign {
            order,
            signing: Signing::Cosign(spend),
        }),
        |_| Ok(()),
    )))
}
