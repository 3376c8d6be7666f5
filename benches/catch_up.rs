//! How fast projections catch up with a filled log, compared with the same work in hand-written SQL, on both
//! databases.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a bench")]
#![allow(clippy::cast_precision_loss, reason = "what is measured is not exact to so many places")]
#![allow(dead_code, reason = "each bench uses a part of the harness")]

mod common;

use std::time::Duration;

use common::filled::{Filled, Floor};
use common::floor::Frame;
use common::place::{Database, Postgres};
use common::users::{self, Log};
use common::{Settings, report, timed};
use readside::postgres_driver::{Row, Transaction};
use readside::{HandlerConfig, SqliteStore};

/// Events of several instances that share a transaction; see [`HandlerConfig`].
const PAGE: usize = 10_000;

fn main() {
    let settings = Settings::read();
    let log = Log { instances: settings.size(100), users: users::USERS, versions: users::VERSIONS };
    postgres(&settings, log);
    let question = "catch-up-sqlite";
    if settings.wants(question) {
        let sqlite = Sqlite::fill(log);
        let (ours, floor) = settings.compare(|| sqlite.ours(), || sqlite.floor());
        report::speeds(question, "events", log.events(), ours, floor, 0.7);
    }
}

fn postgres(settings: &Settings, log: Log) {
    let server = Postgres::find();
    let (filled, names) = (Filled::new(&server, log, log.commands()), log.names());
    let (first, second) = names.split_at(names.len() / 2);
    let questions: [(&str, &[&[String]], f64); 2] =
        [("catch-up-postgres", &[&names], 0.8), ("catch-up-postgres-two-workers", &[first, second], 0.7)];
    for (question, parts, reach) in questions {
        if settings.wants(question) {
            let (ours, floor) = settings.compare(|| filled.ours(parts), || filled.floor(parts, users::floor));
            report::speeds(question, "events", log.events(), ours, floor, reach);
        }
    }
    statement_by_statement(settings, &filled, &names);
    many_instances(settings, &server, &filled, &names);
}

/// The baseline is slow, so it gets a tenth of the instances.
fn statement_by_statement(settings: &Settings, filled: &Filled<Log>, names: &[String]) {
    let question = "catch-up-postgres-beside-statements-with-savepoints";
    if !settings.wants(question) {
        return;
    }
    let log = filled.work;
    let tenth = Log { instances: log.instances.div_ceil(10), ..log };
    let (ours, baseline) = settings
        .compare(|| filled.ours(&[names]), || filled.floor_of(&tenth, &[&names[..tenth.instances]], with_savepoints));
    println!(
        "{question}: readside {}; baseline {}",
        report::speed("events", log.events(), ours),
        report::speed("events", tenth.events(), baseline)
    );
    let speed = |log: Log, time: Duration| log.events() as f64 / time.as_secs_f64();
    report::ratio(question, speed(log, ours) / (10.0 * speed(tenth, baseline)), 1.0);
}

/// The same number of events in a hundred times as many instances. This shows what an instance costs.
fn many_instances(settings: &Settings, server: &Postgres, few: &Filled<Log>, names: &[String]) {
    let question = "catch-up-postgres-many-instances";
    if !settings.wants(question) {
        return;
    }
    let log = Log { instances: few.work.instances * few.work.users, users: 1, ..few.work };
    let (many, many_names) = (Filled::new(server, log, log.commands()), log.names());
    let (ours, floor) = settings.compare(|| many.ours(&[&many_names]), || few.ours(&[names]));
    report::speeds(question, "events", log.events(), ours, floor, 0.5);
}

/// An engine that does not fold and has to find out which statement failed: it sets a savepoint around each
/// statement, with 200 events in a transaction.
fn with_savepoints(database: &Database) -> Floor {
    let mut frame = Frame::new(database, "aggregate_id, version, payload", 200);
    let insert = "INSERT INTO floor_users VALUES ($1, $2, $3, $4, $5)";
    let update = "UPDATE floor_users SET email = $3, sequence = $4 WHERE instance_id = $1 AND id = $2";
    let [insert, update] = [insert, update].map(|sql| frame.client.prepare(sql).unwrap());
    let execute = move |tx: &mut Transaction<'_>, instance: &str, row: &Row| {
        let payload: users::Any = serde_json::from_str(row.get(3)).unwrap();
        let (id, version): (&str, i64) = (row.get(1), row.get(2));
        tx.batch_execute("SAVEPOINT one").unwrap();
        if let Some(name) = payload.name {
            tx.execute(&insert, &[&instance, &id, &name, &payload.email, &version]).unwrap();
        } else {
            tx.execute(&update, &[&instance, &id, &payload.email, &version]).unwrap();
        }
        tx.batch_execute("RELEASE one").unwrap();
    };
    Box::new(move |names| {
        frame.catch_up(names, |tx, instance, rows| rows.iter().for_each(|row| execute(tx, instance, row)));
    })
}

