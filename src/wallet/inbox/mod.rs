//! Receiving over the mailbox (docs/protocol.md §4.3, §4.4), and the Ark server's copy of the wallet's VTXOs (§4.12).
//!
//! The wallet stores one message at a time, in their order: its VTXOs, their movement and the new cursor in one transaction, so
//! the cursor never passes a payment that is not stored. The VTXOs of the next messages are validated meanwhile. A VTXO whose validity is undecided, because the chain backend does not
//! answer or the anchor is unconfirmed, goes to the quarantine in the same transaction and is validated again at each new
//! block (W1-W3).

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod mailbox;
mod quarantine;
mod receive;
mod server_copy;
