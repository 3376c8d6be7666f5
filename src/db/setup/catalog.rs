//! What a database says about its own tables.

use std::collections::BTreeMap;

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

/// What has this name: `table`, `view` or the database's word for something else; `None` if the name is free.
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

/// True if a view reads a table. SQLite keeps the text of a view, and renames a table in it when the table is renamed.
pub(in crate::db) fn reads(
    conn: &mut dyn Conn,
    schema: Option<&str>,
    view: &str,
    table: &str,
) -> Result<bool, StoreError> {
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
    /// True if it gets a value when a statement gives none.
    has_default: bool,
    /// True if only the database gives it values; statements must not.
    is_generated: bool,
    /// The place in the primary key, from 1; 0 if it is not part of it.
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
             a.atthasdef OR a.attidentity <> '', coalesce(array_position(i.indkey::int2[], a.attnum) + 1, 0)::int8, \
             a.attgenerated <> '' OR a.attidentity = 'a' \
             FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
             JOIN pg_namespace n ON n.oid = c.relnamespace \
             LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary \
             WHERE n.nspname = coalesce($1::text, current_schema()::text) AND c.relname = $2::text \
             AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            &[schema.into(), name.into()],
        )?,
        Dialect::Sqlite => conn.query(
            "SELECT name, type, \"notnull\" OR pk > 0, dflt_value IS NOT NULL OR hidden > 1, pk, hidden > 1 \
             FROM pragma_table_xinfo($1) WHERE hidden <> 1 ORDER BY cid",
            &[name.into()],
        )?,
    };
    rows.iter()
        .map(|found| {
            Ok(CatalogColumn {
                name: row::text(found, 0)?.to_owned(),
                kind: row::text(found, 1)?.to_owned(),
                not_null: row::truth(found, 2)?,
                has_default: row::truth(found, 3)?,
                key: row::int(found, 4)?,
                is_generated: row::truth(found, 5)?,
            })
        })
        .collect()
}

fn type_name(dialect: Dialect, kind: ColumnType) -> String {
    use ColumnType as T;
    let name = match dialect {
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
            T::Decimal { precision, scale } => return format!("numeric({precision},{scale})"),
            T::Date => "date",
            T::Time => "time without time zone",
            T::Duration => "interval",
            T::IntegerArray => "bigint[]",
            T::UuidArray => "uuid[]",
        },
        Dialect::Sqlite => match kind {
            T::Text | T::Json | T::Timestamp | T::TextArray | T::Date | T::Time | T::IntegerArray | T::UuidArray => {
                "TEXT"
            }
            T::Integer | T::Boolean | T::Decimal { .. } | T::Duration => "INTEGER",
            T::Float => "REAL",
            T::Bytes | T::Uuid => "BLOB",
        },
    };
    name.to_owned()
}

fn expected(dialect: Dialect, table: &Table) -> Vec<CatalogColumn> {
    let key = |name: &str| table.primary_key.iter().position(|column| column == name);
    let instance = CatalogColumn {
        name: INSTANCE_COLUMN.to_owned(),
        kind: type_name(dialect, ColumnType::Text),
        not_null: true,
        has_default: false,
        is_generated: false,
        key: 1,
    };
    let columns = table.columns.iter().map(|column| CatalogColumn {
        name: column.name.clone(),
        kind: type_name(dialect, column.kind),
        not_null: !column.nullable,
        has_default: false,
        is_generated: column.generated.is_some(),
        key: key(&column.name).and_then(|at| i64::try_from(at + 2).ok()).unwrap_or(0),
    });
    std::iter::once(instance).chain(columns).collect()
}

/// How a table differs from its definition; `None` if it fits.
pub(in crate::db) fn difference(
    conn: &mut dyn Conn,
    projection: &Projection,
    table: &Table,
) -> Result<Option<String>, StoreError> {
    let (found, wanted) = (found(conn, projection, table)?, expected(conn.dialect(), table));
    if let Some(text) = missing(&found, &wanted) {
        return Ok(Some(text));
    }
    for column in &found {
        let Some(want) = wanted.iter().find(|want| want.name == column.name) else {
            return Ok(Some(format!("column {:?} is not part of it", column.name)));
        };
        if let Some(text) = column_difference(column, want) {
            return Ok(Some(text));
        }
    }
    missing_unique(conn, projection, table)
}

/// What in a table may make statements fail that fit its definition; `None` if there is nothing. If the table allows
/// more than its definition, that hinders no statement.
pub(in crate::db) fn obstacle(
    conn: &mut dyn Conn,
    projection: &Projection,
    table: &Table,
) -> Result<Option<String>, StoreError> {
    let (found, wanted) = (found(conn, projection, table)?, expected(conn.dialect(), table));
    let pairs = found.iter().filter_map(|column| Some((column, wanted.iter().find(|want| want.name == column.name)?)));
    // Such a column refuses NULL too, but a statement fails for this reason first.
    if let Some(text) = pairs.clone().find_map(|(found, want)| generated(found, want)) {
        return Ok(Some(text));
    }
    if let Some(text) = demanded(conn, projection, table)? {
        return Ok(Some(text));
    }
    let mut other =
        pairs.filter_map(|(found, want)| kind_difference(found, want).or_else(|| key_difference(found, want)));
    let text = missing(&found, &wanted).or_else(|| other.next());
    if text.is_some() { Ok(text) } else { missing_unique(conn, projection, table) }
}

