//! What belongs to the wallet as an account: keys, addresses, balance, history, fees.

pub(in crate::wallet) mod address;
pub(in crate::wallet) mod balance;
pub(in crate::wallet) mod fees;
mod history;
mod info;
pub(in crate::wallet) mod keys;
mod onchain;
