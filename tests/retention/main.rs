//! The life of the data, on every backend: payloads are erased, instances removed, old events archived:
//! Contract: K2-K4.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]
#![cfg(all(feature = "sqlite", unix))]

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

mod archive;
#[path = "../common/mod.rs"]
mod common;
mod kills;
mod redact;
mod referred;
mod remove;

use std::sync::Arc;

use readside::admin::{AdminCommand, CommandState, ExplainRequest, NewCommand};
use readside::error::{PushError, RetentionError};
use readside::failure::By;
use readside::prelude::*;
use readside::query::Query;
use readside::retention::{Archival, Archived, Operation, Redacted, Redaction, Removed, TableRows};
use readside::store::{CommandStore, ProjectionStore};
use readside::testing::laws::{self, Models};
use readside::{EngineStore, HandlerConfig, NewEvent, PostgresStore, ProjectionHandler, SqliteStore};
use serde::{Deserialize, Serialize};

pub(crate) use crate::common::file::File;

/// Names that persons leave in the data.
pub(crate) const ADA: &str = "ada-7f3a";
pub(crate) const BOB: &str = "bob-c2d9";

#[derive(Serialize, Deserialize)]
pub(crate) struct Added {
    pub(crate) name: String,
}
impl Payload for Added {
    const AGGREGATE: &'static str = "user";
    const TYPE: &'static str = "user.added";
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Renamed {
    pub(crate) name: String,
}
impl Payload for Renamed {
    const AGGREGATE: &'static str = "user";
    const TYPE: &'static str = "user.renamed";
}

/// Names and how often they changed. A second table, which refers to the first one, has each name.
pub(crate) fn users(version: u32) -> Projection {
    let both = |e: &Event, name: String| {
        multi([
            upsert(["id"], [set("id", e.aggregate_id()), set("name", name.as_str()), increment("changes", 1)]),
            in_table("names", create([set("id", e.aggregate_id()), set("version", e.version()), set("name", name)])),
        ])
    };
    Projection::new("users", version)
        .table(
            Table::new("users").column(text("id")).column(text("name")).column(integer("changes")).primary_key(["id"]),
        )
        .table(
            Table::suffix("names")
                .column(text("id"))
                .column(integer("version"))
                .column(text("name"))
                .primary_key(["id", "version"])
                .references_primary(["id"]),
        )
        .on(move |e, p: Added| both(e, p.name))
        .on(move |e, p: Renamed| both(e, p.name))
}

/// Refuses every name, with the name in the error.
pub(crate) fn strict() -> Projection {
    Projection::new("strict", 1).on(|_, p: Added| Err(ReduceError::new(format!("{} may not be", p.name))))
}

pub(crate) fn add(instance: &str, id: &str, name: &str) -> NewEvent {
    NewEvent::new(instance, id, &Added { name: name.into() })
}

pub(crate) fn rename(instance: &str, id: &str, name: &str) -> NewEvent {
    NewEvent::new(instance, id, &Renamed { name: name.into() })
}

pub(crate) fn by() -> By {
    By::new("eve", "it was asked for")
}

/// What these tests need of a store of either kind.
pub(crate) trait Store: EngineStore + CommandStore + Models + Clone + 'static {
    fn redact(&self, what: &Redaction, progress: &mut dyn FnMut(&TableRows)) -> Result<Redacted, RetentionError>;
    fn redact_dry_run(&self, what: &Redaction) -> Result<Redacted, RetentionError>;
    fn remove(&self, instance: &str, progress: &mut dyn FnMut(&TableRows)) -> Result<Removed, RetentionError>;
    fn remove_dry_run(&self, instance: &str) -> Result<Removed, RetentionError>;
    fn reopen(&self, instance: &str) -> Result<(), RetentionError>;
    fn import(&self, events: &[NewEvent]) -> Result<Vec<Event>, PushError>;
    fn archive(&self, what: &Archival, progress: &mut dyn FnMut(&TableRows)) -> Result<Archived, RetentionError>;
    fn archive_dry_run(&self, what: &Archival) -> Result<Archived, RetentionError>;
    fn operations(&self) -> Vec<Operation>;
    fn names(&self, projection: &Projection) -> Vec<String>;
    fn positions(&self, query: Query, page: usize) -> Vec<(String, i64)>;
}

