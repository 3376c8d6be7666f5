//! How fast events are stored. Pushes of 100 events are compared with a hand-written insert of 100 rows, and pushes
//! by 16 threads at once with pushes by one.
//!
//! Criterion runs the rounds of 100 events, which are short. Each of its iterations measures both sides in turn. Its
//! own statistics describe the side of readside.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a bench")]
#![allow(clippy::cast_precision_loss, reason = "what is measured is not exact to so many places")]
#![allow(dead_code, reason = "each bench uses a part of the harness")]

mod common;

use std::time::Duration;

use common::place::{Database, Postgres};
use common::{Settings, median, report, share, timed};
use criterion::{Criterion, SamplingMode, Throughput};
use readside::postgres_driver::{Client, Statement};
use readside::rusqlite::{Connection, params};
use readside::{Event, EventStore, NewEvent, PostgresStore, SqliteStore};
use serde::Serialize;
use uuid::Uuid;

const BATCH: usize = 100;
const INSTANCE: &str = "push";
const THREADS: usize = 16;

#[derive(Serialize)]
struct Changed {
    email: String,
}

fn main() {
    let settings = Settings::read();
    let mut criterion = Criterion::default().configure_from_args();
    let server = Postgres::find();
    postgres(&settings, &mut criterion, &server);
    sqlite(&settings, &mut criterion);
    threads(&settings, &server);
    criterion.final_summary();
}

/// Runs rounds of both sides, as many as criterion asks for. Each round gets the number of rounds before it.
fn compare(
    settings: &Settings,
    criterion: &mut Criterion,
    question: &str,
    mut ours: impl FnMut(i64),
    mut floor: impl FnMut(i64),
) -> i64 {
    if !settings.wants(question) {
        return 0;
    }
    let mut times = (Vec::new(), Vec::new());
    let mut rounds = 0;
    let mut group = criterion.benchmark_group(question);
    group.throughput(Throughput::Elements(BATCH as u64)).sampling_mode(SamplingMode::Flat);
    group.sample_size(20).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(4));
    group.bench_function("readside", |bencher| {
        bencher.iter_custom(|iterations| {
            let before = times.0.len();
            for _ in 0..iterations {
                times.0.push(timed(|| ours(rounds)));
                times.1.push(timed(|| floor(rounds)));
                rounds += 1;
            }
            times.0[before..].iter().sum()
        });
    });
    group.finish();
    let worst = |times: &[Duration]| share(times.to_vec(), 99);
    println!("{question}: of {rounds} rounds, p99: readside {:.2?}; floor {:.2?}", worst(&times.0), worst(&times.1));
    report::speeds(question, "events", BATCH, median(times.0), median(times.1), 0.8);
    rounds
}

fn id(user: usize) -> String {
    format!("user-{user:02}")
}

fn change(user: usize, round: i64) -> Changed {
    Changed { email: format!("v{round}.{}@example.com", id(user)) }
}

fn push(store: &dyn EventStore, round: i64) {
    let command = |user| NewEvent::raw(INSTANCE, "user", &id(user), "user.changed").payload(&change(user, round));
    let events = store.push(&(0..BATCH).map(command).collect::<Vec<_>>()).unwrap();
    assert_eq!(events.len(), BATCH);
    assert!(events.iter().all(|event| event.version() == round + 1), "every user has one event a round");
}

fn postgres(settings: &Settings, criterion: &mut Criterion, server: &Postgres) {
    let database = server.database();
    let store = database.store();
    let mut floor = PostgresFloor::new(&database);
    let question = "push-100-postgres";
    let rounds = compare(settings, criterion, question, |round| push(&store, round), |round| floor.push(round));
    for table in ["readside.events", "floor_events"] {
        let rows = BATCH * usize::try_from(rounds).unwrap();
        database.check(table, rows, &format!("position <= {rows} AND version <= {rounds}"));
    }
}

/// Updates the counter, then inserts all rows in one statement. The table has readside's columns, and the keys that
/// positions and versions need. The caller passes the versions.
struct PostgresFloor {
    client: Client,
    count: Statement,
    insert: Statement,
}

impl PostgresFloor {
    fn new(database: &Database) -> Self {
        let mut client = database.client();
        client
            .batch_execute(&format!(
                "CREATE TABLE floor_events (LIKE readside.events INCLUDING DEFAULTS, PRIMARY KEY (instance_id, position),
                   UNIQUE (instance_id, aggregate_type, aggregate_id, version));
                 CREATE TABLE floor_heads (instance_id text PRIMARY KEY, head bigint NOT NULL);
                 INSERT INTO floor_heads VALUES ('{INSTANCE}', 0)"
            ))
            .unwrap();
        let count = "UPDATE floor_heads SET head = head + $2 WHERE instance_id = $1 RETURNING head - $2";
        let insert = "INSERT INTO floor_events (instance_id, position, event_id, aggregate_type, aggregate_id, version, \
                      event_type, revision, created_at, creator, owner, payload, metadata) \
                      SELECT $1, $2 + n, event, 'user', aggregate, $3, 'user.changed', 1, clock_timestamp(), '', '', payload, '{}' \
                      FROM unnest($4::uuid[], $5::text[], $6::text[]) WITH ORDINALITY u (event, aggregate, payload, n)";
        let [count, insert] = [count, insert].map(|sql| client.prepare(sql).unwrap());
        Self { client, count, insert }
    }

    fn push(&mut self, round: i64) {
        let mut tx = self.client.transaction().unwrap();
        let count = i64::try_from(BATCH).unwrap();
        let head: i64 = tx.query_one(&self.count, &[&INSTANCE, &count]).unwrap().get(0);
        let events: Vec<Uuid> = (0..BATCH).map(|_| Uuid::now_v7()).collect();
        let ids: Vec<String> = (0..BATCH).map(id).collect();
        let payloads: Vec<String> =
            (0..BATCH).map(|user| serde_json::to_string(&change(user, round)).unwrap()).collect();
        let version = round + 1;
        tx.execute(&self.insert, &[&INSTANCE, &head, &version, &events, &ids, &payloads]).unwrap();
        tx.commit().unwrap();
    }
}

