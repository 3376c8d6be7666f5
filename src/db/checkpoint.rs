//! Moving checkpoints, and the proof that they belong to the log of this database.
//!
//! An event that stands at a position proves all below it: two histories that share an event share everything in front of
//! it, because a position is given once and never changes hands. So one look at the event that a checkpoint names, in the
//! statement that moves the checkpoint, proves the whole batch that led to it.

use std::sync::Arc;

use uuid::Uuid;

use super::{Conn, row};
use crate::error::{StoreError, StoreErrorKind};
use crate::sql::Dialect;
use crate::state::{Checkpoint, Log, ProjectionKey};
use crate::value::{Value, to_micros};

const DOING: &str = "moving checkpoints";

/// Moves checkpoints in order of their instances' bytes, and takes note of the time on the database's clock.
pub(super) fn save(
    conn: &mut dyn Conn,
    projection: &ProjectionKey,
    checkpoints: &[Checkpoint],
    log: Log,
) -> Result<(), StoreError> {
    let mut checkpoints: Vec<&Checkpoint> = checkpoints.iter().collect();
    checkpoints.sort_by(|a, b| a.instance.cmp(&b.instance));
    let moved = match conn.dialect() {
        Dialect::Postgres => save_at_once(conn, projection, &checkpoints, log)?,
        Dialect::Sqlite => save_each(conn, projection, &checkpoints, log)?,
    };
    if moved == checkpoints.len() as u64 {
        return Ok(());
    }
    Err(why_not(conn, &checkpoints, moved, log)?)
}

/// Those of one store go by one statement.
fn save_at_once(
    conn: &mut dyn Conn,
    projection: &ProjectionKey,
    checkpoints: &[&Checkpoint],
    log: Log,
) -> Result<u64, StoreError> {
    let mut moved = 0;
    for same in checkpoints.chunk_by(|a, b| a.store == b.store) {
        let Some(first) = same.first() else { continue };
        let text = |of: &dyn Fn(&Checkpoint) -> String| Value::TextArray(same.iter().map(|each| of(each)).collect());
        let params = [
            Arc::clone(&projection.name).into(),
            projection.version.into(),
            first.store.into(),
            text(&|each| each.instance.to_string()),
            text(&|each| each.position.to_string()),
            text(&|each| each.event.map(|event| event.to_string()).unwrap_or_default()),
        ];
        let sql = format!(
            "UPDATE {states} t SET position = u.position, event = u.event, store = $3, moved_at = clock_timestamp() \
             FROM (SELECT instance_id COLLATE \"C\" AS instance_id, position, nullif(event, '')::uuid AS event \
             FROM unnest($4::text[], $5::int8[], $6::text[]) AS n(instance_id, position, event)) u \
             WHERE t.instance_id = u.instance_id AND t.projection = $1 AND t.version = $2{proof}",
            states = conn.dialect().table("projection_states"),
            proof = proof(conn.dialect(), log, ["u.instance_id", "u.position", "u.event"]),
        );
        moved += conn.execute(&sql, &params)?;
    }
    Ok(moved)
}

fn save_each(
    conn: &mut dyn Conn,
    projection: &ProjectionKey,
    checkpoints: &[&Checkpoint],
    log: Log,
) -> Result<u64, StoreError> {
    let sql = format!(
        "UPDATE {states} SET position = $5, event = $6, store = $3, moved_at = $7 \
         WHERE instance_id = $4 AND projection = $1 AND version = $2{proof}",
        states = conn.dialect().table("projection_states"),
        proof = proof(conn.dialect(), log, ["$4", "$5", "$6"]),
    );
    let (mut moved, now) = (0, Value::Timestamp(to_micros(conn.now()?)));
    for each in checkpoints {
        let params = [
            Arc::clone(&projection.name).into(),
            projection.version.into(),
            each.store.into(),
            Arc::clone(&each.instance).into(),
            each.position.into(),
            each.event.into(),
            now.clone(),
        ];
        moved += conn.execute(&sql, &params)?;
    }
    Ok(moved)
}

/// That the store `$3` is the one of this database, and that its log has this event at this position. Up to where an
/// instance was removed there are none, nor at 0. The look-ups are scalar: each is one step along an index.
fn proof(dialect: Dialect, log: Log, [instance, position, event]: [&str; 3]) -> String {
    if log == Log::Elsewhere {
        return String::new();
    }
    let [store, instances] = ["store", "instances"].map(|name| dialect.table(name));
    format!(
        " AND $3 = (SELECT own.store_id FROM {store} own) \
         AND CASE WHEN {event} IS NULL \
         THEN {position} <= coalesce((SELECT i.removed FROM {instances} i WHERE i.instance_id = {instance}), 0) \
         ELSE coalesce({hot}, {archived}) = {event} END",
        hot = event_at(dialect, "events", instance, position),
        archived = event_at(dialect, "events_archive", instance, position),
    )
}

/// The id of the event at a position of an instance, as these tables hold it.
pub(super) fn event_at(dialect: Dialect, table: &str, instance: &str, position: &str) -> String {
    let table = dialect.table(table);
    format!("(SELECT e.event_id FROM {table} e WHERE e.instance_id = {instance} AND e.position = {position})")
}

/// What kept checkpoints from moving: another history, or states that are not there.
fn why_not(conn: &mut dyn Conn, checkpoints: &[&Checkpoint], moved: u64, log: Log) -> Result<StoreError, StoreError> {
    for each in checkpoints.iter().filter(|_| log == Log::Here) {
        if let Some(found) = contradiction(conn, each)? {
            return Ok(StoreError::new(DOING, StoreErrorKind::Diverged, found));
        }
    }
    let found = format!("{moved} of {} state rows were there", checkpoints.len());
    Ok(StoreError::new(DOING, StoreErrorKind::Conflict, found))
}

/// In what the log of this database is not the one that the checkpoint belongs to.
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
