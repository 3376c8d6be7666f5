//! An SQLite file that becomes another one, while it stays the same file for all who have it open.

use std::path::Path;
use std::time::Duration;

use readside::rusqlite::{Connection, Row};

fn connection(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(Duration::from_mins(1)).unwrap();
    connection.execute_batch("PRAGMA foreign_keys = off").unwrap();
    connection
}

/// Copies the database as it is now.
pub(crate) fn keep(path: &Path, copy: &Path) {
    let _ = std::fs::remove_file(copy);
    connection(path).execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
}

/// Puts a copy back as the online restore does: in one transaction, into the file that all have open. The rows of
/// `projections` come last, because triggers count in them.
pub(crate) fn put_back(path: &Path, copy: &Path) {
    let connection = connection(path);
    connection.execute("ATTACH ?1 AS kept", [copy.to_str().unwrap()]).unwrap();
    let sql = "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' \
         ORDER BY name = 'readside_projections', name";
    let restore = |row: &Row<'_>| {
        let table: String = row.get(0)?;
        Ok(format!("DELETE FROM main.\"{table}\"; INSERT INTO main.\"{table}\" SELECT * FROM kept.\"{table}\";"))
    };
    in_one_transaction(&connection, sql, restore);
}

/// Leaves nothing in the file.
pub(crate) fn empty(path: &Path) {
    let sql = "SELECT type, name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite%' \
         ORDER BY type = 'table'";
    let drop = |row: &Row<'_>| {
        let (kind, name): (String, String) = (row.get(0)?, row.get(1)?);
        Ok(format!("DROP {kind} \"{name}\";"))
    };
    in_one_transaction(&connection(path), sql, drop);
}

pub(crate) fn run(path: &Path, sql: &str) {
    connection(path).execute_batch(sql).unwrap();
}

/// Runs the statements that are made of the rows of a query.
fn in_one_transaction(
    connection: &Connection,
    query: &str,
    statement: impl FnMut(&Row<'_>) -> rusqlite::Result<String>,
) {
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut query = connection.prepare(query).unwrap();
    let statements: String = query.query_map([], statement).unwrap().map(Result::unwrap).collect();
    connection.execute_batch(&format!("{statements} COMMIT")).unwrap();
}
