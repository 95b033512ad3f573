//! The HTLCs of a receive: when a payment is held, its payee asks for VTXOs that it can take with the preimage.

use ark_lib::lightning::PaymentHash;
use ark_lib::vtxo::policy::check_block_height;
use ark_lib::{ProtocolEncoding, VtxoPolicy};
use bitcoin::Amount;
use bitcoin::secp256k1::PublicKey;
use bitcoin_ext::BlockHeight;
use server_rpc::{TryFromBytes, protos};

use super::super::faults::Hook;
use super::super::state::Ark;
use super::super::status::RpcError;
use super::super::store::{Receive, ReceiveStatus, receive};
use super::check::describe;

impl Ark {
    /// `PrepareLightningReceiveClaim`. Whoever asks first gets the HTLCs, for the key that he names; later requests are answered with
    /// the same ones.
    pub(in super::super) async fn prepare_lightning_receive_claim(
        &self,
        request: protos::PrepareLightningReceiveClaimRequest,
    ) -> Result<protos::PrepareLightningReceiveClaimResponse, RpcError> {
        let hash = PaymentHash::from_bytes(&request.payment_hash)?;
        let user_pubkey = PublicKey::from_bytes(&request.user_pubkey)?;
        let expiry = check_block_height(request.htlc_recv_expiry).map_err(RpcError::bad)?;
        if !self.lightning.ram().preparing.insert(hash) {
            return Err(anyhow::anyhow!("a claim of this payment is already in progress").into());
        }
        let _preparing = Preparing { ark: self, hash };

        let _turn = self.turn().await;
        let receive = self.known_receive(hash)?;
        match receive.status {
            ReceiveStatus::HtlcsReady => return self.show_grant(&receive),
            ReceiveStatus::Canceled => return Err(RpcError::bad("payment canceled")),
            ReceiveStatus::Settled => return Err(RpcError::bad("payment already settled")),
            ReceiveStatus::Created => {
                return Err(RpcError::bad("payment not yet initiated by sender"));
            }
            ReceiveStatus::Accepted => {}
        }
        let proof = request.lightning_receive_anti_dos;
        self.check_proof(hash, proof).await?;
        self.check_expiry(&receive, expiry).await?;

        let amount = Amount::from_sat(receive.amount_sat);
        let fee = self.params.fees.lightning_receive.calculate(amount);
        let net = fee.and_then(|fee| amount.checked_sub(fee));
        let net = net.ok_or_else(|| RpcError::bad("fee overflow"))?;
        let policy = VtxoPolicy::new_server_htlc_recv(
            user_pubkey,
            hash,
            expiry,
            self.params.htlc_expiry_delta,
        );
        let htlcs = self.grant(policy, net).await?;
        self.hook(Hook::LnGranted)?;
        self.store
            .write(|db| receive::set_htlcs(db, hash, &htlcs))?;
        self.lightning.wake();
        self.show_grant(&self.known_receive(hash)?)
    }

    /// The incoming HTLCs must outlive the granted ones.
    async fn check_expiry(
        &self,
        receive: &Receive,
        requested: BlockHeight,
    ) -> Result<(), RpcError> {
        let tip = self.tip_height().await?.to_u32();
        let delta = self.params.htlc_expiry_delta.to_u32();
        let lowest = receive.lowest_expiry.unwrap_or_default();
        if tip + delta > lowest {
            return Err(RpcError::bad(format!(
                "Inbound HTLC too close: it expires at {lowest}"
            )));
        }
        if requested.to_u32() + delta > lowest {
            return Err(RpcError::bad(format!(
                "Requested HTLC recv expiry too close: requested {requested}, lowest incoming HTLC expiry {lowest}"
            )));
        }
        Ok(())
    }

    /// The receive with the bodies of its HTLCs, in the order of the grant.
    fn show_grant(
        &self,
        receive: &Receive,
    ) -> Result<protos::PrepareLightningReceiveClaimResponse, RpcError> {
        let htlcs = self.known(&receive.htlcs)?;
        Ok(protos::PrepareLightningReceiveClaimResponse {
            receive: Some(describe(receive)),
            htlc_vtxos: htlcs.iter().map(|htlc| htlc.vtxo.serialize()).collect(),
        })
    }
}

/// Marks a receive as being prepared until it is dropped.
struct Preparing<'a> {
    ark: &'a Ark,
    hash: PaymentHash,
}

impl Drop for Preparing<'_> {
    fn drop(&mut self) {
        self.ark.lightning.ram().preparing.remove(&self.hash);
    }
}
