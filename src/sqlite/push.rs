//! What a push does in this database: it writes row by row, with statements that stay prepared.

use std::sync::Arc;
use std::time::SystemTime;

use rusqlite::params;
use rusqlite::types::ValueRef;

use super::handle::{Handle, bind_changes};
use super::value;
use crate::db::{Append, Conn as _, Counter, Counters, INDEXING, row};
use crate::error::StoreError;
use crate::value::to_micros;

/// The transaction has held the writer's lock since it began, so this takes no locks.
pub(super) fn counters(
    handle: &mut Handle<'_>,
    instances: &[Arc<str>],
    now: SystemTime,
) -> Result<Counters, StoreError> {
    let sql = "SELECT head, head_event, head_at, closed_at, head > removed FROM readside_instances \
               WHERE instance_id = $1";
    let now = to_micros(now);
    let mut counters = Counters::new();
    for instance in instances {
        if let Some(found) = handle.query(sql, &[Arc::clone(instance).into()])?.first() {
            let (head_at, is_there) = (row::time(found, 2)?, row::truth(found, 4)?);
            let time = head_at.map_or(now, |head_at| head_at.max(now));
            let counter = Counter {
                head_at: head_at.filter(|_| is_there),
                head: row::int(found, 0)?,
                event: row::uuid(found, 1)?,
                time,
                closed: !row::is_null(found, 3),
            };
            counters.insert(Arc::clone(instance), counter);
        }
    }
    Ok(counters)
}

/// The indexes of event ids. They cost each push, so a file has them from its first import on.
pub(super) fn index_ids(handle: &Handle<'_>) -> rusqlite::Result<()> {
    let sql = "SELECT count(*) FROM sqlite_master WHERE type = 'index' \
               AND name IN ('readside_events_by_id', 'readside_events_archive_by_id')";
    if handle.conn.query_row(sql, [], |row| row.get::<_, i64>(0))? == 2 {
        return Ok(());
    }
    log::info!("{INDEXING}");
    handle.conn.execute_batch(
        "CREATE INDEX IF NOT EXISTS readside_events_by_id ON readside_events (event_id);
         CREATE INDEX IF NOT EXISTS readside_events_archive_by_id ON readside_events_archive (event_id)",
    )
}

pub(super) fn append(handle: &Handle<'_>, append: &Append<'_>) -> rusqlite::Result<()> {
    let mut insert = handle.conn.prepare_cached(
        "INSERT INTO readside_events (instance_id, position, event_id, aggregate_type, aggregate_id, version, \
         event_type, revision, created_at, creator, owner, payload, metadata, push_key) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )?;
    for moment in append.events.chunk_by(|(one, _), (next, _)| one.created_at == next.created_at) {
        let Some((first, _)) = moment.first() else { continue };
        let (created_at, mut before) = (value::timestamp(first.created_at), Vec::new());
        for (event, key) in moment {
            let row = [
                ValueRef::from(&*event.instance),
                ValueRef::Integer(event.position),
                ValueRef::Blob(event.id.as_bytes()),
                ValueRef::from(&*event.aggregate_type),
                ValueRef::from(event.aggregate_id()),
                ValueRef::Integer(event.version),
                ValueRef::from(event.event_type()),
                ValueRef::Integer(event.revision.into()),
                ValueRef::from(created_at.as_str()),
                ValueRef::from(event.creator()),
                ValueRef::from(event.owner()),
                ValueRef::from(event.payload_json()),
                ValueRef::from(event.metadata_json()),
                key.map_or(ValueRef::Null, ValueRef::from),
            ];
            bind_changes(&mut insert, &row, &mut before)?;
            insert.raw_execute()?;
        }
    }
    let mut update = handle.conn.prepare_cached(
        "UPDATE readside_instances SET head = ?2, head_event = ?3, head_at = ?4 WHERE instance_id = ?1",
    )?;
    for (instance, counter) in &append.counters {
        let event = counter.event.as_ref().map(|event| event.as_bytes().as_slice());
        let head_at = value::timestamp(counter.head_at.unwrap_or(counter.time));
        update.execute(params![&***instance, counter.head, event, head_at])?;
    }
    let mut upsert = handle.conn.prepare_cached(
        "INSERT INTO readside_heads (instance_id, aggregate_type, head) VALUES (?1, ?2, ?3) \
         ON CONFLICT (instance_id, aggregate_type) DO UPDATE SET head = excluded.head",
    )?;
    for (instance, kind, head) in &append.heads {
        upsert.execute(params![&***instance, &***kind, head])?;
    }
    Ok(())
}
