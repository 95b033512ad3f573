//! The calls of a board (docs/protocol.md §4.1).

use ark_lib::board::{BoardBuilder, BoardCosignResponse};
use ark_lib::vtxo::Full;
use ark_lib::{ProtocolEncoding, Vtxo};
use bitcoin::consensus::encode;
use bitcoin::{Amount, OutPoint, Transaction};
use server_rpc::protos;

use super::{Error, Server};

impl Server {
    /// Requests the server's partial signature on a board's exit transaction. The server stores nothing, so the request can be
    /// repeated with another nonce.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn cosign_board(
        &self,
        builder: &BoardBuilder<ark_lib::board::state::CanFinish>,
        amount: Amount,
        utxo: OutPoint,
        funding_tx: &Transaction,
    ) -> Result<BoardCosignResponse, Error> {
        let request = protos::BoardCosignRequest {
            amount: amount.to_sat(),
            utxo: encode::serialize(&utxo),
            expiry_height: builder.expiry_height.to_u32(),
            user_pubkey: builder.user_pubkey.serialize().to_vec(),
            pub_nonce: builder.user_pub_nonce().serialize().to_vec(),
            funding_tx: encode::serialize(funding_tx),
        };
        let answer =
            self.call(|mut connection| async move {
                connection.client.request_board_cosign(request).await
            })
            .await?;
        BoardCosignResponse::try_from(answer).map_err(Error::malformed)
    }

    /// Registers a board whose funding transaction has the confirmations that the server requires. Idempotent.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn register_board(&self, vtxo: &Vtxo<Full>) -> Result<(), Error> {
        let request = protos::BoardVtxoRequest {
            board_vtxo: vtxo.serialize(),
        };
        self.call(
            |mut connection| async move { connection.client.register_board_vtxo(request).await },
        )
        .await?;
        Ok(())
    }
}
