//! The calls by which a wallet finds its VTXOs again (docs/protocol.md §32.9). Real servers before 0.8 have none of them.

mod by_ids;
mod by_xpub;
pub(super) mod control;
mod lies;
mod switch;

pub(super) use self::switch::RecoveryCalls;
