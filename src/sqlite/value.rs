//! Values as SQLite holds them: times and arrays as texts, UUIDs as 16 bytes, truth as 0 and 1.

use std::time::SystemTime;

use rusqlite::types::{ToSqlOutput, Value as Owned, ValueRef};

use crate::error::{StoreError, StoreErrorKind};
use crate::value::{ColumnType, Value, parse_time, time_text, unsigned_zero, within};

/// The form in which a value is bound.
pub(super) fn bound(value: &Value) -> ToSqlOutput<'_> {
    match value {
        Value::Null => ToSqlOutput::Borrowed(ValueRef::Null),
        Value::Boolean(truth) => ToSqlOutput::Owned(Owned::Integer((*truth).into())),
        Value::Integer(number) => ToSqlOutput::Owned(Owned::Integer(*number)),
        Value::Float(number) => ToSqlOutput::Owned(Owned::Real(unsigned_zero(*number))),
        Value::Text(text) | Value::Json(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        Value::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        Value::Timestamp(at) => ToSqlOutput::Owned(Owned::Text(timestamp(*at))),
        Value::TextArray(texts) => ToSqlOutput::Owned(Owned::Text(array(texts))),
        Value::Uuid(id) => ToSqlOutput::Borrowed(ValueRef::Blob(id.as_bytes())),
    }
}

/// The text of a time, of which the order is that of the times.
pub(super) fn timestamp(at: SystemTime) -> String {
    time_text(within(at))
}

/// The text of an array, as SQLite's own functions write it.
fn array(texts: &[String]) -> String {
    serde_json::Value::from(texts).to_string()
}

/// A value of a row, as SQLite has it.
pub(super) fn found(value: ValueRef<'_>) -> Result<Value, StoreError> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Real(number) => Value::Float(number),
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(error) => return Err(StoreError::new("reading a text", StoreErrorKind::Corrupt, error)),
        },
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
    })
}

/// A value as the type of its column means it; one that the engine would not have written so stays as it is: SQL does not
/// take the two for the same.
pub(super) fn typed(value: Value, kind: ColumnType) -> Value {
    use ColumnType as T;
    match (kind, value) {
        (T::Boolean, Value::Integer(number @ 0..=1)) => Value::Boolean(number == 1),
        (T::Json, Value::Text(text)) => Value::Json(text),
        (T::Timestamp, Value::Text(text)) => match parse_time(&text) {
            Some(at) if timestamp(at) == text => Value::Timestamp(at),
            _ => Value::Text(text),
        },
        (T::TextArray, Value::Text(text)) => match serde_json::from_str::<Vec<String>>(&text) {
            Ok(texts) if array(&texts) == text => Value::TextArray(texts),
            _ => Value::Text(text),
        },
        (T::Uuid, Value::Bytes(bytes)) => match uuid::Uuid::from_slice(&bytes) {
            Ok(id) => Value::Uuid(id),
            Err(_) => Value::Bytes(bytes),
        },
        (_, value) => value,
    }
}
