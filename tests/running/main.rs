//! Running engines, on every backend. Several engines on one database stand for several processes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

/// Stands above a test function, and runs it on each database.
macro_rules! both {
    ($test:ident) => {
        mod $test {
            #[cfg(feature = "sqlite")]
            #[test]
            fn on_sqlite() {
                super::$test(&crate::File::new());
            }
            #[cfg(feature = "postgres")]
            #[test]
            fn on_postgres() {
                super::$test(&crate::common::postgres::database());
            }
        }
    };
}

#[path = "../common/mod.rs"]
mod common;

mod awaiting;
mod catch_all;
mod crashes;
mod first_run;
mod history;
mod leases;
mod lifecycle;
mod observing;
#[cfg(feature = "postgres")]
mod outage;
mod processes;
#[cfg(all(feature = "sqlite", unix))]
mod replaced;
mod sharing;
mod starting;
mod unreliable;
mod user_code;
mod values;
#[cfg(feature = "postgres")]
mod waiting;
mod watching;

use std::time::Duration;

use readside::failure::By;
use readside::inspect::Inspect;
use readside::prelude::*;
use readside::store::ProjectionStore;
use readside::{
    Engine, EngineConfig, EngineStore, NewEvent, PostgresStore, SqliteOptions, SqliteStore, postgres_driver, rusqlite,
};
use serde::{Deserialize, Serialize};

#[cfg(feature = "sqlite")]
pub(crate) use crate::common::file::File;
pub(crate) use crate::common::{LONG, eventually};

#[derive(Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) by: i64,
}
impl Payload for Counted {
    const AGGREGATE: &'static str = "thing";
    const TYPE: &'static str = "thing.counted";
}

/// Counts by thing, so an event that is applied twice or not at all shows. An event with 13 cannot be reduced.
pub(crate) fn counts(name: &str) -> Projection {
    Projection::new(name, 1)
        .table(Table::new(name).column(text("thing")).column(integer("n")).primary_key(["thing"]))
        .on(|e, p: Counted| match p.by {
            13 => Err(ReduceError::new("bad luck")),
            by => upsert(["thing"], [set("thing", e.aggregate_id()), increment("n", by)]),
        })
}

pub(crate) fn by() -> By {
    By::new("ada", "a test")
}

/// Pauses or resumes, as a process without an engine does.
pub(crate) fn pause(store: &dyn ProjectionStore, projection: &str, instance: Option<&str>, on: bool) {
    common::pause(store, projection, instance, on, &by());
}

pub(crate) fn count(instance: &str, by: i64) -> NewEvent {
    NewEvent::new(instance, "x", &Counted { by })
}

/// A database that can be opened many times, as many processes do.
pub(crate) trait Place {
    type Store: EngineStore + Inspect + Clone;
    fn open(&self) -> Self::Store;
    /// A second database. It is removed together with this one.
    fn elsewhere(&self) -> Self::Store;
    fn rows(store: &Self::Store, projection: &Projection) -> Vec<Vec<(String, Value)>>;
    /// Runs SQL by hand.
    fn sql(&self, sql: &str);
    /// True if a query by hand finds anything.
    fn finds(&self, sql: &str) -> bool;
    /// The name of one of the engine's tables, for SQL by hand.
    fn own(&self, table: &str) -> String;
}

#[cfg(feature = "sqlite")]
impl Place for File {
    type Store = SqliteStore;
    fn open(&self) -> SqliteStore {
        let options = SqliteOptions::default().busy_timeout(LONG);
        SqliteStore::open_with(self.at("test.db"), options).unwrap()
    }
    fn elsewhere(&self) -> SqliteStore {
        SqliteStore::open(self.at("elsewhere.db")).unwrap()
    }
    fn rows(store: &SqliteStore, projection: &Projection) -> Vec<Vec<(String, Value)>> {
        store.read_rows(projection, projection.name()).unwrap()
    }
    fn sql(&self, sql: &str) {
        let client = rusqlite::Connection::open(self.path()).unwrap();
        client.busy_timeout(LONG).unwrap();
        client.execute_batch(sql).unwrap();
    }
    fn finds(&self, sql: &str) -> bool {
        let client = rusqlite::Connection::open(self.path()).unwrap();
        client.prepare(sql).unwrap().exists([]).unwrap()
    }
    fn own(&self, table: &str) -> String {
        format!("readside_{table}")
    }
}

#[cfg(feature = "postgres")]
impl Place for common::postgres::Database {
    type Store = PostgresStore;
    fn open(&self) -> PostgresStore {
        PostgresStore::connect(&self.store_url()).unwrap()
    }
    fn elsewhere(&self) -> PostgresStore {
        PostgresStore::connect(self.beside()).unwrap()
    }
    fn rows(store: &PostgresStore, projection: &Projection) -> Vec<Vec<(String, Value)>> {
        store.read_rows(projection, projection.name()).unwrap()
    }
    fn sql(&self, sql: &str) {
        let mut client = postgres_driver::Client::connect(self.url(), postgres_driver::NoTls).unwrap();
        client.batch_execute(sql).unwrap();
    }
    fn finds(&self, sql: &str) -> bool {
        let mut client = postgres_driver::Client::connect(self.url(), postgres_driver::NoTls).unwrap();
        !client.query(sql, &[]).unwrap().is_empty()
    }
    fn own(&self, table: &str) -> String {
        format!("readside.{table}")
    }
}

/// A configuration that never ticks within a test.
pub(crate) fn lazy() -> EngineConfig {
    EngineConfig::default().requeue_every(Duration::from_hours(1)).workers(2)
}

/// A configuration that ticks often.
pub(crate) fn eager() -> EngineConfig {
    let (requeue_every, lease) = (Duration::from_millis(30), Duration::from_secs(5));
    EngineConfig::default().requeue_every(requeue_every).lease(lease).workers(2)
}

pub(crate) fn start<S: EngineStore>(store: S, names: &[&str], config: EngineConfig) -> Engine {
    let builder = Engine::builder(store).config(config);
    names.iter().fold(builder, |builder, name| builder.projection(counts(name))).start().unwrap()
}

/// The sum over all things, of one instance or of all.
pub(crate) fn sum<P: Place>(store: &P::Store, name: &str, instance: Option<&str>) -> i64 {
    let rows = P::rows(store, &counts(name));
    rows.iter()
        .filter(|row| instance.is_none_or(|instance| row[0].1 == Value::from(instance)))
        .map(|row| if let Value::Integer(n) = row[2].1 { n } else { panic!("{row:?}") })
        .sum()
}

pub(crate) fn instance(n: usize) -> String {
    format!("tenant-{n:03}")
}