macro_rules! store {
    ($store:ty) => {
        impl Store for $store {
            fn redact(
                &self,
                what: &Redaction,
                progress: &mut dyn FnMut(&TableRows),
            ) -> Result<Redacted, RetentionError> {
                self.redact(what, &by(), progress)
            }
            fn redact_dry_run(&self, what: &Redaction) -> Result<Redacted, RetentionError> {
                self.redact_dry_run(what)
            }
            fn remove(&self, instance: &str, progress: &mut dyn FnMut(&TableRows)) -> Result<Removed, RetentionError> {
                self.remove_instance(instance, &by(), progress)
            }
            fn remove_dry_run(&self, instance: &str) -> Result<Removed, RetentionError> {
                self.remove_instance_dry_run(instance)
            }
            fn import(&self, events: &[NewEvent]) -> Result<Vec<Event>, PushError> {
                self.push_imported(events)
            }
            fn reopen(&self, instance: &str) -> Result<(), RetentionError> {
                self.reopen_instance(instance, &by())
            }
            fn archive(
                &self,
                what: &Archival,
                progress: &mut dyn FnMut(&TableRows),
            ) -> Result<Archived, RetentionError> {
                self.archive(what, &by(), progress)
            }
            fn archive_dry_run(&self, what: &Archival) -> Result<Archived, RetentionError> {
                self.archive_dry_run(what)
            }
            fn operations(&self) -> Vec<Operation> {
                self.operations(100).unwrap()
            }
            /// `instance/id=name` for every row of the primary table.
            fn names(&self, projection: &Projection) -> Vec<String> {
                let text =
                    |value: &Value| if let Value::Text(text) = value { text.clone() } else { panic!("{value:?}") };
                let rows = self.read_rows(projection, "users").unwrap();
                rows.iter().map(|row| format!("{}/{}={}", text(&row[0].1), text(&row[1].1), text(&row[2].1))).collect()
            }
            fn positions(&self, query: Query, page: usize) -> Vec<(String, i64)> {
                let events = self.stream(query, page).map(Result::unwrap);
                events.map(|event| (event.instance().to_owned(), event.position())).collect()
            }
        }
    };
}

store!(SqliteStore);
#[cfg(feature = "postgres")]
store!(PostgresStore);

/// A database that can be opened many times, and whose content can be read.
pub(crate) trait Place {
    type Store: Store;
    fn open(&self) -> Self::Store;
    /// A second database. It is removed together with this one.
    fn elsewhere(&self) -> Self::Store;
    fn address(&self) -> String;
    /// Runs SQL as the service does on its own tables.
    fn sql(&self, sql: &str);
    /// Every row of every table as a text, each with its table's name.
    fn dump(&self) -> Vec<(String, String)>;

    /// The tables that contain this text.
    fn traces(&self, mark: &str) -> Vec<String> {
        let mut tables: Vec<String> =
            self.dump().into_iter().filter(|(_, row)| row.contains(mark)).map(|(table, _)| table).collect();
        tables.sort();
        tables.dedup();
        tables
    }
}

impl File {
    /// All bytes of the database and of its log.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let files = std::fs::read_dir(self.folder()).unwrap().map(|entry| entry.unwrap().path());
        files.flat_map(|file| std::fs::read(file).unwrap()).collect()
    }
}

