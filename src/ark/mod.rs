//! The Ark server's client: one connection that looks after itself, and a typed call for each RPC that the wallet makes.
//!
//! The wire encodings are `server_rpc`'s. The server is not trusted: [`Server::check`] refuses one whose keys or parameters
//! are not safe, and every answer is decoded before anybody sees it. An error says whether the server proved that nothing
//! happened ([`Error::Rejected`]) or whether nobody knows ([`Error::Unknown`]); the difference decides what may be retried.

mod boards;
mod connection;
mod error;
mod mailbox;
mod offboards;
mod rounds;
mod safety;
mod vtxos;

pub use connection::{Server, ServerConfig};
pub use error::Error;
pub use mailbox::{MailboxMessage, MailboxPage, Payload};
pub use offboards::PreparedOffboard;
pub use rounds::{IssuedRound, ParticipationStatus};
pub use safety::PinnedKeys;
