//! Bad input, and broken or unwilling databases: each leads to a typed error or a defined outcome, and nothing is
//! lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

/// Stands above a test function, and runs it on each database.
macro_rules! both {
    ($test:ident) => {
        mod $test {
            #[cfg(feature = "sqlite")]
            #[test]
            fn on_sqlite() {
                super::$test(&crate::OnSqlite::new());
            }
            #[cfg(feature = "postgres")]
            #[test]
            fn on_postgres() {
                super::$test(&crate::OnPostgres::new());
            }
        }
    };
}

#[path = "../common/mod.rs"]
mod common;

mod busy;
mod commands;
#[cfg(feature = "postgres")]
mod commits;
#[cfg(feature = "postgres")]
mod connections;
#[cfg(feature = "postgres")]
mod hosts;
mod names;
mod options;
#[cfg(feature = "postgres")]
mod postgres;
mod push_in;
mod ranges;
#[cfg(all(feature = "sqlite", unix))]
mod replaced;
#[cfg(feature = "postgres")]
mod retried;
#[cfg(feature = "postgres")]
mod secrets;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use readside::error::PushError;
use readside::query::Query;
use readside::store::ProjectionStore;
use readside::{Event, EventStore, NewEvent, Projection, Value};

/// What a caller does inside its own transaction. It gets the push as a closure.
pub(crate) type Inside<'a> = &'a mut dyn FnMut(&mut dyn Transaction);

/// A caller's transaction, on either database.
pub(crate) trait Transaction {
    fn sql(&mut self, sql: &str);
    fn push(&mut self, commands: &[NewEvent]) -> Result<readside::subscription::PushedIn, PushError>;
}

/// A store that waits for locks for a tenth of a second, and direct access to its database.
pub(crate) trait Store: Deref<Target = <Self as Store>::Database> {
    type Database: EventStore + ProjectionStore + Clone + 'static;
    fn rows(&self, projection: &Projection, table: &str) -> Vec<Vec<(String, Value)>>;
    /// Runs SQL on its own connection.
    fn sql(&self, sql: &str);
    /// The single number that a query returns.
    fn number(&self, sql: &str) -> i64;
    /// Opens a transaction on its own connection, and commits it or rolls it back.
    fn transaction_of_ones_own(&self, commits: bool, inside: Inside<'_>);
    /// The name of one of the engine's own tables.
    fn table(&self, name: &str) -> String;
}

pub(crate) const PATIENCE: Duration = Duration::from_millis(100);

#[cfg(feature = "sqlite")]
#[derive(Debug)]
pub(crate) struct OnSqlite {
    store: readside::SqliteStore,
    folder: tempfile::TempDir,
}

#[cfg(feature = "sqlite")]
impl OnSqlite {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = readside::SqliteOptions::default().busy_timeout(PATIENCE);
        let store = readside::SqliteStore::open_with(folder.path().join("test.db"), options).unwrap();
        store.setup().unwrap();
        Self { store, folder }
    }

    fn connect(&self) -> readside::rusqlite::Connection {
        readside::rusqlite::Connection::open(self.folder.path().join("test.db")).unwrap()
    }
}

#[cfg(feature = "postgres")]
#[derive(Debug)]
pub(crate) struct OnPostgres {
    store: readside::PostgresStore,
    pub(crate) database: common::postgres::Database,
}

#[cfg(feature = "postgres")]
impl OnPostgres {
    pub(crate) fn new() -> Self {
        let database = common::postgres::database();
        let options = readside::PostgresOptions::default().lock_timeout(PATIENCE);
        let store = readside::PostgresStore::connect_with(database.url(), options).unwrap();
        store.setup().unwrap();
        Self { store, database }
    }

    pub(crate) fn connect(&self) -> readside::postgres_driver::Client {
        let mut config: readside::postgres_driver::Config = self.database.url().parse().unwrap();
        config.application_name("the legacy service");
        config.connect(readside::postgres_driver::NoTls).unwrap()
    }
}

