//! How fast a filled log becomes read tables, beside the same work in hand-written SQL, on both databases.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a bench")]
#![allow(clippy::cast_precision_loss, reason = "what is measured is not exact to so many places")]
#![allow(dead_code, reason = "each bench uses a part of the harness")]

mod common;

use std::time::Duration;

use common::place::{Database, Postgres};
use common::users::{self, Log};
use common::{Settings, floor, report, timed};
use readside::postgres_driver::{Row, Transaction};
use readside::{HandlerConfig, PostgresStore, SqliteStore};

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
    let filled = Filled::new(&server, log);
    let names = log.names();
    let (one, two) = ([&names[..]], names.split_at(names.len() / 2));
    let two = [two.0, two.1];
    for (question, workers, reach) in
        [("catch-up-postgres", &one[..], 0.8), ("catch-up-postgres-two-workers", &two[..], 0.7)]
    {
        if settings.wants(question) {
            let (ours, floor) = settings.compare(|| filled.ours(workers), || filled.floor(workers));
            report::speeds(question, "events", log.events(), ours, floor, reach);
        }
    }
    statement_by_statement(settings, &filled, &names);
    many_instances(settings, &server, &filled, &names);
}

/// The baseline is slow, and gets a tenth of the instances.
fn statement_by_statement(settings: &Settings, filled: &Filled, names: &[String]) {
    let question = "catch-up-postgres-beside-statements-with-savepoints";
    if !settings.wants(question) {
        return;
    }
    let tenth = &names[..names.len().div_ceil(10)];
    let events = tenth.len() * filled.log.users * filled.log.versions;
    let (ours, baseline) = settings.compare(|| filled.ours(&[names]), || filled.baseline(tenth));
    let speed = |events: usize, time: Duration| events as f64 / time.as_secs_f64();
    println!(
        "{question}: readside {}; baseline {}",
        report::speed("events", filled.log.events(), ours),
        report::speed("events", events, baseline)
    );
    report::ratio(question, speed(filled.log.events(), ours) / (10.0 * speed(events, baseline)), 1.0);
}

/// As many events in a hundred times as many instances: what an instance costs.
fn many_instances(settings: &Settings, server: &Postgres, filled: &Filled, names: &[String]) {
    let question = "catch-up-postgres-many-instances";
    if !settings.wants(question) {
        return;
    }
    let log = Log { instances: filled.log.instances * filled.log.users, users: 1, ..filled.log };
    let (many, many_names) = (Filled::new(server, log), log.names());
    let (ours, few) = settings.compare(|| many.ours(&[&many_names]), || filled.ours(&[names]));
    report::speeds(question, "events", log.events(), ours, few, 0.5);
}

/// A filled log on PostgreSQL.
struct Filled {
    log: Log,
    database: Database,
    store: PostgresStore,
}

impl Filled {
    fn new(server: &Postgres, log: Log) -> Self {
        let database = server.database();
        let store = database.store();
        common::fill(&store, log.commands());
        database.tidy();
        Self { log, database, store }
    }

    /// One handler, a worker for each part of the instances.
    fn ours(&self, workers: &[&[String]]) -> Duration {
        let version = common::fresh();
        let handler = common::handler(&self.store, users::projection("users", version));
        self.database.settle();
        let time = timed(|| {
            std::thread::scope(|scope| {
                for part in workers {
                    scope.spawn(|| common::catch_up(&handler, part));
                }
            });
        });
        self.log.check(&self.database, &format!("users_{version}"));
        time
    }

    /// A connection for each part of the instances.
    fn floor(&self, workers: &[&[String]]) -> Duration {
        self.make_floor();
        let mut floors: Vec<users::Floor> = workers.iter().map(|_| users::Floor::new(&self.database)).collect();
        self.database.settle();
        let time = timed(|| {
            std::thread::scope(|scope| {
                for (floor, part) in floors.iter_mut().zip(workers) {
                    scope.spawn(|| floor.catch_up(part));
                }
            });
        });
        self.log.check(&self.database, "floor_users");
        time
    }

    /// What the engine does that this one is measured against: a savepoint around each statement, 200 events a batch.
    fn baseline(&self, names: &[String]) -> Duration {
        self.make_floor();
        let mut frame = floor::Frame::new(&self.database, "aggregate_id, version, payload", 200);
        let insert = frame.client.prepare("INSERT INTO floor_users VALUES ($1, $2, $3, $4, $5)").unwrap();
        let update = "UPDATE floor_users SET email = $3, sequence = $4 WHERE instance_id = $1 AND id = $2";
        let update = frame.client.prepare(update).unwrap();
        let execute = |tx: &mut Transaction<'_>, instance: &str, row: &Row| {
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
        self.database.settle();
        let time = timed(|| {
            frame.catch_up(names, |tx, instance, rows| rows.iter().for_each(|row| execute(tx, instance, row)));
        });
        Log { instances: names.len(), ..self.log }.check(&self.database, "floor_users");
        time
    }

    /// An empty table like ours, and checkpoints.
    fn make_floor(&self) {
        common::handler(&self.store, users::projection("users", 1));
        let mut client = self.database.client();
        floor::tables_like(&mut client, &[("floor_users", "users_1")]);
        floor::forget(&mut client);
    }
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

    /// The same transactions with hand-written prepared statements, one per event.
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
        let limit = i64::try_from(config.bulk_limit).unwrap();
        let time = timed(|| {
            for batch in names.chunks(config.concurrent_instances) {
                while sqlite_batch(&db, batch, limit) {}
            }
        });
        self.check("floor_users");
        time
    }
}

/// One transaction; true when there is more.
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
