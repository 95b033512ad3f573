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

/// Lets `writes` queue up behind a write that is already running, so that they share a commit.
async fn together<T>(store: &Store, writes: impl Future<Output = T>) -> T {
    let (started, running) = tokio::sync::oneshot::channel();
    let (release, gate) = std::sync::mpsc::channel();
    let first = store.write(move |_| {
        started.send(()).unwrap();
        gate.recv().unwrap();
        Ok::<_, Error>(())
    });
    let queued = async {
        running.await.unwrap();
        tokio::join!(writes, async { release.send(()).unwrap() })
    };
    let (_, (answers, ())) = tokio::join!(first, queued);
    answers
}

#[tokio::test]
async fn a_full_disk_undoes_the_whole_commit_and_says_so() {
    let (_folder, store) = store();
    let (before, large, after) = (dummy(1_000, 100), dummy(2_000, 100), dummy(3_000, 100));
    let before = store.write(move |tx| vtxo::insert(tx, &before, VtxoState::Spendable));
    let large = store.write(move |tx| {
        // The smallest possible limit is the present size.
        tx.pragma_update(None, "max_page_count", 1)?;
        vtxo::insert(tx, &large, VtxoState::Spendable)?;
        let body = vec![0_u8; 1_000_000];
        tx.execute(
            "INSERT INTO vtxo_body (id, body) VALUES (zeroblob(36), ?1)",
            [body],
        )?;
        Ok::<_, Error>(())
    });
    let after = store.write(move |tx| vtxo::insert(tx, &after, VtxoState::Spendable));
    let writes = async { tokio::join!(before, large, after) };
    let (before, large, after) = together(&store, writes).await;
    assert!(matches!(large, Err(Error::DiskFull)), "{large:?}");
    for neighbour in [before, after] {
        assert!(
            matches!(neighbour, Err(Error::Unwritable(_))),
            "{neighbour:?}"
        );
    }
    let stored = store.read(|connection| vtxo::list(connection, None, None));
    assert!(stored.await.unwrap().is_empty());
    assert!(store.live_vtxos().iter().next().is_none());

    let room = |tx: &mut super::WriteTx<'_>| {
        Ok::<_, Error>(tx.pragma_update(None, "max_page_count", 1_000_000)?)
    };
    store.write(room).await.unwrap();
    insert(&store, 4_000, 100).await;
    assert_eq!(store.live_vtxos().iter().count(), 1);
}

#[tokio::test]
async fn a_database_that_refuses_writes_is_still_read() {
    let (_folder, store) = store();
    insert(&store, 1_000, 100).await;
    let refuse =
        |tx: &mut super::WriteTx<'_>| Ok::<_, Error>(tx.pragma_update(None, "query_only", true)?);
    store.write(refuse).await.unwrap();
    let vtxo = dummy(2_000, 100);
    let written = store.write(move |tx| vtxo::insert(tx, &vtxo, VtxoState::Spendable));
    let written = written.await;
    assert!(matches!(written, Err(Error::Unwritable(_))), "{written:?}");
    let stored = store.read(|connection| vtxo::list(connection, None, None));
    assert_eq!(stored.await.unwrap().len(), 1);
}

#[tokio::test]
async fn every_table_has_a_primary_key() {
    let (_folder, store) = store();
    let without = store.read(|connection| {
        let mut tables = connection.prepare(
            "SELECT name FROM sqlite_master AS tables WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
             AND NOT EXISTS (SELECT 1 FROM pragma_table_info(tables.name) WHERE pk > 0)",
        )?;
        let names = tables.query_map([], |row| row.get::<_, String>(0))?;
        Ok::<_, Error>(names.collect::<Result<Vec<_>, _>>()?)
    });
    assert_eq!(without.await.unwrap(), Vec::<String>::new());
}

/// A row's hidden number is not part of the data: a copy or a VACUUM can change it. The tables of barkd, which `src/store/barkd/` reads, have
/// no other order.
#[test]
fn no_list_is_ordered_by_the_hidden_row_number() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    for path in paths.filter(|path| path.is_file()) {
        let text = std::fs::read_to_string(&path).unwrap();
        let queries = text.split("ORDER BY").skip(1);
        let terms = queries.filter_map(|query| query.split('"').next());
        for terms in terms.filter(|_| !path.ends_with("tests.rs")) {
            assert!(!terms.contains("rowid"), "{}: {terms}", path.display());
        }
    }
}
