//! Storing commands as events, inside a transaction that is open already.
//!
//! The order is the law (L1): first the counters of all instances are locked, then, in later statements, versions,
//! unique values and push keys are read and decided upon, then events and counters are written. Whoever holds a
//! counter decides positions alone until its commit, so the order of commits is the order of positions.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::row::{self, EVENT_COLUMNS};
use super::unique::UniqueChanges;
use super::{Bulk, BulkKind, Conn};
use crate::error::{PushError, StoreError, StoreErrorKind};
use crate::event::{Command, Event, Expected};
use crate::sql::Dialect;
use crate::value::{ColumnType as T, Value, to_micros};

/// The counter of an instance, as it was when its lock was obtained.
struct Counter {
    head: i64,
    head_event: Option<Uuid>,
    head_at: Option<SystemTime>,
}

type Counters = BTreeMap<Arc<str>, Counter>;

/// The instances of a push, each once, by bytes.
pub(crate) fn instances(commands: &[Command]) -> Vec<Arc<str>> {
    let mut instances: Vec<Arc<str>> = commands.iter().map(|command| Arc::clone(&command.instance)).collect();
    instances.sort_unstable();
    instances.dedup();
    instances
}

/// Checks all that needs no database.
pub(crate) fn check(commands: &[Command]) -> Result<(), PushError> {
    commands.iter().enumerate().try_for_each(|(index, command)| command.check(index))?;
    let keyed = commands.iter().filter(|command| command.push_key.is_some()).count();
    if keyed != 0 && keyed != commands.len() {
        return Err(PushError::Transaction {
            reason: "some commands bear a push key and some do not; give all of them one, so that the push can be repeated",
        });
    }
    Ok(())
}

/// Stores the commands. After `Conflict`, `UniqueViolation` or `PushKeyReused` nothing was written.
pub(crate) fn push(conn: &mut dyn Conn, commands: &[Command], patience: Duration) -> Result<Vec<Event>, PushError> {
    check(commands)?;
    if commands.is_empty() {
        return Ok(Vec::new());
    }
    let mut counters = lock_counters(conn, &instances(commands), patience)?;
    if let Some(events) = repeated(conn, commands)? {
        return Ok(events);
    }
    let mut versions = versions(conn, commands)?;
    let uniques = UniqueChanges::decide(conn, commands, &mut versions.clone())?;
    let now = to_micros(conn.now()?);
    let events = commands
        .iter()
        .map(|command| next_event(command, commands.len(), &mut counters, &mut versions, now))
        .collect::<Result<Vec<Event>, PushError>>()?;
    uniques.write(conn)?;
    write_events(conn, commands, &events)?;
    write_counters(conn, &counters, &events)?;
    Ok(events)
}

fn lock_counters(conn: &mut dyn Conn, instances: &[Arc<str>], patience: Duration) -> Result<Counters, PushError> {
    let busy = |error: StoreError| match error.kind() {
        StoreErrorKind::Timeout => PushError::Busy {
            instance: instances.first().map(ToString::to_string).unwrap_or_default(),
            waited: patience,
            holder: None,
        },
        _ => PushError::Store(error.doing("locking the counters of a push")),
    };
    let mut counters = read_counters(conn, instances).map_err(busy)?;
    if counters.len() < instances.len() {
        let rows = instances
            .iter()
            .filter(|instance| !counters.contains_key(*instance))
            .map(|instance| vec![Value::from(Arc::clone(instance)), Value::Integer(0)])
            .collect();
        let write = Bulk {
            table: conn.dialect().table("instances"),
            kind: BulkKind::InsertMissing,
            keys: vec![("instance_id", T::Text)],
            columns: vec![("head", T::Integer)],
            how: Vec::new(),
            rows,
        };
        conn.bulk(&write).map_err(busy)?;
        counters = read_counters(conn, instances).map_err(busy)?;
    }
    Ok(counters)
}

fn read_counters(conn: &mut dyn Conn, instances: &[Arc<str>]) -> Result<Counters, StoreError> {
    let dialect = conn.dialect();
    let sql = format!(
        "SELECT instance_id, head, head_event, head_at FROM {} WHERE {} ORDER BY instance_id{}",
        dialect.table("instances"),
        dialect.any("instance_id", 1),
        dialect.for_update()
    );
    conn.query(&sql, &[texts(instances.iter().map(AsRef::as_ref))])?
        .iter()
        .map(|found| {
            let counter =
                Counter { head: row::int(found, 1)?, head_event: row::uuid(found, 2)?, head_at: row::time(found, 3)? };
            Ok((row::shared(found, 0)?, counter))
        })
        .collect()
}

fn texts<'a>(values: impl Iterator<Item = &'a str>) -> Value {
    Value::TextArray(values.map(str::to_owned).collect())
}

