//! Reading the engine's own tables: values as the columns mean them, whichever way a database stores them.

use std::sync::Arc;
use std::time::SystemTime;

use uuid::Uuid;

use super::Row;
use crate::error::{StoreError, StoreErrorKind};
use crate::event::Event;
use crate::value::Value;

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
        Some(Value::Text(text)) => match text.parse::<jiff::Timestamp>() {
            Ok(at) => Ok(Some(at.into())),
            Err(_) => Err(wrong("a time", row.get(at))),
        },
        other => Err(wrong("a time", other)),
    }
}

/// The columns of an event, in the order that [`event`] reads them.
pub(crate) const EVENT_COLUMNS: &str = "instance_id, position, event_id, aggregate_type, aggregate_id, version, \
     event_type, revision, created_at, creator, owner, payload, metadata";

pub(crate) fn event(row: &Row) -> Result<Event, StoreError> {
    Ok(Event {
        instance: shared(row, 0)?,
        position: int(row, 1)?,
        id: uuid(row, 2)?.unwrap_or_default(),
        aggregate_type: shared(row, 3)?,
        aggregate_id: shared(row, 4)?,
        version: int(row, 5)?,
        event_type: shared(row, 6)?,
        revision: u32::try_from(int(row, 7)?).map_err(|_| wrong("a revision", row.get(7)))?,
        created_at: time(row, 8)?.unwrap_or(SystemTime::UNIX_EPOCH),
        creator: shared(row, 9)?,
        owner: shared(row, 10)?,
        payload: shared(row, 11)?,
        metadata: shared(row, 12)?,
    })
}
