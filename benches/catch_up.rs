//! How fast a filled log becomes read tables, beside the same work in hand-written SQL.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a bench")]

mod common;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::EVENTS;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

static VERSION: AtomicU32 = AtomicU32::new(1);

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("catch_up");
    group.throughput(Throughput::Elements(EVENTS as u64)).sample_size(10).measurement_time(Duration::from_secs(5));
    #[cfg(feature = "sqlite")]
    {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bench.db");
        let store = readside::SqliteStore::open(&path).unwrap();
        store.setup().unwrap();
        common::fill(&store);
        group.bench_function("sqlite/readside", |bencher| {
            bencher.iter_custom(|times| {
                (0..times).map(|_| measured(&store, |v| store.read_rows(&common::users(v), "users"))).sum()
            });
        });
        group.bench_function("sqlite/floor", |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| sqlite_floor(&path)).sum());
        });
    }
    #[cfg(all(feature = "postgres", unix))]
    {
        let place = common::postgres::Postgres::find();
        let url = place.url();
        let store = readside::PostgresStore::connect(&url).unwrap();
        store.setup().unwrap();
        common::fill(&store);
        group.bench_function("postgres/readside", |bencher| {
            bencher.iter_custom(|times| {
                (0..times).map(|_| measured(&store, |v| store.read_rows(&common::users(v), "users"))).sum()
            });
        });
        group.bench_function("postgres/floor", |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| postgres_floor(&url)).sum());
        });
    }
    group.finish();
}

/// One catch-up of a fresh version, its result checked outside of the time.
fn measured<S, R>(store: &S, rows: R) -> Duration
where
    S: readside::EventStore + readside::ProjectionStore + Clone + 'static,
    R: Fn(u32) -> Result<Vec<Vec<(String, readside::Value)>>, readside::error::StoreError>,
{
    let version = VERSION.fetch_add(1, Ordering::Relaxed);
    let handler = common::handler(store, version);
    let start = Instant::now();
    common::catch_up(store, &handler);
    let time = start.elapsed();
    common::verify(&rows(version).unwrap());
    time
}

/// The same transactions with hand-written prepared statements, one per event.
#[cfg(feature = "sqlite")]
fn sqlite_floor(path: &std::path::Path) -> Duration {
    use readside::rusqlite::{Connection, TransactionBehavior, params};
    let mut db = Connection::open(path).unwrap();
    db.execute_batch(
        "PRAGMA synchronous = FULL; DROP TABLE IF EXISTS floor; DROP TABLE IF EXISTS floor_at;
         CREATE TABLE floor (instance_id TEXT, id TEXT, name TEXT NOT NULL, email TEXT NOT NULL, sequence INTEGER NOT NULL,
                             PRIMARY KEY (instance_id, id)) STRICT;
         CREATE TABLE floor_at (instance_id TEXT PRIMARY KEY, position INTEGER NOT NULL) STRICT;",
    )
    .unwrap();
    let start = Instant::now();
    for n in 0..common::INSTANCES {
        let name = common::instance(n);
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        {
            let mut read = tx
                .prepare_cached("SELECT position, aggregate_id, version, event_type, payload FROM readside_events WHERE instance_id = ?1 ORDER BY position LIMIT 1000")
                .unwrap();
            let mut insert = tx.prepare_cached("INSERT INTO floor VALUES (?1, ?2, ?3, ?4, ?5)").unwrap();
            let mut update = tx
                .prepare_cached("UPDATE floor SET email = ?3, sequence = ?4 WHERE instance_id = ?1 AND id = ?2")
                .unwrap();
            let mut rows = read.query([&name]).unwrap();
            let mut position = 0_i64;
            while let Some(row) = rows.next().unwrap() {
                position = row.get(0).unwrap();
                let (id, version): (String, i64) = (row.get(1).unwrap(), row.get(2).unwrap());
                let payload: String = row.get(4).unwrap();
                if row.get_ref(3).unwrap().as_str().unwrap() == "user.added" {
                    let p: common::Added = serde_json::from_str(&payload).unwrap();
                    insert.execute(params![name, id, p.name, p.email, version]).unwrap();
                } else {
                    let p: common::Changed = serde_json::from_str(&payload).unwrap();
                    update.execute(params![name, id, p.email, version]).unwrap();
                }
            }
            tx.prepare_cached("INSERT INTO floor_at VALUES (?1, ?2)")
                .unwrap()
                .execute(params![name, position])
                .unwrap();
        }
        tx.commit().unwrap();
    }
    let time = start.elapsed();
    let right: i64 = db
        .query_row("SELECT count(*) FROM floor WHERE sequence = 10 AND email LIKE 'v10.%'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(usize::try_from(right).unwrap(), common::INSTANCES * common::USERS);
    time
}

/// Either payload.
#[cfg(all(feature = "postgres", unix))]
#[derive(serde::Deserialize)]
struct Any {
    name: Option<String>,
    email: String,
}

/// By instance: 1,000 events, last write per key, unnest, checkpoint row, one connection.
#[cfg(all(feature = "postgres", unix))]
fn postgres_floor(url: &str) -> Duration {
    use std::collections::HashMap;
    let mut db = readside::postgres_driver::Client::connect(url, readside::postgres_driver::NoTls).unwrap();
    db.batch_execute(
        "DROP TABLE IF EXISTS floor, floor_at;
         CREATE TABLE floor (instance_id text, id text, name text NOT NULL, email text NOT NULL, sequence bigint NOT NULL, PRIMARY KEY (instance_id, id));
         CREATE TABLE floor_at (instance_id text PRIMARY KEY, position bigint NOT NULL);",
    )
    .unwrap();
    let read = db.prepare("SELECT position, aggregate_id, version, payload FROM readside.events WHERE instance_id = $1 ORDER BY position LIMIT 1000").unwrap();
    let insert = db
        .prepare("INSERT INTO floor SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::int8[])")
        .unwrap();
    let at = db.prepare("INSERT INTO floor_at VALUES ($1, $2)").unwrap();
    let start = Instant::now();
    for n in 0..common::INSTANCES {
        let name = common::instance(n);
        let mut tx = db.transaction().unwrap();
        let rows = tx.query(&read, &[&name]).unwrap();
        let mut last: HashMap<&str, (String, String, i64)> = HashMap::new();
        for row in &rows {
            let p: Any = serde_json::from_str(row.get(3)).unwrap();
            let entry = last.entry(row.get(1)).or_default();
            if let Some(name) = p.name {
                entry.0 = name;
            }
            entry.1 = p.email;
            entry.2 = row.get(2);
        }
        let ids: Vec<&str> = last.keys().copied().collect();
        let names: Vec<&str> = last.values().map(|v| v.0.as_str()).collect();
        let mails: Vec<&str> = last.values().map(|v| v.1.as_str()).collect();
        let sequences: Vec<i64> = last.values().map(|v| v.2).collect();
        tx.execute(&insert, &[&name, &ids, &names, &mails, &sequences]).unwrap();
        tx.execute(&at, &[&name, &rows.last().unwrap().get::<_, i64>(0)]).unwrap();
        tx.commit().unwrap();
    }
    start.elapsed()
}

criterion_group!(benches, bench);
criterion_main!(benches);
