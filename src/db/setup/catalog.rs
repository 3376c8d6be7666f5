//! What a database says about its own tables.

use crate::db::{Conn, row};
use crate::error::StoreError;
use crate::projection::Projection;
use crate::sql::{self, Dialect};
use crate::table::{INSTANCE_COLUMN, Table};
use crate::value::{ColumnType, Value};

/// The unquoted name of one of the engine's tables inside its schema.
pub(super) fn engine_table(dialect: Dialect, name: &'static str) -> &'static str {
    match (dialect, name) {
        (Dialect::Sqlite, "schema_migrations") => "readside_schema_migrations",
        (_, name) => name,
    }
}

/// What bears a name: `table`, `view` or the database's word for something else; none when it is free.
pub(in crate::db) fn relation(
    conn: &mut dyn Conn,
    schema: Option<&str>,
    name: &str,
) -> Result<Option<String>, StoreError> {
    let rows = match conn.dialect() {
        Dialect::Postgres => conn.query(
            "SELECT CASE c.relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' ELSE c.relkind::text END \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = coalesce($1::text, current_schema()::text) AND c.relname = $2::text",
            &[schema.into(), name.into()],
        )?,
        Dialect::Sqlite => {
            conn.query("SELECT type FROM sqlite_master WHERE name = $1 COLLATE NOCASE", &[name.into()])?
        }
    };
    rows.first().map(|found| row::text(found, 0).map(str::to_owned)).transpose()
}

/// True when a view reads a table. SQLite keeps the words of a view, in which a table that is renamed is renamed too.
pub(super) fn reads(conn: &mut dyn Conn, schema: Option<&str>, view: &str, table: &str) -> Result<bool, StoreError> {
    match conn.dialect() {
        Dialect::Postgres => {
            let oid = |at: usize| {
                format!(
                    "(SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                     WHERE n.nspname = coalesce($1::text, current_schema()::text) AND c.relname = ${at}::text)"
                )
            };
            let sql = format!(
                "SELECT 1 FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid \
                 WHERE r.ev_class = {} AND d.refclassid = 'pg_class'::regclass AND d.refobjid = {} LIMIT 1",
                oid(2),
                oid(3)
            );
            Ok(!conn.query(&sql, &[schema.into(), view.into(), table.into()])?.is_empty())
        }
        Dialect::Sqlite => {
            let sql = "SELECT sql FROM sqlite_master WHERE type = 'view' AND name = $1 COLLATE NOCASE";
            let rows = conn.query(sql, &one(view))?;
            let words = rows.first().map(|found| row::text(found, 0)).transpose()?.unwrap_or_default();
            Ok(sql::mentions(words, table))
        }
    }
}

/// A column as the database has it.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::db) struct CatalogColumn {
    pub(in crate::db) name: String,
    pub(in crate::db) kind: String,
    not_null: bool,
    /// Place in the primary key, from 1; 0 for none.
    pub(in crate::db) key: i64,
}

/// The columns of a table or view, in order.
pub(in crate::db) fn columns(
    conn: &mut dyn Conn,
    schema: Option<&str>,
    name: &str,
) -> Result<Vec<CatalogColumn>, StoreError> {
    let rows = match conn.dialect() {
        Dialect::Postgres => conn.query(
            "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull, \
             coalesce(array_position(i.indkey::int2[], a.attnum) + 1, 0)::int8 \
             FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
             JOIN pg_namespace n ON n.oid = c.relnamespace \
             LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary \
             WHERE n.nspname = coalesce($1::text, current_schema()::text) AND c.relname = $2::text \
             AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            &[schema.into(), name.into()],
        )?,
        Dialect::Sqlite => conn.query(
            "SELECT name, type, \"notnull\" OR pk > 0, pk FROM pragma_table_info($1) ORDER BY cid",
            &[name.into()],
        )?,
    };
    rows.iter()
        .map(|found| {
            Ok(CatalogColumn {
                name: row::text(found, 0)?.to_owned(),
                kind: row::text(found, 1)?.to_owned(),
                not_null: row::truth(found, 2)?,
                key: row::int(found, 3)?,
            })
        })
        .collect()
}

