//! What people ask for about read models, on every backend: commands, verify, explain, rebuild, switch, back, reset.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]
#![cfg(feature = "sqlite")]

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

mod builds;
mod builds_in_trouble;
#[cfg(feature = "postgres")]
mod carried;
mod commands;
#[cfg(unix)]
mod crashes;
mod declared;
#[cfg(unix)]
mod deploying;
#[cfg(feature = "postgres")]
mod dressed;
mod generated;
mod given_up;
mod gone;
#[cfg(feature = "postgres")]
mod grants;
mod hanging;
#[cfg(feature = "postgres")]
mod homes;
mod looking;
mod objects;
mod own_sql;
mod removed;
#[cfg(feature = "postgres")]
mod rights;
#[cfg(feature = "postgres")]
mod schemas;
mod standing;
mod survey;
#[cfg(feature = "postgres")]
mod switching;
mod taken_over;
mod typed;
mod versions;

use std::time::Duration;

use readside::admin::Admin;
use readside::failure::By;
use readside::inspect::Inspect;
use readside::prelude::*;
use readside::retention::{Redaction, RemovedProjection, TableRows};

use readside::{
    Engine, EngineConfig, EngineStore, HandlerConfig, NewEvent, PostgresStore, SqliteOptions, SqliteStore, error,
    postgres_driver, rusqlite, testing,
};
use serde::{Deserialize, Serialize};

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

/// Counts by thing, and records each event in a second table that refers to the first. A count of 13 cannot be
/// reduced.
pub(crate) fn counts(version: u32) -> Projection {
    counts_without(version, &[13])
}

/// The same, but these counts cannot be reduced.
pub(crate) fn counts_without(version: u32, bad: &'static [i64]) -> Projection {
    let counts = Table::new("counts").column(text("thing")).column(integer("n")).column(text("last").nullable());
    let log = Table::suffix("log").column(text("thing")).column(integer("position")).column(integer("by"));
    Projection::new("counts", version)
        .table(counts.primary_key(["thing"]).index(["n"]))
        .table(log.primary_key(["thing", "position"]).references_primary(["thing"]))
        .on(move |e, p: Counted| match p.by {
            by if bad.contains(&by) => Err(ReduceError::new("bad luck")),
            by => multi([
                upsert(["thing"], [set("thing", e.aggregate_id()), increment("n", by), set("last", e.event_type())]),
                in_table("log", create([set("thing", e.aggregate_id()), set("position", e.position()), set("by", by)])),
            ]),
        })
}

pub(crate) fn count(instance: &str, thing: &str, by: i64) -> NewEvent {
    NewEvent::new(instance, thing, &Counted { by })
}

/// A database that can be opened many times, as many processes do.
pub(crate) trait Place: Sync {
    type Store: EngineStore + Inspect + testing::laws::Models + Clone;
    /// Erases all events of a thing.
    fn redact(&self, instance: &str, thing: &str);
    /// Removes a tenant.
    fn remove_tenant(&self, instance: &str, progress: &mut dyn FnMut(&TableRows));
    /// Removes a projection, or counts what would go.
    fn remove(&self, projection: &str, dry_run: bool) -> Result<RemovedProjection, error::RetentionError>;
    fn open(&self) -> Self::Store;
    /// As `open`, but a writer waits for others no longer than usual.
    fn impatient(&self) -> Self::Store;
    fn address(&self) -> String;
    /// A second database. It is removed together with this one.
    fn elsewhere(&self) -> Self::Store;
    /// Runs SQL; `{counts}` stands for the table of the live build of version 1.
    fn sql(&self, sql: &str);
    /// Rows of a query as texts.
    fn query(&self, sql: &str) -> Vec<String>;
    /// The error text with which the database refuses SQL.
    fn refusal(&self, sql: &str) -> String;
    /// Drops a table, with everything that depends on it.
    fn forget(&self, table: &str);
    /// Creates a trigger that records in `seen_by_trigger` each new or changed row.
    fn own_trigger(&self, table: &str);
    /// Creates a trigger that records there what somebody tries to insert into a view.
    fn own_instead_of(&self, view: &str);
    /// The names of the indexes on a table that the engine did not make.
    fn indexes(&self, table: &str) -> Vec<String>;
    /// The names of everything that the definition of a table brings, if the database shows these names.
    fn own_names(&self, table: &str) -> Vec<String>;
}

impl File {
    fn connect(&self) -> rusqlite::Connection {
        let db = rusqlite::Connection::open(self.at("test.db")).unwrap();
        db.busy_timeout(LONG).unwrap();
        db
    }
}

