//! A simulated Lightning network: the Ark server's node and one other node, the world, which issues invoices and offers, pays, and is
//! paid. There are no channels and no routing: a payment is a row with a state.
//!
//! It is a process of its own as seen by the Ark server: it has its own database, and a restart of the server does not touch it.

mod bolt11;
mod bolt12;
mod hold;
pub mod lnurl;
mod payment;
mod store;
#[cfg(test)]
mod tests;
mod totals;
mod world;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use bitcoin::secp256k1::{Keypair, PublicKey};
use tokio::sync::watch;

pub use bolt11::{Description, InvoiceTerms};
pub use hold::{Hold, HoldStatus};
pub use payment::{Payment, PaymentStatus};
pub use totals::Totals;
pub use world::{FailureReason, InvoiceRequest, Outcome, WorldInvoice};

use crate::clock::Clock;
use store::Store;

/// The network. The Ark server and the control API share it.
pub struct LightningNetwork {
    store: Store,
    /// Signs the invoices of the Ark server's clients.
    server: Keypair,
    /// Signs the world's invoices and offers.
    world: Keypair,
    clock: Clock,
    /// Wakes the Ark server after a change.
    changed: watch::Sender<u64>,
    /// Whether the Ark server reaches its node.
    online: AtomicBool,
    /// Whether the Ark server hears of payments that its node holds.
    noticing: AtomicBool,
}

impl LightningNetwork {
    /// Opens the network's database in `directory`, or a fresh one in RAM.
    pub fn open(
        directory: Option<&Path>,
        server: Keypair,
        world: Keypair,
        clock: Clock,
    ) -> anyhow::Result<LightningNetwork> {
        Ok(LightningNetwork {
            store: Store::open(directory)?,
            server,
            world,
            clock,
            changed: watch::Sender::new(0),
            online: AtomicBool::new(true),
            noticing: AtomicBool::new(true),
        })
    }

    /// The world's node id.
    pub fn world_id(&self) -> PublicKey {
        self.world.public_key()
    }

    /// Its clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Tells when something changed.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Whether the Ark server reaches its node.
    pub fn is_online(&self) -> bool {
        self.online.load(Ordering::Relaxed)
    }

    /// Connects the Ark server with its node, or cuts the connection.
    pub fn set_online(&self, online: bool) {
        self.online.store(online, Ordering::Relaxed);
        self.wake();
    }

    /// Whether the Ark server hears of payments that its node holds.
    pub fn is_noticing(&self) -> bool {
        self.noticing.load(Ordering::Relaxed)
    }

    /// Opens or cuts the stream by which the Ark server hears of payments that its node holds.
    pub fn set_noticing(&self, noticing: bool) {
        self.noticing.store(noticing, Ordering::Relaxed);
        self.wake();
    }

    fn wake(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}
