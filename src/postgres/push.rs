//! Pushes on this database: one statement locks the counters, and another one writes everything that the push stores.

use std::sync::Arc;

use postgres::GenericClient;
use postgres::types::{FromSql, ToSql, Type};

use super::error;
use super::session::Session;
use crate::db::{Append, Counter, Counters, INDEXING};
use crate::error::StoreError;
use crate::event::Event;

/// With stale statistics the planner might look for versions along another index and sort. This setting prevents that
/// for the rest of the transaction.
const LOCK: &str = "SELECT instance_id, head, head_event, greatest(head_at, clock_timestamp()), \
     closed_at IS NOT NULL, \
     CASE WHEN head > removed THEN head_at END, set_config('enable_sort', 'off', true) \
     FROM readside.instances WHERE instance_id = ANY($1)";

/// If one of several counters does not exist yet, none is locked. The push that creates it may have to wait for
/// another push that creates it too, and that push may wait for the existing counters.
const IF_ALL_ARE_THERE: &str =
    " AND (SELECT count(*) FROM readside.instances WHERE instance_id = ANY($1)) = cardinality($1)";

const IN_ORDER: &str = " ORDER BY instance_id FOR UPDATE";

pub(super) fn counters<C: GenericClient>(
    session: &mut Session<'_, C>,
    instances: &[Arc<str>],
) -> Result<Counters, StoreError> {
    let instances: Vec<&str> = instances.iter().map(AsRef::as_ref).collect();
    let condition = if instances.len() > 1 { IF_ALL_ARE_THERE } else { "" };
    let sql = format!("{LOCK}{condition}{IN_ORDER}");
    let rows = session.rows(&sql, &[(&instances, Type::TEXT_ARRAY)], "locking counters")?;
    let counter = |row: &postgres::Row| {
        let (head, event, time) = (get(row, 1)?, get(row, 2)?, get(row, 3)?);
        let counter = Counter { head, event, time, closed: get(row, 4)?, head_at: get(row, 5)? };
        Ok((Arc::from(get::<&str>(row, 0)?), counter))
    };
    rows.iter().map(counter).collect()
}

fn get<'r, T: FromSql<'r>>(row: &'r postgres::Row, at: usize) -> Result<T, StoreError> {
    row.try_get(at).map_err(|error| error::store("reading a counter", &error))
}

/// True if both tables of events have an index that begins with the id, and how long a statement may take now.
const INDEXED: &str = "SELECT count(DISTINCT i.indrelid) = 2, current_setting('statement_timeout') \
     FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indrelid \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] \
     WHERE n.nspname = $1 AND c.relname IN ('events', 'events_archive') AND a.attname = 'event_id' \
       AND i.indisvalid AND i.indpred IS NULL";

/// How long the database may take to make the indexes.
const LONGEST_INDEXING: &str = "1h";

/// The indexes of event ids. They cost each push, so a database has them from its first import on. An operator may
/// have made them beforehand, under any name.
pub(super) fn index_ids<C: GenericClient>(session: &mut Session<'_, C>) -> Result<(), StoreError> {
    let doing = "making the indexes of event ids";
    let home = session.home.name();
    let rows = session.rows(INDEXED, &[(&home, Type::TEXT)], doing)?;
    let Some(found) = rows.first() else { return Ok(()) };
    if get(found, 0)? {
        return Ok(());
    }
    log::info!("{INDEXING}");
    let limit = "SELECT set_config('statement_timeout', $1, true)";
    session.rows(limit, &[(&LONGEST_INDEXING, Type::TEXT)], doing)?;
    session.rows("SELECT readside.index_ids()", &[], doing)?;
    session.rows(limit, &[(&get::<&str>(found, 1)?, Type::TEXT)], doing)?;
    Ok(())
}

pub(super) fn append<C: GenericClient>(session: &mut Session<'_, C>, append: &Append<'_>) -> Result<(), StoreError> {
    let (events, counters, heads) = (events(append), counters_of(append), heads(append));
    let mut params = Vec::new();
    let sql = format!(
        "WITH events AS (INSERT INTO readside.events ({}) {}), \
         counters AS (UPDATE readside.instances t SET head = n.head, head_event = n.head_event, head_at = n.head_at \
           FROM ({}) n WHERE t.instance_id = n.instance_id) \
         INSERT INTO readside.heads AS t ({}) {} \
         ON CONFLICT (instance_id, aggregate_type) DO UPDATE SET head = excluded.head",
        names(&events),
        select(&events, &mut params),
        select(&counters, &mut params),
        names(&heads),
        select(&heads, &mut params),
    );
    session.touch(&sql, &params, "storing events").map(|_| ())
}

