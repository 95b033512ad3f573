//! The proof that a receive is worth HTLCs of the pool: a VTXO of the client, or a token.

use ark_lib::VtxoId;
use ark_lib::attestations::LightningReceiveAttestation;
use ark_lib::lightning::PaymentHash;
use server_rpc::TryFromBytes;
use server_rpc::protos::InputVtxo;
use server_rpc::protos::prepare_lightning_receive_claim_request::LightningReceiveAntiDos;

use super::super::state::Ark;
use super::super::status::RpcError;
use super::super::store::{VtxoState, receive};

impl Ark {
    /// Checks a proof even if none is needed. A token is used up at once: when a later check refuses the request, it is lost.
    pub(super) async fn check_proof(
        &self,
        hash: PaymentHash,
        proof: Option<LightningReceiveAntiDos>,
    ) -> Result<(), RpcError> {
        match proof {
            None if self.params.ln_receive_anti_dos_required => {
                Err(RpcError::bad("an anti-DoS proof is required"))
            }
            None => Ok(()),
            Some(LightningReceiveAntiDos::InputVtxo(input)) => {
                self.check_vtxo_proof(hash, &input).await
            }
            Some(LightningReceiveAntiDos::Token(token)) => self.use_token(&token),
        }
    }

    async fn check_vtxo_proof(&self, hash: PaymentHash, input: &InputVtxo) -> Result<(), RpcError> {
        let id = VtxoId::from_bytes(&input.vtxo_id)?;
        let attestation = LightningReceiveAttestation::from_bytes(&input.attestation)?;
        let known = self.store.vtxo(id)?;
        let known = known.ok_or_else(|| RpcError::unknown_vtxos([id]))?;
        let is_live = matches!(known.state, VtxoState::Spendable | VtxoState::Unregistered);
        let exited = self.exit_height(id, known.vtxo.chain_anchor()).await?;
        if !is_live || exited.is_some() {
            return Err(RpcError::bad("the proof's vtxo must be spendable"));
        }
        attestation
            .verify(hash, &known.vtxo)
            .map_err(|_| RpcError::bad("attestation invalid"))
    }

    fn use_token(&self, token: &str) -> Result<(), RpcError> {
        if !self
            .params
            .ln_receive_tokens
            .iter()
            .any(|known| known == token)
        {
            return Err(RpcError::NotFound {
                what: "token",
                ids: vec![token.to_owned()],
            });
        }
        if self.store.write(|db| receive::use_token(db, token))? {
            Ok(())
        } else {
            Err(RpcError::bad("the token has already been used"))
        }
    }
}
