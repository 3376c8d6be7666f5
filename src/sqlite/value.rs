//! Values as SQLite stores them: times and arrays as texts, UUIDs as 16 bytes, booleans as 0 and 1.

use std::time::SystemTime;

use rusqlite::types::{ToSqlOutput, Value as Owned, ValueRef};

use crate::error::{StoreError, StoreErrorKind};
use crate::value::{ColumnType, Decimal, Value, parse_time, time_text, unsigned_zero, within};

/// The form in which a value is bound.
pub(super) fn bound(value: &Value) -> ToSqlOutput<'_> {
    match value {
        // Statements with an unfit value were refused before.
        Value::Null | Value::Unfit(_) => ToSqlOutput::Borrowed(ValueRef::Null),
        Value::Boolean(truth) => ToSqlOutput::Owned(Owned::Integer((*truth).into())),
        Value::Integer(number) => ToSqlOutput::Owned(Owned::Integer(*number)),
        Value::Float(number) => ToSqlOutput::Owned(Owned::Real(unsigned_zero(*number))),
        Value::Text(text) | Value::Json(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        Value::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        Value::Timestamp(at) => ToSqlOutput::Owned(Owned::Text(timestamp(*at))),
        Value::TextArray(texts) => ToSqlOutput::Owned(Owned::Text(array(texts))),
        Value::Uuid(id) => ToSqlOutput::Borrowed(ValueRef::Blob(id.as_bytes())),
        // The number has the scale of its column already: the code that renders statements ensures that.
        Value::Decimal(number) => ToSqlOutput::Owned(Owned::Integer(number.units())),
        Value::Date(day) => ToSqlOutput::Owned(Owned::Text(day.to_string())),
        Value::Time(time) => ToSqlOutput::Owned(Owned::Text(time.to_string())),
        Value::Duration(micros) => ToSqlOutput::Owned(Owned::Integer(*micros)),
        Value::IntegerArray(_) | Value::UuidArray(_) => ToSqlOutput::Owned(Owned::Text(value.to_json().to_string())),
    }
}

/// The text of a time. The texts sort in the order of the times.
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

/// A value as the type of its column means it. A value that is not written as the engine would write it stays as it is,
/// because SQL does not consider the two equal.
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
        (T::IntegerArray, Value::Text(text)) => {
            as_written(text, |text| serde_json::from_str(text).ok().map(Value::IntegerArray))
        }
        (T::UuidArray, Value::Text(text)) => {
            as_written(text, |text| serde_json::from_str(text).ok().map(Value::UuidArray))
        }
        (T::Date, Value::Text(text)) => as_written(text, |text| text.parse().ok().map(Value::Date)),
        (T::Time, Value::Text(text)) => as_written(text, |text| text.parse().ok().map(Value::Time)),
        (T::Duration, Value::Integer(micros)) => Value::Duration(micros),
        (T::Decimal { scale, .. }, Value::Integer(units)) => {
            Decimal::new(units, scale).map_or(Value::Integer(units), Value::Decimal)
        }
        (T::Uuid, Value::Bytes(bytes)) => match uuid::Uuid::from_slice(&bytes) {
            Ok(id) => Value::Uuid(id),
            Err(_) => Value::Bytes(bytes),
        },
        (_, value) => value,
    }
}

/// The value that a text stands for, if the engine would have written exactly this text.
fn as_written(text: String, read: impl Fn(&str) -> Option<Value>) -> Value {
    let is_same = |value: &Value| matches!(bound(value), ToSqlOutput::Owned(Owned::Text(own)) if own == text);
    match read(&text).filter(is_same) {
        Some(value) => value,
        None => Value::Text(text),
    }
}
