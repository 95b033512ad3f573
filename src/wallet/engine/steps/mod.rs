//! Steps that several flows take in the same way.
//!
//! | file | what the step does |
//! |---|---|
//! | [`upload`] | registers signed chains that the server may lack |
//! | [`unsigned`] | builds the transactions of an out-of-round spend, and checks the server's signatures |
//! | [`arkoor`] | gets an out-of-round spend signed; finds out what became of one that the server refuses |
//! | [`spend`] | fixes what an out-of-round spend spends and makes |
//! | [`broadcast`] | broadcasts a transaction and follows its confirmations |
//! | [`deliver`] | posts VTXOs to the mailbox of a payee |
//! | [`exited`] | finds out which VTXOs of an operation were exited |
//! | [`end`] | releases inputs and writes the movement when an operation fails or succeeds |

pub(in crate::wallet) mod arkoor;
pub(in crate::wallet) mod broadcast;
pub(in crate::wallet) mod deliver;
pub(in crate::wallet) mod end;
pub(in crate::wallet) mod exited;
pub(in crate::wallet) mod refusal;
pub(in crate::wallet) mod spend;
pub(in crate::wallet) mod unsigned;
pub(in crate::wallet) mod upload;
