//! The database: an SQLite file, or PostgreSQL behind a URL.

use std::path::Path;
use std::sync::Arc;

use readside::error::StoreError;
use readside::store::ProjectionStore;
use readside::{EventStore, Projection, Value};

use super::Failure;

/// A row of a read model: name and value of each column.
pub(crate) type Row = Vec<(String, Value)>;

/// What the example needs of a database.
pub(crate) trait Store: EventStore + ProjectionStore {
    /// All rows of a projection's table.
    fn rows(&self, projection: &Projection, table: &str) -> Result<Vec<Row>, StoreError>;
}

#[cfg(feature = "sqlite")]
impl Store for readside::SqliteStore {
    fn rows(&self, projection: &Projection, table: &str) -> Result<Vec<Row>, StoreError> {
        self.read_rows(projection, table)
    }
}

#[cfg(feature = "postgres")]
impl Store for readside::PostgresStore {
    fn rows(&self, projection: &Projection, table: &str) -> Result<Vec<Row>, StoreError> {
        self.read_rows(projection, table)
    }
}

/// The file that is used where none is named.
pub(crate) fn default_database() -> String {
    if Path::new("target").is_dir() { "target/git_history.db" } else { "git_history.db" }.to_owned()
}

fn is_url(database: &str) -> bool {
    ["postgres://", "postgresql://"].iter().any(|scheme| database.starts_with(scheme))
}

/// Opens a database by its path or URL.
pub(crate) fn open(database: &str) -> Result<Arc<dyn Store>, Failure> {
    if is_url(database) { open_server(database) } else { open_file(database) }
}

#[cfg(feature = "sqlite")]
fn open_file(path: &str) -> Result<Arc<dyn Store>, Failure> {
    Ok(Arc::new(readside::SqliteStore::open(path).map_err(readside::Error::from)?))
}

#[cfg(not(feature = "sqlite"))]
fn open_file(path: &str) -> Result<Arc<dyn Store>, Failure> {
    Err(Failure::NoDriver { database: path.to_owned(), feature: "sqlite" })
}

#[cfg(feature = "postgres")]
fn open_server(url: &str) -> Result<Arc<dyn Store>, Failure> {
    Ok(Arc::new(readside::PostgresStore::connect(url).map_err(readside::Error::from)?))
}

#[cfg(not(feature = "postgres"))]
fn open_server(url: &str) -> Result<Arc<dyn Store>, Failure> {
    Err(Failure::NoDriver { database: shown(url), feature: "postgres" })
}

/// The path or URL without a password.
pub(crate) fn shown(database: &str) -> String {
    if !is_url(database) {
        return database.to_owned();
    }
    let shown = || {
        let (scheme, rest) = database.split_once("://")?;
        let (user, host) = rest.rsplit_once('@')?;
        let (user, _) = user.split_once(':')?;
        Some(format!("{scheme}://{user}:***@{host}"))
    };
    shown().unwrap_or_else(|| database.to_owned())
}
