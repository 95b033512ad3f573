//! The JSON shapes that more than one route answers with. Each knows how to be made from what the wallet hands out, and
//! nothing more.
//!
//! Names and keys are those of the published API; every additional key is one that its clients ignore.

pub(super) mod aliases;
pub(super) mod ark_info;
pub(super) mod error;
pub(super) mod movement;
pub(super) mod round;
#[cfg(test)]
mod tests;
pub(super) mod transaction;
pub(super) mod vtxo;
