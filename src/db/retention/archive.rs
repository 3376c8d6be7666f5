//! Moves old events into a second table of the same form. In each instance these are the first positions, because time
//! never decreases with the position.

use std::sync::Arc;
use std::time::SystemTime;

use super::operation::{self, OperationRequest};
use super::{Tally, count, counter, lock, number, step, unknown};
use crate::db::{Backend, Conn, EVENT_COLUMNS, row};
use crate::error::{RetentionError, StoreError};
use crate::failure::By;
use crate::retention::{Archival, Archived, OperationKind, TableRows};
use crate::value::{Value, time_text, within_above};

const DOING: &str = "archiving events";

/// How many instances are listed at once.
const PAGE: i64 = 1000;

pub(super) fn archive<B: Backend>(
    backend: &B,
    archival: &Archival,
    by: &By,
    progress: &mut dyn FnMut(&TableRows),
) -> Result<Archived, RetentionError> {
    let asked = asked(archival)?;
    let id = step(backend, DOING, |conn| {
        check(conn, archival)?;
        Ok(operation::begin(conn, &asked, by)?)
    })?;
    let mut tally = Tally::new(progress);
    let (mut instances, mut after) = (0, None);
    loop {
        let page = backend.read(DOING, |conn| with_old_events(conn, archival, after.as_deref()))?;
        let Some(last) = page.last() else { break };
        after = Some(Arc::clone(last));
        for instance in &page {
            instances += u64::from(archive_one(backend, instance, archival.before, &mut tally)?);
        }
    }
    step(backend, DOING, |conn| Ok(operation::end(conn, id, &asked, &tally.tables)?))?;
    let events = tally.tables.iter().map(|touched| touched.rows).sum();
    Ok(Archived { dry_run: false, instances, events })
}

fn asked(archival: &Archival) -> Result<OperationRequest<'_>, StoreError> {
    #[derive(serde::Serialize)]
    struct Before {
        before: String,
    }
    let before = time_text(within_above(archival.before));
    let subject = operation::subject(&Before { before })?;
    Ok(OperationRequest { kind: OperationKind::Archive, instance: archival.instance.as_deref(), subject })
}

fn check(conn: &mut dyn Conn, archival: &Archival) -> Result<(), RetentionError> {
    match &archival.instance {
        Some(instance) if counter(conn, instance, "")?.is_none() => Err(unknown(instance)),
        _ => Ok(()),
    }
}

fn before(archival: &Archival) -> Value {
    Value::Timestamp(within_above(archival.before))
}

/// A page of instances whose first event in the table is old.
fn with_old_events(conn: &mut dyn Conn, archival: &Archival, after: Option<&str>) -> Result<Vec<Arc<str>>, StoreError> {
    let dialect = conn.dialect();
    let sql = format!(
        "SELECT i.instance_id FROM {} i WHERE (CAST($1 AS text) IS NULL OR i.instance_id > $1) \
         AND (CAST($2 AS text) IS NULL OR i.instance_id = $2) AND i.closed_at IS NULL \
         AND (SELECT e.created_at FROM {} e WHERE e.instance_id = i.instance_id ORDER BY e.position LIMIT 1) < $3 \
         ORDER BY i.instance_id LIMIT $4",
        dialect.table("instances"),
        dialect.table("events")
    );
    let only = archival.instance.as_deref().map(str::to_owned);
    let params = [after.map(str::to_owned).into(), only.into(), before(archival), PAGE.into()];
    conn.query(&sql, &params)?.iter().map(|found| row::shared(found, 0)).collect()
}

/// Returns true if something was moved.
fn archive_one<B: Backend>(
    backend: &B,
    instance: &str,
    before: SystemTime,
    tally: &mut Tally<'_>,
) -> Result<bool, RetentionError> {
    let table = backend.dialect().table("events");
    let mut any = false;
    loop {
        let moved = step(backend, DOING, |conn| Ok(move_some(conn, instance, before)?))?;
        if moved == 0 {
            return Ok(any);
        }
        any = true;
        tally.add(&table, moved);
    }
}

/// Moves the next events, and records in the same transaction up to where they were moved.
fn move_some(conn: &mut dyn Conn, instance: &str, before: SystemTime) -> Result<u64, StoreError> {
    let Some(counter) = lock(conn, instance)?.filter(|counter| counter.closed_at.is_none()) else { return Ok(0) };
    let dialect = conn.dialect();
    let (events, archive) = (dialect.table("events"), dialect.table("events_archive"));
    let sql = format!(
        "SELECT max(n.position) FROM (SELECT position, created_at FROM {events} WHERE instance_id = $1 \
         ORDER BY position LIMIT $2) n WHERE n.created_at < $3"
    );
    let old = Value::Timestamp(within_above(before));
    let last = number(conn, &sql, &[instance.into(), super::STEP.into(), old])?;
    if last <= counter.archived {
        return Ok(0);
    }
    let columns = format!("{EVENT_COLUMNS}, push_key");
    let old = "WHERE instance_id = $1 AND position <= $2";
    let params = [instance.into(), last.into()];
    let sql = format!("INSERT INTO {archive} ({columns}) SELECT {columns} FROM {events} {old}");
    let moved = conn.execute(&sql, &params)?;
    conn.execute(&format!("DELETE FROM {events} {old}"), &params)?;
    let instances = dialect.table("instances");
    conn.execute(&format!("UPDATE {instances} SET archived = $2 WHERE instance_id = $1"), &params)?;
    Ok(moved)
}

pub(super) fn dry_run(conn: &mut dyn Conn, archival: &Archival) -> Result<Archived, RetentionError> {
    check(conn, archival)?;
    let dialect = conn.dialect();
    let sql = format!(
        "SELECT count(DISTINCT e.instance_id), count(*) FROM {} e JOIN {} i ON i.instance_id = e.instance_id \
         AND i.closed_at IS NULL WHERE e.created_at < $1 AND (CAST($2 AS text) IS NULL OR e.instance_id = $2)",
        dialect.table("events"),
        dialect.table("instances")
    );
    let only = archival.instance.as_deref().map(str::to_owned);
    let rows = conn.query(&sql, &[before(archival), only.into()])?;
    let number = |at| rows.first().map_or(Ok(0), |found| row::int(found, at));
    Ok(Archived { dry_run: true, instances: count(number(0)?), events: count(number(1)?) })
}