#[cfg(feature = "sqlite")]
impl Deref for OnSqlite {
    type Target = readside::SqliteStore;
    fn deref(&self) -> &Self::Target {
        &self.store
    }
}

#[cfg(feature = "postgres")]
impl Deref for OnPostgres {
    type Target = readside::PostgresStore;
    fn deref(&self) -> &Self::Target {
        &self.store
    }
}

#[cfg(feature = "sqlite")]
impl Store for OnSqlite {
    type Database = readside::SqliteStore;
    fn rows(&self, projection: &Projection, table: &str) -> Vec<Vec<(String, Value)>> {
        self.store.read_rows(projection, table).unwrap()
    }
    fn sql(&self, sql: &str) {
        self.connect().execute_batch(sql).unwrap();
    }
    fn number(&self, sql: &str) -> i64 {
        self.connect().query_row(sql, [], |row| row.get(0)).unwrap()
    }
    fn transaction_of_ones_own(&self, commits: bool, inside: Inside<'_>) {
        struct Own<'a>(&'a readside::SqliteStore, readside::rusqlite::Transaction<'a>);
        impl Transaction for Own<'_> {
            fn sql(&mut self, sql: &str) {
                self.1.execute_batch(sql).unwrap();
            }
            fn push(&mut self, commands: &[NewEvent]) -> Result<readside::subscription::PushedIn, PushError> {
                self.0.push_in(&self.1, commands)
            }
        }
        let mut db = self.connect();
        let immediate = readside::rusqlite::TransactionBehavior::Immediate;
        let mut own = Own(&self.store, db.transaction_with_behavior(immediate).unwrap());
        inside(&mut own);
        if commits {
            own.1.commit().unwrap();
        }
    }
    fn table(&self, name: &str) -> String {
        format!("readside_{name}")
    }
}

#[cfg(feature = "postgres")]
impl Store for OnPostgres {
    type Database = readside::PostgresStore;
    fn rows(&self, projection: &Projection, table: &str) -> Vec<Vec<(String, Value)>> {
        self.store.read_rows(projection, table).unwrap()
    }
    fn sql(&self, sql: &str) {
        self.connect().batch_execute(sql).unwrap();
    }
    fn number(&self, sql: &str) -> i64 {
        self.connect().query_one(sql, &[]).unwrap().get(0)
    }
    fn transaction_of_ones_own(&self, commits: bool, inside: Inside<'_>) {
        struct Own<'a>(&'a readside::PostgresStore, readside::postgres_driver::Transaction<'a>);
        impl Transaction for Own<'_> {
            fn sql(&mut self, sql: &str) {
                self.1.batch_execute(sql).unwrap();
            }
            fn push(&mut self, commands: &[NewEvent]) -> Result<readside::subscription::PushedIn, PushError> {
                self.0.push_in(&mut self.1, commands)
            }
        }
        let mut client = self.connect();
        let mut own = Own(&self.store, client.transaction().unwrap());
        inside(&mut own);
        if commits {
            own.1.commit().unwrap();
        }
    }
    fn table(&self, name: &str) -> String {
        format!("readside.{name}")
    }
}

pub(crate) fn command(instance: &str, id: &str) -> NewEvent {
    NewEvent::raw(instance, "user", id, "added")
}

pub(crate) fn positions<S: Store>(store: &S, instance: &str) -> Vec<i64> {
    let query = Query::new().or(readside::query::SubQuery::new().instance(instance));
    store.filter(&query).unwrap().iter().map(Event::position).collect()
}

/// The store itself, for a handler.
pub(crate) fn shared<S: Store>(store: &S) -> Arc<S::Database> {
    Arc::new((**store).clone())
}

pub(crate) fn trigger<S: Store>(
    store: &S,
    projection: &Projection,
    instances: &[&str],
) -> Result<(), readside::error::TriggerError> {
    // A failure is reported, not skipped.
    let config = readside::HandlerConfig::default().retries(0).policy(readside::Policy::Stop);
    let store = shared(store);
    let handler = readside::ProjectionHandler::new(store.clone(), store, projection.clone(), config).unwrap();
    handler.setup().unwrap();
    handler.trigger(instances)
}
