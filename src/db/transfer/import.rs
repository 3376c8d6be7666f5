//! Stores an export in bounded transactions.
//!
//! Until the import has ended, the record of the operation says which export fills the instance. So an import that was
//! cut off differs from an instance that exists for another reason, and continues after the last event that it stored.
//! Each transaction locks the counter and compares the event at the head: nobody else may push in between.

use uuid::Uuid;

use super::Manifest;
use crate::db::retention::{self, Imported};
use crate::db::{Backend, Bulk, BulkKind, Conn, owned, row};
use crate::error::{PushError, RetentionError, StoreError, StoreErrorKind};
use crate::event::NewEvent;
use crate::failure::By;
use crate::plain::several;
use crate::retention::TableRows;
use crate::value::{ColumnType as T, Value};

const DOING: &str = "importing an instance";

/// What of an export is stored already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    /// How many of its first events.
    pub(crate) events: u64,
    /// The event at the head.
    pub(crate) head: Option<Uuid>,
    /// True if the import had ended.
    pub(crate) is_complete: bool,
}

/// An import that did not begin or did not end. What is stored stays, and the same import can continue.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    #[error("the system instance \"\" cannot be imported: the engine announces its first runs there")]
    SystemInstance,
    #[error(
        "instance {instance:?} exists here already, with {}, and not all of them are from this file; import the file under \
         another name (--instance), or remove the instance first",
        several(*events, "event")
    )]
    Exists { instance: String, events: u64 },
    #[error(transparent)]
    Retention(#[from] RetentionError),
    #[error(transparent)]
    Push(#[from] PushError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn subject(export: Uuid) -> String {
    format!("{{\"export\":\"{export}\"}}")
}

pub(super) fn begin<B: Backend>(backend: &B, instance: &str, export: Uuid, by: &By) -> Result<Taken, ImportError> {
    if instance.is_empty() {
        return Err(ImportError::SystemInstance);
    }
    let found = retention::begin_import(backend, DOING, instance, &subject(export), by)??;
    let events = u64::try_from(found.events).unwrap_or_default();
    match found.record {
        Imported::Begun => Ok(Taken { events, head: found.head, is_complete: false }),
        Imported::Ended => Ok(Taken { events, head: found.head, is_complete: true }),
        Imported::Other => Err(ImportError::Exists { instance: instance.to_owned(), events }),
    }
}

/// Fails unless all events are of this instance.
pub(super) fn check(instance: &str, events: &[NewEvent]) -> Result<(), StoreError> {
    match events.iter().find(|event| event.instance() != instance) {
        None => Ok(()),
        Some(other) => {
            let why = format!("an event of instance {:?} stands among those of {instance:?}", other.instance());
            Err(StoreError::new(DOING, StoreErrorKind::Usage, why))
        }
    }
}

/// Fails if others have pushed to the instance. The lock of its counter is held.
fn is_undisturbed(conn: &mut dyn Conn, instance: &str, head: Option<Uuid>) -> Result<(), PushError> {
    let lock = conn.dialect().for_update();
    let table = conn.dialect().table("instances");
    let sql = format!("SELECT head_event FROM {table} WHERE instance_id = $1{lock}");
    let rows = conn.query(&sql, &[instance.into()])?;
    let found = rows.first().map(|found| row::uuid(found, 0)).transpose()?.flatten();
    if found == head { Ok(()) } else { Err(PushError::ImportDisturbed { instance: instance.to_owned() }) }
}

pub(super) fn unique<B: Backend>(
    backend: &B,
    instance: &str,
    head: Option<Uuid>,
    values: &[(String, String)],
) -> Result<(), ImportError> {
    let row = |(constraint, value): &(String, String)| -> Vec<Value> {
        vec![instance.into(), constraint.as_str().into(), value.as_str().into()]
    };
    backend.write(DOING, |conn| {
        is_undisturbed(conn, instance, head)?;
        conn.bulk(&Bulk {
            table: conn.dialect().table("unique_constraints"),
            kind: BulkKind::InsertMissing,
            keys: vec![("instance_id", T::Text), ("constraint_type", T::Text), ("value", T::Text)],
            columns: Vec::new(),
            how: Vec::new(),
            only_if: None,
            rows: owned(values.iter().map(row).collect()),
        })?;
        Ok(())
    })
}

pub(super) fn end<B: Backend>(
    backend: &B,
    instance: &str,
    head: Option<Uuid>,
    export: Uuid,
    manifest: &Manifest,
) -> Result<(), ImportError> {
    let touched = |table: &str, rows| TableRows { table: table.to_owned(), rows };
    let tables = [touched("events", manifest.events), touched("unique_constraints", manifest.unique_values)];
    backend.write(DOING, |conn| {
        is_undisturbed(conn, instance, head)?;
        Ok(retention::end_import(conn, instance, &subject(export), &tables)?)
    })
}
