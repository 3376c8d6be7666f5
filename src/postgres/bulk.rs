//! Writes many rows in one statement: each column of values becomes an array, and `unnest` turns the arrays into rows
//! again.
//!
//! `unnest` would also take an array of arrays apart. So array values travel as their literals, and are cast row by
//! row.

use postgres::GenericClient;
use postgres::types::{ToSql, Type};

use super::session::Session;
use super::value::Param;
use crate::db::{Bulk, BulkKind, BulkRow, on_conflict, takes};
use crate::error::{StoreError, StoreErrorKind};
use crate::sql::quote;
use crate::value::{ColumnType, Value};

/// The values of a column.
pub(super) type Array<'v> = (Vec<Param<'v>>, Type);

pub(super) fn write<C: GenericClient>(session: &mut Session<'_, C>, write: &Bulk) -> Result<u64, StoreError> {
    if write.rows.is_empty() {
        return Ok(0);
    }
    if let [row] = &write.rows[..] {
        let values = one(write, row)?;
        return session.touch(&sql(write, Source::Parameters), &typed(&values), "writing rows");
    }
    let arrays = arrays(write)?;
    session.touch(&sql(write, Source::Arrays), &typed(&arrays), "writing rows")
}

/// Where a statement finds the rows to write. A single row needs no `unnest`: the server would plan a join with it,
/// which costs more than the write.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Arrays,
    Parameters,
}

/// The values of a single row.
fn one<'v>(write: &Bulk<'_>, row: &'v BulkRow<'_>) -> Result<Vec<(Param<'v>, Type)>, StoreError> {
    let columns = write.keys.iter().chain(&write.columns).enumerate();
    columns.map(|(at, (_, kind))| Ok((fit(*kind, row, at)?, types(*kind).0))).collect()
}

/// The columns of all rows, in their order.
pub(super) fn arrays<'v>(write: &'v Bulk<'_>) -> Result<Vec<Array<'v>>, StoreError> {
    let columns = write.keys.iter().chain(&write.columns).enumerate();
    columns.map(|(at, (_, kind))| array(write, at, *kind)).collect()
}

pub(super) fn typed<T: ToSql + Sync>(values: &[(T, Type)]) -> Vec<(&(dyn ToSql + Sync), Type)> {
    values.iter().map(|(value, kind)| (value as &(dyn ToSql + Sync), kind.clone())).collect()
}

/// The values of one column.
fn array<'v>(write: &'v Bulk<'_>, at: usize, kind: ColumnType) -> Result<(Vec<Param<'v>>, Type), StoreError> {
    let values = write.rows.iter().map(|row| fit(kind, row, at)).collect::<Result<_, _>>()?;
    Ok((values, types(kind).1))
}

/// A value of a row, if it fits the column's type.
fn fit<'v>(kind: ColumnType, row: &'v BulkRow<'_>, at: usize) -> Result<Param<'v>, StoreError> {
    match row.get(at).map_or(&Value::Null, AsRef::as_ref) {
        value if takes(kind, value) => Ok(Param(value)),
        other => Err(wrong(kind, other)),
    }
}

/// The type that a value of a column travels as, and that of many.
fn types(kind: ColumnType) -> (Type, Type) {
    match kind {
        ColumnType::Text | ColumnType::TextArray | ColumnType::IntegerArray | ColumnType::UuidArray => {
            (Type::TEXT, Type::TEXT_ARRAY)
        }
        ColumnType::Decimal { .. } => (Type::NUMERIC, Type::NUMERIC_ARRAY),
        ColumnType::Date => (Type::DATE, Type::DATE_ARRAY),
        ColumnType::Time => (Type::TIME, Type::TIME_ARRAY),
        ColumnType::Duration => (Type::INTERVAL, Type::INTERVAL_ARRAY),
        ColumnType::Integer => (Type::INT8, Type::INT8_ARRAY),
        ColumnType::Boolean => (Type::BOOL, Type::BOOL_ARRAY),
        ColumnType::Float => (Type::FLOAT8, Type::FLOAT8_ARRAY),
        ColumnType::Json => (Type::JSONB, Type::JSONB_ARRAY),
        ColumnType::Bytes => (Type::BYTEA, Type::BYTEA_ARRAY),
        ColumnType::Timestamp => (Type::TIMESTAMPTZ, Type::TIMESTAMPTZ_ARRAY),
        ColumnType::Uuid => (Type::UUID, Type::UUID_ARRAY),
    }
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

/// The rows to write, as a query. Each value has the name and the type of its column.
fn rows(source: Source, columns: &[(String, ColumnType)]) -> String {
    let selected = |(at, (name, kind)): (usize, &(String, ColumnType))| match (source, cast(*kind)) {
        (Source::Parameters, cast) => format!("${}{} AS {name}", at + 1, cast.unwrap_or_default()),
        (Source::Arrays, Some(cast)) => format!("{name}{cast} AS {name}"),
        (Source::Arrays, None) => name.clone(),
    };
    let selected = columns.iter().enumerate().map(selected).collect::<Vec<_>>().join(", ");
    if source == Source::Parameters {
        return format!("SELECT {selected}");
    }
    let params: Vec<String> = (1..=columns.len()).map(|number| format!("${number}")).collect();
    let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    format!("SELECT {selected} FROM unnest({}) AS u({})", params.join(", "), names.join(", "))
}

fn wrong(kind: ColumnType, value: &Value) -> StoreError {
    let why = format!("a column of {kind} was given {:?}", value.column_type());
    StoreError::new("writing rows", StoreErrorKind::Usage, why)
}

fn sql(write: &Bulk<'_>, source: Source) -> String {
    let columns: Vec<(String, ColumnType)> =
        write.keys.iter().chain(&write.columns).map(|(name, kind)| (quote(name), *kind)).collect();
    let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    let keys = names.get(..write.keys.len()).unwrap_or_default();
    let all = rows(source, &columns);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn update(rows: usize) -> (Bulk<'static>, String) {
        let row = || vec![Value::from("a"), Value::from("x"), Value::TextArray(vec!["y".to_owned()])];
        let write = Bulk {
            table: "t".to_owned(),
            kind: BulkKind::Update,
            keys: vec![("instance_id", ColumnType::Text)],
            columns: vec![("name", ColumnType::Text), ("tags", ColumnType::TextArray)],
            how: Vec::new(),
            only_if: None,
            rows: crate::db::owned((0..rows).map(|_| row()).collect()),
        };
        let source = if rows == 1 { Source::Parameters } else { Source::Arrays };
        let sql = sql(&write, source);
        (write, sql)
    }

    #[test]
    fn a_single_row_is_written_without_unnest() {
        let (write, sql) = update(1);
        assert_eq!(
            sql,
            r#"UPDATE t t SET "name" = u."name", "tags" = u."tags" FROM (SELECT $1 AS "instance_id", $2 AS "name", $3::text[] AS "tags") AS u WHERE t."instance_id" = u."instance_id""#
        );
        let values = one(&write, &write.rows[0]).unwrap();
        assert_eq!(values.into_iter().map(|(_, kind)| kind).collect::<Vec<_>>(), [Type::TEXT, Type::TEXT, Type::TEXT]);
        let (write, sql) = update(2);
        assert!(sql.contains(r#"unnest($1, $2, $3) AS u("instance_id", "name", "tags")"#), "{sql}");
        let kinds: Vec<Type> = arrays(&write).unwrap().into_iter().map(|(_, kind)| kind).collect();
        assert_eq!(kinds, [Type::TEXT_ARRAY, Type::TEXT_ARRAY, Type::TEXT_ARRAY]);
    }
}
