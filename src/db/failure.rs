//! Events that failed: their records, and what holds an instance or an aggregate back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::row;
use super::{Bulk, BulkKind, Conn, How, Row, owned};
use crate::error::{StoreError, StoreErrorKind};
use crate::failure::{
    Action, Aggregates, Attempt, Blocked, By, FailedEvent, FailureClass, FailureQuery, FailureStatus, Intervention,
};
use crate::state::ProjectionKey;
use crate::value::{ColumnType as T, Value, to_micros};

fn params(projection: &ProjectionKey, instance: &str) -> Vec<Value> {
    vec![instance.into(), Arc::clone(&projection.name).into(), projection.version.into()]
}

/// The beginnings of instance and aggregate id, as the index over aggregates has them. So an event whose ids are as
/// long as an index allows fails like any other event.
const AGGREGATE_INDEX: (&str, &str) =
    ("substr(instance_id, 1, 100) = substr($1, 1, 100)", "substr(aggregate_id, 1, 100)");

/// The characters of an id that the index contains.
fn beginning(id: &str) -> String {
    id.chars().take(100).collect()
}

const OF_INSTANCE: &str = "instance_id = $1 AND projection = $2 AND version = $3";

/// Writes records. They replace earlier records of the same events.
pub(super) fn record(conn: &mut dyn Conn, projection: &ProjectionKey, attempts: &[Attempt]) -> Result<(), StoreError> {
    if attempts.is_empty() {
        return Ok(());
    }
    let now = to_micros(conn.now()?);
    let (untried, tried): (Vec<&Attempt>, Vec<&Attempt>) =
        attempts.iter().partition(|attempt| attempt.state == FailureStatus::Behind);
    write(conn, projection, &tried, BulkKind::Upsert, now)?;
    write(conn, projection, &untried, BulkKind::InsertMissing, now)?;
    let instances: BTreeSet<&str> = attempts.iter().map(|attempt| &*attempt.instance).collect();
    refresh(conn, projection, instances.into_iter().map(str::to_owned).collect())
}

/// Writes records by this kind of bulk. An existing record keeps its first time of failure.
fn write(
    conn: &mut dyn Conn,
    projection: &ProjectionKey,
    attempts: &[&Attempt],
    kind: BulkKind,
    now: SystemTime,
) -> Result<(), StoreError> {
    if attempts.is_empty() {
        return Ok(());
    }
    let (keys, columns) = columns();
    let how = columns.iter().map(|(name, _)| if *name == "first_at" { How::Keep } else { How::Set }).collect();
    let rows: Vec<Row> = attempts.iter().map(|attempt| values(projection, attempt, now)).collect();
    let table = conn.dialect().table("held_events");
    conn.bulk(&Bulk { table, kind, keys, columns, how, only_if: None, rows: owned(rows) }).map(|_| ())
}

