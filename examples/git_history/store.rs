//! The database: an SQLite file, or PostgreSQL behind a URL.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use readside::error::QueryError;
use readside::store::ProjectionStore;
use readside::{EventStore, Value};
use serde::Deserialize;

use super::Failure;

/// A row of `contributors`.
#[derive(Debug, Deserialize)]
pub(crate) struct Contributor {
    pub(crate) author: String,
    pub(crate) commits: i64,
    pub(crate) lines_added: i64,
    pub(crate) lines_removed: i64,
    pub(crate) first_commit_at: SystemTime,
    pub(crate) last_commit_at: SystemTime,
}

/// A row of `files`.
#[derive(Debug, Deserialize)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) changes: i64,
    pub(crate) lines_added: i64,
    pub(crate) lines_removed: i64,
    pub(crate) last_author: String,
    pub(crate) last_changed_at: SystemTime,
}

/// A row of `activity`.
#[derive(Debug, Deserialize)]
pub(crate) struct Month {
    pub(crate) month: String,
    pub(crate) commits: i64,
}

/// How many rows a repository has in each table.
#[derive(Debug, Deserialize)]
pub(crate) struct Counts {
    pub(crate) contributors: u64,
    pub(crate) files: u64,
    pub(crate) months: u64,
}

const COUNTS: &str = "SELECT
    (SELECT count(*) FROM contributors WHERE instance_id = $instance) AS contributors,
    (SELECT count(*) FROM files WHERE instance_id = $instance) AS files,
    (SELECT count(*) FROM activity WHERE instance_id = $instance) AS months";
const CONTRIBUTORS: &str = "SELECT author, commits, lines_added, lines_removed, first_commit_at, last_commit_at
    FROM contributors WHERE instance_id = $instance ORDER BY commits DESC, author LIMIT $1";
const FILES: &str = "SELECT path, changes, lines_added, lines_removed, last_author, last_changed_at
    FROM files WHERE instance_id = $instance ORDER BY changes DESC, path LIMIT $1";
const MONTHS: &str = "SELECT month, commits FROM
    (SELECT month, commits FROM activity WHERE instance_id = $instance ORDER BY month DESC LIMIT $1) AS last
    ORDER BY month";

/// What the example needs of a database.
pub(crate) trait Store: EventStore + ProjectionStore {
    fn counts(&self, repository: &str) -> Result<Vec<Counts>, QueryError>;
    /// The authors with the most commits, at most this many.
    fn contributors(&self, repository: &str, limit: i64) -> Result<Vec<Contributor>, QueryError>;
    /// The files with the most changes, at most this many.
    fn files(&self, repository: &str, limit: i64) -> Result<Vec<File>, QueryError>;
    /// The last months, at most this many.
    fn months(&self, repository: &str, limit: i64) -> Result<Vec<Month>, QueryError>;
}

/// Implements the reads for a store. Both stores have the same methods.
macro_rules! reads {
    ($store:ty) => {
        impl Store for $store {
            fn counts(&self, repository: &str) -> Result<Vec<Counts>, QueryError> {
                self.query_as(repository, COUNTS, &[])
            }

            fn contributors(&self, repository: &str, limit: i64) -> Result<Vec<Contributor>, QueryError> {
                self.query_as(repository, CONTRIBUTORS, &[Value::from(limit)])
            }

            fn files(&self, repository: &str, limit: i64) -> Result<Vec<File>, QueryError> {
                self.query_as(repository, FILES, &[Value::from(limit)])
            }

            fn months(&self, repository: &str, limit: i64) -> Result<Vec<Month>, QueryError> {
                self.query_as(repository, MONTHS, &[Value::from(limit)])
            }
        }
    };
}

#[cfg(feature = "sqlite")]
reads!(readside::SqliteStore);

#[cfg(feature = "postgres")]
reads!(readside::PostgresStore);

/// The default file.
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