impl Place for File {
    type Store = SqliteStore;
    fn redact(&self, instance: &str, thing: &str) {
        let redaction = Redaction::of_aggregate(instance, Counted::AGGREGATE, thing);
        let _ = self.open().redact(&redaction, &by(), |_| {}).unwrap();
    }
    fn remove_tenant(&self, instance: &str, progress: &mut dyn FnMut(&TableRows)) {
        let _ = self.open().remove_instance(instance, &by(), progress).unwrap();
    }
    fn remove(&self, projection: &str, dry_run: bool) -> Result<RemovedProjection, error::RetentionError> {
        let store = self.open();
        if dry_run { store.remove_projection_dry_run(projection) } else { store.remove_projection(projection, &by()) }
    }
    fn open(&self) -> SqliteStore {
        let options = SqliteOptions::default().busy_timeout(LONG);
        SqliteStore::open_with(self.address(), options).unwrap()
    }
    fn impatient(&self) -> SqliteStore {
        SqliteStore::open(self.address()).unwrap()
    }
    fn elsewhere(&self) -> SqliteStore {
        SqliteStore::open(self.at("elsewhere.db")).unwrap()
    }
    fn address(&self) -> String {
        self.path()
    }
    fn sql(&self, sql: &str) {
        self.connect().execute_batch(&sql.replace("readside.", "readside_")).unwrap();
    }
    fn query(&self, sql: &str) -> Vec<String> {
        let db = self.connect();
        let mut select = db.prepare(&sql.replace("readside.", "readside_")).unwrap();
        let rows = select.query_map([], |row| row.get::<_, rusqlite::types::Value>(0)).unwrap();
        rows.map(|row| match row.unwrap() {
            rusqlite::types::Value::Text(text) => text,
            rusqlite::types::Value::Integer(number) => number.to_string(),
            other => panic!("{other:?}"),
        })
        .collect()
    }
    fn refusal(&self, sql: &str) -> String {
        self.connect().execute_batch(sql).unwrap_err().to_string()
    }
    fn forget(&self, table: &str) {
        self.sql(&format!("DROP TABLE {table}"));
    }
    fn own_trigger(&self, table: &str) {
        let note = "BEGIN INSERT INTO seen_by_trigger VALUES (NEW.thing); END";
        self.sql(&format!(
            "CREATE TABLE seen_by_trigger (thing TEXT); \
             CREATE TRIGGER note_new AFTER INSERT ON {table} {note}; CREATE TRIGGER note_changed AFTER UPDATE ON {table} {note}"
        ));
    }
    fn own_instead_of(&self, view: &str) {
        self.sql(&format!(
            "CREATE TABLE seen_by_trigger (thing TEXT); CREATE TRIGGER instead INSTEAD OF INSERT ON {view} \
             BEGIN INSERT INTO seen_by_trigger VALUES (NEW.thing); END"
        ));
    }
    fn own_names(&self, table: &str) -> Vec<String> {
        self.query(&format!("SELECT name FROM pragma_index_list('{table}') WHERE origin <> 'c' ORDER BY 1"))
    }
    fn indexes(&self, table: &str) -> Vec<String> {
        self.query(&format!(
            "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = '{table}' AND sql NOT NULL \
             AND name NOT LIKE '%\\_idx' ESCAPE '\\' ORDER BY name"
        ))
    }
}

