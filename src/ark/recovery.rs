//! The calls that a recovery makes (docs/protocol.md §4.11). Servers before 0.8 have none of them.

use std::collections::HashMap;
use std::time::Duration;

use ark_lib::attestations::VtxoStatusAttestation;
use ark_lib::recovery::XpubRecoveryAuthorization;
use ark_lib::{ProtocolEncoding, VtxoId};
use bitcoin::bip32::Xpub;
use bitcoin::secp256k1::Keypair;
use server_rpc::{protos, tonic};

use super::{Error, Server};

/// Lifetime of the authorization to list what belongs to an extended public key.
pub const XPUB_AUTHORIZATION: Duration = Duration::from_secs(60);

/// VTXOs that the server has under keys of the wallet. Nothing of it is validated.
#[derive(Debug)]
pub struct KeyPage {
    /// The VTXOs.
    pub vtxos: Vec<ListedVtxo>,
    /// How many keys the server has looked up in full.
    pub keys_scanned: u32,
    /// Whether there may be more.
    pub have_more: bool,
    /// The VTXO after which the next page continues within the VTXOs of one key.
    pub cursor: Option<VtxoId>,
}

/// A VTXO that the server lists.
#[derive(Debug)]
pub struct ListedVtxo {
    /// Its encoding.
    pub body: Vec<u8>,
    /// The index of the key under which the server has it.
    pub key_index: u32,
    /// What the server says of it: a number of the protocol's enumeration.
    pub state: i32,
}

impl Server {
    /// Lists VTXOs of the keys from index `start` on, those of the first key after `cursor`. `None` if the server lacks the call.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn vtxos_of_xpub(
        &self,
        xpub: &Xpub,
        authorization: XpubRecoveryAuthorization,
        start: u32,
        cursor: Option<VtxoId>,
    ) -> Result<Option<KeyPage>, Error> {
        let request = protos::RecoverVtxosByXpubRequest {
            xpub: xpub.encode().to_vec(),
            start_index: start,
            authorization: authorization.serialize(),
            cursor_vtxo_id: cursor.map(|id| id.to_bytes().to_vec()),
        };
        let answer = self.call(|mut connection| async move {
            optional(connection.client.recover_vtxos_by_xpub(request).await)
        });
        let Some(page) = answer.await? else {
            return Ok(None);
        };
        let vtxos = page.vtxos.into_iter().map(|listed| ListedVtxo {
            body: listed.vtxo,
            key_index: listed.derivation_index,
            state: listed.spend_state,
        });
        let cursor = page.cursor_vtxo_id.map(|id| VtxoId::from_slice(&id));
        Ok(Some(KeyPage {
            vtxos: vtxos.collect(),
            keys_scanned: page.nb_keys_scanned,
            have_more: page.have_more,
            cursor: cursor.transpose().map_err(Error::malformed)?,
        }))
    }

    /// Fetches the encodings of VTXOs; the server leaves out those that it does not know. `None` if the server lacks the call.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn fetch_vtxos(&self, ids: &[VtxoId]) -> Result<Option<Vec<Vec<u8>>>, Error> {
        let request = protos::GetVtxosByIdsRequest {
            vtxo_ids: ids.iter().map(|id| id.to_bytes().to_vec()).collect(),
        };
        let answer = self.call(|mut connection| async move {
            optional(connection.client.get_vtxos_by_ids(request).await)
        });
        Ok(answer.await?.map(|answer| answer.vtxos))
    }

    /// Requests the states of VTXOs of ours, as numbers of the protocol's enumeration; the server leaves out those that it does not
    /// know. `None` if the server lacks the call.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn vtxo_states(
        &self,
        vtxos: &[(VtxoId, Keypair)],
    ) -> Result<Option<HashMap<VtxoId, i32>>, Error> {
        let queries = vtxos.iter().map(|(id, key)| protos::VtxoStatusQuery {
            vtxo_id: id.to_bytes().to_vec(),
            attestation: VtxoStatusAttestation::new(*id, key).serialize(),
        });
        let request = protos::GetVtxosStatusByIdsRequest {
            vtxos: queries.collect(),
        };
        let answer = self.call(|mut connection| async move {
            optional(connection.client.get_vtxos_status_by_ids(request).await)
        });
        let Some(answer) = answer.await? else {
            return Ok(None);
        };
        let known = answer.vtxos.into_iter();
        let states = known
            .filter_map(|it| Some((VtxoId::from_slice(&it.vtxo_id).ok()?, it.spend_state)))
            .collect();
        Ok(Some(states))
    }
}

/// The answer to a call that a server may lack.
fn optional<T>(
    answer: Result<tonic::Response<T>, tonic::Status>,
) -> Result<tonic::Response<Option<T>>, tonic::Status> {
    match answer {
        Ok(response) => Ok(response.map(Some)),
        Err(status) if status.code() == tonic::Code::Unimplemented => {
            Ok(tonic::Response::new(None))
        }
        Err(status) => Err(status),
    }
}
