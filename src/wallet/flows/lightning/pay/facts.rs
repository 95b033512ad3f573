//! What a payment tells the operator.

use ark_lib::VtxoId;
use bitcoin_ext::BlockHeight;

use crate::model::{Attention, OperationId};
use crate::store::WriteTx;
use crate::wallet::Result;
use crate::wallet::engine::attention;

/// The code of the fact that the server tells a preimage that proves nothing.
const WRONG_PREIMAGE: &str = "wrong_preimage";

/// The code of the fact that the server does not give the HTLCs of a failed payment back.
const STUCK: &str = "lightning_payment_stuck";

/// The code of the fact that HTLCs are about to be lost, and that nothing is done about it.
const EXPIRING: &str = "lightning_htlcs_expire";

/// The HTLCs are lost at this height unless they are exited.
pub(super) fn expiring(id: &OperationId, htlcs: &[VtxoId], expiry: BlockHeight) -> Attention {
    let names: Vec<String> = htlcs.iter().map(VtxoId::to_string).collect();
    Attention {
        code: EXPIRING.into(),
        subject: id.to_string(),
        message: format!(
            "The coins of a Lightning payment are locked in HTLCs that expire at height {expiry}; then the Ark server can take them. They are not exited by themselves: lightning_auto_exit is off, or an exit costs too much of them."
        ),
        what_to_do: format!(
            "POST /api/v1/exits/start/vtxos with {names:?} as soon as possible, or give them up."
        ),
    }
}

/// The server says that the payment succeeded, but its preimage does not fit.
pub(super) fn wrong_preimage(id: &OperationId) -> Attention {
    Attention {
        code: WRONG_PREIMAGE.into(),
        subject: id.to_string(),
        message: "The Ark server says that this Lightning payment succeeded, but its preimage does not fit the payment hash, so nothing proves it. The coins stay locked until the server proves the payment, or gives them back after they expire.".into(),
        what_to_do: "Ask the payee whether the payment arrived, and the operator of the Ark server for the preimage.".into(),
    }
}

/// The server does not give the HTLCs back, for this reason.
pub(super) fn stuck(id: &OperationId, message: &str) -> Attention {
    Attention {
        code: STUCK.into(),
        subject: id.to_string(),
        message: format!("A Lightning payment failed, but the Ark server does not give its coins back: {message}. They stay locked, and the wallet goes on asking."),
        what_to_do: "Contact the operator of the Ark server with the payment hash. Keep the database: it has the signed HTLCs. If the server never gives them back, exit them with POST /api/v1/exits/start/vtxos; with lightning_auto_exit the wallet does so before they expire.".into(),
    }
}

/// Removes what a payment that has ended told the operator.
pub(super) fn clear(tx: &WriteTx<'_>, id: &OperationId) -> Result<()> {
    for code in [WRONG_PREIMAGE, STUCK, EXPIRING] {
        attention::clear(tx, code, id.as_str())?;
    }
    Ok(())
}
