//! VTXOs as coins: lists and lookups, input selection, what is due for a refresh, validation on all cores, and the watch on the chain.

pub(in crate::wallet) mod cores;
pub(in crate::wallet) mod due;
pub(in crate::wallet) mod list;
mod picker;
pub(in crate::wallet) mod published;
pub(in crate::wallet) mod select;
pub(in crate::wallet) mod set_aside;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub(in crate::wallet) mod validate;
pub(in crate::wallet) mod watch;
