//! How fast events are stored, 100 a call, beside a hand-written multi-row insert with the counter update.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a bench")]
#![allow(dead_code, reason = "the harness is shared")]

mod common;

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use readside::{Command, EventStore};

const BATCH: usize = 100;

fn push(store: &dyn EventStore) {
    let commands: Vec<Command> = (0..BATCH).map(|user| common::command("push", user, 2)).collect();
    assert_eq!(store.push(&commands).unwrap().len(), BATCH);
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("push_100");
    group.throughput(Throughput::Elements(BATCH as u64)).sample_size(20).measurement_time(Duration::from_secs(3));
    #[cfg(feature = "sqlite")]
    {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bench.db");
        let store = readside::SqliteStore::open(&path).unwrap();
        store.setup().unwrap();
        group.bench_function("sqlite/readside", |bencher| bencher.iter(|| push(&store)));
        let mut db = readside::rusqlite::Connection::open(&path).unwrap();
        db.execute_batch("PRAGMA synchronous = FULL; CREATE TABLE floor (i TEXT, p INTEGER, a TEXT, v INTEGER, t TEXT, payload TEXT, PRIMARY KEY (i, p), UNIQUE (i, a, v)) STRICT; CREATE TABLE counter (p INTEGER); INSERT INTO counter VALUES (0)").unwrap();
        group.bench_function("sqlite/floor", |bencher| bencher.iter(|| sqlite_floor(&mut db)));
    }
    #[cfg(all(feature = "postgres", unix))]
    {
        let place = common::postgres::Postgres::find();
        let url = place.url();
        let store = readside::PostgresStore::connect(&url).unwrap();
        store.setup().unwrap();
        group.bench_function("postgres/readside", |bencher| bencher.iter(|| push(&store)));
        let mut db = readside::postgres_driver::Client::connect(&url, readside::postgres_driver::NoTls).unwrap();
        db.batch_execute("DROP TABLE IF EXISTS push_floor, push_counter; CREATE TABLE push_floor (i text, p bigint, a text, v bigint, t text, payload text, PRIMARY KEY (i, p), UNIQUE (i, a, v)); CREATE TABLE push_counter (p bigint); INSERT INTO push_counter VALUES (0)").unwrap();
        group.bench_function("postgres/floor", |bencher| bencher.iter(|| postgres_floor(&mut db)));
    }
    group.finish();
}

#[cfg(feature = "sqlite")]
fn sqlite_floor(db: &mut readside::rusqlite::Connection) {
    use readside::rusqlite::{TransactionBehavior, params};
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    {
        let first: i64 =
            tx.query_row("UPDATE counter SET p = p + 100 RETURNING p - 100", [], |row| row.get(0)).unwrap();
        let mut insert =
            tx.prepare_cached("INSERT INTO floor VALUES ('push', ?1, ?2, ?1, 'user.changed', ?3)").unwrap();
        for user in 0..BATCH {
            let position = first + i64::try_from(user).unwrap() + 1;
            insert.execute(params![position, format!("user-{user:02}"), r#"{"email":"v2@example.com"}"#]).unwrap();
        }
    }
    tx.commit().unwrap();
}

#[cfg(all(feature = "postgres", unix))]
fn postgres_floor(db: &mut readside::postgres_driver::Client) {
    let mut tx = db.transaction().unwrap();
    let first: i64 = tx.query_one("UPDATE push_counter SET p = p + 100 RETURNING p - 100", &[]).unwrap().get(0);
    let ids: Vec<String> = (0..BATCH).map(|user| format!("user-{user:02}")).collect();
    let payloads = vec![r#"{"email":"v2@example.com"}"#; BATCH];
    tx.execute(
        "INSERT INTO push_floor SELECT 'push', $1::int8 + o, a, $1 + o, 'user.changed', p FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS u(a, p, o)",
        &[&first, &ids, &payloads],
    )
    .unwrap();
    tx.commit().unwrap();
}

criterion_group!(benches, bench);
criterion_main!(benches);
