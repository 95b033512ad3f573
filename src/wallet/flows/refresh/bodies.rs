//! The stored bodies of a round's new VTXOs, from the issue of the round until the wallet owns the VTXOs.
//!
//! Two refreshes can refer to the same new VTXOs: if the answer to a delegation is lost and the round is recovered from its
//! mailbox message, a server may report that round to the first refresh as well. Neither may make a body less complete, or
//! delete one that the other needs.

use ark_lib::Vtxo;
use ark_lib::vtxo::Full;
use rusqlite::Connection;

use super::{Exchange, Round};
use crate::model::{OperationId, OperationKind};
use crate::store::{WriteTx, operation, vtxo, vtxo_body};
use crate::wallet::Result;
use crate::wallet::engine::state_of;

/// Stores the bodies of an issued round, whose leaves are not signed. A body that is stored already has the same
/// transactions, and at least as many of their signatures.
pub(super) fn store_issued(tx: &WriteTx<'_>, outputs: &[Vtxo<Full>]) -> Result<()> {
    for output in outputs {
        vtxo_body::put_if_absent(tx, output)?;
    }
    Ok(())
}

/// Replaces the bodies by those with signed leaves. The body of a VTXO that the wallet owns has its preimage as well, and
/// stays.
pub(super) fn store_signed(tx: &WriteTx<'_>, outputs: &[Vtxo<Full>]) -> Result<()> {
    for output in outputs {
        if vtxo::get(tx, output.id())?.is_none() {
            vtxo_body::put(tx, output)?;
        }
    }
    Ok(())
}

/// Deletes the bodies when a refresh ends without its new VTXOs.
pub(super) fn delete(tx: &WriteTx<'_>, id: &OperationId, exchange: &Exchange) -> Result<()> {
    if !is_shared(tx, id, exchange)? {
        vtxo_body::delete_foreign(tx, &exchange.outputs)?;
    }
    Ok(())
}

/// Whether another unfinished refresh has the same participation. One that cannot be read may have it (H57).
fn is_shared(connection: &Connection, id: &OperationId, exchange: &Exchange) -> Result<bool> {
    let hash = Some(exchange.unlock_hash);
    let others = operation::unfinished(connection)?
        .into_iter()
        .filter(|row| row.kind == OperationKind::Round && row.id != *id);
    Ok(others
        .map(|row| state_of::<Round>(&row))
        .any(|round| round.map_or(true, |round| round.unlock_hash() == hash)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::VtxoState;
    use crate::store::Store;
    use crate::wallet::Error;
    use crate::wallet::engine;
    use crate::wallet::flows::refresh::plan::{Mode, Plan};
    use ark_lib::ProtocolEncoding;
    use ark_lib::test_util::dummy::DummyTestVtxoSpec;
    use ark_lib::tree::signed::UnlockHash;
    use bitcoin::Amount;
    use bitcoin::hashes::Hash;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("db.sqlite")).unwrap();
        (folder, store)
    }

    /// A VTXO, and the same one with another signature.
    fn bodies() -> [Vtxo<Full>; 2] {
        let body = DummyTestVtxoSpec::default().build().1;
        let mut other = body.clone();
        other.invalidate_final_sig();
        [body, other]
    }

    fn stored(connection: &Connection, vtxo: &Vtxo<Full>) -> Vec<u8> {
        vtxo_body::get(connection, vtxo.id()).unwrap().serialize()
    }

    #[tokio::test]
    async fn a_stored_body_never_becomes_less_complete() {
        let (_folder, store) = store();
        let [first, second] = bodies();
        let write = store.write(move |tx| {
            store_issued(tx, std::slice::from_ref(&first))?;
            store_issued(tx, std::slice::from_ref(&second))?;
            assert_eq!(stored(tx, &first), first.serialize());
            store_signed(tx, std::slice::from_ref(&second))?;
            assert_eq!(stored(tx, &first), second.serialize());
            vtxo::insert(tx, &first, VtxoState::Spendable)?;
            store_signed(tx, std::slice::from_ref(&second))?;
            assert_eq!(stored(tx, &first), first.serialize());
            Ok::<_, Error>(())
        });
        write.await.unwrap();
    }

    #[tokio::test]
    async fn a_body_is_deleted_unless_another_refresh_needs_it() {
        let (_folder, store) = store();
        let (funding_tx, body) = DummyTestVtxoSpec::default().build();
        let exchange = Exchange {
            plan: Plan {
                mode: Mode::Recovered,
                inputs: Vec::new(),
                outputs: Vec::new(),
                fee: Amount::ZERO,
                last_try: None,
                failed_attempts: 0,
                superseded: Vec::new(),
            },
            unlock_hash: UnlockHash::hash(b"preimage"),
            funding_tx,
            outputs: vec![body.id()],
        };
        let id = |name: &str| OperationId::from(name.to_owned());
        let write = store.write(move |tx| {
            store_issued(tx, std::slice::from_ref(&body))?;
            engine::enlist(tx, &id("one"), &Round::Forfeit(exchange.clone()))?;
            delete(tx, &id("other"), &exchange)?;
            assert_eq!(stored(tx, &body), body.serialize());
            delete(tx, &id("one"), &exchange)?;
            assert!(vtxo_body::get(tx, body.id()).is_err());
            Ok::<_, Error>(())
        });
        write.await.unwrap();
    }
}
