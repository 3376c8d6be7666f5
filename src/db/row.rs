//! Reads the engine's own tables: values as the columns mean them, in whichever form a database stores them.

use std::sync::Arc;
use std::time::SystemTime;

use uuid::Uuid;

use super::Row;
use crate::error::{StoreError, StoreErrorKind};
use crate::event::{Event, Texts};
use crate::value::{Value, parse_time};

fn wrong(what: &str, value: Option<&Value>) -> StoreError {
    let found = value.map_or("nothing".to_owned(), |value| format!("{:?}", value.column_type()));
    StoreError::new(
        "reading a row of the engine's tables",
        StoreErrorKind::Corrupt,
        format!("{what} was expected, {found} was found"),
    )
}

pub(crate) fn int(row: &Row, at: usize) -> Result<i64, StoreError> {
    match row.get(at) {
        Some(Value::Integer(n)) => Ok(*n),
        other => Err(wrong("an integer", other)),
    }
}

pub(crate) fn int_or_zero(row: &Row, at: usize) -> Result<i64, StoreError> {
    if is_null(row, at) { Ok(0) } else { int(row, at) }
}

pub(crate) fn is_null(row: &Row, at: usize) -> bool {
    row.get(at).is_none_or(Value::is_null)
}

pub(crate) fn truth(row: &Row, at: usize) -> Result<bool, StoreError> {
    match row.get(at) {
        Some(Value::Boolean(b)) => Ok(*b),
        Some(Value::Integer(n)) => Ok(*n != 0),
        other => Err(wrong("a truth value", other)),
    }
}

pub(crate) fn text(row: &Row, at: usize) -> Result<&str, StoreError> {
    match row.get(at) {
        Some(Value::Text(text)) => Ok(text),
        other => Err(wrong("a text", other)),
    }
}

pub(crate) fn shared(row: &Row, at: usize) -> Result<Arc<str>, StoreError> {
    text(row, at).map(Arc::from)
}

pub(crate) fn uuid(row: &Row, at: usize) -> Result<Option<Uuid>, StoreError> {
    match row.get(at) {
        Some(Value::Null) => Ok(None),
        Some(Value::Uuid(id)) => Ok(Some(*id)),
        Some(Value::Bytes(bytes)) => Uuid::from_slice(bytes).map(Some).map_err(|_| wrong("a UUID", row.get(at))),
        other => Err(wrong("a UUID", other)),
    }
}

pub(crate) fn time(row: &Row, at: usize) -> Result<Option<SystemTime>, StoreError> {
    match row.get(at) {
        Some(Value::Null) => Ok(None),
        Some(Value::Timestamp(at)) => Ok(Some(*at)),
        Some(Value::Text(text)) => match parse_time(text) {
            Some(at) => Ok(Some(at)),
            None => Err(wrong("a time", row.get(at))),
        },
        other => Err(wrong("a time", other)),
    }
}

/// The columns of an event, in the order that [`event`] reads them.
pub(crate) const EVENT_COLUMNS: &str = "instance_id, position, event_id, aggregate_type, aggregate_id, version, \
     event_type, revision, created_at, creator, owner, payload, metadata";

/// The columns of an event whose instance is known, in the order that [`event_in`] reads them.
pub(crate) fn columns_of_instance() -> &'static str {
    EVENT_COLUMNS.split_once(", ").map_or(EVENT_COLUMNS, |(_, others)| others)
}

/// A row of a database whose fields are read in place.
pub(crate) trait Fields {
    fn text(&self, at: usize) -> Result<&str, StoreError>;
    fn int(&self, at: usize) -> Result<i64, StoreError>;
    fn uuid(&self, at: usize) -> Result<Option<Uuid>, StoreError>;
    fn time(&self, at: usize) -> Result<Option<SystemTime>, StoreError>;
}

impl Fields for Row {
    fn text(&self, at: usize) -> Result<&str, StoreError> {
        text(self, at)
    }
    fn int(&self, at: usize) -> Result<i64, StoreError> {
        int(self, at)
    }
    fn uuid(&self, at: usize) -> Result<Option<Uuid>, StoreError> {
        uuid(self, at)
    }
    fn time(&self, at: usize) -> Result<Option<SystemTime>, StoreError> {
        time(self, at)
    }
}

/// An event whose columns begin at `from`.
pub(crate) fn event(row: &impl Fields, from: usize) -> Result<Event, StoreError> {
    event_in(row, from + 1, &Arc::from(row.text(from)?), None, &mut String::new())
}

/// An event of this instance. Its columns, without that of the instance, begin at `from`. It shares the aggregate type
/// with the event before it if the two are equal.
pub(crate) fn event_in(
    row: &impl Fields,
    from: usize,
    instance: &Arc<str>,
    before: Option<&Event>,
    buffer: &mut String,
) -> Result<Event, StoreError> {
    let text = |at: usize| row.text(from + at);
    let (aggregate_type, revision) = (text(2)?, row.int(from + 6)?);
    Ok(Event {
        instance: Arc::clone(instance),
        position: row.int(from)?,
        id: row.uuid(from + 1)?.unwrap_or_default(),
        previous: None,
        aggregate_type: match before.map(|event| &event.aggregate_type) {
            Some(known) if **known == *aggregate_type => Arc::clone(known),
            _ => Arc::from(aggregate_type),
        },
        version: row.int(from + 4)?,
        revision: u32::try_from(revision).map_err(|_| wrong("a revision", Some(&Value::Integer(revision))))?,
        created_at: row.time(from + 7)?.unwrap_or(SystemTime::UNIX_EPOCH),
        texts: Texts::joined(buffer, [text(3)?, text(5)?, text(8)?, text(9)?, text(10)?, text(11)?]),
    })
}

/// Events of whole rows.
pub(crate) fn events(rows: &[Row]) -> Result<Vec<Event>, StoreError> {
    rows.iter().map(|row| event(row, 0)).collect()
}
