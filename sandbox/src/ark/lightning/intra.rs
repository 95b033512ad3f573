//! Payments between two clients of this server. The invoice is one that the server's own node issued, so nothing leaves it.

use ark_lib::VtxoId;

use super::super::faults::{Action, Hook};
use super::super::state::Ark;
use super::super::status::RpcError;
use super::super::store::{Attempt, Receive, ReceiveStatus, attempt, receive};

impl Ark {
    /// Links the attempt with the receive: the payer's HTLCs are what the payee's are granted for. The commits, in order: the
    /// attempt; the receive is accepted; the payee is told; the node cancels its invoice. If the last one fails, the payer is told
    /// that the payment failed, and the payee can claim nevertheless.
    pub(super) async fn pay_own_client(
        &self,
        attempt: Attempt,
        htlcs: &[VtxoId],
        receive: &Receive,
    ) -> Result<(), RpcError> {
        let linked = Attempt {
            linked: true,
            ..attempt
        };
        let hash = linked.hash;
        let number = self.store.write(|db| attempt::insert(db, &linked, htlcs))?;
        self.hook(Hook::LnAttempt)?;
        if receive.status != ReceiveStatus::Created {
            self.fail_attempt(number, hash, None)?;
            return Ok(());
        }
        let now = self.now();
        self.store
            .write(|db| receive::mark_accepted(db, hash, linked.htlc_expiry, now, true))?;
        self.hook(Hook::LnIntraAccepted)?;
        self.lightning.wake();
        self.push_incoming(hash)?;
        let cancelled = match self.hook(Hook::LnIntraCancel)? {
            Some(Action::Withhold) => Err(anyhow::anyhow!("the node does not answer")),
            _ => self.lightning.network.cancel(hash),
        };
        if let Err(error) = cancelled {
            tracing::warn!(error = %format_args!("{error:#}"), "the node does not cancel an invoice that a client pays");
            self.fail_attempt(number, hash, None)?;
        }
        Ok(())
    }
}
