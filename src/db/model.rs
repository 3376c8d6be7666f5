//! Everything that one instance of a read model holds, as of one moment: state, held positions and rows.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::place::placed;
use super::{Conn, Row, row, state};
use crate::builds::Model;
use crate::error::StoreError;
use crate::projection::Projection;
use crate::sql::{self, Dialect};
use crate::table::{INSTANCE_COLUMN, Table};
use crate::value::{ColumnType, Value};

/// A row of a read table: names and values of its columns, the instance first.
type NamedValues = Vec<(String, Value)>;

/// Reads an instance from one snapshot. The schema of the projection must be known. The connection must not have read
/// in this transaction.
///
/// PostgreSQL finds a table by its present name, but shows rows as of the snapshot. A switch between the two would
/// exchange the names. So this locks the tables against a switch before it takes the snapshot.
pub(crate) fn read(conn: &mut dyn Conn, projection: &Projection, instance: &str) -> Result<Model, StoreError> {
    match conn.dialect() {
        Dialect::Postgres => {
            conn.batch("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")?;
            let name = |table: &Table| sql::physical_name(conn.dialect(), projection, table);
            let tables: Vec<String> = projection.tables().iter().map(name).collect();
            if !tables.is_empty() {
                conn.batch(&format!("LOCK TABLE {} IN ACCESS SHARE MODE", tables.join(", ")))?;
            }
            read_all(conn, projection, instance)
        }
        Dialect::Sqlite => {
            conn.batch("BEGIN")?;
            let found = read_all(conn, projection, instance);
            conn.batch("ROLLBACK")?;
            found
        }
    }
}

fn read_all(conn: &mut dyn Conn, projection: &Projection, instance: &str) -> Result<Model, StoreError> {
    let mut states = state::states(conn, &projection.key(), &[Arc::from(instance)])?;
    let tables = all_rows(conn, projection, instance)?;
    Ok(Model { state: states.pop().unwrap_or_default(), held: held(conn, projection, instance)?, tables })
}

/// The rows of an instance, table by table. The schema of the projection must be known.
pub(crate) fn all_rows(
    conn: &mut dyn Conn,
    projection: &Projection,
    instance: &str,
) -> Result<Vec<Vec<NamedValues>>, StoreError> {
    projection.tables().iter().map(|table| rows(conn, projection, table, instance)).collect()
}

fn held(conn: &mut dyn Conn, projection: &Projection, instance: &str) -> Result<BTreeSet<i64>, StoreError> {
    let sql = format!(
        "SELECT position FROM {} WHERE instance_id = $1 AND projection = $2 AND version = $3",
        conn.dialect().table("held_events")
    );
    let params = [instance.into(), projection.key().name.into(), projection.version().into()];
    conn.query(&sql, &params)?.iter().map(|found| row::int(found, 0)).collect()
}

fn rows(
    conn: &mut dyn Conn,
    projection: &Projection,
    table: &Table,
    instance: &str,
) -> Result<Vec<NamedValues>, StoreError> {
    let own = table.columns.iter().map(|column| (column.name.as_str(), column.kind));
    let columns: Vec<(&str, ColumnType)> = std::iter::once((INSTANCE_COLUMN, ColumnType::Text)).chain(own).collect();
    let names: Vec<String> = columns.iter().map(|(name, _)| sql::quote(name)).collect();
    let name = sql::physical_name(conn.dialect(), projection, table);
    let sql = format!("SELECT {} FROM {name} WHERE {} = $1", names.join(", "), sql::quote(INSTANCE_COLUMN));
    let found = conn.query(&sql, &[instance.into()])?;
    let typed = |row: Row| {
        let values = row.into_iter().zip(&columns);
        values.map(|(value, (name, kind))| ((*name).to_owned(), conn.typed(value, *kind))).collect()
    };
    Ok(found.into_iter().map(typed).collect())
}

