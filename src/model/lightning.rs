//! Lightning payments.

use ark_lib::lightning::{Invoice, Preimage};
use bitcoin::Amount;

/// A Lightning payment that was begun, found by its payment hash.
#[derive(Clone, Debug)]
pub struct LightningSendRow {
    /// The invoice that it pays.
    pub invoice: Invoice,
    /// What the payee gets.
    pub amount: Amount,
    /// Proves that the invoice is paid; `None` until it is known.
    pub preimage: Option<Preimage>,
}
