//! Capability tests: the real program over HTTP, against a sandbox in this process.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod support;

mod big_wallets;
mod boards;
mod chain_faults;
mod connection;
mod contract;
mod crash;
mod destinations;
mod disconnect;
mod disk;
mod docs;
mod documentation;
mod errors;
mod exits;
mod expiry;
mod fees;
mod front_door;
mod hostile;
mod idempotency;
mod import_barkd;
mod large_requests;
mod lifecycle;
mod lightning;
mod lightning_pay;
mod lightning_receive;
mod lists;
mod load;
mod mailbox;
mod messages;
mod metadata;
mod node;
mod notifications;
mod offboards;
mod onchain;
mod outages;
mod payment_uris;
mod payments;
mod peer;
mod peer_exits;
mod peer_lightning;
mod process;
mod random_kills;
mod receiving;
mod recovery;
mod refreshes;
mod rounds;
mod sandbox;
mod signatures;
mod structure;
mod webhooks;