type TypedColumns = Vec<(&'static str, T)>;

fn columns() -> (TypedColumns, TypedColumns) {
    let keys =
        vec![("instance_id", T::Text), ("projection", T::Text), ("version", T::Integer), ("position", T::Integer)];
    let texts = ["aggregate_type", "aggregate_id", "event_type", "state"].map(|name| (name, T::Text));
    let rest = [
        ("attempts", T::Integer),
        ("class", T::Text),
        ("error", T::Text),
        ("first_at", T::Timestamp),
        ("last_at", T::Timestamp),
        ("due_at", T::Timestamp),
    ];
    (keys, texts.into_iter().chain(rest).collect())
}

/// The columns of a record.
fn values(projection: &ProjectionKey, attempt: &Attempt, now: SystemTime) -> Row {
    vec![
        Arc::clone(&attempt.instance).into(),
        Arc::clone(&projection.name).into(),
        projection.version.into(),
        attempt.position.into(),
        Arc::clone(&attempt.aggregate_type).into(),
        Arc::clone(&attempt.aggregate_id).into(),
        Arc::clone(&attempt.event_type).into(),
        attempt.state.as_str().into(),
        attempt.attempts.into(),
        attempt.class.as_str().into(),
        Value::Text(attempt.error.replace('\0', "\u{fffd}")),
        Value::Timestamp(now),
        Value::Timestamp(now),
        Value::Timestamp(to_micros(now + attempt.retry_in)),
    ]
}

/// Removes the records, at or below a position, of events that held the instance up.
pub(super) fn clear(
    conn: &mut dyn Conn,
    projection: &ProjectionKey,
    instance: &str,
    up_to: i64,
) -> Result<(), StoreError> {
    let sql = format!(
        "DELETE FROM {} WHERE {OF_INSTANCE} AND position <= $4 AND state IN ('failing', 'stopped')",
        conn.dialect().table("held_events")
    );
    let mut params = params(projection, instance);
    params.push(up_to.into());
    conn.execute(&sql, &params)?;
    refresh(conn, projection, vec![instance.to_owned()])
}

/// Removes the records of these events.
pub(super) fn forget(
    conn: &mut dyn Conn,
    projection: &ProjectionKey,
    instance: &str,
    positions: &[i64],
) -> Result<(), StoreError> {
    let of_position = |position: &i64| {
        let mut row = params(projection, instance);
        row.push((*position).into());
        row
    };
    if !positions.is_empty() {
        conn.bulk(&Bulk {
            table: conn.dialect().table("held_events"),
            kind: BulkKind::Delete,
            keys: columns().0,
            columns: Vec::new(),
            how: Vec::new(),
            only_if: None,
            rows: owned(positions.iter().map(of_position).collect()),
        })?;
        let sql = format!(
            "UPDATE {} AS s SET anew = anew + 1 WHERE {OF_INSTANCE}",
            conn.dialect().table("projection_states")
        );
        conn.execute(&sql, &params(projection, instance))?;
    }
    refresh(conn, projection, vec![instance.to_owned()])
}

/// Updates the flag in the state rows that says whether an event is held or still to be passed over. So a pass without
/// failures need not read the records.
///
/// It looks from the highest position down. A retry removes the lowest records first, and a scan that began there would
/// read the index entries of all that were removed.
pub(super) fn refresh(
    conn: &mut dyn Conn,
    projection: &ProjectionKey,
    instances: Vec<String>,
) -> Result<(), StoreError> {
    let dialect = conn.dialect();
    let sql = format!(
        "UPDATE {} AS s SET held = (SELECT e.position FROM {} e WHERE e.instance_id = s.instance_id AND e.projection = $1 \
         AND e.version = $2 AND e.state <> 'skipped' AND (e.state <> 'discarded' OR e.position > s.position) \
         ORDER BY e.position DESC LIMIT 1) IS NOT NULL \
         WHERE s.projection = $1 AND s.version = $2 AND {}",
        dialect.table("projection_states"),
        dialect.table("held_events"),
        dialect.any("s.instance_id", 3)
    );
    let params = [Arc::clone(&projection.name).into(), projection.version.into(), Value::TextArray(instances)];
    conn.execute(&sql, &params).map(|_| ())
}

/// The events that hold up these instances as a whole.
pub(super) fn blocked(
    conn: &mut dyn Conn,
    projection: &ProjectionKey,
    instances: Vec<String>,
) -> Result<Vec<(Arc<str>, Blocked)>, StoreError> {
    if instances.is_empty() {
        return Ok(Vec::new());
    }
    let dialect = conn.dialect();
    let sql = format!(
        "SELECT instance_id, position, attempts, state, due_at, class, error FROM {} \
         WHERE projection = $1 AND version = $2 AND {} AND state IN ('failing', 'stopped')",
        dialect.table("held_events"),
        dialect.any("instance_id", 3)
    );
    let params = [Arc::clone(&projection.name).into(), projection.version.into(), Value::TextArray(instances)];
    let rows = conn.query(&sql, &params)?;
    let now = conn.now()?;
    rows.iter().map(|found| Ok((row::shared(found, 0)?, blocked_of(found, now)?))).collect()
}

fn blocked_of(found: &Row, now: SystemTime) -> Result<Blocked, StoreError> {
    let due = row::time(found, 4)?.unwrap_or(now);
    Ok(Blocked {
        position: row::int(found, 1)?,
        attempts: times(row::int(found, 2)?),
        stopped: row::text(found, 3)? == FailureStatus::Stopped.as_str(),
        retry_in: due.duration_since(now).unwrap_or(Duration::ZERO),
        class: class(row::text(found, 5)?)?,
        error: row::text(found, 6)?.to_owned(),
    })
}

fn times(n: i64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn class(word: &str) -> Result<FailureClass, StoreError> {
    FailureClass::parse(word).ok_or_else(|| unknown("class", word))
}

fn unknown(what: &str, word: &str) -> StoreError {
    let why = format!("{what} {word:?} is not known; a newer version of this library may have written it");
    StoreError::new("reading held events", StoreErrorKind::Corrupt, why)
}

/// Those of these aggregates that have parked events.
pub(super) fn parked(
    conn: &mut dyn Conn,
    projection: &ProjectionKey,
    instance: &str,
    ids: &[Arc<str>],
) -> Result<Aggregates, StoreError> {
    let (dialect, (of_instance, of_aggregate)) = (conn.dialect(), AGGREGATE_INDEX);
    let sql = format!(
        "SELECT DISTINCT aggregate_type, aggregate_id FROM {} WHERE {OF_INSTANCE} AND {of_instance} AND {} AND {} \
         AND state IN ('parked', 'behind')",
        dialect.table("held_events"),
        dialect.any(of_aggregate, 4),
        dialect.any("aggregate_id", 5)
    );
    let mut params = params(projection, instance);
    params.push(Value::TextArray(ids.iter().map(|id| beginning(id)).collect()));
    params.push(Value::TextArray(ids.iter().map(ToString::to_string).collect()));
    conn.query(&sql, &params)?.iter().map(|found| Ok((row::shared(found, 0)?, row::shared(found, 1)?))).collect()
}

/// Makes the first event that each of these aggregates still holds the parked one. An index finds it, so the cost does
/// not grow with the number of events that wait behind it.
pub(super) fn promote(
    conn: &mut dyn Conn,
    projection: &ProjectionKey,
    instance: &str,
    aggregates: &Aggregates,
) -> Result<(), StoreError> {
    let (dialect, (of_instance, of_aggregate)) = (conn.dialect(), AGGREGATE_INDEX);
    let held = dialect.table("held_events");
    let firsts = format!(
        "SELECT (SELECT position FROM {held} WHERE {OF_INSTANCE} AND {of_instance} AND {of_aggregate} = substr(w.id, 1, 100) \
         AND aggregate_id = w.id AND aggregate_type = $4 AND state IN ('parked', 'behind') ORDER BY position LIMIT 1) FROM {}",
        dialect.texts(5, "w", "id")
    );
    let sql = format!(
        "UPDATE {held} SET state = 'parked' WHERE {OF_INSTANCE} AND state = 'behind' AND {}",
        dialect.among("position", &firsts)
    );
    let mut by_type: BTreeMap<&Arc<str>, Vec<String>> = BTreeMap::new();
    for (aggregate_type, id) in aggregates {
        by_type.entry(aggregate_type).or_default().push(id.to_string());
    }
    for (aggregate_type, ids) in by_type {
        let mut params = params(projection, instance);
        params.extend([Arc::clone(aggregate_type).into(), Value::TextArray(ids)]);
        conn.execute(&sql, &params)?;
    }
    Ok(())
}

/// Recorded failures, by instance and position.
pub(super) fn list(
    conn: &mut dyn Conn,
    projection: &ProjectionKey,
    query: &FailureQuery,
) -> Result<Vec<FailedEvent>, StoreError> {
    let (conditions, params) = conditions(conn, projection, query);
    let limit = match i64::try_from(query.limit) {
        Ok(limit @ 1..) => format!(" LIMIT {limit}"),
        // A limit above the size of any table is no limit.
        _ => String::new(),
    };
    let sql = format!(
        "SELECT instance_id, position, aggregate_type, aggregate_id, event_type, attempts, state, class, error, \
         first_at, last_at, due_at FROM {} WHERE {conditions} ORDER BY instance_id, position{limit}",
        conn.dialect().table("held_events")
    );
    let now = conn.now()?;
    conn.query(&sql, &params)?.iter().map(|found| held(found, now)).collect()
}

/// How many failures the query finds.
pub(super) fn count(conn: &mut dyn Conn, projection: &ProjectionKey, query: &FailureQuery) -> Result<u64, StoreError> {
    let (conditions, params) = conditions(conn, projection, query);
    let sql = format!("SELECT count(*) FROM {} WHERE {conditions}", conn.dialect().table("held_events"));
    let rows = conn.query(&sql, &params)?;
    Ok(rows.first().map_or(Ok(0), |found| row::int(found, 0))?.unsigned_abs())
}

fn conditions(conn: &dyn Conn, projection: &ProjectionKey, query: &FailureQuery) -> (String, Vec<Value>) {
    let mut params: Vec<Value> = vec![Arc::clone(&projection.name).into(), projection.version.into()];
    let mut sql = "projection = $1 AND version = $2".to_owned();
    let mut add = |text: &dyn Fn(usize) -> String, values: Vec<Value>| {
        sql.push_str(" AND ");
        sql.push_str(&text(params.len() + 1));
        params.extend(values);
    };
    if let Some(instance) = &query.instance {
        add(&|n| format!("instance_id = ${n}"), vec![Arc::clone(instance).into()]);
        if query.aggregate.is_some() {
            add(&|n| format!("substr(instance_id, 1, 100) = ${n}"), vec![beginning(instance).into()]);
        }
    }
    if let Some((kind, id)) = &query.aggregate {
        let both = vec![Arc::clone(kind).into(), Arc::clone(id).into()];
        add(&|n| format!("aggregate_type = ${n} AND aggregate_id = ${}", n + 1), both);
        let of_aggregate = AGGREGATE_INDEX.1;
        add(&|n| format!("{of_aggregate} = ${n}"), vec![beginning(id).into()]);
    }
    if query.states.is_empty() {
        add(&|_| "state <> 'discarded'".to_owned(), Vec::new());
    } else {
        let states = query.states.iter().map(|state| state.as_str().to_owned()).collect();
        add(&|n| conn.dialect().any("state", n), vec![Value::TextArray(states)]);
    }
    if let Some((from, to)) = query.positions {
        add(&|n| format!("position BETWEEN ${n} AND ${}", n + 1), vec![from.into(), to.into()]);
    }
    if let Some(event_type) = &query.event_type {
        add(&|n| format!("event_type = ${n}"), vec![Arc::clone(event_type).into()]);
    }
    if let Some(class) = query.class {
        add(&|n| format!("class = ${n}"), vec![class.as_str().into()]);
    }
    if let Some((instance, position)) = &query.after {
        let both = vec![Arc::clone(instance).into(), (*position).into()];
        add(&|n| format!("(instance_id > ${n} OR (instance_id = ${n} AND position > ${}))", n + 1), both);
    }
    (sql, params)
}

fn held(found: &Row, now: SystemTime) -> Result<FailedEvent, StoreError> {
    let epoch = SystemTime::UNIX_EPOCH;
    let due = row::time(found, 11)?.unwrap_or(now);
    let state = row::text(found, 6)?;
    Ok(FailedEvent {
        attempt: Attempt {
            instance: row::shared(found, 0)?,
            position: row::int(found, 1)?,
            aggregate_type: row::shared(found, 2)?,
            aggregate_id: row::shared(found, 3)?,
            event_type: row::shared(found, 4)?,
            attempts: times(row::int(found, 5)?),
            state: FailureStatus::parse(state).ok_or_else(|| unknown("state", state))?,
            class: class(row::text(found, 7)?)?,
            error: row::text(found, 8)?.to_owned(),
            retry_in: due.duration_since(now).unwrap_or(Duration::ZERO),
        },
        first_at: row::time(found, 9)?.unwrap_or(epoch),
        last_at: row::time(found, 10)?.unwrap_or(epoch),
    })
}

/// How many records there are in each state.
pub(super) fn counts(conn: &mut dyn Conn, projection: &ProjectionKey) -> Result<Vec<(FailureStatus, u64)>, StoreError> {
    let sql = format!(
        "SELECT state, count(*) FROM {} WHERE projection = $1 AND version = $2 GROUP BY state",
        conn.dialect().table("held_events")
    );
    let params = [Arc::clone(&projection.name).into(), projection.version.into()];
    conn.query(&sql, &params)?
        .iter()
        .map(|found| {
            let state = row::text(found, 0)?;
            let state = FailureStatus::parse(state).ok_or_else(|| unknown("state", state))?;
            Ok((state, u64::try_from(row::int(found, 1)?).unwrap_or(0)))
        })
        .collect()
}

/// Records that an event is being tried, or, without a position, that none is.
pub(super) fn mark(
    conn: &mut dyn Conn,
    projection: &ProjectionKey,
    instance: &str,
    position: Option<i64>,
) -> Result<(), StoreError> {
    let sql = format!(
        "UPDATE {} SET marked = $4, marked_epoch = epoch WHERE {OF_INSTANCE}",
        conn.dialect().table("projection_states")
    );
    let mut params = params(projection, instance);
    params.push(position.map_or(Value::Null, Value::from));
    conn.execute(&sql, &params).map(|_| ())
}

/// Ends the work event by event.
pub(super) fn relax(conn: &mut dyn Conn, projection: &ProjectionKey, instance: &str) -> Result<(), StoreError> {
    let table = conn.dialect().table("projection_states");
    let sql = format!("UPDATE {table} SET careful = $4, marked = NULL WHERE {OF_INSTANCE}");
    let mut params = params(projection, instance);
    params.push(false.into());
    conn.execute(&sql, &params).map(|_| ())
}

/// Records what a person did.
pub(super) fn note(
    conn: &mut dyn Conn,
    projection: &ProjectionKey,
    instance: &str,
    positions: &[i64],
    (action, by): (Action, &By),
) -> Result<(), StoreError> {
    let now = to_micros(conn.now()?);
    let text = |text: &str| Value::Text(text.replace('\0', "\u{fffd}"));
    let row = |position: &i64| -> Row {
        let mut row = params(projection, instance);
        row.extend([Uuid::now_v7().into(), (*position).into(), action.as_str().into(), text(&by.who), text(&by.why)]);
        row.push(Value::Timestamp(now));
        row
    };
    let write = Bulk {
        table: conn.dialect().table("interventions"),
        kind: BulkKind::Insert,
        keys: vec![
            ("instance_id", T::Text),
            ("projection", T::Text),
            ("version", T::Integer),
            ("intervention_id", T::Uuid),
        ],
        columns: vec![
            ("position", T::Integer),
            ("action", T::Text),
            ("who", T::Text),
            ("why", T::Text),
            ("at", T::Timestamp),
        ],
        how: Vec::new(),
        only_if: None,
        rows: owned(positions.iter().map(row).collect()),
    };
    conn.bulk(&write).map(|_| ())
}

/// What people did, the latest first.
pub(super) fn interventions(
    conn: &mut dyn Conn,
    projection: &ProjectionKey,
    limit: usize,
) -> Result<Vec<Intervention>, StoreError> {
    let sql = format!(
        "SELECT instance_id, position, action, who, why, at FROM {} WHERE projection = $1 AND version = $2 \
         ORDER BY at DESC, intervention_id DESC LIMIT $3",
        conn.dialect().table("interventions")
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let params = [Arc::clone(&projection.name).into(), projection.version.into(), limit.into()];
    conn.query(&sql, &params)?
        .iter()
        .map(|found| {
            let action = row::text(found, 2)?;
            Ok(Intervention {
                instance: row::shared(found, 0)?,
                position: row::int(found, 1)?,
                action: Action::parse(action).ok_or_else(|| unknown("action", action))?,
                by: By::new(row::text(found, 3)?, row::text(found, 4)?),
                at: row::time(found, 5)?.unwrap_or(SystemTime::UNIX_EPOCH),
            })
        })
        .collect()
}
