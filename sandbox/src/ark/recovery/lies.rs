//! What a server that is not honest tells a wallet that recovers its VTXOs: the faults of these calls.

use anyhow::Context;
use ark_lib::mailbox::MailboxIdentifier;
use ark_lib::vtxo::Full;
use ark_lib::{ProtocolEncoding, Vtxo, VtxoId};
use bitcoin::secp256k1::constants::SCHNORR_SIGNATURE_SIZE;
use server_rpc::protos::mailbox_server::{MailboxMessage, mailbox_message::Message};
use server_rpc::protos::{RecoverVtxosByXpubResponse, RecoveredVtxo, VtxoSpendState};

use super::super::faults::{Action, Hook, RecoveryFault};
use super::super::state::Ark;
use super::super::status::RpcError;
use super::super::store::Page;

/// A state that no version of the protocol has.
const NEW_STATE: i32 = 99;

impl Ark {
    /// The body of a VTXO as it is told; `None` for one that is reported as unknown.
    pub(in super::super) fn told_body(
        &self,
        id: VtxoId,
        body: Vec<u8>,
    ) -> Result<Option<Vec<u8>>, RpcError> {
        match self.recovery_fault(Hook::RecoveryBody)? {
            Some(RecoveryFault::Missing) => Ok(None),
            Some(change) => Ok(Some(self.altered_body(id, body, change)?)),
            None => Ok(Some(body)),
        }
    }

    /// The state of a VTXO as it is told.
    pub(in super::super) fn told_state(&self, state: VtxoSpendState) -> Result<i32, RpcError> {
        let change = self.recovery_fault(Hook::RecoveryState)?;
        Ok(altered_state(state.into(), change))
    }

    /// The answer to an extended public key as it is told.
    pub(super) fn told_page(
        &self,
        ids: &[VtxoId],
        mut page: RecoverVtxosByXpubResponse,
    ) -> Result<RecoverVtxosByXpubResponse, RpcError> {
        let Some(change) = self.recovery_fault(Hook::RecoveryPage)? else {
            return Ok(page);
        };
        match change {
            RecoveryFault::Missing => page.vtxos.clear(),
            RecoveryFault::Endless => {
                page.nb_keys_scanned = 0;
                page.cursor_vtxo_id = None;
                page.have_more = true;
            }
            _ => {}
        }
        for (id, told) in ids.iter().zip(&mut page.vtxos) {
            *told = RecoveredVtxo {
                vtxo: self.altered_body(*id, std::mem::take(&mut told.vtxo), change)?,
                derivation_index: told.derivation_index
                    + u32::from(change == RecoveryFault::WrongIndex),
                spend_state: altered_state(told.spend_state, Some(change)),
            };
        }
        Ok(page)
    }

    /// A page of a mailbox as it is told to a reader that has seen the messages up to this checkpoint.
    pub(in super::super) fn told_mailbox(
        &self,
        mailbox: MailboxIdentifier,
        checkpoint: u64,
        mut page: Page,
    ) -> Result<Page, RpcError> {
        let mut first = self.mailbox_page(mailbox, 0)?;
        if !first.messages.iter_mut().any(|it| ids_of(it).is_some()) {
            return Ok(page);
        }
        let Some(change) = self.recovery_fault(Hook::RecoveryMailbox)? else {
            return Ok(page);
        };
        if change == RecoveryFault::Endless {
            for (message, told) in first.messages.iter_mut().zip(checkpoint + 1..) {
                message.checkpoint = told;
            }
            first.have_more = true;
            return Ok(first);
        }
        for ids in page.messages.iter_mut().filter_map(ids_of) {
            match change {
                RecoveryFault::Garbage => ids.insert(0, vec![0xff; 7]),
                RecoveryFault::Repeated => ids.extend(ids.clone()),
                _ => {}
            }
        }
        Ok(page)
    }

    fn recovery_fault(&self, hook: Hook) -> Result<Option<RecoveryFault>, RpcError> {
        match self.hook(hook)? {
            Some(Action::AlterRecovery { change }) => Ok(Some(change)),
            _ => Ok(None),
        }
    }

    fn altered_body(
        &self,
        id: VtxoId,
        body: Vec<u8>,
        change: RecoveryFault,
    ) -> anyhow::Result<Vec<u8>> {
        match change {
            RecoveryFault::Garbage => Ok(vec![0xff; body.len()]),
            RecoveryFault::BadSignature => with_bad_signature(body),
            RecoveryFault::Foreign => Ok(self.store.body_of_another(id)?.unwrap_or(body)),
            _ => Ok(body),
        }
    }
}

/// The ids of a message of a recovery mailbox.
fn ids_of(message: &mut MailboxMessage) -> Option<&mut Vec<Vec<u8>>> {
    match &mut message.message {
        Some(Message::RecoveryVtxoIds(ids)) => Some(&mut ids.vtxo_ids),
        _ => None,
    }
}

/// The body with one bit of the last signature changed. It is the body of the same VTXO: signatures do not change the id.
fn with_bad_signature(mut body: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    let vtxo = Vtxo::<Full>::deserialize(&body)?;
    let last = vtxo.transactions().last().context("no transaction")?.tx;
    let signature = last.input[0].witness.nth(0).context("no signature")?;
    let signature = &signature[..SCHNORR_SIGNATURE_SIZE];
    let mut places = body.windows(signature.len());
    let at = places.rposition(|place| place == signature);
    body[at.context("the signature is not in the body")?] ^= 1;
    Ok(body)
}

fn altered_state(state: i32, change: Option<RecoveryFault>) -> i32 {
    match change {
        Some(RecoveryFault::Spendable) => VtxoSpendState::Spendable.into(),
        Some(RecoveryFault::Spent) => VtxoSpendState::Spent.into(),
        Some(RecoveryFault::NewState) => NEW_STATE,
        _ => state,
    }
}
