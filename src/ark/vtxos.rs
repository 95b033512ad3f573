//! The calls about VTXOs and their out-of-round (arkoor) spends (docs/protocol.md §4.0, §4.2).

use ark_lib::arkoor::package::{ArkoorPackageCosignRequest, ArkoorPackageCosignResponse};
use ark_lib::attestations::VtxoStatusAttestation;
use ark_lib::vtxo::Full;
use ark_lib::{ProtocolEncoding, Vtxo, VtxoId};
use bitcoin::secp256k1::Keypair;
use server_rpc::MAX_NB_REGISTER_VTXOS;
use server_rpc::protos::{self, VtxoSpendState};

use super::chunks::send_in_chunks;
use super::{Error, Server};

/// Most chains in one upload. The server would take 1000, but validates one after another, and has to answer in time.
const CHAINS_PER_UPLOAD: usize = 250;
const _: () = assert!(CHAINS_PER_UPLOAD <= MAX_NB_REGISTER_VTXOS);

impl Server {
    /// Uploads the signed transaction chains of VTXOs, in as many requests as the server's limits need. Idempotent.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if the server does not take a single chain; see [`Error`].
    pub async fn register_chains(&self, vtxos: &[Vtxo<Full>]) -> Result<(), Error> {
        let chains = vtxos.iter().map(ProtocolEncoding::serialize).collect();
        send_in_chunks(chains, CHAINS_PER_UPLOAD, |vtxos| {
            let request = protos::RegisterVtxoTransactionsRequest { vtxos };
            self.call(|mut connection| async move {
                connection.client.register_vtxo_transactions(request).await
            })
        })
        .await
    }

    /// Requests the server's partial signatures on an arkoor spend. Once it has answered, the server treats the inputs as
    /// spent. A repeated request for the same spend is answered again.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn cosign_arkoor(
        &self,
        request: ArkoorPackageCosignRequest<Vtxo<Full>>,
    ) -> Result<ArkoorPackageCosignResponse, Error> {
        let request = protos::ArkoorPackageCosignRequest::from(request);
        let answer =
            self.call(|mut connection| async move {
                connection.client.request_arkoor_cosign(request).await
            })
            .await?;
        ArkoorPackageCosignResponse::try_from(answer).map_err(Error::malformed)
    }

    /// Requests whether the server regards one of our VTXOs as spent.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn vtxo_status(&self, id: VtxoId, key: &Keypair) -> Result<VtxoSpendState, Error> {
        let request = protos::GetVtxoStatusRequest {
            vtxo_id: id.to_bytes().to_vec(),
            attestation: VtxoStatusAttestation::new(id, key).serialize(),
        };
        let answer = self
            .call(|mut connection| async move { connection.client.get_vtxo_status(request).await })
            .await?;
        VtxoSpendState::try_from(answer.spend_state).map_err(Error::malformed)
    }

    /// Fetches one of our VTXOs from the server. It is decoded, not validated.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn fetch_vtxo(&self, id: VtxoId) -> Result<Vtxo<Full>, Error> {
        let request = protos::GetVtxoRequest {
            vtxo_id: id.to_bytes().to_vec(),
        };
        let answer = self
            .call(|mut connection| async move { connection.client.get_vtxo(request).await })
            .await?;
        Vtxo::<Full>::deserialize(&answer.vtxo).map_err(Error::malformed)
    }
}
