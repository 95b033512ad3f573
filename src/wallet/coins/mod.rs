//! VTXOs as coins: lists and lookups, input selection, what is due for a refresh, and validation.

pub(in crate::wallet) mod due;
mod list;
mod picker;
pub(in crate::wallet) mod select;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub(in crate::wallet) mod validate;
