//! One suite for the store traits, which runs on every backend. A backend only adds its constructor.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

/// Stands above a test function, and runs it on each database.
macro_rules! both {
    ($test:ident) => {
        mod $test {
            #[cfg(feature = "sqlite")]
            #[test]
            fn on_sqlite() {
                super::$test(&crate::sqlite());
            }
            #[cfg(feature = "sqlite")]
            #[test]
            fn on_sqlite_in_memory() {
                super::$test(&crate::sqlite_in_memory());
            }
            #[cfg(feature = "postgres")]
            #[test]
            fn on_postgres() {
                super::$test(&crate::postgres());
            }
        }
    };
}

/// Runs code with the store itself, of either kind.
macro_rules! with_store {
    ($fixture:expr, $store:ident => $body:expr) => {
        match &$fixture.which {
            #[cfg(feature = "sqlite")]
            Which::Sqlite($store) => $body,
            #[cfg(feature = "postgres")]
            Which::Postgres($store) => $body,
        }
    };
}

#[path = "../common/mod.rs"]
mod common;
mod decide;
mod filter;
mod import;
mod json;
mod lent;
mod mend;
mod project;
mod push;
mod reading;
mod setup;
mod statements;
mod tables;
mod types;

use std::sync::Arc;

use readside::store::ProjectionStore;
use readside::{EventStore, Projection, Value};

/// The traits of every backend.
pub(crate) trait Store: EventStore + ProjectionStore {
    fn rows(&self, projection: &Projection, table: &str) -> Vec<Vec<(String, Value)>>;
    fn all(&self, query: readside::query::Query, page: usize) -> Vec<(String, i64)>;
    fn import(&self, events: &[readside::NewEvent]) -> Result<Vec<readside::Event>, readside::error::PushError>;
    fn decide(&self, id: &str, decide: decide::Decide<'_>) -> decide::Decided;
    fn archived(&self, archival: &readside::retention::Archival, by: &readside::failure::By);
    fn redacted(&self, redaction: &readside::retention::Redaction, by: &readside::failure::By);
}
#[cfg(feature = "sqlite")]
impl Store for readside::SqliteStore {
    fn rows(&self, projection: &Projection, table: &str) -> Vec<Vec<(String, Value)>> {
        self.read_rows(projection, table).unwrap()
    }
    fn all(&self, query: readside::query::Query, page: usize) -> Vec<(String, i64)> {
        self.stream(query, page)
            .map(Result::unwrap)
            .map(|event| (event.instance().to_owned(), event.position()))
            .collect()
    }
    fn import(&self, events: &[readside::NewEvent]) -> Result<Vec<readside::Event>, readside::error::PushError> {
        self.push_imported(events)
    }
    fn decide(&self, id: &str, decide: decide::Decide<'_>) -> decide::Decided {
        self.decide("a", id, decide)
    }
    fn archived(&self, archival: &readside::retention::Archival, by: &readside::failure::By) {
        self.archive(archival, by, |_| {}).unwrap();
    }
    fn redacted(&self, redaction: &readside::retention::Redaction, by: &readside::failure::By) {
        self.redact(redaction, by, |_| {}).unwrap();
    }
}
#[cfg(feature = "postgres")]
impl Store for readside::PostgresStore {
    fn rows(&self, projection: &Projection, table: &str) -> Vec<Vec<(String, Value)>> {
        self.read_rows(projection, table).unwrap()
    }
    fn all(&self, query: readside::query::Query, page: usize) -> Vec<(String, i64)> {
        self.stream(query, page)
            .map(Result::unwrap)
            .map(|event| (event.instance().to_owned(), event.position()))
            .collect()
    }
    fn import(&self, events: &[readside::NewEvent]) -> Result<Vec<readside::Event>, readside::error::PushError> {
        self.push_imported(events)
    }
    fn decide(&self, id: &str, decide: decide::Decide<'_>) -> decide::Decided {
        self.decide("a", id, decide)
    }
    fn archived(&self, archival: &readside::retention::Archival, by: &readside::failure::By) {
        self.archive(archival, by, |_| {}).unwrap();
    }
    fn redacted(&self, redaction: &readside::retention::Redaction, by: &readside::failure::By) {
        self.redact(redaction, by, |_| {}).unwrap();
    }
}

/// The store itself, for generic code.
pub(crate) enum Which {
    #[cfg(feature = "sqlite")]
    Sqlite(readside::SqliteStore),
    #[cfg(feature = "postgres")]
    Postgres(readside::PostgresStore),
}

/// A new store, and the owner of its database.
pub(crate) struct Fixture {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) which: Which,
    _keep: Box<dyn std::any::Any + Send + Sync>,
}

impl Fixture {
    pub(crate) fn source(&self) -> Arc<dyn readside::store::EventSource> {
        self.store.clone()
    }

    pub(crate) fn read_rows(&self, projection: &Projection, table: &str) -> Vec<Vec<(String, Value)>> {
        self.store.rows(projection, table)
    }

    pub(crate) fn stream(&self, query: readside::query::Query, page: usize) -> Vec<(String, i64)> {
        self.store.all(query, page)
    }

    pub(crate) fn models(&self) -> Arc<dyn ProjectionStore> {
        self.store.clone()
    }
}

#[cfg(feature = "sqlite")]
fn sqlite() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let store = readside::SqliteStore::open(folder.path().join("test.db")).unwrap();
    store.setup().unwrap();
    Fixture { which: Which::Sqlite(store.clone()), store: Arc::new(store), _keep: Box::new(folder) }
}

#[cfg(feature = "sqlite")]
fn sqlite_in_memory() -> Fixture {
    let store = readside::SqliteStore::in_memory().unwrap();
    store.setup().unwrap();
    Fixture { which: Which::Sqlite(store.clone()), store: Arc::new(store), _keep: Box::new(()) }
}

#[cfg(feature = "postgres")]
fn postgres() -> Fixture {
    let database = common::postgres::database();
    let store = readside::PostgresStore::connect(&database.store_url()).unwrap();
    store.setup().unwrap();
    Fixture { which: Which::Postgres(store.clone()), store: Arc::new(store), _keep: Box::new(database) }
}
