//! Lightning: clients pay invoices with HTLC-send VTXOs and are paid by HTLC-recv VTXOs (docs/protocol.md §31.6, §32.7, §32.8).
//!
//! What the node and the server store are two things: each flow commits several times, in the order of a real server, and a crash can
//! fall between any two commits. What follows a commit is done by the jobs ([`jobs`]), which run after each change.

mod cancel;
mod check;
mod claim;
pub mod control;
mod grant;
mod initiate;
mod intra;
mod jobs;
mod ledger;
mod offer;
mod onchain;
mod outcome;
mod pool;
mod prepare;
mod proof;
mod ram;
mod receive;
mod revoke;
mod send;

use ark_lib::ProtocolEncoding;
use ark_lib::lightning::PaymentHash;
use ark_lib::mailbox::MailboxIdentifier;

pub use ledger::LightningLedger;
pub use ram::Lightning;

use super::status::RpcError;

/// The mailbox that a client wants to be told by.
fn mailbox_of(id: Option<&[u8]>) -> Result<Option<MailboxIdentifier>, RpcError> {
    id.map(MailboxIdentifier::deserialize)
        .transpose()
        .map_err(|_| RpcError::bad("invalid mailbox id"))
}

/// A payment that the server does not know.
fn unknown_hash(what: &'static str, hash: PaymentHash) -> RpcError {
    RpcError::NotFound {
        what,
        ids: vec![hash.to_string()],
    }
}