#[cfg(feature = "postgres")]
impl Place for common::postgres::Database {
    type Store = PostgresStore;
    fn redact(&self, instance: &str, thing: &str) {
        let redaction = Redaction::of_aggregate(instance, Counted::AGGREGATE, thing);
        let _ = self.open().redact(&redaction, &by(), |_| {}).unwrap();
    }
    fn remove_tenant(&self, instance: &str, progress: &mut dyn FnMut(&TableRows)) {
        let _ = self.open().remove_instance(instance, &by(), progress).unwrap();
    }
    fn remove(&self, projection: &str, dry_run: bool) -> Result<RemovedProjection, error::RetentionError> {
        let store = self.open();
        if dry_run { store.remove_projection_dry_run(projection) } else { store.remove_projection(projection, &by()) }
    }
    fn open(&self) -> PostgresStore {
        PostgresStore::connect(&self.store_url()).unwrap()
    }
    fn impatient(&self) -> PostgresStore {
        self.open()
    }
    fn address(&self) -> String {
        self.store_url()
    }
    fn elsewhere(&self) -> PostgresStore {
        PostgresStore::connect(self.beside()).unwrap()
    }
    fn sql(&self, sql: &str) {
        let mut client = postgres_driver::Client::connect(self.url(), postgres_driver::NoTls).unwrap();
        client.batch_execute(sql).unwrap();
    }
    fn query(&self, sql: &str) -> Vec<String> {
        let mut client = postgres_driver::Client::connect(self.url(), postgres_driver::NoTls).unwrap();
        let rows = client.simple_query(sql).unwrap();
        rows.iter()
            .filter_map(|message| match message {
                postgres_driver::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
                _ => None,
            })
            .collect()
    }
    fn refusal(&self, sql: &str) -> String {
        let mut client = postgres_driver::Client::connect(self.url(), postgres_driver::NoTls).unwrap();
        client.batch_execute(sql).unwrap_err().as_db_error().unwrap().message().to_owned()
    }
    fn forget(&self, table: &str) {
        self.sql(&format!("DROP TABLE {table} CASCADE"));
    }
    fn own_trigger(&self, table: &str) {
        self.sql(&format!(
            "CREATE TABLE seen_by_trigger (thing text); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN INSERT INTO seen_by_trigger VALUES (NEW.thing); RETURN NEW; END'; \
             CREATE TRIGGER note AFTER INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION note()"
        ));
    }
    fn own_instead_of(&self, view: &str) {
        self.sql(&format!(
            "CREATE TABLE seen_by_trigger (thing text); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN INSERT INTO seen_by_trigger VALUES (NEW.thing); RETURN NEW; END'; \
             CREATE TRIGGER instead INSTEAD OF INSERT ON {view} FOR EACH ROW EXECUTE FUNCTION note()"
        ));
    }
    fn own_names(&self, table: &str) -> Vec<String> {
        self.query(&format!(
            "SELECT conname FROM pg_constraint WHERE conrelid = '{table}'::regclass \
             UNION SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = '{table}'::regclass \
             ORDER BY 1"
        ))
    }
    fn indexes(&self, table: &str) -> Vec<String> {
        self.query(&format!(
            "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = '{table}'::regclass \
             AND NOT i.indisprimary AND right(c.relname, 4) <> '_idx' ORDER BY 1"
        ))
    }
}

/// A configuration that ticks often.
pub(crate) fn eager() -> EngineConfig {
    let (requeue_every, lease) = (Duration::from_millis(30), Duration::from_secs(5));
    EngineConfig::default().requeue_every(requeue_every).lease(lease).workers(2)
}

/// A configuration that never ticks within a test.
pub(crate) fn lazy() -> EngineConfig {
    EngineConfig::default().requeue_every(Duration::from_hours(1)).workers(2)
}

pub(crate) fn handler() -> HandlerConfig {
    HandlerConfig::default().max_failure_count(1).retries(0)
}

pub(crate) fn start<S: EngineStore>(store: S, config: EngineConfig) -> Engine {
    Engine::builder(store).projection_with(counts(1), handler()).config(config).start().unwrap()
}

pub(crate) fn by() -> By {
    By::new("ada", "a test")
}

pub(crate) fn remote<P: Place>(place: &P) -> Admin<'static> {
    Admin::new(place.open())
}

/// Pushes some events for each of some tenants, and waits until they are projected.
pub(crate) fn fill(engine: &Engine, tenants: usize, events: i64) {
    for n in 0..tenants {
        let commands: Vec<NewEvent> =
            (1..=events).map(|by| count(&tenant(n), &format!("x{}", by % 3), if by == 13 { 14 } else { by })).collect();
        let pushed = engine.push(&commands).unwrap();
        engine.await_pushed("counts", &pushed, LONG).unwrap();
    }
}

pub(crate) fn tenant(n: usize) -> String {
    format!("tenant-{n:03}")
}

/// `instance/thing=n` for each row of the view that readers use.
pub(crate) fn seen<P: Place>(place: &P) -> Vec<String> {
    place.query("SELECT instance_id || '/' || thing || '=' || n FROM counts ORDER BY 1")
}

/// Checks that the live build holds every effect once, in order.
pub(crate) fn lawful<P: Place>(place: &P) {
    let store = place.open();
    let report = testing::laws::check(&store, &store, &counts(1)).unwrap();
    assert!(report.is_lawful(), "{report}");
}

/// The same, except for one event of instance `a` that a person gave up.
pub(crate) fn lawful_but_for<P: Place>(place: &P, position: i64) {
    let store = place.open();
    let report = testing::laws::check(&store, &store, &counts(1)).unwrap();
    let is_that = |fault: &testing::laws::Fault| matches!(fault, testing::laws::Fault::Refused { position: at, .. } if *at == position);
    assert!(report.faults().iter().all(is_that), "{report}");
}
