//! The wallet as an account: keys, addresses, balance, history, fees, and the on-chain wallet.

pub(in crate::wallet) mod address;
pub(in crate::wallet) mod balance;
pub(in crate::wallet) mod ceiling;
pub(in crate::wallet) mod estimate;
pub(in crate::wallet) mod fees;
mod history;
mod info;
pub(in crate::wallet) mod keys;
pub(in crate::wallet) mod message;
mod metadata;
mod onchain;
