//! VTXOs as coins: which are selected, which are due for a refresh, and whether one is valid.

pub(in crate::wallet) mod due;
pub(in crate::wallet) mod select;
pub(in crate::wallet) mod validate;
