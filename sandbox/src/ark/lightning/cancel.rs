//! The end of a receive that is not claimed.

use ark_lib::lightning::PaymentHash;
use server_rpc::{TryFromBytes, protos};

use super::super::state::Ark;
use super::super::status::RpcError;
use super::super::store::{AttemptStatus, Receive, ReceiveStatus, receive};

impl Ark {
    /// `CancelLightningReceive`. Nobody has to prove anything: the hash is enough. A payer who is a client of this server is not
    /// told, and its payment stays open until its HTLCs expire.
    pub(in super::super) async fn cancel_lightning_receive(
        &self,
        request: protos::CancelLightningReceiveRequest,
    ) -> Result<protos::Empty, RpcError> {
        let hash = PaymentHash::from_bytes(&request.payment_hash)?;
        let _turn = self.turn().await;
        match self.known_receive(hash)?.status {
            ReceiveStatus::Canceled => {}
            ReceiveStatus::HtlcsReady => {
                return Err(RpcError::bad("the HTLCs have already been granted"));
            }
            ReceiveStatus::Settled => return Err(RpcError::bad("payment already settled")),
            ReceiveStatus::Created | ReceiveStatus::Accepted => {
                self.cancel_at_node(hash)?;
                self.mark_canceled(hash)?;
            }
        }
        Ok(protos::Empty {})
    }

    /// Ends a receive that took too long, and the payment of a client that waits for it.
    pub(super) fn time_out(&self, receive: &Receive) -> Result<(), RpcError> {
        let hash = receive.hash;
        if !receive.linked {
            self.cancel_at_node(hash)?;
        }
        self.mark_canceled(hash)?;
        if receive.linked
            && let Some(attempt) = self.store.latest_attempt(hash)?
            && attempt.status == AttemptStatus::Open
        {
            self.fail_attempt(attempt.number, hash, None)?;
        }
        Ok(())
    }

    fn cancel_at_node(&self, hash: PaymentHash) -> Result<(), RpcError> {
        let network = &self.lightning.network;
        let cancelled = if network.is_online() {
            network.cancel(hash)
        } else {
            Err(anyhow::anyhow!("no node"))
        };
        Ok(cancelled.map_err(|error| error.context("could not cancel hold invoice"))?)
    }

    pub(super) fn mark_canceled(&self, hash: PaymentHash) -> Result<(), RpcError> {
        self.store
            .write(|db| receive::set_status(db, hash, ReceiveStatus::Canceled))?;
        self.lightning.wake();
        Ok(())
    }
}
