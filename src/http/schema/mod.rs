//! JSON shapes that several routes share, and the larger ones. Each converts from a type of the wallet and holds no logic.
//!
//! Names and keys are those of the published API. Its clients ignore the additional keys.

pub(super) mod address;
pub(super) mod aliases;
pub(super) mod ark_info;
pub(super) mod attention;
pub(super) mod board;
pub(super) mod error;
pub(super) mod exit;
pub(super) mod exit_claim;
pub(super) mod exit_fee;
pub(super) mod exit_start;
pub(super) mod fee;
pub(super) mod idempotency_key;
pub(super) mod lightning_receive;
pub(super) mod lightning_send;
pub(super) mod movement;
pub(super) mod notification;
pub(super) mod offboard;
pub(super) mod round;
pub(super) mod send;
#[cfg(test)]
mod tests;
pub(super) mod transaction;
pub(super) mod vtxo;
pub(super) mod webhook;
