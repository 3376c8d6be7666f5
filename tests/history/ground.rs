//! Databases that are restored to an earlier state beneath their users.

use readside::failure::By;
use readside::inspect::Inspect;

use readside::testing::laws::Models;
use readside::{EngineStore, PostgresStore, SqliteOptions, SqliteStore, postgres_driver};

#[cfg(feature = "postgres")]
use crate::common::eventually;
use crate::common::file;
use crate::common::file::File;
#[cfg(feature = "postgres")]
use crate::common::pooler::Pooler;
#[cfg(feature = "postgres")]
use crate::common::server::Server;

/// A database that several processes use, and that may be replaced meanwhile.
pub(crate) trait Ground {
    type Store: EngineStore + Inspect + Models + Clone;

    /// Opens the database, as another process does.
    fn open(&self) -> Self::Store;

    /// A second database for read models, which is never restored.
    fn beside(&self) -> Self::Store;

    /// Takes a copy of the database as it is now.
    fn keep(&mut self);

    /// Replaces the database with the copy.
    fn put_back(&mut self);

    /// Drops the database and creates it again, empty.
    fn make_anew(&mut self);

    /// Runs SQL by hand. The SQL names the engine's tables as on PostgreSQL.
    fn run(&self, sql: &str);

    /// Empties one of the engine's tables in the fastest way.
    fn empty(&self, table: &str);

    /// Removes an instance from a database.
    fn remove(&self, store: &Self::Store, instance: &str, by: &By);

    /// Deletes the events of an instance above a position, as a person would.
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

/// The SQL of a person who deletes the last events of an instance and also sets back the counters.
fn deletion(instance: &str, to: i64) -> String {
    format!(
        "BEGIN; DELETE FROM readside.events WHERE instance_id = '{instance}' AND position > {to}; \
         UPDATE readside.instances SET head = {to}, head_event = (SELECT event_id FROM readside.events \
         WHERE instance_id = '{instance}' AND position = {to}) WHERE instance_id = '{instance}'; \
         UPDATE readside.heads SET head = {to} WHERE instance_id = '{instance}'; COMMIT"
    )
}

/// A database on its own server, with a second database that is never restored.
#[cfg(feature = "postgres")]
pub(crate) struct Cluster {
    server: Server,
    /// In front of the server, if `tests/run` has put one in front of its own server.
    pooler: Option<Pooler>,
    beside: crate::common::postgres::Database,
}

#[cfg(feature = "postgres")]
impl Cluster {
    pub(crate) fn new() -> Self {
        let server = Server::start();
        server.client().unwrap().batch_execute("CREATE DATABASE ground").unwrap();
        let is_pooled = std::env::var_os("READSIDE_TEST_POOLER_URL").is_some();
        let pooler = is_pooled.then(|| Pooler::before(&of_ground(&server)));
        Self { server, pooler, beside: crate::common::postgres::database() }
    }

    fn sql(&self, sql: &str) {
        self.server.client().unwrap().batch_execute(sql).unwrap();
    }

    fn url(&self) -> String {
        of_ground(&self.server)
    }

    /// The URL for stores.
    fn store_url(&self) -> String {
        self.pooler.as_ref().map_or_else(|| self.url(), |pooler| pooler.url().to_owned())
    }

    /// Waits until the pooler reaches the server again. After a log-in that failed it refuses all work for a while. The
    /// calls of a test take no such errors.
    fn await_pooler(&self) {
        let url = self.store_url();
        eventually("a pooler that reaches its server", || {
            let client = postgres_driver::Client::connect(&url, postgres_driver::NoTls);
            client.and_then(|mut client| client.batch_execute("SELECT 1")).is_ok()
        });
    }
}

#[cfg(feature = "postgres")]
fn of_ground(server: &Server) -> String {
    server.url().replace("/postgres", "/ground")
}

#[cfg(feature = "postgres")]
impl Ground for Cluster {
    type Store = PostgresStore;

    fn remove(&self, store: &PostgresStore, instance: &str, by: &By) {
        store.remove_instance(instance, by, |_| ()).unwrap();
    }

    fn open(&self) -> PostgresStore {
        let store = PostgresStore::connect(&self.store_url()).unwrap();
        store.setup().unwrap();
        store
    }

    fn beside(&self) -> PostgresStore {
        PostgresStore::connect(&self.beside.store_url()).unwrap()
    }

    fn keep(&mut self) {
        self.server.keep();
        self.await_pooler();
    }

    fn put_back(&mut self) {
        self.server.put_back();
        self.await_pooler();
    }

    fn make_anew(&mut self) {
        self.sql("DROP DATABASE ground WITH (FORCE)");
        self.sql("CREATE DATABASE ground");
        self.await_pooler();
    }

    fn empty(&self, table: &str) {
        self.run(&format!("TRUNCATE readside.{table}"));
    }

    fn run(&self, sql: &str) {
        let mut client = postgres_driver::Client::connect(&self.url(), postgres_driver::NoTls).unwrap();
        client.batch_execute(sql).unwrap();
    }
}
