//! What a write has changed that the outside is told of: its events, which are appended at its end.
//!
//! The functions that change a table report the subject here, and the event shows the subject as it is when the write ends. So a write that
//! changes a movement twice makes one event, and one that is undone makes none.

use std::cell::RefCell;

use chrono::{DateTime, Utc};
use rusqlite::{Connection, params};

use super::Error;
use crate::model::{Event, EventId, EventKind};

/// What the event of a change shows.
pub(super) enum Body {
    /// The subject at the end of the write; no event when it is gone by then.
    AtTheEnd(Snapshot),
    /// This JSON.
    Now(String),
}

/// Reads the JSON of a subject; `None` when it is gone.
pub(super) type Snapshot = fn(&Connection, subject: &str) -> Result<Option<String>, Error>;

struct Change {
    kind: EventKind,
    subject: String,
    body: Body,
}

/// The changes of the running write.
#[derive(Default)]
pub(super) struct News(RefCell<Vec<Change>>);

impl News {
    /// Reports a change. One that an earlier event of this write shows as well makes no event of its own.
    pub(super) fn report(&self, kind: EventKind, subject: String, body: Body) {
        let mut changes = self.0.borrow_mut();
        let shows_it = |change: &Change| {
            let created_and_updated = (EventKind::MovementCreated, EventKind::MovementUpdated);
            let of_one_kind = change.kind == kind || (change.kind, kind) == created_and_updated;
            matches!(change.body, Body::AtTheEnd(_)) && of_one_kind && change.subject == subject
        };
        if !changes.iter().any(shows_it) {
            changes.push(Change {
                kind,
                subject,
                body,
            });
        }
    }

    /// Writes the events of the write that ends.
    pub(super) fn append(&self, connection: &Connection) -> Result<Vec<Event>, Error> {
        let mut events = Vec::new();
        for Change {
            kind,
            subject,
            body,
        } in self.0.take()
        {
            let body = match body {
                Body::Now(body) => Some(body),
                Body::AtTheEnd(snapshot) => snapshot(connection, &subject)?,
            };
            if let Some(body) = body {
                events.push(append(connection, kind, &subject, body)?);
            }
        }
        Ok(events)
    }

    /// Forgets the changes of a write that is undone.
    pub(super) fn forget(&self) {
        self.0.take();
    }
}

