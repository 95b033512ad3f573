//! The store as a whole: what shares a commit, what is undone, and what the snapshot shows.

use std::sync::Arc;

use ark_lib::VtxoId;
use ark_lib::test_util::dummy::DummyTestVtxoSpec;
use bitcoin::Amount;
use bitcoin_ext::BlockHeight;

use super::vtxo;
use super::{Error, Store};
use crate::model::OperationId;
use crate::model::VtxoState;

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("db.sqlite")).unwrap();
    (folder, store)
}

fn dummy(sats: u64, expiry: u32) -> ark_lib::Vtxo<ark_lib::vtxo::Full> {
    let spec = DummyTestVtxoSpec {
        amount: Amount::from_sat(sats),
        fee: Amount::ZERO,
        expiry_height: BlockHeight::new(expiry),
        ..Default::default()
    };
    spec.build().1
}

async fn insert(store: &Store, sats: u64, expiry: u32) -> VtxoId {
    let vtxo = dummy(sats, expiry);
    let id = vtxo.id();
    store
        .write(move |tx| vtxo::insert(tx, &vtxo, VtxoState::Spendable))
        .await
        .unwrap();
    id
}

fn operation(name: &str) -> OperationId {
    OperationId::from(name.to_owned())
}

#[tokio::test]
async fn a_failed_write_leaves_nothing_and_its_neighbours_alone() {
    let (_folder, store) = store();
    let (good, bad) = (dummy(1_000, 100), dummy(2_000, 100));
    let (good_id, bad_id) = (good.id(), bad.id());
    let kept = store.write(move |tx| vtxo::insert(tx, &good, VtxoState::Spendable));
    let undone = store.write(move |tx| {
        vtxo::insert(tx, &bad, VtxoState::Spendable)?;
        Err::<(), _>(Error::Conflict("on purpose".into()))
    });
    let (kept, undone) = tokio::join!(kept, undone);
    assert!(kept.unwrap());
    assert!(matches!(undone, Err(Error::Conflict(_))));
    let ids: Vec<_> = store.live_vtxos().iter().map(|record| record.id).collect();
    assert_eq!(ids, [good_id]);
    assert!(
        store
            .read(move |connection| vtxo::get(connection, bad_id))
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn a_write_that_panics_is_undone_and_the_writer_lives_on() {
    let (_folder, store) = store();
    let lost = dummy(1_000, 100);
    let panicked = store.write(move |tx| -> Result<(), Error> {
        vtxo::insert(tx, &lost, VtxoState::Spendable)?;
        panic!("on purpose");
    });
    assert!(matches!(panicked.await, Err(Error::Closed)));
    insert(&store, 2_000, 100).await;
    assert_eq!(store.live_vtxos().iter().count(), 1);
}

#[tokio::test]
async fn the_snapshot_lists_by_expiry_then_amount_and_drops_what_is_spent() {
    let (folder, store) = store();
    let late = insert(&store, 9_000, 300).await;
    let small = insert(&store, 1_000, 200).await;
    let large = insert(&store, 5_000, 200).await;
    let listed = |store: &Store| {
        store
            .live_vtxos()
            .iter()
            .map(|record| record.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(listed(&store), [large, small, late]);
    store.write(move |tx| vtxo::spend(tx, small)).await.unwrap();
    assert_eq!(listed(&store), [large, late]);
    drop(store);
    let store = Store::open(&folder.path().join("db.sqlite")).unwrap();
    assert_eq!(listed(&store), [large, late]);
}

#[tokio::test]
async fn a_vtxo_has_one_holder_at_a_time() {
    let (_folder, store) = store();
    let id = insert(&store, 1_000, 100).await;
    let (first, second) = (operation("first"), operation("second"));
    let holder = first.clone();
    store
        .write(move |tx| {
            vtxo::lock(tx, id, &holder)?;
            vtxo::lock(tx, id, &holder)
        })
        .await
        .unwrap();
    let other = second.clone();
    let refused = store.write(move |tx| vtxo::lock(tx, id, &other)).await;
    assert!(matches!(refused, Err(Error::Conflict(_))));
    store
        .write(move |tx| vtxo::release(tx, &second))
        .await
        .unwrap();
    let held = store.live_vtxos().iter().next().unwrap().state.clone();
    assert_eq!(held, VtxoState::Locked(Some(first.clone())));
    store
        .write(move |tx| vtxo::release(tx, &first))
        .await
        .unwrap();
    assert_eq!(
        store.live_vtxos().iter().next().unwrap().state,
        VtxoState::Spendable
    );
}

#[tokio::test]
async fn a_spent_vtxo_never_comes_back() {
    let (_folder, store) = store();
    let vtxo = dummy(1_000, 100);
    let (id, again) = (vtxo.id(), vtxo.clone());
    store
        .write(move |tx| {
            vtxo::insert(tx, &vtxo, VtxoState::Spendable)?;
            vtxo::spend(tx, id)
        })
        .await
        .unwrap();
    assert!(
        !store
            .write(move |tx| vtxo::insert(tx, &again, VtxoState::Spendable))
            .await
            .unwrap()
    );
    assert!(
        store
            .write(move |tx| vtxo::lock(tx, id, &operation("op")))
            .await
            .is_err()
    );
    assert!(store.live_vtxos().iter().next().is_none());
}

#[tokio::test]
async fn selection_sees_the_soonest_to_expire_first() {
    let (_folder, store) = store();
    let late = insert(&store, 1_000, 300).await;
    let soon = insert(&store, 1_000, 100).await;
    let order = store
        .read(|connection| {
            let mut order = Vec::new();
            vtxo::walk_spendable(connection, |record| {
                order.push(record.id);
                true
            })?;
            Ok::<_, Error>(order)
        })
        .await
        .unwrap();
    assert_eq!(order, [soon, late]);
}

#[tokio::test]
async fn many_writers_and_readers_at_once_lose_nothing() {
    let (_folder, store) = store();
    let writes = (0..200u32).map(|index| {
        let store = store.clone();
        tokio::spawn(async move {
            insert(&store, 1_000 + u64::from(index), 100).await;
            store
                .read(|connection| vtxo::list(connection, None, None))
                .await
                .unwrap()
                .len()
        })
    });
    let writes: Vec<_> = writes.collect();
    for write in writes {
        assert!(write.await.unwrap() >= 1);
    }
    assert_eq!(store.live_vtxos().iter().count(), 200);
    let stored: Vec<Arc<_>> = store
        .read(|connection| vtxo::list(connection, None, None))
        .await
        .unwrap();
    assert_eq!(stored.len(), 200);
}

#[tokio::test]
async fn a_spent_vtxo_never_becomes_spendable_again() {
    // H54: a round that names it must not bring it back.
    let (_folder, store) = store();
    let id = insert(&store, 1_000, 100).await;
    let holder = operation("round");
    let seized = store
        .write(move |tx| {
            vtxo::spend(tx, id)?;
            vtxo::seize(tx, id, &holder)?;
            vtxo::release(tx, &holder)
        })
        .await;
    assert!(matches!(seized, Err(Error::Conflict(_))), "{seized:?}");
}
