//! Writes many rows in one statement: each column of values becomes an array, and `unnest` turns the arrays into rows
//! again.
//!
//! `unnest` would also take an array of arrays apart. So array values travel as their literals, and are cast row by
//! row.

use postgres::GenericClient;
use postgres::types::{ToSql, Type};

use super::session::Session;
use super::value::Param;
use crate::db::{Bulk, BulkKind, on_conflict, takes};
use crate::error::{StoreError, StoreErrorKind};
use crate::sql::quote;
use crate::value::{ColumnType, Value};

/// The values of a column.
pub(super) type Array<'v> = (Vec<Param<'v>>, Type);

pub(super) fn write<C: GenericClient>(session: &mut Session<'_, C>, write: &Bulk) -> Result<u64, StoreError> {
    if write.rows.is_empty() {
        return Ok(0);
    }
    let arrays = arrays(write)?;
    let columns: Vec<&(&str, ColumnType)> = write.keys.iter().chain(&write.columns).collect();
    session.touch(&sql(write, &columns), &typed(&arrays), "writing rows")
}

/// The columns of all rows, in their order.
pub(super) fn arrays<'v>(write: &'v Bulk<'_>) -> Result<Vec<Array<'v>>, StoreError> {
    let columns = write.keys.iter().chain(&write.columns).enumerate();
    columns.map(|(at, (_, kind))| array(write, at, *kind)).collect()
}

pub(super) fn typed<'a>(arrays: &'a [Array<'_>]) -> Vec<(&'a (dyn ToSql + Sync), Type)> {
    arrays.iter().map(|(array, kind)| (array as &(dyn ToSql + Sync), kind.clone())).collect()
}

/// The values of one column. Each value is checked against the column's type.
fn array<'v>(write: &'v Bulk<'_>, at: usize, kind: ColumnType) -> Result<(Vec<Param<'v>>, Type), StoreError> {
    let values = write.rows.iter().map(|row| match row.get(at).map_or(&Value::Null, AsRef::as_ref) {
        value if takes(kind, value) => Ok(Param(value)),
        other => Err(wrong(kind, other)),
    });
    let array = match kind {
        ColumnType::Text | ColumnType::TextArray | ColumnType::IntegerArray | ColumnType::UuidArray => Type::TEXT_ARRAY,
        ColumnType::Decimal { .. } => Type::NUMERIC_ARRAY,
        ColumnType::Date => Type::DATE_ARRAY,
        ColumnType::Time => Type::TIME_ARRAY,
        ColumnType::Duration => Type::INTERVAL_ARRAY,
        ColumnType::Integer => Type::INT8_ARRAY,
        ColumnType::Boolean => Type::BOOL_ARRAY,
        ColumnType::Float => Type::FLOAT8_ARRAY,
        ColumnType::Json => Type::JSONB_ARRAY,
        ColumnType::Bytes => Type::BYTEA_ARRAY,
        ColumnType::Timestamp => Type::TIMESTAMPTZ_ARRAY,
        ColumnType::Uuid => Type::UUID_ARRAY,
    };
    Ok((values.collect::<Result<_, _>>()?, array))
}

/// The cast that turns a literal into an array. `None` for a type that is no array.
pub(super) fn cast(kind: ColumnType) -> Option<&'static str> {
    match kind {
        ColumnType::TextArray => Some("::text[]"),
        ColumnType::IntegerArray => Some("::bigint[]"),
        ColumnType::UuidArray => Some("::uuid[]"),
        _ => None,
    }
}

/// A column of `unnest`, cast to the type of its table column. It keeps its name.
fn selected(value: &str, kind: ColumnType) -> String {
    cast(kind).map_or_else(|| value.to_owned(), |cast| format!("{value}{cast} AS {value}"))
}

fn wrong(kind: ColumnType, value: &Value) -> StoreError {
    let why = format!("a column of {kind} was given {:?}", value.column_type());
    StoreError::new("writing rows", StoreErrorKind::Usage, why)
}

fn sql(write: &Bulk<'_>, columns: &[&(&str, ColumnType)]) -> String {
    let names: Vec<String> = columns.iter().map(|(name, _)| quote(name)).collect();
    let params: Vec<String> = (1..=names.len()).map(|number| format!("${number}")).collect();
    let keys = names.get(..write.keys.len()).unwrap_or_default();
    let selected: Vec<String> = columns.iter().map(|(name, kind)| selected(&quote(name), *kind)).collect();
    let all = format!("SELECT {} FROM unnest({}) AS u({})", selected.join(", "), params.join(", "), names.join(", "));
    let (table, rows) = (&write.table, format!("({all}) AS u"));
    let same = || keys.iter().map(|key| format!("t.{key} = u.{key}")).collect::<Vec<_>>().join(" AND ");
    match write.kind {
        BulkKind::Delete | BulkKind::Absent => format!("DELETE FROM {table} t USING {rows} WHERE {}", same()),
        BulkKind::Update => {
            let set = write.assigned("t.", |_, name| format!("u.{name}")).join(", ");
            format!("UPDATE {table} t SET {set} FROM {rows} WHERE {}{}", same(), write.demand())
        }
        BulkKind::Insert => format!("INSERT INTO {table} ({}) {all}", names.join(", ")),
        BulkKind::Upsert | BulkKind::InsertMissing => format!(
            "INSERT INTO {table} AS t ({}) {all} ON CONFLICT ({}) DO {}",
            names.join(", "),
            keys.join(", "),
            on_conflict(write)
        ),
    }
}
