//! The tables of all projections, of every version and build.

use super::{catalog, texts};
use crate::db::{Conn, Row, row};
use crate::error::StoreError;
use crate::sql::{self, Dialect};
use crate::value::Value;

/// A table that a projection was given.
struct ReadTable {
    schema: Option<String>,
    name: String,
}

/// All read tables, quoted and ready for SQL. Each comes before the tables that it refers to.
pub(crate) fn read_tables(conn: &mut dyn Conn) -> Result<Vec<String>, StoreError> {
    let sql = format!("SELECT table_name FROM {} ORDER BY table_name", conn.dialect().table("projection_tables"));
    let owned = texts(&conn.query(&sql, &[])?, 0)?;
    let tables = match conn.dialect() {
        Dialect::Postgres => in_schemas(conn, owned)?,
        Dialect::Sqlite => in_file(conn, &owned)?,
    };
    let references = references(conn, &tables)?;
    Ok(referring_first(tables, &references).into_iter().map(|table| quoted(&table)).collect())
}

/// The names with their schemas. A name without a schema on record is where an earlier version of this library looked.
fn in_schemas(conn: &mut dyn Conn, owned: Vec<String>) -> Result<Vec<ReadTable>, StoreError> {
    let sql = "SELECT n.nspname::text, c.relname::text FROM unnest($1::text[]) AS o(name) JOIN pg_class c ON c.relkind = 'r' \
               JOIN pg_namespace n ON n.oid = c.relnamespace AND o.name = n.nspname || '.' || c.relname \
               ORDER BY o.name";
    let mut tables = Vec::new();
    for found in conn.query(sql, &[Value::TextArray(owned.clone())])? {
        tables
            .push(ReadTable { schema: Some(row::text(&found, 0)?.to_owned()), name: row::text(&found, 1)?.to_owned() });
    }
    for name in owned {
        if !name.contains('.') && catalog::relation(conn, None, &name)?.as_deref() == Some("table") {
            tables.push(ReadTable { schema: None, name });
        }
    }
    Ok(tables)
}

/// A name on record has its schema before the name in the file, and that name begins with the schema, too. So this
/// drops the first part.
fn in_file(conn: &mut dyn Conn, owned: &[String]) -> Result<Vec<ReadTable>, StoreError> {
    let mut tables = Vec::new();
    for name in owned {
        let name = name.split_once('.').map_or(name.as_str(), |(_, name)| name);
        if catalog::relation(conn, None, name)?.as_deref() == Some("table") {
            tables.push(ReadTable { schema: None, name: name.to_owned() });
        }
    }
    Ok(tables)
}

fn quoted(table: &ReadTable) -> String {
    match &table.schema {
        Some(schema) => format!("{}.{}", sql::quote(schema), sql::quote(&table.name)),
        None => sql::quote(&table.name),
    }
}

/// Pairs of names: a foreign key of the first table refers to the second one.
fn references(conn: &mut dyn Conn, tables: &[ReadTable]) -> Result<Vec<(String, String)>, StoreError> {
    let pair = |found: &Row| Ok((row::text(found, 0)?.to_owned(), row::text(found, 1)?.to_owned()));
    if conn.dialect() == Dialect::Postgres {
        let sql = "SELECT c.relname::text, p.relname::text FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid \
                   JOIN pg_class p ON p.oid = k.confrelid WHERE k.contype = 'f'";
        return conn.query(sql, &[])?.iter().map(pair).collect();
    }
    let mut pairs = Vec::new();
    for table in tables {
        let sql = "SELECT $1, \"table\" FROM pragma_foreign_key_list($1)";
        for found in conn.query(sql, &catalog::one(&table.name))? {
            pairs.push(pair(&found)?);
        }
    }
    Ok(pairs)
}

fn referring_first(mut tables: Vec<ReadTable>, references: &[(String, String)]) -> Vec<ReadTable> {
    let mut sorted = Vec::with_capacity(tables.len());
    while !tables.is_empty() {
        let is_free = |at: &usize| {
            let name = tables.get(*at).map(|table| &table.name);
            !tables.iter().any(|other| {
                Some(&other.name) != name && references.iter().any(|(from, to)| *from == other.name && Some(to) == name)
            })
        };
        // Tables that refer to each other in a circle go in any order.
        let next = (0..tables.len()).find(is_free).unwrap_or(0);
        sorted.push(tables.remove(next));
    }
    sorted
}