/// The events stored under these push keys, when the push is a repeated one (K1).
fn repeated(conn: &mut dyn Conn, commands: &[Command]) -> Result<Option<Vec<Event>>, PushError> {
    let mut stored: HashMap<(Arc<str>, &str), std::collections::VecDeque<Event>> = HashMap::new();
    let mut any = false;
    for command in commands {
        let Some(key) = command.push_key.as_deref() else { return Ok(None) };
        let group = (Arc::clone(&command.instance), key);
        if let std::collections::hash_map::Entry::Vacant(entry) = stored.entry(group) {
            let events = by_push_key(conn, &command.instance, key)?;
            any |= !events.is_empty();
            entry.insert(events.into());
        }
    }
    if !any {
        return Ok(None);
    }
    let mut events = Vec::with_capacity(commands.len());
    for command in commands {
        let key = command.push_key.as_deref().unwrap_or_default();
        let reused = || PushError::PushKeyReused { instance: command.instance.to_string(), key: key.to_owned() };
        let event = stored
            .get_mut(&(Arc::clone(&command.instance), key))
            .and_then(std::collections::VecDeque::pop_front)
            .filter(|event| same(command, event))
            .ok_or_else(reused)?;
        events.push(event);
    }
    match stored.iter().find(|(_, left)| !left.is_empty()) {
        Some(((instance, key), _)) => {
            Err(PushError::PushKeyReused { instance: instance.to_string(), key: (*key).to_owned() })
        }
        None => Ok(Some(events)),
    }
}

fn by_push_key(conn: &mut dyn Conn, instance: &str, key: &str) -> Result<Vec<Event>, StoreError> {
    let sql = format!(
        "SELECT {EVENT_COLUMNS} FROM {} WHERE instance_id = $1 AND push_key = $2 ORDER BY position",
        conn.dialect().table("events")
    );
    row::events(&conn.query(&sql, &[instance.into(), key.into()])?)
}

fn same(command: &Command, event: &Event) -> bool {
    command.aggregate_type == event.aggregate_type
        && command.aggregate_id == event.aggregate_id
        && command.event_type == event.event_type
        && command.revision == event.revision
        && command.creator == event.creator
        && command.owner == event.owner
        && command.payload.as_ref().is_ok_and(|payload| *payload == event.payload)
        && command.metadata_json() == event.metadata
}

pub(super) type Aggregate = (Arc<str>, Arc<str>, Arc<str>);

pub(super) fn aggregate(command: &Command) -> Aggregate {
    (Arc::clone(&command.instance), Arc::clone(&command.aggregate_type), Arc::clone(&command.aggregate_id))
}

/// The versions of all aggregates of the push, read after the counters were locked.
fn versions(conn: &mut dyn Conn, commands: &[Command]) -> Result<HashMap<Aggregate, i64>, StoreError> {
    let mut versions: HashMap<Aggregate, i64> = commands.iter().map(|command| (aggregate(command), 0)).collect();
    let keys: Vec<Aggregate> = versions.keys().cloned().collect();
    let dialect = conn.dialect();
    let sql = format!(
        "SELECT a.i, a.t, a.a, (SELECT max(e.version) FROM {} e \
         WHERE e.instance_id = a.i AND e.aggregate_type = a.t AND e.aggregate_id = a.a) FROM {} a",
        dialect.table("events"),
        match dialect {
            Dialect::Postgres => "unnest($1::text[], $2::text[], $3::text[])",
            Dialect::Sqlite => "(SELECT value ->> 0 AS i, value ->> 1 AS t, value ->> 2 AS a FROM json_each($1))",
        }
    );
    let sql = match dialect {
        Dialect::Postgres => format!("{sql}(i, t, a)"),
        Dialect::Sqlite => sql,
    };
    let params = match dialect {
        Dialect::Postgres => vec![
            texts(keys.iter().map(|key| key.0.as_ref())),
            texts(keys.iter().map(|key| key.1.as_ref())),
            texts(keys.iter().map(|key| key.2.as_ref())),
        ],
        Dialect::Sqlite => {
            let triples: Vec<[&str; 3]> = keys.iter().map(|(i, t, a)| [i.as_ref(), t.as_ref(), a.as_ref()]).collect();
            let json = Value::json(&triples)
                .map_err(|error| StoreError::new("reading versions", StoreErrorKind::Usage, error))?;
            vec![json]
        }
    };
    for found in conn.query(&sql, &params)? {
        let key = (row::shared(&found, 0)?, row::shared(&found, 1)?, row::shared(&found, 2)?);
        versions.insert(key, row::int_or_zero(&found, 3)?);
    }
    Ok(versions)
}

