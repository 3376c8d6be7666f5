//! Records who did what to the data, and why.

use std::sync::Arc;

use uuid::Uuid;

use super::now;
use crate::db::{Conn, Row, row};
use crate::error::{StoreError, StoreErrorKind};
use crate::failure::By;
use crate::retention::{Operation, OperationKind, TableRows};
use crate::value::Value;

/// What two runs of the same operation have in common.
pub(super) struct OperationRequest<'a> {
    pub(super) kind: OperationKind,
    pub(super) instance: Option<&'a str>,
    /// A JSON document.
    pub(super) subject: String,
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::new("recording an operation", StoreErrorKind::Usage, error))
}

/// What an operation is about, as it is recorded.
pub(super) fn subject<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    json(value)
}

/// Records that an operation begins.
pub(super) fn begin(conn: &mut dyn Conn, asked: &OperationRequest<'_>, by: &By) -> Result<Uuid, StoreError> {
    let id = Uuid::now_v7();
    let now = now(conn)?;
    let sql = format!(
        "INSERT INTO {} (operation_id, kind, instance_id, subject, who, why, began_at, touched) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, '[]')",
        conn.dialect().table("operations")
    );
    let readable = |text: &str| Value::Text(text.replace('\0', "\u{fffd}"));
    let params = [
        id.into(),
        asked.kind.as_str().into(),
        asked.instance.map(str::to_owned).into(),
        asked.subject.as_str().into(),
        readable(&by.who),
        readable(&by.why),
        Value::Timestamp(now),
    ];
    conn.execute(&sql, &params)?;
    Ok(id)
}

/// Records that an operation has ended, and with it the earlier ones that it repeats.
pub(super) fn end(
    conn: &mut dyn Conn,
    id: Uuid,
    asked: &OperationRequest<'_>,
    tables: &[TableRows],
) -> Result<(), StoreError> {
    let now = Value::Timestamp(now(conn)?);
    let table = conn.dialect().table("operations");
    let sql = format!("UPDATE {table} SET ended_at = $2, touched = $3 WHERE operation_id = $1");
    conn.execute(&sql, &[id.into(), now, json(&tables)?.into()])?;
    end_earlier(conn, asked)
}

/// Records that earlier operations of this kind, which were cut off, have ended.
pub(super) fn end_earlier(conn: &mut dyn Conn, asked: &OperationRequest<'_>) -> Result<(), StoreError> {
    let now = Value::Timestamp(now(conn)?);
    let table = conn.dialect().table("operations");
    let sql = format!(
        "UPDATE {table} SET ended_at = $1 WHERE ended_at IS NULL AND kind = $2 AND subject = $3 \
         AND coalesce(instance_id, '') = $4"
    );
    let instance = asked.instance.unwrap_or_default();
    conn.execute(&sql, &[now, asked.kind.as_str().into(), asked.subject.as_str().into(), instance.into()]).map(|_| ())
}

/// All operations, the latest first.
pub(super) fn list(conn: &mut dyn Conn, limit: usize) -> Result<Vec<Operation>, StoreError> {
    read(conn, "", limit)
}

/// The operations that have not ended, the latest first.
pub(in crate::db) fn unfinished(conn: &mut dyn Conn, limit: usize) -> Result<Vec<Operation>, StoreError> {
    read(conn, "WHERE ended_at IS NULL", limit)
}

/// The tenants whose removal has not ended, in byte order.
pub(in crate::db) fn half_removed(conn: &mut dyn Conn) -> Result<Vec<Arc<str>>, StoreError> {
    let sql = format!(
        "SELECT DISTINCT instance_id FROM {} WHERE ended_at IS NULL AND kind = $1 AND instance_id IS NOT NULL ORDER BY 1",
        conn.dialect().table("operations")
    );
    conn.query(&sql, &[OperationKind::Remove.as_str().into()])?.iter().map(|found| row::shared(found, 0)).collect()
}

fn read(conn: &mut dyn Conn, which: &str, limit: usize) -> Result<Vec<Operation>, StoreError> {
    let sql = format!(
        "SELECT operation_id, kind, instance_id, subject, who, why, began_at, ended_at, touched FROM {} {which} \
         ORDER BY began_at DESC, operation_id DESC LIMIT $1",
        conn.dialect().table("operations")
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    conn.query(&sql, &[limit.into()])?.iter().map(operation).collect()
}

fn operation(found: &Row) -> Result<Operation, StoreError> {
    let corrupt = |why: String| StoreError::new("reading operations", StoreErrorKind::Corrupt, why);
    let kind = row::text(found, 1)?;
    Ok(Operation {
        id: row::uuid(found, 0)?.unwrap_or_default(),
        kind: OperationKind::parse(kind).ok_or_else(|| {
            corrupt(format!("kind {kind:?} is not known; a newer version of this library may have written it"))
        })?,
        instance: if row::is_null(found, 2) { None } else { Some(row::text(found, 2)?.to_owned()) },
        subject: row::text(found, 3)?.to_owned(),
        by: By::new(row::text(found, 4)?, row::text(found, 5)?),
        began_at: row::time(found, 6)?.unwrap_or(std::time::SystemTime::UNIX_EPOCH),
        ended_at: row::time(found, 7)?,
        tables: serde_json::from_str(row::text(found, 8)?).map_err(|error| corrupt(error.to_string()))?,
    })
}
