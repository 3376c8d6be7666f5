//! How long it takes from a push until a read model shows it: in one process, and when another engine does the work.
//!
//! Prints p50 and p99 over 500 events at 50 a second; `--test` runs a few only.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a bench")]

#[cfg(all(feature = "postgres", unix))]
#[path = "common/postgres.rs"]
mod postgres;

use std::time::{Duration, Instant};

use readside::{Command, Engine, EngineConfig, EngineStore, Projection, Table, increment, integer, set, text, upsert};

const GAP: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(30);

fn users(name: &str) -> Projection {
    Projection::new(name, 1).table(Table::new(name).column(text("id")).column(integer("n")).primary_key(["id"])).on_raw(
        "user",
        "user.seen",
        |e| upsert(["id"], [set("id", e.aggregate_id()), increment("n", 1)]),
    )
}

fn config() -> EngineConfig {
    EngineConfig { requeue_every: Duration::from_mins(10), ..EngineConfig::default() }
}

fn measure(what: &str, events: usize, engine: &Engine, mut visible: impl FnMut(&[readside::Event])) {
    let mut times = Vec::new();
    let mut next = Instant::now();
    for _ in 0..events {
        next += GAP;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        let start = Instant::now();
        let pushed = engine.push(&[Command::raw("tenant", "user", "u", "user.seen")]).unwrap();
        let stored = start.elapsed();
        visible(&pushed);
        times.push((start.elapsed().saturating_sub(stored), stored));
    }
    times.sort();
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)].0;
    let mut stored: Vec<Duration> = times.iter().map(|(_, stored)| *stored).collect();
    stored.sort();
    println!(
        "{what:32} push to visible p50 {:>9.2?}  p99 {:>9.2?}   (the push itself p50 {:.2?})",
        at(50),
        at(99),
        stored[stored.len() / 2]
    );
}

fn bench<S: EngineStore + Clone>(what: &str, events: usize, open: impl Fn() -> S) {
    let one = Engine::builder(open()).projection(users("near")).config(config()).start().unwrap();
    while !one.health().unwrap().projections[0].succeeded {
        std::thread::yield_now();
    }
    measure(&format!("{what}, one process"), events, &one, |pushed| one.await_pushed("near", pushed, LONG).unwrap());
    let other = Engine::builder(open()).projection(users("far")).config(config()).start().unwrap();
    while !other.health().unwrap().projections[0].succeeded || one.health().unwrap().members < 2 {
        std::thread::yield_now();
    }
    measure(&format!("{what}, across engines"), events, &one, |pushed| {
        other.await_pushed("far", pushed, LONG).unwrap();
    });
}

fn main() {
    let events = if std::env::args().any(|argument| argument == "--test") { 5 } else { 500 };
    #[cfg(feature = "sqlite")]
    {
        let folder = tempfile::tempdir().unwrap();
        bench("sqlite", events, || readside::SqliteStore::open(folder.path().join("bench.db")).unwrap());
    }
    #[cfg(all(feature = "postgres", unix))]
    {
        let place = postgres::Postgres::find();
        let url = place.url();
        bench("postgres", events, || readside::PostgresStore::connect(&url).unwrap());
    }
}