/// A filled log on SQLite.
struct Sqlite {
    log: Log,
    folder: tempfile::TempDir,
    store: SqliteStore,
}

impl Sqlite {
    fn fill(log: Log) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path().join("bench.db")).unwrap();
        store.setup().unwrap();
        common::fill(&store, log.commands());
        Self { log, folder, store }
    }

    fn connect(&self) -> readside::rusqlite::Connection {
        let db = readside::rusqlite::Connection::open(self.folder.path().join("bench.db")).unwrap();
        db.execute_batch("PRAGMA synchronous = FULL; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        db
    }

    fn check(&self, table: &str) {
        let sql = format!("SELECT count(*), count(*) FILTER (WHERE {}) FROM {table}", self.log.condition());
        let counts: (i64, i64) = self.connect().query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let rows = i64::try_from(self.log.instances * self.log.users).unwrap();
        assert_eq!(counts, (rows, rows), "{table} has to hold the last write of each user");
    }

    fn ours(&self) -> Duration {
        let version = common::fresh();
        let handler = common::handler(&self.store, users::projection("users", version));
        let names = self.log.names();
        let time = timed(|| common::catch_up(&handler, &names));
        self.check(&format!("users_{version}"));
        time
    }

    /// The same transactions with hand-written prepared statements, one for each event.
    fn floor(&self) -> Duration {
        let db = self.connect();
        db.execute_batch(
            "DROP TABLE IF EXISTS floor_users; DROP TABLE IF EXISTS floor_at;
             CREATE TABLE floor_users (instance_id TEXT NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL, email TEXT NOT NULL,
               sequence INTEGER NOT NULL, PRIMARY KEY (instance_id, id)) STRICT;
             CREATE TABLE floor_at (instance_id TEXT PRIMARY KEY, position INTEGER NOT NULL) STRICT;
             INSERT INTO floor_at SELECT instance_id, 0 FROM readside_instances",
        )
        .unwrap();
        let (names, config) = (self.log.names(), HandlerConfig::default());
        let each = config.bulk_limit.min(self.log.users * self.log.versions);
        let shared = config.concurrent_instances.min(PAGE / each).max(1);
        let limit = i64::try_from(config.bulk_limit).unwrap();
        let time = timed(|| {
            for batch in names.chunks(shared) {
                while sqlite_batch(&db, batch, limit) {}
            }
        });
        self.check("floor_users");
        time
    }
}

/// Runs one transaction. True if there is more to do.
fn sqlite_batch(db: &readside::rusqlite::Connection, instances: &[String], limit: i64) -> bool {
    use readside::rusqlite::params;
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut more = false;
    for instance in instances {
        let at = "SELECT c.position, i.head FROM floor_at c JOIN readside_instances i USING (instance_id) WHERE c.instance_id = ?1";
        let read = "SELECT position, aggregate_id, version, payload FROM readside_events WHERE instance_id = ?1 AND position > ?2 ORDER BY position LIMIT ?3";
        let insert = "INSERT INTO floor_users VALUES (?1, ?2, ?3, ?4, ?5)";
        let update = "UPDATE floor_users SET email = ?3, sequence = ?4 WHERE instance_id = ?1 AND id = ?2";
        let [mut at, mut read, mut insert, mut update] =
            [at, read, insert, update].map(|sql| db.prepare_cached(sql).unwrap());
        let (mut position, head): (i64, i64) = at.query_row([instance], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let mut rows = read.query(params![instance, position, limit]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            position = row.get(0).unwrap();
            let (id, version) = (row.get_ref(1).unwrap().as_str().unwrap(), row.get::<_, i64>(2).unwrap());
            let payload: users::Any = serde_json::from_str(row.get_ref(3).unwrap().as_str().unwrap()).unwrap();
            if let Some(name) = payload.name {
                insert.execute(params![instance, id, name, payload.email, version]).unwrap();
            } else {
                update.execute(params![instance, id, payload.email, version]).unwrap();
            }
        }
        let save = "UPDATE floor_at SET position = ?2 WHERE instance_id = ?1";
        db.prepare_cached(save).unwrap().execute(params![instance, position]).unwrap();
        more |= position < head;
    }
    db.execute_batch("COMMIT").unwrap();
    more
}