/// The row of a table with this primary key; the values are in the order of the key's columns.
pub(crate) fn find(
    conn: &mut dyn Conn,
    projection: &Projection,
    table: &Table,
    instance: &str,
    key: &[Value],
) -> Result<Option<NamedValues>, StoreError> {
    let projection = &placed(conn, projection)?;
    let own = table.columns.iter().map(|column| (column.name.as_str(), column.kind));
    let columns: Vec<(&str, ColumnType)> = std::iter::once((INSTANCE_COLUMN, ColumnType::Text)).chain(own).collect();
    let names: Vec<String> = columns.iter().map(|(name, _)| sql::quote(name)).collect();
    let matches = (2..).zip(&table.primary_key).map(|(at, name)| format!("{} = ${at}", sql::quote(name)));
    let sql = format!(
        "SELECT {} FROM {} WHERE {} = $1 AND {}",
        names.join(", "),
        sql::physical_name(conn.dialect(), projection, table),
        sql::quote(INSTANCE_COLUMN),
        matches.collect::<Vec<_>>().join(" AND ")
    );
    let params: Vec<Value> = std::iter::once(Value::from(instance)).chain(key.iter().cloned()).collect();
    let found = conn.query(&sql, &params)?.into_iter().next();
    let typed = |row: Row| {
        let values = row.into_iter().zip(&columns);
        values.map(|(value, (name, kind))| ((*name).to_owned(), conn.typed(value, *kind))).collect()
    };
    Ok(found.map(typed))
}

/// Instances that have a state or a row of the projection, in byte order, after `after`.
pub(crate) fn instances(
    conn: &mut dyn Conn,
    projection: &Projection,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Arc<str>>, StoreError> {
    let projection = &placed(conn, projection)?;
    let dialect = conn.dialect();
    let states = dialect.table("projection_states");
    let mut parts = vec![format!("SELECT instance_id FROM {states} WHERE projection = $1 AND version = $2")];
    for table in projection.tables() {
        parts.push(format!("SELECT instance_id FROM {}", sql::physical_name(dialect, projection, table)));
    }
    let sql = format!(
        "SELECT instance_id FROM ({}) AS found WHERE CAST($3 AS text) IS NULL OR instance_id > $3 \
         ORDER BY instance_id LIMIT $4",
        parts.join(" UNION ")
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let params =
        [projection.key().name.into(), projection.version().into(), after.map(str::to_owned).into(), limit.into()];
    conn.query(&sql, &params)?.iter().map(|found| row::shared(found, 0)).collect()
}

/// Those of these instances that have rows in the projection's tables: one look-up along the primary key for each table
/// and instance. The schema of the projection must be known.
pub(crate) fn with_rows(
    conn: &mut dyn Conn,
    projection: &Projection,
    instances: &[Arc<str>],
) -> Result<Vec<Arc<str>>, StoreError> {
    let (dialect, column) = (conn.dialect(), sql::quote(INSTANCE_COLUMN));
    let has_row = |table: &Table| {
        let name = sql::physical_name(dialect, projection, table);
        format!("EXISTS (SELECT 1 FROM {name} t WHERE t.{column} = asked.id)")
    };
    let has_rows: Vec<String> = projection.tables().iter().map(has_row).collect();
    if has_rows.is_empty() || instances.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!("SELECT asked.id FROM {} WHERE {}", dialect.texts(1, "asked", "id"), has_rows.join(" OR "));
    let ids = Value::TextArray(instances.iter().map(ToString::to_string).collect());
    conn.query(&sql, &[ids])?.iter().map(|found| row::shared(found, 0)).collect()
}

/// Removes the rows of an instance, first the rows that refer to others, and returns how many. The schema of the
/// projection must be known.
pub(crate) fn forget(conn: &mut dyn Conn, projection: &Projection, instance: &str) -> Result<u64, StoreError> {
    let mut rows = 0;
    for table in projection.tables().iter().rev() {
        let name = sql::physical_name(conn.dialect(), projection, table);
        let column = sql::quote(INSTANCE_COLUMN);
        rows += conn.execute(&format!("DELETE FROM {name} WHERE {column} = $1"), &[instance.into()])?;
    }
    Ok(rows)
}