/// Appends an event. Its stamp is the present time, or one nanosecond after the last stamp if the clock is behind that.
fn append(
    connection: &Connection,
    kind: EventKind,
    subject: &str,
    body: String,
) -> Result<Event, Error> {
    let sql = "INSERT INTO event (stamp, kind, subject, body)
               VALUES (max(?1, coalesce((SELECT max(stamp) FROM event) + 1, 0)), ?2, ?3, ?4) RETURNING id, stamp";
    let now = nanos(Utc::now());
    let (id, stamp) = connection
        .prepare_cached(sql)?
        .query_row(params![now, kind.name(), subject, body], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let stamp = DateTime::from_timestamp_nanos(stamp);
    Ok(Event::new(EventId(id), stamp, kind, body))
}

/// A time in the unit of the table, unix nanoseconds. Times that it cannot hold count as its ends.
pub(super) fn nanos(time: DateTime<Utc>) -> i64 {
    let end = if time.timestamp() < 0 {
        i64::MIN
    } else {
        i64::MAX
    };
    time.timestamp_nanos_opt().unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ark_lib::VtxoId;
    use bitcoin::{Amount, OutPoint, SignedAmount};
    use serde_json::json;

    use crate::model::{
        Event, EventId, Fact, Facts, Movement, MovementId, MovementStatus, NewMovement,
        PaymentMethod, Subsystem, Transfer,
    };
    use crate::store::{Error, Store, WriteTx, movement};

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("db.sqlite")).unwrap();
        (folder, store)
    }

    fn insert(tx: &WriteTx<'_>) -> Result<MovementId, Error> {
        let vtxo = VtxoId::from(OutPoint::null());
        let paid = Transfer {
            method: PaymentMethod::LightningAddress("tea@shop.example".into()),
            amount: Amount::from_sat(900),
        };
        let movement = NewMovement {
            operation: None,
            status: MovementStatus::Pending,
            subsystem: Subsystem::LightningSend,
            intended_balance: SignedAmount::from_sat(-900),
            effective_balance: SignedAmount::from_sat(-905),
            offchain_fee: Amount::from_sat(5),
            sent_to: &[paid],
            received_on: &[],
            input_vtxos: &[vtxo],
            output_vtxos: &[],
            metadata: Facts::from([(Fact::PaymentHash, json!("00"))]),
        };
        movement::insert(tx, &movement, 1_000)
    }

    fn succeed(tx: &WriteTx<'_>, id: MovementId) -> Result<(), Error> {
        movement::finish(tx, id, MovementStatus::Successful, None, 2_000)
    }

    async fn events(store: &Store) -> Vec<Arc<Event>> {
        store.events_after(EventId(0), 100).await.unwrap()
    }

    /// Number and name of each event, and the number of its movement.
    fn told(events: &[Arc<Event>]) -> Vec<(u64, &str, u32)> {
        let movement = |event: &Event| serde_json::from_str::<Movement>(&event.body).unwrap();
        let each = events.iter();
        each.map(|event| (event.id.0, event.kind.name(), movement(event).id.0))
            .collect()
    }

    #[tokio::test]
    async fn one_write_makes_one_event_of_a_movement() {
        let (folder, store) = store();
        let newest = store.newest_event();
        let created = store.write(|tx| {
            let id = insert(tx)?;
            succeed(tx, id)?;
            Ok::<_, Error>(id)
        });
        let first = created.await.unwrap();
        assert_eq!(*newest.borrow(), EventId(1), "before the write is answered");
        let second = store.write(|tx| insert(tx)).await.unwrap();
        let changed = store.write(move |tx| {
            movement::note(tx, second, Facts::default(), 1_500)?;
            succeed(tx, second)?;
            succeed(tx, first)
        });
        changed.await.unwrap();
        let fresh = events(&store).await;
        assert_eq!(
            told(&fresh),
            [
                (1, "movement-created", 1),
                (2, "movement-created", 2),
                (3, "movement-updated", 2),
            ],
            "a movement that has ended does not change"
        );
        assert!(fresh.is_sorted_by(|one, next| one.stamp < next.stamp));
        let shown: Movement = serde_json::from_str(&fresh[0].body).unwrap();
        let stored = store.read(move |connection| movement::get(connection, first));
        let stored = stored.await.unwrap().unwrap();
        assert_eq!(shown.status, MovementStatus::Successful);
        assert_eq!(format!("{shown:?}"), format!("{stored:?}"));

        drop(store);
        let store = Store::open(&folder.path().join("db.sqlite")).unwrap();
        assert_eq!(*store.newest_event().borrow(), EventId(3));
        let read = events(&store).await;
        assert_eq!(told(&read), told(&fresh));
        for (read, fresh) in read.iter().zip(&fresh) {
            assert_eq!((read.stamp, &read.body), (fresh.stamp, &fresh.body));
        }
    }

    #[tokio::test]
    async fn a_write_that_is_undone_makes_no_event_and_leaves_no_gap() {
        let (_folder, store) = store();
        let refused = store.write(|tx| {
            insert(tx)?;
            Err::<(), _>(Error::Conflict("on purpose".into()))
        });
        let panicked = store.write(|tx| -> Result<(), Error> {
            insert(tx)?;
            panic!("on purpose");
        });
        let kept = store.write(|tx| insert(tx));
        let (refused, panicked, kept) = tokio::join!(refused, panicked, kept);
        assert!(refused.is_err() && panicked.is_err());
        assert_eq!(kept.unwrap(), MovementId(1));
        assert_eq!(told(&events(&store).await), [(1, "movement-created", 1)]);
    }

    #[tokio::test]
    async fn a_clock_that_is_set_back_repeats_no_stamp() {
        let (_folder, store) = store();
        store.write(|tx| insert(tx)).await.unwrap();
        let ahead = |tx: &mut WriteTx<'_>| {
            tx.execute("UPDATE event SET stamp = stamp + 3600000000000", [])?;
            insert(tx)
        };
        store.write(ahead).await.unwrap();
        let stamps = store.read(|connection| {
            let mut rows = connection.prepare("SELECT stamp FROM event ORDER BY id")?;
            let stamps = rows.query_map([], |row| row.get::<_, i64>(0))?;
            Ok::<_, Error>(stamps.collect::<Result<Vec<_>, _>>()?)
        });
        let stamps = stamps.await.unwrap();
        assert_eq!(stamps[1], stamps[0] + 1);
    }
}
