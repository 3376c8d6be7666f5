//! Databases whose past comes back beneath those who use them.

use readside::failure::By;
use readside::inspect::Inspect;

use readside::testing::laws::Models;
use readside::{EngineStore, PostgresStore, SqliteOptions, SqliteStore, postgres_driver};

use crate::common::file;
use crate::common::file::File;
#[cfg(feature = "postgres")]
use crate::common::server::Server;

/// A database that several processes use, and that may become another one meanwhile.
pub(crate) trait Ground {
    type Store: EngineStore + Inspect + Models + Clone;

    /// Opens it as one more process does.
    fn open(&self) -> Self::Store;

    /// A database that nothing happens to, for read models.
    fn beside(&self) -> Self::Store;

    /// Takes a copy of it as it is now.
    fn keep(&mut self);

    /// The copy takes its place.
    fn put_back(&mut self);

    /// It is dropped and made anew, empty.
    fn make_anew(&mut self);

    /// Runs SQL by hand, in which the engine's tables are named as on PostgreSQL.
    fn run(&self, sql: &str);

    /// Empties one of the engine's tables in the fastest way.
    fn empty(&self, table: &str);

    /// Removes an instance from a database.
    fn remove(&self, store: &Self::Store, instance: &str, by: &By);

    /// Events of an instance above a position are gone, as if somebody had deleted them.
    fn set_back(&self, instance: &str, to: i64) {
        self.run(&deletion(instance, to));
    }
}

impl Ground for File {
    type Store = SqliteStore;

    fn remove(&self, store: &SqliteStore, instance: &str, by: &By) {
        store.remove_instance(instance, by, |_| ()).unwrap();
    }

    fn open(&self) -> SqliteStore {
        open(&self.at("test.db"))
    }

    fn beside(&self) -> SqliteStore {
        open(&self.at("beside.db"))
    }

    fn keep(&mut self) {
        file::keep(&self.at("test.db"), &self.at("kept.db"));
    }

    fn put_back(&mut self) {
        file::put_back(&self.at("test.db"), &self.at("kept.db"));
    }

    fn make_anew(&mut self) {
        file::empty(&self.at("test.db"));
    }

    fn empty(&self, table: &str) {
        self.run(&format!("DELETE FROM readside.{table}"));
    }

    fn run(&self, sql: &str) {
        file::run(&self.at("test.db"), &sql.replace("readside.", "readside_"));
    }
}

fn open(path: &std::path::Path) -> SqliteStore {
    let options = SqliteOptions::default().busy_timeout(crate::LONG);
    let store = SqliteStore::open_with(path, options).unwrap();
    store.setup().unwrap();
    store
}

/// What a person does who deletes the last events of an instance and minds the counters.
fn deletion(instance: &str, to: i64) -> String {
    format!(
        "BEGIN; DELETE FROM readside.events WHERE instance_id = '{instance}' AND position > {to}; \
         UPDATE readside.instances SET head = {to}, head_event = (SELECT event_id FROM readside.events \
         WHERE instance_id = '{instance}' AND position = {to}) WHERE instance_id = '{instance}'; \
         UPDATE readside.heads SET head = {to} WHERE instance_id = '{instance}'; COMMIT"
    )
}

/// A database on its own server, beside one for what nothing happens to.
#[cfg(feature = "postgres")]
pub(crate) struct Cluster {
    server: Server,
    beside: crate::common::postgres::Database,
}

#[cfg(feature = "postgres")]
impl Cluster {
    pub(crate) fn new() -> Self {
        let cluster = Self { server: Server::start(), beside: crate::common::postgres::database() };
        cluster.sql("CREATE DATABASE ground");
        cluster
    }

    fn sql(&self, sql: &str) {
        self.server.client().unwrap().batch_execute(sql).unwrap();
    }

    fn url(&self) -> String {
        self.server.url().replace("/postgres", "/ground")
    }
}

#[cfg(feature = "postgres")]
impl Ground for Cluster {
    type Store = PostgresStore;

    fn remove(&self, store: &PostgresStore, instance: &str, by: &By) {
        store.remove_instance(instance, by, |_| ()).unwrap();
    }

    fn open(&self) -> PostgresStore {
        let store = PostgresStore::connect(&self.url()).unwrap();
        store.setup().unwrap();
        store
    }

    fn beside(&self) -> PostgresStore {
        PostgresStore::connect(self.beside.url()).unwrap()
    }

    fn keep(&mut self) {
        self.server.keep();
    }

    fn put_back(&mut self) {
        self.server.put_back();
    }

    fn make_anew(&mut self) {
        self.sql("DROP DATABASE ground WITH (FORCE)");
        self.sql("CREATE DATABASE ground");
    }

    fn empty(&self, table: &str) {
        self.run(&format!("TRUNCATE readside.{table}"));
    }

    fn run(&self, sql: &str) {
        let mut client = postgres_driver::Client::connect(&self.url(), postgres_driver::NoTls).unwrap();
        client.batch_execute(sql).unwrap();
    }
}
