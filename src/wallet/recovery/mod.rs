//! VTXOs that the wallet owns and its database does not know: recovery from the seed, and what an import shares with it
//! (docs/protocol.md §4.10, §4.11).

pub(in crate::wallet) mod adopt;
pub(in crate::wallet) mod import;
pub(in crate::wallet) mod judge;