fn type_name(dialect: Dialect, kind: ColumnType) -> &'static str {
    use ColumnType as T;
    match dialect {
        Dialect::Postgres => match kind {
            T::Text => "text",
            T::Integer => "bigint",
            T::Boolean => "boolean",
            T::Float => "double precision",
            T::Json => "jsonb",
            T::Bytes => "bytea",
            T::Timestamp => "timestamp with time zone",
            T::TextArray => "text[]",
            T::Uuid => "uuid",
        },
        Dialect::Sqlite => match kind {
            T::Text | T::Json | T::Timestamp | T::TextArray => "TEXT",
            T::Integer | T::Boolean => "INTEGER",
            T::Float => "REAL",
            T::Bytes | T::Uuid => "BLOB",
        },
    }
}

fn expected(dialect: Dialect, table: &Table) -> Vec<CatalogColumn> {
    let key = |name: &str| table.primary_key.iter().position(|column| column == name);
    let instance = CatalogColumn {
        name: INSTANCE_COLUMN.to_owned(),
        kind: type_name(dialect, ColumnType::Text).to_owned(),
        not_null: true,
        key: 1,
    };
    let columns = table.columns.iter().map(|column| CatalogColumn {
        name: column.name.clone(),
        kind: type_name(dialect, column.kind).to_owned(),
        not_null: !column.nullable,
        key: key(&column.name).and_then(|at| i64::try_from(at + 2).ok()).unwrap_or(0),
    });
    std::iter::once(instance).chain(columns).collect()
}

/// In what a table differs from its definition; none when it fits.
pub(in crate::db) fn difference(
    conn: &mut dyn Conn,
    projection: &Projection,
    table: &Table,
) -> Result<Option<String>, StoreError> {
    let dialect = conn.dialect();
    let found = columns(conn, projection.place(), &sql::physical_raw(dialect, projection, table))?;
    let wanted = expected(dialect, table);
    let missing = wanted.iter().find(|column| !found.iter().any(|other| other.name == column.name));
    if let Some(column) = missing {
        return Ok(Some(format!("column {:?} is missing", column.name)));
    }
    for column in &found {
        let Some(want) = wanted.iter().find(|want| want.name == column.name) else {
            return Ok(Some(format!("column {:?} is not part of it", column.name)));
        };
        if let Some(text) = column_difference(column, want) {
            return Ok(Some(text));
        }
    }
    Ok(None)
}

fn column_difference(found: &CatalogColumn, want: &CatalogColumn) -> Option<String> {
    let name = &found.name;
    if !found.kind.eq_ignore_ascii_case(&want.kind) {
        return Some(format!("column {name:?} is {}, not {}", found.kind, want.kind));
    }
    if found.not_null != want.not_null {
        let word = if found.not_null { "does not allow" } else { "allows" };
        return Some(format!("column {name:?} {word} NULL"));
    }
    (found.key != want.key).then(|| format!("the primary key has column {name:?} at another place"))
}

/// The columns of a table with their types, the instance's first.
pub(super) fn typed_columns(table: &Table) -> Vec<(String, ColumnType)> {
    let own = table.columns.iter().map(|column| (column.name.clone(), column.kind));
    std::iter::once((INSTANCE_COLUMN.to_owned(), ColumnType::Text)).chain(own).collect()
}

/// One text as a parameter list.
pub(super) fn one(text: &str) -> [Value; 1] {
    [text.into()]
}

/// The name under which the owner of a relation is kept.
pub(super) fn qualified(projection: &Projection, name: &str) -> String {
    match projection.place() {
        Some(schema) => format!("{schema}.{name}"),
        None => name.to_owned(),
    }
}
