//! Offboards: clients give up VTXOs for an output of a transaction of the server (docs/protocol.md §31.5, §32.6).
//!
//! A prepared offboard is kept in RAM and forgotten after a timeout; a finished one is in the store.

mod finish;
mod prepare;
mod rates;
mod sessions;

pub use sessions::Offboards;
