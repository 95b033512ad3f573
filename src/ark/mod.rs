//! The client of the Ark server: one shared connection, and a typed method for each RPC that the wallet calls
//! (docs/protocol.md §3).
//!
//! The wire encodings come from `server_rpc`. The server is not trusted: [`Server::check`] refuses a server whose keys or
//! parameters are not safe, and each answer is decoded here but validated by its caller. An [`Error`] says whether the server
//! proved that the request changed nothing ([`Error::Rejected`]) or whether it may have been carried out
//! ([`Error::Unknown`]); only the first allows a caller to release locked inputs.

mod boards;
mod chunks;
mod clock_skew;
mod connection;
mod error;
mod lightning;
mod mailbox;
mod offboards;
mod recovery;
mod rounds;
mod safety;
mod vtxos;

pub use connection::{Contact, Server, ServerConfig};
pub use error::Error;
pub use lightning::{AntiDosProof, InvoiceOrder, ReceiveStatus};
pub use lightning::{NoInvoice, PaymentOrder, PaymentStatus};
pub use mailbox::{MailboxMessage, Payload};
pub use offboards::PreparedOffboard;
pub use recovery::{KeyPage, XPUB_AUTHORIZATION};
pub use rounds::{IssuedRound, ParticipationStatus};
pub use safety::{Margins, PinnedKeys};