/// A column for which the table demands a value and its definition does not.
pub(in crate::db) fn demanded(
    conn: &mut dyn Conn,
    projection: &Projection,
    table: &Table,
) -> Result<Option<String>, StoreError> {
    let (found, wanted) = (found(conn, projection, table)?, expected(conn.dialect(), table));
    for column in found.iter().filter(|column| column.not_null) {
        let name = &column.name;
        match wanted.iter().find(|want| want.name == *name) {
            Some(want) if !want.not_null => return Ok(Some(format!("column {name:?} does not allow NULL"))),
            Some(want) if want.is_generated && !column.is_generated && !column.has_default => {
                return Ok(generated(column, want));
            }
            None if !column.has_default => {
                return Ok(Some(format!("column {name:?} is not part of it, allows no NULL and has no default")));
            }
            _ => {}
        }
    }
    Ok(None)
}

fn found(conn: &mut dyn Conn, projection: &Projection, table: &Table) -> Result<Vec<CatalogColumn>, StoreError> {
    let name = sql::physical_raw(conn.dialect(), projection, table);
    columns(conn, projection.place(), &name)
}

fn missing(found: &[CatalogColumn], wanted: &[CatalogColumn]) -> Option<String> {
    let column = wanted.iter().find(|column| !found.iter().any(|other| other.name == column.name))?;
    Some(format!("column {:?} is missing", column.name))
}

/// A unique constraint of the definition for which the table has neither a constraint nor an index.
fn missing_unique(conn: &mut dyn Conn, projection: &Projection, table: &Table) -> Result<Option<String>, StoreError> {
    if table.uniques.is_empty() {
        return Ok(None);
    }
    let name = sql::physical_raw(conn.dialect(), projection, table);
    let rows = match conn.dialect() {
        Dialect::Postgres => conn.query(
            "SELECT i.indexrelid::int8, a.attname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid \
             JOIN pg_namespace n ON n.oid = c.relnamespace \
             JOIN pg_attribute a ON a.attrelid = c.oid AND array_position(i.indkey::int2[], a.attnum) < i.indnkeyatts \
             WHERE n.nspname = coalesce($1::text, current_schema()::text) AND c.relname = $2::text \
             AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL",
            &[projection.place().into(), name.as_str().into()],
        )?,
        Dialect::Sqlite => conn.query(
            "SELECT l.seq, i.name FROM pragma_index_list($1) l JOIN pragma_index_xinfo(l.name) i \
             WHERE l.\"unique\" AND NOT l.partial AND i.key AND NOT EXISTS (SELECT 1 FROM pragma_index_xinfo(l.name) e \
             WHERE e.key AND (e.name IS NULL OR e.coll <> 'BINARY'))",
            &one(&name),
        )?,
    };
    let mut uniques: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for found in &rows {
        uniques.entry(row::int(found, 0)?).or_default().push(row::text(found, 1)?.to_owned());
    }
    let is_one = |columns: &Vec<String>, wanted: &[String]| {
        columns.len() == wanted.len() + 1
            && columns.iter().all(|column| column == INSTANCE_COLUMN || wanted.contains(column))
    };
    let missing = table.uniques.iter().find(|wanted| !uniques.values().any(|columns| is_one(columns, wanted)));
    Ok(missing.map(|columns| format!("the unique constraint over {INSTANCE_COLUMN:?} and {columns:?} is missing")))
}

fn column_difference(found: &CatalogColumn, want: &CatalogColumn) -> Option<String> {
    if let Some(text) = kind_difference(found, want) {
        return Some(text);
    }
    if found.not_null != want.not_null {
        let word = if found.not_null { "does not allow" } else { "allows" };
        return Some(format!("column {:?} {word} NULL", found.name));
    }
    key_difference(found, want)
}

fn generated(found: &CatalogColumn, want: &CatalogColumn) -> Option<String> {
    match (found.is_generated, want.is_generated) {
        (true, false) => {
            Some(format!("the database alone gives column {:?} its values (GENERATED ALWAYS)", found.name))
        }
        (false, true) => Some(format!("column {:?} is to be generated, and nothing gives it its values", found.name)),
        _ => None,
    }
}

fn kind_difference(found: &CatalogColumn, want: &CatalogColumn) -> Option<String> {
    if let Some(text) = generated(found, want) {
        return Some(text);
    }
    let is_same = found.kind.eq_ignore_ascii_case(&want.kind);
    (!is_same).then(|| format!("column {:?} is {}, not {}", found.name, found.kind, want.kind))
}

fn key_difference(found: &CatalogColumn, want: &CatalogColumn) -> Option<String> {
    (found.key != want.key)
        .then(|| format!("the primary key lacks column {:?}, or has it at another place", found.name))
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

/// The name under which the owner of a relation is on record.
pub(super) fn qualified(projection: &Projection, name: &str) -> String {
    match projection.place() {
        Some(schema) => format!("{schema}.{name}"),
        None => name.to_owned(),
    }
}
