//! VTXOs by the extended public key that all keys of a wallet are derived from. No source of a real server was at hand: this follows
//! the comments of the protocol files.

use ark_lib::recovery::XpubRecoveryAuthorization;
use ark_lib::{ProtocolEncoding, SECP, VtxoId};
use bitcoin::bip32::{ChildNumber, Xpub};
use server_rpc::{TryFromBytes, protos};

use super::super::state::Ark;
use super::super::status::RpcError;
use super::super::store::VtxoRecord;
use super::super::vtxo_status::spend_state;

/// The first index that is not of a normal child.
const NORMAL_CHILDREN: u32 = 1 << 31;
/// How far an expiry may lie in the past or beyond the longest lifetime, in seconds.
const LEEWAY: i64 = 5;

impl Ark {
    /// `RecoverVtxosByXpub`. Scans a fixed number of keys, or fewer when the answer is full. A key whose VTXOs do not fit into one
    /// answer is continued after the VTXO that the cursor names.
    pub(in super::super) async fn recover_vtxos_by_xpub(
        &self,
        request: protos::RecoverVtxosByXpubRequest,
    ) -> Result<protos::RecoverVtxosByXpubResponse, RpcError> {
        self.recovery_calls.check("RecoverVtxosByXpub")?;
        let xpub = Xpub::decode(&request.xpub).map_err(|_| RpcError::bad("invalid xpub"))?;
        let authorization = XpubRecoveryAuthorization::deserialize(&request.authorization)
            .map_err(|_| RpcError::bad("malformed recovery authorization"))?;
        self.check_recovery_authorization(&xpub, &authorization)?;
        let start = request.start_index;
        if start >= NORMAL_CHILDREN {
            return Err(RpcError::bad("start_index is not below 2^31"));
        }
        let cursor = request.cursor_vtxo_id.map(VtxoId::from_bytes).transpose()?;
        let page = self.scan_keys(&xpub, start, cursor)?;
        self.told_page(&page.ids, page.answer)
    }

    fn check_recovery_authorization(
        &self,
        xpub: &Xpub,
        authorization: &XpubRecoveryAuthorization,
    ) -> Result<(), RpcError> {
        if !authorization.verify(xpub, self.keys.server.public_key()) {
            return Err(RpcError::bad(
                "recovery authorization has a wrong signature",
            ));
        }
        let now = i64::try_from(self.now().as_secs()).unwrap_or(i64::MAX);
        let expiry = authorization.expiry().timestamp();
        let longest = i64::try_from(XpubRecoveryAuthorization::MAX_LIFETIME.as_secs());
        let latest = now.saturating_add(longest.unwrap_or(i64::MAX) + LEEWAY);
        if expiry < now - LEEWAY {
            return Err(RpcError::bad("recovery authorization has expired"));
        }
        if expiry > latest {
            return Err(RpcError::bad("recovery authorization lasts too long"));
        }
        Ok(())
    }

    fn scan_keys(
        &self,
        xpub: &Xpub,
        start: u32,
        mut cursor: Option<VtxoId>,
    ) -> Result<Page, RpcError> {
        let max = self.params.max_recovered_vtxos;
        let end = start
            .saturating_add(self.params.recovery_xpub_keys)
            .min(NORMAL_CHILDREN);
        let mut page = Page::default();
        for index in start..end {
            let child = xpub
                .derive_pub(&*SECP, &[ChildNumber::from(index)])
                .map_err(|error| RpcError::Internal(error.into()))?;
            let found = self.store.vtxos_of_key(&child.public_key, cursor.take())?;
            let room = max - page.ids.len();
            if found.len() > room {
                page.answer.have_more = true;
                if page.ids.is_empty() {
                    page.add(&found[..room], index);
                    let last = page.ids.last().map(|id| id.to_bytes().to_vec());
                    page.answer.cursor_vtxo_id = last;
                }
                return Ok(page);
            }
            page.add(&found, index);
            page.answer.nb_keys_scanned += 1;
        }
        page.answer.have_more = !page.ids.is_empty() && end < NORMAL_CHILDREN;
        Ok(page)
    }
}

/// An answer, and the ids of its VTXOs.
#[derive(Default)]
struct Page {
    ids: Vec<VtxoId>,
    answer: protos::RecoverVtxosByXpubResponse,
}

impl Page {
    /// Adds the VTXOs of the key with this index.
    fn add(&mut self, records: &[VtxoRecord], index: u32) {
        for record in records {
            let Some(state) = spend_state(record.state) else {
                continue;
            };
            self.ids.push(record.vtxo.id());
            self.answer.vtxos.push(protos::RecoveredVtxo {
                vtxo: record.vtxo.serialize(),
                derivation_index: index,
                spend_state: state.into(),
            });
        }
    }
}
