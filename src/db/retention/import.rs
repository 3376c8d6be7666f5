//! The record of an import: which export an instance is filled from.

use uuid::Uuid;

use super::operation::{self, OperationRequest};
use super::{counter, lock, step};
use crate::db::{Backend, Conn, row};
use crate::error::{PushError, RetentionError, StoreError};
use crate::failure::By;
use crate::retention::{OperationKind, TableRows};

/// What the records say of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::db) enum Imported {
    /// Its import has begun, now or earlier.
    Begun,
    /// The instance exists for another reason.
    Ended,
    /// What is there came otherwise.
    Other,
}

/// An instance that is to be imported.
#[derive(Debug)]
pub(in crate::db) struct Target {
    pub(in crate::db) record: Imported,
    pub(in crate::db) events: i64,
    pub(in crate::db) head: Option<Uuid>,
}

/// The head of an instance, and the position up to which it was removed.
pub(in crate::db) fn extent(conn: &mut dyn Conn, instance: &str) -> Result<Option<(i64, i64)>, StoreError> {
    Ok(counter(conn, instance, "")?.map(|counter| (counter.head, counter.removed)))
}

fn asked<'a>(instance: &'a str, subject: &str) -> OperationRequest<'a> {
    OperationRequest { kind: OperationKind::Import, instance: Some(instance), subject: subject.to_owned() }
}

/// The last record of this import, and whether it has ended.
fn last(conn: &mut dyn Conn, asked: &OperationRequest<'_>) -> Result<Option<(Uuid, bool)>, StoreError> {
    let sql = format!(
        "SELECT operation_id, ended_at FROM {} WHERE kind = $1 AND subject = $2 AND instance_id = $3 \
         ORDER BY began_at DESC, operation_id DESC LIMIT 1",
        conn.dialect().table("operations")
    );
    let params = [asked.kind.as_str().into(), asked.subject.as_str().into(), asked.instance.map(str::to_owned).into()];
    let rows = conn.query(&sql, &params)?;
    let Some(found) = rows.first() else { return Ok(None) };
    Ok(row::uuid(found, 0)?.map(|id| (id, !row::is_null(found, 1))))
}

/// Records that the import begins, if the instance is empty. Otherwise returns what is there.
pub(in crate::db) fn begin_import<B: Backend>(
    backend: &B,
    doing: &str,
    instance: &str,
    subject: &str,
    by: &By,
) -> Result<Result<Target, PushError>, RetentionError> {
    let asked = asked(instance, subject);
    step(backend, doing, |conn| {
        let found = lock(conn, instance)?;
        if found.as_ref().is_some_and(|found| found.closed_at.is_some()) {
            return Ok(Err(PushError::InstanceRemoved { instance: instance.to_owned() }));
        }
        let events = found.map_or(0, |found| found.head - found.removed);
        let record = match last(conn, &asked)? {
            Some((_, false)) => Imported::Begun,
            Some((_, true)) if events > 0 => Imported::Ended,
            None if events > 0 => Imported::Other,
            _ => {
                operation::begin(conn, &asked, by)?;
                Imported::Begun
            }
        };
        let table = conn.dialect().table("instances");
        let sql = format!("SELECT head_event FROM {table} WHERE instance_id = $1");
        let rows = conn.query(&sql, &[instance.into()])?;
        let head = rows.first().map(|found| row::uuid(found, 0)).transpose()?.flatten();
        Ok(Ok(Target { record, events, head }))
    })
}

/// Records that the import has ended.
pub(in crate::db) fn end_import(
    conn: &mut dyn Conn,
    instance: &str,
    subject: &str,
    tables: &[TableRows],
) -> Result<(), StoreError> {
    let asked = asked(instance, subject);
    match last(conn, &asked)? {
        Some((id, _)) => operation::end(conn, id, &asked, tables),
        None => Ok(()),
    }
}
