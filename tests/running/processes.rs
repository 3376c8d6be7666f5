//! Real processes on one database. One is killed, and one is stopped for longer than its lease: Contract: F4, F6, L2.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use readside::prelude::*;

use readside::{
    Engine, EngineConfig, EngineStore, EventStore, NewEvent, PostgresOptions, PostgresStore, SqliteOptions, SqliteStore,
};

use crate::common::child::{Child, until_told};
use crate::{Counted, count, eventually, instance};

const INSTANCES: usize = 200;
const NAMES: [&str; 5] = ["one", "two", "three", "four", "five"];
const LEASE: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(500);

/// Counts, and records which process wrote a row last.
fn counts(name: &str) -> Projection {
    let worker = i64::from(std::process::id());
    Projection::new(name, 1)
        .table(
            Table::new(name)
                .column(text("thing"))
                .column(integer("n"))
                .column(integer("worker"))
                .primary_key(["thing"]),
        )
        .on(move |e, p: Counted| {
            upsert(["thing"], [set("thing", e.aggregate_id()), increment("n", p.by), set("worker", worker)])
        })
}

fn config() -> EngineConfig {
    EngineConfig::default().requeue_every(TICK).lease(LEASE).workers(2)
}

/// Runs an engine until its standard input ends.
fn work<S: EngineStore>(store: S) {
    let builder = Engine::builder(store).config(config());
    let engine = NAMES.iter().fold(builder, |builder, name| builder.projection(counts(name))).start().unwrap();
    println!("ready");
    std::io::stdout().flush().unwrap();
    until_told();
    engine.shutdown(Duration::from_secs(20)).unwrap();
}

/// The process that the tests below start.
#[test]
#[ignore = "run as a process of its own by the tests that follow"]
fn worker() {
    let place = std::env::var("READSIDE_TEST_PLACE").unwrap();
    #[cfg(feature = "postgres")]
    if place.starts_with("postgres") {
        let options = PostgresOptions::default().idle_in_transaction_timeout(Duration::from_secs(5));
        return work(PostgresStore::connect_with(&place, options).unwrap());
    }
    #[cfg(feature = "sqlite")]
    work(SqliteStore::open_with(&place, crate_options()).unwrap());
}

#[cfg(feature = "sqlite")]
fn crate_options() -> SqliteOptions {
    SqliteOptions::default().busy_timeout(crate::LONG)
}

fn start(place: &str) -> Child {
    let (ready, wait) = crossbeam_channel::bounded(1);
    let hear = move |line: String| {
        if line.contains("ready") {
            let _ = ready.send(());
        }
    };
    let worker = Child::start("processes::worker", &[("READSIDE_TEST_PLACE", place)], hear);
    wait.recv_timeout(crate::LONG).expect("the worker starts");
    worker
}

type Rows<'a> = &'a dyn Fn(&Projection) -> Vec<Vec<(String, Value)>>;

/// The sum of all counts, and the number of rows for each process that wrote them last.
fn totals(rows: Rows<'_>) -> (i64, BTreeMap<i64, usize>) {
    let (mut sum, mut workers) = (0, BTreeMap::new());
    for name in NAMES {
        for row in rows(&counts(name)) {
            let (Value::Integer(n), Value::Integer(worker)) = (&row[2].1, &row[3].1) else { panic!("{row:?}") };
            sum += n;
            *workers.entry(*worker).or_default() += 1;
        }
    }
    (sum, workers)
}

fn push(store: &dyn EventStore, rounds: usize) -> i64 {
    for _ in 0..rounds {
        for n in (0..INSTANCES).step_by(20) {
            let commands: Vec<NewEvent> = (n..n + 20).map(|n| count(&instance(n), 1)).collect();
            store.push(&commands).unwrap();
        }
    }
    i64::try_from(rounds * INSTANCES * NAMES.len()).unwrap()
}

/// Waits until everything is counted.
fn counted(rows: Rows<'_>, expected: i64) {
    eventually("the end of the work", || {
        let (sum, _) = totals(rows);
        assert!(sum <= expected, "something was counted twice: {sum} of {expected}");
        sum == expected
    });
}

fn share(store: &dyn EventStore, rows: Rows<'_>, place: &str, stops: bool) {
    let mut workers: Vec<Child> = (0..3).map(|_| start(place)).collect();
    let mut expected = push(store, 1);
    counted(rows, expected);
    // One process leads the first run. From here on all processes share the work. After a heartbeat, each knows who
    // came or left.
    eventually("even shares", || {
        expected += push(store, 1);
        counted(rows, expected);
        let (_, by_worker) = totals(rows);
        let even = INSTANCES * NAMES.len() / 3;
        by_worker.len() == 3 && by_worker.values().all(|share| share.abs_diff(even) * 5 <= even)
    });
    let dead = workers.remove(0);
    let dead_pid = dead.pid();
    expected += push(store, 3);
    drop(dead);
    if stops {
        workers[0].signal("-STOP");
    }
    expected += push(store, 1);
    // The leases and row locks of the dead and stopped processes end, and then a tick finds the work.
    counted(rows, expected);
    if stops {
        workers[0].signal("-CONT");
    }
    workers.push(start(place));
    eventually("even shares again", || {
        expected += push(store, 1);
        counted(rows, expected);
        let (_, by_worker) = totals(rows);
        !by_worker.contains_key(&dead_pid) && by_worker.len() == 3
    });
    assert!(workers.into_iter().all(Child::end));
    assert_eq!(totals(rows).0, expected);
}

// Contract: F4, F6, L2
#[cfg(feature = "postgres")]
#[test]
fn processes_share_postgres_and_outlive_each_other() {
    let database = crate::common::postgres::database();
    let store = PostgresStore::connect(database.url()).unwrap();
    store.setup().unwrap();
    let rows = |projection: &Projection| store.read_rows(projection, projection.name()).unwrap_or_default();
    share(&store, &rows, database.url(), true);
}

// Contract: F6, L2. No process is stopped here: inside a write transaction, it would block all writers of the file.
#[cfg(feature = "sqlite")]
#[test]
fn processes_share_a_file_and_outlive_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let store = SqliteStore::open_with(&path, crate_options()).unwrap();
    store.setup().unwrap();
    let rows = |projection: &Projection| store.read_rows(projection, projection.name()).unwrap_or_default();
    share(&store, &rows, path.to_str().unwrap(), false);
}