/// Gives a command its version and position.
fn next_event(
    command: &Command,
    wanted: usize,
    counters: &mut Counters,
    versions: &mut HashMap<Aggregate, i64>,
    now: SystemTime,
) -> Result<Event, PushError> {
    let version = versions.entry(aggregate(command)).or_default();
    *version += 1;
    let lost = || StoreError::new("counting positions", StoreErrorKind::Corrupt, "the counter row vanished");
    let counter = counters.get_mut(&command.instance).ok_or_else(lost)?;
    let head = counter.head;
    let exhausted = || PushError::PositionsExhausted { instance: command.instance.to_string(), head, wanted };
    counter.head = head.checked_add(1).ok_or_else(exhausted)?;
    let created_at = counter.head_at.map_or(now, |head_at| head_at.max(now));
    let id = Uuid::now_v7();
    counter.head_at = Some(created_at);
    counter.head_event = Some(id);
    let payload = match &command.payload {
        Ok(payload) => Arc::clone(payload),
        Err(_) => "null".into(),
    };
    Ok(Event {
        id,
        instance: Arc::clone(&command.instance),
        position: counter.head,
        aggregate_type: Arc::clone(&command.aggregate_type),
        aggregate_id: Arc::clone(&command.aggregate_id),
        version: *version,
        event_type: Arc::clone(&command.event_type),
        revision: command.revision,
        created_at,
        creator: Arc::clone(&command.creator),
        owner: Arc::clone(&command.owner),
        payload,
        metadata: command.metadata_json(),
    })
}

fn write_events(conn: &mut dyn Conn, commands: &[Command], events: &[Event]) -> Result<(), StoreError> {
    let row = |(command, event): (&Command, &Event)| {
        vec![
            Value::from(Arc::clone(&event.instance)),
            Value::Integer(event.position),
            Value::Uuid(event.id),
            Value::from(Arc::clone(&event.aggregate_type)),
            Value::from(Arc::clone(&event.aggregate_id)),
            Value::Integer(event.version),
            Value::from(Arc::clone(&event.event_type)),
            Value::Integer(event.revision.into()),
            Value::Timestamp(event.created_at),
            Value::from(Arc::clone(&event.creator)),
            Value::from(Arc::clone(&event.owner)),
            Value::from(Arc::clone(&event.payload)),
            Value::from(Arc::clone(&event.metadata)),
            Value::from(command.push_key.clone()),
        ]
    };
    let write = Bulk {
        table: conn.dialect().table("events"),
        kind: BulkKind::Insert,
        keys: vec![("instance_id", T::Text), ("position", T::Integer)],
        columns: vec![
            ("event_id", T::Uuid),
            ("aggregate_type", T::Text),
            ("aggregate_id", T::Text),
            ("version", T::Integer),
            ("event_type", T::Text),
            ("revision", T::Integer),
            ("created_at", T::Timestamp),
            ("creator", T::Text),
            ("owner", T::Text),
            ("payload", T::Text),
            ("metadata", T::Text),
            ("push_key", T::Text),
        ],
        how: Vec::new(),
        rows: commands.iter().zip(events).map(row).collect(),
    };
    conn.bulk(&write).map(|_| ())
}

fn write_counters(conn: &mut dyn Conn, counters: &Counters, events: &[Event]) -> Result<(), StoreError> {
    let dialect = conn.dialect();
    let rows = counters
        .iter()
        .map(|(instance, counter)| {
            vec![
                Value::from(Arc::clone(instance)),
                counter.head.into(),
                counter.head_event.into(),
                counter.head_at.into(),
            ]
        })
        .collect();
    conn.bulk(&Bulk {
        table: dialect.table("instances"),
        kind: BulkKind::Update,
        keys: vec![("instance_id", T::Text)],
        columns: vec![("head", T::Integer), ("head_event", T::Uuid), ("head_at", T::Timestamp)],
        how: Vec::new(),
        rows,
    })?;
    let mut heads: BTreeMap<(Arc<str>, Arc<str>), i64> = BTreeMap::new();
    for event in events {
        heads.insert((Arc::clone(&event.instance), Arc::clone(&event.aggregate_type)), event.position);
    }
    conn.bulk(&Bulk {
        table: dialect.table("heads"),
        kind: BulkKind::Upsert,
        keys: vec![("instance_id", T::Text), ("aggregate_type", T::Text)],
        columns: vec![("head", T::Integer)],
        how: Vec::new(),
        rows: heads.into_iter().map(|((i, t), head)| vec![i.into(), t.into(), head.into()]).collect(),
    })
    .map(|_| ())
}

pub(super) fn conflict(command: &Command, found: i64) -> PushError {
    debug_assert!(command.expected != Expected::Any);
    PushError::Conflict {
        instance: command.instance.to_string(),
        aggregate_type: command.aggregate_type.to_string(),
        aggregate_id: command.aggregate_id.to_string(),
        expected: command.expected,
        found,
    }
}