impl Place for File {
    type Store = SqliteStore;
    fn open(&self) -> SqliteStore {
        SqliteStore::open(self.path()).unwrap()
    }
    fn elsewhere(&self) -> SqliteStore {
        SqliteStore::open(self.at("elsewhere.db")).unwrap()
    }
    fn address(&self) -> String {
        self.path()
    }
    fn sql(&self, sql: &str) {
        let conn = readside::rusqlite::Connection::open(self.path()).unwrap();
        conn.busy_timeout(common::LONG).unwrap();
        conn.execute_batch(sql).unwrap();
    }
    fn dump(&self) -> Vec<(String, String)> {
        let conn = readside::rusqlite::Connection::open(self.path()).unwrap();
        let mut select = conn.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").unwrap();
        let tables: Vec<String> = select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let mut found = Vec::new();
        for table in tables {
            let mut select = conn.prepare(&format!("SELECT * FROM \"{table}\"")).unwrap();
            let columns = select.column_count();
            let mut rows = select.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                let texts = (0..columns).map(|at| match row.get_ref(at).unwrap().as_bytes_or_null().ok().flatten() {
                    Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                    None => format!("{:?}", row.get_ref(at).unwrap()),
                });
                found.push((table.clone(), texts.collect::<Vec<_>>().join("|")));
            }
        }
        found
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
    fn address(&self) -> String {
        self.store_url()
    }
    fn sql(&self, sql: &str) {
        use readside::postgres_driver::{Client, NoTls};
        Client::connect(self.url(), NoTls).unwrap().batch_execute(sql).unwrap();
    }
    fn dump(&self) -> Vec<(String, String)> {
        use readside::postgres_driver::{Client, NoTls};
        let mut client = Client::connect(self.url(), NoTls).unwrap();
        let tables = "SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables \
                      WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')";
        let tables: Vec<String> = client.query(tables, &[]).unwrap().iter().map(|row| row.get(0)).collect();
        let mut found = Vec::new();
        for table in tables {
            let rows = client.query(&format!("SELECT t::text FROM {table} t"), &[]).unwrap();
            found.extend(rows.iter().map(|row| (table.clone(), row.get(0))));
        }
        found
    }
}

/// A store on which the projections are set up.
pub(crate) fn store<P: Place>(place: &P, projections: &[&Projection]) -> P::Store {
    let store = place.open();
    ProjectionStore::setup(&store, projections).unwrap();
    store
}

/// Makes a command that was carried out, with this in its answer.
pub(crate) fn answered<S: Store>(store: &S, command: AdminCommand, shown: &str) {
    let (owner, minute) = (uuid::Uuid::from_u128(7), std::time::Duration::from_mins(1));
    let id = store.ask(&NewCommand { projection: "users".into(), version: None, command, by: by() }).unwrap();
    assert_eq!(store.take(owner, &[("users".into(), 1)], minute, 10).unwrap().len(), 1);
    assert!(store.answer(id, owner, CommandState::Done, &serde_json::json!({ "row": shown })).unwrap());
}

pub(crate) fn question(instance: &str, key: &str) -> AdminCommand {
    AdminCommand::Explain(ExplainRequest { instance: instance.into(), table: None, key: vec![key.into()], at: None })
}

/// Applies all events, in large pages.
pub(crate) fn catch_up<S: Store>(store: &S, projection: Projection, instances: &[&str]) {
    handler_with(store, projection, HandlerConfig::default()).trigger(instances).unwrap();
}

/// A handler that works in small pages, and gives up on an event at once.
pub(crate) fn handler<S: Store>(store: &S, projection: Projection) -> ProjectionHandler {
    let config = HandlerConfig::default().retries(0).max_failure_count(1).bulk_limit(7);
    handler_with(store, projection, config)
}

pub(crate) fn handler_with<S: Store>(store: &S, projection: Projection, config: HandlerConfig) -> ProjectionHandler {
    let shared = Arc::new(store.clone());
    ProjectionHandler::new(shared.clone(), shared, projection, config).unwrap()
}

pub(crate) fn assert_lawful<S: Store>(store: &S, projection: &Projection) {
    let report = laws::check(store, store, projection).unwrap();
    assert!(report.is_lawful(), "{report}");
}

/// Rows for each table, without the name of the schema.
pub(crate) fn by_table(tables: &[TableRows]) -> Vec<(String, u64)> {
    let plain = |name: &str| {
        let name = name.to_owned();
        let name = name.trim_start_matches("public.");
        name.trim_start_matches("readside.").trim_start_matches("readside_").to_owned()
    };
    let mut tables: Vec<(String, u64)> = tables.iter().map(|touched| (plain(&touched.table), touched.rows)).collect();
    tables.sort();
    tables
}
