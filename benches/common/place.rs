//! Where a bench runs: in its own databases on PostgreSQL, or in its own folder. The server is the one that
//! `READSIDE_TEST_DATABASE_URL` names, or a new one with durable commits.

#[path = "../../tests/common/server.rs"]
#[allow(dead_code, clippy::panic, clippy::unwrap_used, clippy::expect_used, reason = "the tests use more of it")]
mod server;

use std::cell::Cell;
use std::time::{Duration, Instant};

use readside::PostgresStore;
use readside::postgres_driver::{Client, NoTls};

use super::median;

/// A PostgreSQL server. A server that the bench has started ends with this value.
pub(crate) struct Postgres {
    url: String,
    made: Cell<u32>,
    own: Option<server::Server>,
}

/// A database that is dropped with this value.
pub(crate) struct Database {
    server: String,
    name: String,
    pub(crate) url: String,
}

impl Postgres {
    /// Finds or starts a server, and prints what a round trip and a durable commit cost on it.
    pub(crate) fn find() -> Self {
        let given = std::env::var("READSIDE_TEST_DATABASE_URL").ok();
        let own = if given.is_none() { Some(server::Server::durable()) } else { None };
        let url = given.or_else(|| own.as_ref().map(server::Server::url)).expect("one of both");
        let postgres = Self { url, made: Cell::new(0), own };
        postgres.say_costs();
        postgres
    }

    /// Makes the bench's own server count statements, if it can.
    pub(crate) fn count_statements(&mut self) {
        let Some(own) = &mut self.own else { return };
        let mut client = connect(&self.url);
        let found = client.query_opt("SELECT FROM pg_available_extensions WHERE name = 'pg_stat_statements'", &[]);
        if found.unwrap().is_some() {
            client.batch_execute("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'").unwrap();
            own.crash();
        }
    }

    pub(crate) fn database(&self) -> Database {
        let number = self.made.replace(self.made.get() + 1);
        let name = format!("readside_bench_{}_{number}", std::process::id());
        connect(&self.url).batch_execute(&format!("CREATE DATABASE \"{name}\"")).unwrap();
        let (base, _) = self.url.rsplit_once('/').expect("the URL names a database");
        Database { server: self.url.clone(), url: format!("{base}/{name}"), name }
    }

    fn say_costs(&self) {
        let database = self.database();
        let mut client = database.client();
        client.batch_execute("CREATE TABLE one (n int); INSERT INTO one VALUES (0)").unwrap();
        let trip = client.prepare("SELECT 1").unwrap();
        let trips = (0..2_000).map(|_| super::timed(|| drop(client.query_one(&trip, &[]).unwrap()))).collect();
        let mut commit = Commit::new(client);
        let commits = (0..200).map(|_| commit.time()).collect();
        let fsync: String = database.client().query_one("SHOW fsync", &[]).unwrap().get(0);
        println!("a round trip takes {:.1?}, a commit {:.1?} (fsync {fsync})", median(trips), median(commits));
    }
}

impl Database {
    pub(crate) fn client(&self) -> Client {
        connect(&self.url)
    }

    /// A store on this database, with its schema set up.
    pub(crate) fn store(&self) -> PostgresStore {
        let store = PostgresStore::connect(&self.url).unwrap();
        store.setup().unwrap();
        store
    }

    /// Does what a database at rest has done long ago: removes dead rows and collects statistics.
    pub(crate) fn tidy(&self) {
        self.client().batch_execute("VACUUM ANALYZE").unwrap();
    }

    /// Writes to disk what earlier rounds left behind, so that the next round does not pay for it. The owner of a
    /// given server may lack the right to do this.
    pub(crate) fn settle(&self) {
        let _ = self.client().batch_execute("CHECKPOINT");
    }

    pub(crate) fn counter(&self) -> Counter {
        Counter::new(self)
    }

    /// The main process of the server, if it runs on this machine and the role may ask for it.
    pub(crate) fn server_process(&self) -> Option<u32> {
        let found = self.client().query_one("SELECT pg_read_file('postmaster.pid')", &[]).ok()?;
        let pid: u32 = found.get::<_, String>(0).lines().next()?.trim().parse().ok()?;
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        name.starts_with("postgres").then_some(pid)
    }

    /// Checks that the table has this many rows, and that the condition holds for each of them.
    pub(crate) fn check(&self, table: &str, rows: usize, condition: &str) {
        let sql = format!("SELECT count(*), count(*) FILTER (WHERE {condition}) FROM {table}");
        let found = self.client().query_one(&sql, &[]).unwrap();
        let counts: (i64, i64) = (found.get(0), found.get(1));
        let rows = i64::try_from(rows).unwrap();
        assert_eq!(counts, (rows, rows), "{table} has to hold so many rows with {condition}");
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Ok(mut client) = Client::connect(&self.server, NoTls) {
            let _ = client.batch_execute(&format!("DROP DATABASE IF EXISTS \"{}\" WITH (FORCE)", self.name));
        }
    }
}

/// Counts the statements or transactions of a database.
pub(crate) struct Counter {
    client: Client,
    statements: bool,
}

impl Counter {
    fn new(database: &Database) -> Self {
        let mut client = database.client();
        let sql = "CREATE EXTENSION IF NOT EXISTS pg_stat_statements; SELECT FROM pg_stat_statements LIMIT 1";
        let statements = client.batch_execute(sql).is_ok();
        Self { client, statements }
    }

    pub(crate) fn what(&self) -> &'static str {
        if self.statements {
            "all statements are counted, BEGIN, SET and COMMIT too"
        } else {
            "transactions are counted, because pg_stat_statements is not loaded"
        }
    }

    /// The count so far, without the counter's own statements.
    pub(crate) fn count(&mut self) -> i64 {
        let sql = if self.statements {
            "SELECT coalesce(sum(calls), 0)::int8 FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid \
             WHERE d.datname = current_database() AND query NOT LIKE '%pg_stat_statements%'"
        } else {
            "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
        };
        self.client.query_one(sql, &[]).unwrap().get(0)
    }
}

/// The smallest durable commit: it updates one row.
pub(crate) struct Commit {
    client: Client,
    update: readside::postgres_driver::Statement,
}

impl Commit {
    /// Prepares the commit on a database with a table `one`.
    fn new(mut client: Client) -> Self {
        let update = client.prepare("UPDATE one SET n = n + 1").unwrap();
        Self { client, update }
    }

    pub(crate) fn on(database: &Database) -> Self {
        let mut client = database.client();
        client.batch_execute("CREATE TABLE IF NOT EXISTS one (n int); INSERT INTO one VALUES (0)").unwrap();
        Self::new(client)
    }

    pub(crate) fn time(&mut self) -> Duration {
        let start = Instant::now();
        self.client.execute(&self.update, &[]).unwrap();
        start.elapsed()
    }
}

pub(crate) fn connect(url: &str) -> Client {
    Client::connect(url, NoTls).unwrap()
}
