//! What the mailbox brings, as fuzz targets read it.

use ark_lib::vtxo::{Full, VtxoValidationError};
use ark_lib::{ProtocolEncoding, Vtxo, VtxoId};
use bitcoin::absolute::LockTime;
use bitcoin::transaction::Version;
use bitcoin::{Transaction, TxOut};
use server_rpc::protos::mailbox_server as protos;

use super::receive;
use crate::ark::{MailboxMessage, Payload};
use crate::wallet::coins::validate::has_transactions;

/// The most outputs of an anchor that is made up.
const OUTPUTS: u32 = 4;

/// A message of the mailbox.
pub fn mailbox_message(message: protos::MailboxMessage) {
    let message = MailboxMessage::from(message);
    match message.payload {
        Payload::Arkoor(encoded) => {
            let vtxos = receive::decode(encoded, message.checkpoint);
            vtxos.iter().for_each(hold_vtxo);
        }
        Payload::RecoveryIds(encoded) => {
            for id in encoded {
                if let Ok(read) = VtxoId::from_slice(&id) {
                    assert_eq!(read.to_bytes().as_slice(), id);
                }
            }
        }
        _ => {}
    }
}

/// What the wallet does with a VTXO before it knows whether it is valid, and then if it is. Written and read again, it is the same.
pub(crate) fn hold_vtxo(vtxo: &Vtxo<Full>) {
    let written = vtxo.serialize();
    let again = Vtxo::<Full>::deserialize(&written).expect("a written VTXO can be read");
    assert_eq!(again.id(), vtxo.id());
    assert_eq!(again.serialize(), written);
    if has_transactions(vtxo) {
        assert_eq!(vtxo.transactions().count(), usize::from(vtxo.exit_depth()));
    }
    if vtxo.chain_anchor().vout >= OUTPUTS {
        return;
    }
    // The error tells which anchor would be right.
    let nothing = TxOut::NULL;
    if let Err(VtxoValidationError::IncorrectChainAnchor { expected, .. }) =
        vtxo.validate(&transaction(nothing))
        && vtxo.validate(&transaction(expected)).is_ok()
    {
        assert!(has_transactions(vtxo), "a valid VTXO has transactions");
    }
}

/// A transaction whose outputs are all this one.
fn transaction(output: TxOut) -> Transaction {
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: Vec::new(),
        output: vec![output; OUTPUTS as usize],
    }
}
