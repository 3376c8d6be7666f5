//! The events above a projection's cursors, from one snapshot.

use std::sync::Arc;
use std::time::SystemTime;

use rusqlite::types::{FromSqlError, ValueRef};
use uuid::Uuid;

use super::handle::{Handle, bind};
use super::{error, value};
use crate::db::row::Fields;
use crate::db::{Conn, EventBatches, row, store_id};
use crate::error::{StoreError, StoreErrorKind};
use crate::event::Event;
use crate::query::{Cursor, EventBatch, EventFilter, ReadRequest};
use crate::sql::Dialect;
use crate::value::{Value, parse_time};

const EVENTS: &str = "readside_events";

/// The archive holds the events up to the position that the instance's row names.
const ARCHIVE: &str = "readside_events_archive";

/// Reads everything in one transaction, so that heads and events are of one moment.
pub(super) fn read(handle: &mut Handle<'_>, request: &ReadRequest) -> Result<EventBatches, StoreError> {
    if !handle.conn.is_autocommit() {
        return read_all(handle, request);
    }
    handle.batch("BEGIN")?;
    let slices = read_all(handle, request);
    handle.batch("ROLLBACK")?;
    slices
}

fn read_all(handle: &mut Handle<'_>, request: &ReadRequest) -> Result<EventBatches, StoreError> {
    let store = Some(store_id(handle)?);
    let slices = request.cursors.iter().map(|cursor| slice(handle, cursor, request)).collect::<Result<_, _>>()?;
    Ok(EventBatches { slices, store })
}

fn slice(handle: &mut Handle<'_>, cursor: &Cursor, request: &ReadRequest) -> Result<EventBatch, StoreError> {
    let instance = Value::from(Arc::clone(&cursor.instance));
    let found = handle.query(
        "SELECT head, head_event, archived, removed FROM readside_instances WHERE instance_id = $1",
        std::slice::from_ref(&instance),
    )?;
    let (head, head_id, archived, removed) = match found.first() {
        Some(found) => (row::int(found, 0)?, row::uuid(found, 1)?, row::int(found, 2)?, row::int(found, 3)?),
        None => (0, None, 0, 0),
    };
    let relevant = relevant(handle, &instance, &request.wanted)?;
    let mut slice = EventBatch {
        instance: Arc::clone(&cursor.instance),
        after: cursor.after,
        at: if cursor.after > removed { event_at(handle, &instance, cursor.after, archived)? } else { None },
        head,
        head_id,
        relevant,
        events: Vec::new(),
        more: false,
    };
    if relevant > cursor.after {
        let tables = if cursor.after < archived { &[ARCHIVE, EVENTS][..] } else { &[EVENTS] };
        for table in tables {
            slice.more = slice.more || add_events(handle, table, cursor, request, &mut slice.events)?;
        }
    }
    Ok(slice)
}

fn relevant(handle: &mut Handle<'_>, instance: &Value, wanted: &EventFilter) -> Result<i64, StoreError> {
    let is_wanted = Dialect::Sqlite.any_type("aggregate_type", 2, &wanted.aggregate_types);
    let rows = handle.query(
        &format!("SELECT max(head) FROM readside_heads WHERE instance_id = $1 AND {is_wanted}"),
        &[instance.clone(), Value::TextArray(wanted.aggregate_types.clone())],
    )?;
    rows.first().map_or(Ok(0), |found| row::int_or_zero(found, 0))
}

fn event_at(
    handle: &mut Handle<'_>,
    instance: &Value,
    position: i64,
    archived: i64,
) -> Result<Option<Uuid>, StoreError> {
    let table = if position <= archived { ARCHIVE } else { EVENTS };
    let sql = format!("SELECT event_id FROM {table} WHERE instance_id = $1 AND position = $2");
    let rows = handle.query(&sql, &[instance.clone(), position.into()])?;
    rows.first().map_or(Ok(None), |found| row::uuid(found, 0))
}

/// With one aggregate type, the index of types gives the order. With several, the primary key does: the `+` keeps
/// SQLite from the index of types, by which it would sort everything for each page. So it reads each event once in all.
///
/// Returns true when the limit ended the read.
fn add_events(
    handle: &Handle<'_>,
    table: &str,
    cursor: &Cursor,
    request: &ReadRequest,
    events: &mut Vec<Event>,
) -> Result<bool, StoreError> {
    let types = &request.wanted.aggregate_types;
    let (by_type, types) = match types.as_slice() {
        [only] if only != EventFilter::EVERY => ("aggregate_type = $3".to_owned(), Value::from(only.as_str())),
        _ => (Dialect::Sqlite.any_type("+aggregate_type", 3, types), Value::TextArray(types.clone())),
    };
    let of_event = Dialect::Sqlite.any_type("event_type", 4, &request.wanted.event_types);
    let sql = format!(
        "SELECT {} FROM {table} WHERE instance_id = $1 AND position > $2 AND {by_type} \
         AND {of_event} ORDER BY position",
        row::columns_of_instance()
    );
    let mut statement = handle.prepare(&sql)?;
    let params = [
        Arc::clone(&cursor.instance).into(),
        cursor.after.into(),
        types,
        Value::TextArray(request.wanted.event_types.clone()),
    ];
    bind(&mut statement, &params)?;
    let mut rows = statement.raw_query();
    let size = |event: &Event| event.texts.size();
    let mut buffer = String::new();
    let mut bytes: usize = events.iter().map(size).sum();
    while let Some(next) = rows.next().map_err(|error| error::store("reading events", error))? {
        let event = row::event_in(&EventRow(next), 0, &cursor.instance, events.last(), &mut buffer)?;
        bytes = bytes.saturating_add(size(&event));
        let full = events.len() >= request.limit || bytes > request.max_bytes;
        if full && !events.is_empty() {
            return Ok(true);
        }
        events.push(event);
    }
    Ok(false)
}

/// A row as the driver gives it.
struct EventRow<'r>(&'r rusqlite::Row<'r>);

impl EventRow<'_> {
    fn get(&self, at: usize) -> Result<ValueRef<'_>, StoreError> {
        self.0.get_ref(at).map_err(|error| error::store("reading a row", error))
    }

    fn wrong(error: FromSqlError) -> StoreError {
        StoreError::new("reading an event", StoreErrorKind::Corrupt, error)
    }
}

impl Fields for EventRow<'_> {
    fn text(&self, at: usize) -> Result<&str, StoreError> {
        self.get(at)?.as_str().map_err(Self::wrong)
    }
    fn int(&self, at: usize) -> Result<i64, StoreError> {
        self.get(at)?.as_i64().map_err(Self::wrong)
    }
    fn uuid(&self, at: usize) -> Result<Option<Uuid>, StoreError> {
        let found = self.get(at)?;
        match found.as_blob().ok().and_then(|bytes| Uuid::from_slice(bytes).ok()) {
            Some(id) => Ok(Some(id)),
            // The field holds NULL, or is an error.
            None => row::uuid(&vec![value::found(found)?], 0),
        }
    }
    fn time(&self, at: usize) -> Result<Option<SystemTime>, StoreError> {
        let found = self.get(at)?;
        match found.as_str().ok().and_then(parse_time) {
            Some(time) => Ok(Some(time)),
            // The field holds NULL, or is an error.
            None => row::time(&vec![value::found(found)?], 0),
        }
    }
}