/// The values of one column, one for each row. If all are the same, only one value is sent, which costs the server
/// less.
struct Column<'a> {
    name: &'static str,
    same: bool,
    values: Box<dyn ToSql + Sync + 'a>,
    kind: Type,
}

/// A type, and the type of its arrays.
type Types = (Type, Type);

const TEXT: Types = (Type::TEXT, Type::TEXT_ARRAY);
const INTEGER: Types = (Type::INT8, Type::INT8_ARRAY);
const UUID: Types = (Type::UUID, Type::UUID_ARRAY);
const TIME: Types = (Type::TIMESTAMPTZ, Type::TIMESTAMPTZ_ARRAY);

fn column<'a, T>(name: &'static str, (one, many): Types, values: impl Iterator<Item = T>) -> Column<'a>
where
    T: ToSql + Sync + PartialEq + Copy + 'a,
{
    let values: Vec<T> = values.collect();
    match values.first() {
        Some(first) if values.iter().all(|value| value == first) => {
            Column { name, same: true, values: Box::new(*first), kind: one }
        }
        _ => Column { name, same: false, values: Box::new(values), kind: many },
    }
}

fn events<'a>(append: &Append<'a>) -> [Column<'a>; 14] {
    let events = || append.events.iter().map(|(event, _)| *event);
    [
        column("instance_id", TEXT, events().map(|event| &*event.instance)),
        column("position", INTEGER, events().map(|event| event.position)),
        column("event_id", UUID, events().map(|event| event.id)),
        column("aggregate_type", TEXT, events().map(|event| &*event.aggregate_type)),
        column("aggregate_id", TEXT, events().map(Event::aggregate_id)),
        column("version", INTEGER, events().map(|event| event.version)),
        column("event_type", TEXT, events().map(Event::event_type)),
        column("revision", INTEGER, events().map(|event| i64::from(event.revision))),
        column("created_at", TIME, events().map(|event| event.created_at)),
        column("creator", TEXT, events().map(Event::creator)),
        column("owner", TEXT, events().map(Event::owner)),
        column("payload", TEXT, events().map(Event::payload_json)),
        column("metadata", TEXT, events().map(Event::metadata_json)),
        column("push_key", TEXT, append.events.iter().map(|(_, key)| *key)),
    ]
}

fn counters_of<'a>(append: &Append<'a>) -> [Column<'a>; 4] {
    let counters = || append.counters.iter();
    [
        column("instance_id", TEXT, counters().map(|(instance, _)| &***instance)),
        column("head", INTEGER, counters().map(|(_, counter)| counter.head)),
        column("head_event", UUID, counters().map(|(_, counter)| counter.event)),
        column("head_at", TIME, counters().map(|(_, counter)| counter.head_at.unwrap_or(counter.time))),
    ]
}

fn heads<'a>(append: &Append<'a>) -> [Column<'a>; 3] {
    let heads = || append.heads.iter();
    [
        column("instance_id", TEXT, heads().map(|(instance, _, _)| &***instance)),
        column("aggregate_type", TEXT, heads().map(|(_, kind, _)| &***kind)),
        column("head", INTEGER, heads().map(|(_, _, head)| *head)),
    ]
}

fn names(columns: &[Column<'_>]) -> String {
    columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", ")
}

/// A query that gives the rows of these columns. It adds its parameters to `params`.
fn select<'c>(columns: &'c [Column<'_>], params: &mut Vec<(&'c (dyn ToSql + Sync), Type)>) -> String {
    let (mut results, mut arrays, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for column in columns {
        params.push((&*column.values, column.kind.clone()));
        let (number, name) = (params.len(), column.name);
        if column.same {
            results.push(format!("${number} AS {name}"));
        } else {
            results.push(format!("u.{name}"));
            arrays.push(format!("${number}"));
            names.push(name);
        }
    }
    let results = results.join(", ");
    if arrays.is_empty() {
        return format!("SELECT {results}");
    }
    format!("SELECT {results} FROM unnest({}) AS u({})", arrays.join(", "), names.join(", "))
}
