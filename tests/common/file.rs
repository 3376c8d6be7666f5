//! An SQLite file of a test. Its content can be replaced while it stays the same file for all who have it open.

use std::path::{Path, PathBuf};
use std::time::Duration;

use readside::rusqlite::{Connection, Row};

/// A folder with an SQLite file. It is removed with this value.
#[derive(Debug)]
pub(crate) struct File(tempfile::TempDir);

impl File {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// The file that a test is about.
    pub(crate) fn path(&self) -> String {
        self.at("test.db").to_str().unwrap().to_owned()
    }

    /// A file of this name in the same folder.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }
}

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

/// Restores a copy as the online restore does: in one transaction, into the file that everybody has open. The rows of
/// `projections` come last, because triggers count in them. Tables that the copy does not have are dropped.
pub(crate) fn put_back(path: &Path, copy: &Path) {
    let connection = connection(path);
    connection.execute("ATTACH ?1 AS kept", [copy.to_str().unwrap()]).unwrap();
    let is_kept = "name IN (SELECT name FROM kept.sqlite_schema WHERE type = 'table')";
    let sql = format!(
        "SELECT 1, name, 'DROP VIEW main.' || quote(name) || ';' FROM main.sqlite_schema WHERE type = 'view' \
         UNION ALL SELECT 2, name, 'DROP TABLE main.' || quote(name) || ';' FROM main.sqlite_schema \
         WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND NOT {is_kept} \
         UNION ALL SELECT CASE name WHEN 'readside_projections' THEN 4 ELSE 3 END, name, 'DELETE FROM main.' || quote(name) \
         || '; INSERT INTO main.' || quote(name) || ' SELECT * FROM kept.' || quote(name) || ';' FROM main.sqlite_schema \
         WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND {is_kept} \
         UNION ALL SELECT 5, name, sql || ';' FROM kept.sqlite_schema WHERE type = 'view' ORDER BY 1, 2"
    );
    in_one_transaction(&connection, &sql, |row| row.get(2));
}

/// Removes everything from the file.
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

/// Runs the statements that a query returns as its rows.
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