fn sqlite(settings: &Settings, criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("ours.db")).unwrap();
    store.setup().unwrap();
    let mut floor = sqlite_floor(&folder.path().join("floor.db"));
    let question = "push-100-sqlite";
    let push_floor = |round| push_sqlite_floor(&mut floor, round);
    let rounds = compare(settings, criterion, question, |round| push(&store, round), push_floor);
    let stored = store.filter(&readside::query::Query::new().descending().limit(1)).unwrap();
    let ours = stored.first().map_or(0, Event::position);
    let theirs: i64 = floor.query_row("SELECT count(*) FROM floor_events", [], |row| row.get(0)).unwrap();
    let all = rounds * i64::try_from(BATCH).unwrap();
    assert_eq!((ours, theirs), (all, all), "both sides stored every event");
}

fn sqlite_floor(path: &std::path::Path) -> Connection {
    let db = Connection::open(path).unwrap();
    db.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE floor_events (instance_id TEXT NOT NULL, position INTEGER NOT NULL, event_id BLOB NOT NULL,
           aggregate_type TEXT NOT NULL, aggregate_id TEXT NOT NULL, version INTEGER NOT NULL, event_type TEXT NOT NULL,
           revision INTEGER NOT NULL, created_at TEXT NOT NULL, creator TEXT NOT NULL, owner TEXT NOT NULL,
           payload TEXT NOT NULL, metadata TEXT NOT NULL, PRIMARY KEY (instance_id, position),
           UNIQUE (instance_id, aggregate_type, aggregate_id, version)) STRICT;
         CREATE TABLE floor_heads (instance_id TEXT PRIMARY KEY, head INTEGER NOT NULL) STRICT;
         INSERT INTO floor_heads VALUES ('{INSTANCE}', 0)"
    ))
    .unwrap();
    db
}

/// The same with a prepared statement for each row. On SQLite that is as fast as many rows in one statement.
fn push_sqlite_floor(db: &mut Connection, round: i64) {
    let tx = db.transaction_with_behavior(readside::rusqlite::TransactionBehavior::Immediate).unwrap();
    {
        let count = "UPDATE floor_heads SET head = head + ?2 WHERE instance_id = ?1 RETURNING head - ?2";
        let insert =
            "INSERT INTO floor_events VALUES (?1, ?2, ?3, 'user', ?4, ?5, 'user.changed', 1, ?6, '', '', ?7, '{}')";
        let batch = i64::try_from(BATCH).unwrap();
        let [mut count, mut insert] = [count, insert].map(|sql| tx.prepare_cached(sql).unwrap());
        let mut position: i64 = count.query_row(params![INSTANCE, batch], |row| row.get(0)).unwrap();
        let now = format!("{:.6}", jiff::Timestamp::now());
        for user in 0..BATCH {
            position += 1;
            let payload = serde_json::to_string(&change(user, round)).unwrap();
            let event = Uuid::now_v7();
            insert
                .execute(params![INSTANCE, position, event.as_bytes().as_slice(), id(user), round + 1, now, payload])
                .unwrap();
        }
    }
    tx.commit().unwrap();
}

/// Compares many threads that push single events to one instance with one such thread.
fn threads(settings: &Settings, server: &Postgres) {
    let question = "push-16-threads-one-instance-postgres";
    if !settings.wants(question) {
        return;
    }
    let database = server.database();
    let store = database.store();
    let each = settings.size(100);
    let (many, one) = settings.compare(|| push_singly(&store, THREADS, each), || push_singly(&store, 1, 2 * each));
    let speed = |count: usize, time: Duration| count as f64 / time.as_secs_f64();
    println!(
        "{question}: {THREADS} threads {}; one thread {}",
        report::speed("events", THREADS * each, many),
        report::speed("events", 2 * each, one)
    );
    report::ratio(question, speed(THREADS * each, many) / (5.0 * speed(2 * each, one)), 1.0);
    let rows = settings.rounds * (THREADS + 2) * each;
    database.check("readside.events", rows, &format!("position <= {rows}"));
}

/// Each thread has its own aggregate, and pushes this many events one by one.
fn push_singly(store: &PostgresStore, threads: usize, each: usize) -> Duration {
    let round = |thread: usize| {
        (0..each).for_each(|n| {
            let command = NewEvent::raw("one", "user", &id(thread), "user.changed");
            let stored = store.push(&[command.payload(&change(thread, n.try_into().unwrap()))]).unwrap();
            assert_eq!(stored.len(), 1);
        });
    };
    timed(|| {
        std::thread::scope(|scope| {
            for thread in 0..threads {
                scope.spawn(move || round(thread));
            }
        });
    })
}
