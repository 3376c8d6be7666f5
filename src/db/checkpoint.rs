//! Moving checkpoints, and the proof that they belong to the log of this database.
//!
//! The event at a position proves all events below it: two histories that share an event share everything before it,
//! because a store gives each position once and never to another event. So the statement that moves a checkpoint looks
//! only at the event that the checkpoint names. This proves the whole batch before it.

use std::sync::Arc;

use uuid::Uuid;

use super::{Bulk, BulkKind, Conn, How, Row, owned, row};
use crate::error::{StoreError, StoreErrorKind};
use crate::sql::Dialect;
use crate::state::{Checkpoint, Log, ProjectionKey};
use crate::value::{ColumnType as T, Value, to_micros};

const DOING: &str = "moving checkpoints";

/// Moves checkpoints in byte order of their instances, and records the time on the database's clock.
pub(super) fn save(
    conn: &mut dyn Conn,
    projection: &ProjectionKey,
    checkpoints: &[Checkpoint],
    log: Log,
) -> Result<(), StoreError> {
    if checkpoints.is_empty() {
        return Ok(());
    }
    let (how, now) = match conn.dialect() {
        Dialect::Postgres => (How::Is("clock_timestamp()"), Value::Null),
        Dialect::Sqlite => (How::Set, Value::Timestamp(to_micros(conn.now()?))),
    };
    let mut checkpoints: Vec<&Checkpoint> = checkpoints.iter().collect();
    checkpoints.sort_by(|a, b| a.instance.cmp(&b.instance));
    let row = |each: &&Checkpoint| -> Row {
        vec![
            Arc::clone(&each.instance).into(),
            Arc::clone(&projection.name).into(),
            projection.version.into(),
            each.position.into(),
            each.event.into(),
            each.store.into(),
            now.clone(),
        ]
    };
    let mut write = Bulk {
        table: conn.dialect().table("projection_states"),
        kind: BulkKind::Update,
        keys: vec![("instance_id", T::Text), ("projection", T::Text), ("version", T::Integer)],
        columns: vec![("position", T::Integer), ("event", T::Uuid), ("store", T::Uuid), ("moved_at", T::Timestamp)],
        how: vec![How::Set, How::Set, How::Set, how],
        only_if: (log == Log::Here).then(|| proof(conn.dialect(), Place::Hot)),
        rows: owned(checkpoints.iter().map(row).collect()),
    };
    let mut moved = conn.bulk(&write)?;
    if moved < checkpoints.len() as u64 && log == Log::Here {
        write.only_if = Some(proof(conn.dialect(), Place::Anywhere));
        moved = conn.bulk(&write)?;
    }
    if moved == checkpoints.len() as u64 {
        return Ok(());
    }
    Err(why_not(conn, &checkpoints, moved, log)?)
}

/// Where the event of a checkpoint is looked for. Nearly all are among those that are not archived. A server plans that
/// look alone in half the time, and the plan is most of what the write of one checkpoint costs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Hot,
    Anywhere,
}

/// A condition: the store is the one of this database, and its log has this event at this position. There are no events
/// at 0, nor up to where an instance was removed. The look-ups are scalar, so each is one step along an index.
fn proof(dialect: Dialect, place: Place) -> String {
    let new = |at, name| Bulk::new_value(dialect, at, name);
    let [instance, position] = [new(0, "instance_id"), new(3, "position")];
    let [event, store] = [new(4, "event"), new(5, "store")];
    let hot = event_at(dialect, "events", &instance, &position);
    let stands = match place {
        Place::Hot => format!("{hot} = {event}"),
        Place::Anywhere => format!(
            "CASE WHEN {event} IS NULL \
             THEN {position} <= coalesce((SELECT i.removed FROM {instances} i WHERE i.instance_id = {instance}), 0) \
             ELSE coalesce({hot}, {archived}) = {event} END",
            instances = dialect.table("instances"),
            archived = event_at(dialect, "events_archive", &instance, &position),
        ),
    };
    format!("{store} = (SELECT own.store_id FROM {own} own) AND {stands}", own = dialect.table("store"))
}

/// The id of the event at a position of an instance, as these tables hold it.
pub(super) fn event_at(dialect: Dialect, table: &str, instance: &str, position: &str) -> String {
    let table = dialect.table(table);
    format!("(SELECT e.event_id FROM {table} e WHERE e.instance_id = {instance} AND e.position = {position})")
}

/// Why checkpoints did not move: another history, or missing states.
fn why_not(conn: &mut dyn Conn, checkpoints: &[&Checkpoint], moved: u64, log: Log) -> Result<StoreError, StoreError> {
    for each in checkpoints.iter().filter(|_| log == Log::Here) {
        if let Some(found) = contradiction(conn, each)? {
            return Ok(StoreError::new(DOING, StoreErrorKind::Diverged, found));
        }
    }
    let found = format!("{moved} of {} state rows were there", checkpoints.len());
    Ok(StoreError::new(DOING, StoreErrorKind::Conflict, found))
}

/// How the log of this database differs from the one that the checkpoint belongs to.
fn contradiction(conn: &mut dyn Conn, checkpoint: &Checkpoint) -> Result<Option<String>, StoreError> {
    let dialect = conn.dialect();
    let sql = format!(
        "SELECT (SELECT own.store_id FROM {store} own), coalesce({hot}, {archived}), \
         coalesce((SELECT i.removed FROM {instances} i WHERE i.instance_id = $1), 0)",
        store = dialect.table("store"),
        instances = dialect.table("instances"),
        hot = event_at(dialect, "events", "$1", "$2"),
        archived = event_at(dialect, "events_archive", "$1", "$2"),
    );
    let rows = conn.query(&sql, &[Arc::clone(&checkpoint.instance).into(), checkpoint.position.into()])?;
    let Some(found) = rows.first() else { return Ok(None) };
    let (store, event, removed) = (row::uuid(found, 0)?, row::uuid(found, 1)?, row::int(found, 2)?);
    let Checkpoint { instance, position, .. } = checkpoint;
    if store != Some(checkpoint.store) {
        return Ok(Some(format!(
            "the database holds event store {}, the events came from {}",
            store.unwrap_or_else(Uuid::nil),
            checkpoint.store
        )));
    }
    let holds = match checkpoint.event {
        None => *position <= removed,
        wanted => event == wanted,
    };
    let what = if event.is_some() { "another event stands" } else { "no event stands" };
    Ok((!holds).then(|| format!("{what} at position {position} of instance {instance:?}")))
}
