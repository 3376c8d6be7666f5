//! Many rows in one statement: a column of values becomes an array, and `unnest` makes rows of them again.

use std::time::SystemTime;

use postgres::GenericClient;
use postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::conn::Session;
use crate::db::{Bulk, BulkKind};
use crate::error::{StoreError, StoreErrorKind};
use crate::sql::quote;
use crate::value::{ColumnType, Value};

pub(super) fn write<C: GenericClient>(session: &mut Session<'_, C>, write: &Bulk) -> Result<u64, StoreError> {
    if write.rows.is_empty() {
        return Ok(0);
    }
    let columns: Vec<&(&str, ColumnType)> = write.keys.iter().chain(&write.columns).collect();
    let arrays =
        columns.iter().enumerate().map(|(at, (_, kind))| array(write, at, *kind)).collect::<Result<Vec<_>, _>>()?;
    let params: Vec<(&(dyn ToSql + Sync), Type)> =
        arrays.iter().map(|(array, kind)| (array.as_ref(), kind.clone())).collect();
    session.touch(&sql(write, &columns), &params, "writing rows")
}

type Array<'v> = (Box<dyn ToSql + Sync + 'v>, Type);

fn array(write: &Bulk, at: usize, kind: ColumnType) -> Result<Array<'_>, StoreError> {
    let values = || write.rows.iter().map(|row| row.get(at).unwrap_or(&Value::Null));
    macro_rules! gather {
        ($variant:ident, $type:ty, $array:expr, |$value:ident| $take:expr) => {{
            let items = values().map(|value| match value {
                Value::Null => Ok(None),
                Value::$variant($value) => Ok(Some($take)),
                other => Err(wrong(kind, other)),
            });
            (Box::new(items.collect::<Result<Vec<Option<$type>>, StoreError>>()?) as Box<dyn ToSql + Sync>, $array)
        }};
    }
    Ok(match kind {
        ColumnType::Text => gather!(Text, &str, Type::TEXT_ARRAY, |value| value.as_str()),
        ColumnType::Integer => gather!(Integer, i64, Type::INT8_ARRAY, |value| *value),
        ColumnType::Boolean => gather!(Boolean, bool, Type::BOOL_ARRAY, |value| *value),
        ColumnType::Timestamp => gather!(Timestamp, SystemTime, Type::TIMESTAMPTZ_ARRAY, |value| *value),
        ColumnType::Uuid => gather!(Uuid, Uuid, Type::UUID_ARRAY, |value| *value),
        other => return Err(wrong(other, &Value::Null)),
    })
}

fn wrong(kind: ColumnType, value: &Value) -> StoreError {
    let why = format!("a column of {kind:?} was given {:?}", value.column_type());
    StoreError::new("writing rows", StoreErrorKind::Usage, why)
}

fn sql(write: &Bulk, columns: &[&(&str, ColumnType)]) -> String {
    let names: Vec<String> = columns.iter().map(|(name, _)| quote(name)).collect();
    let params: Vec<String> = (1..=names.len()).map(|number| format!("${number}")).collect();
    let (keys, others) = names.split_at(write.keys.len());
    let rows = format!("unnest({}) AS u({})", params.join(", "), names.join(", "));
    let assigned = |from: &str| {
        let parts: Vec<String> = others.iter().map(|name| format!("{name} = {from}.{name}")).collect();
        parts.join(", ")
    };
    if write.kind == BulkKind::Update {
        let same: Vec<String> = keys.iter().map(|key| format!("t.{key} = u.{key}")).collect();
        return format!("UPDATE {} t SET {} FROM {rows} WHERE {}", write.table, assigned("u"), same.join(" AND "));
    }
    let mut sql = format!("INSERT INTO {} ({}) SELECT * FROM {rows}", write.table, names.join(", "));
    match write.kind {
        BulkKind::InsertMissing => sql += format!(" ON CONFLICT ({}) DO NOTHING", keys.join(", ")).as_str(),
        BulkKind::Upsert => {
            sql += format!(" ON CONFLICT ({}) DO UPDATE SET {}", keys.join(", "), assigned("excluded")).as_str();
        }
        BulkKind::Insert | BulkKind::Update => {}
    }
    sql
}
