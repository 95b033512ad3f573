//! Payments over the Lightning Network, which the Ark server makes and takes for the wallet (docs/protocol.md §4.6, §4.7).

mod htlcs;
pub(in crate::wallet) mod pay;
pub(in crate::wallet) mod receive;
