//! What a payment tells the operator.

use crate::model::{Attention, OperationId};
use crate::store::WriteTx;
use crate::wallet::Result;
use crate::wallet::engine::attention;

/// The code of the fact that the server tells a preimage that proves nothing.
const WRONG_PREIMAGE: &str = "wrong_preimage";

/// The code of the fact that the server does not give the HTLCs of a failed payment back.
const STUCK: &str = "lightning_payment_stuck";

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
        what_to_do: "Contact the operator of the Ark server with the payment hash. Keep the database: it has the signed HTLCs.".into(),
    }
}

/// Removes what a payment that has ended told the operator.
pub(super) fn clear(tx: &WriteTx<'_>, id: &OperationId) -> Result<()> {
    for code in [WRONG_PREIMAGE, STUCK] {
        attention::clear(tx, code, id.as_str())?;
    }
    Ok(())
}
