//! What an engine costs that has nothing to do: one look for lag over many projections and instances, and a while of idling.
//!
//! `READSIDE_IDLE_PROJECTIONS` and `READSIDE_IDLE_INSTANCES` set the size; 100 by 10,000 are a million pairs.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a bench")]

#[cfg(all(feature = "postgres", unix))]
#[path = "common/postgres.rs"]
mod postgres;

use std::time::{Duration, Instant};

use readside::{Command, EngineStore, LagRequest, Projection, Table, create, set, text};

fn projection(n: usize) -> Projection {
    let name = format!("p{n:03}");
    Projection::new(&name, 1).table(Table::new(name.as_str()).column(text("id")).primary_key(["id"])).on_raw(
        "idler",
        "idler.added",
        |e| create([set("id", e.aggregate_id())]),
    )
}

fn size(name: &str, test: bool, default: usize) -> usize {
    let set = std::env::var(name).ok().and_then(|text| text.parse().ok());
    set.unwrap_or(if test { 5 } else { default })
}

/// All pairs are up to date: states are written as a first run would leave them.
fn bench<S: EngineStore>(what: &str, store: &S, projections: usize, instances: usize) {
    let all: Vec<Projection> = (0..projections).map(projection).collect();
    store.setup(&all.iter().collect::<Vec<_>>()).unwrap();
    let names: Vec<std::sync::Arc<str>> = (0..instances).map(|n| format!("tenant-{n:05}").into()).collect();
    for chunk in names.chunks(500) {
        let commands: Vec<Command> = chunk.iter().map(|name| Command::raw(name, "idler", "u", "idler.added")).collect();
        store.push(&commands).unwrap();
    }
    let source = store.store_id().unwrap();
    for projection in &all {
        let checkpoints: Vec<readside::Checkpoint> = names
            .iter()
            .map(|name| readside::Checkpoint { instance: name.clone(), position: 1, event: None, store: source })
            .collect();
        store
            .transaction(&mut |tx| {
                tx.lock(&projection.key(), &names)?;
                tx.save(&projection.key(), &checkpoints)
            })
            .unwrap();
    }
    let request = LagRequest {
        projections: all.iter().map(|p| (p.key(), p.wanted().aggregate_types)).collect(),
        owner: uuid::Uuid::nil(),
        all: false,
        system: false,
        longest_wait: Duration::from_mins(10),
        lease: Duration::from_secs(30),
        limit: 10_000,
    };
    let mut times: Vec<Duration> = (0..5)
        .map(|_| {
            let start = Instant::now();
            assert!(store.lagging(source, &request).unwrap().unwrap().is_empty());
            start.elapsed()
        })
        .collect();
    times.sort();
    let pairs = projections * instances;
    println!(
        "{what:10} one look at {pairs} pairs, none of which lags: {:.2?} (of 5: {:.2?} to {:.2?})",
        times[2], times[0], times[4]
    );
}

/// What an engine costs per minute that has nothing to do, by the CPU time of this process.
#[cfg(target_os = "linux")]
fn idle<S: EngineStore>(what: &str, store: S, projections: usize, seconds: u64) {
    let all = (0..projections).map(projection);
    let engine = all.fold(readside::Engine::builder(store), readside::EngineBuilder::projection).start().unwrap();
    while engine.health().unwrap().projections.iter().any(|projection| !projection.succeeded) {
        std::thread::sleep(Duration::from_millis(500));
    }
    let before = cpu_seconds();
    std::thread::sleep(Duration::from_secs(seconds));
    let minute = 60.0 / Duration::from_secs(seconds).as_secs_f64();
    println!("{what:10} idle for {seconds} s: {:.2} CPU seconds a minute", (cpu_seconds() - before) * minute);
}

#[cfg(target_os = "linux")]
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<f64> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse().unwrap())
        .collect();
    (fields[0] + fields[1]) / 100.0
}

fn main() {
    let test = std::env::args().any(|argument| argument == "--test");
    let projections = size("READSIDE_IDLE_PROJECTIONS", test, 20);
    let instances = size("READSIDE_IDLE_INSTANCES", test, 1000);
    #[cfg(feature = "sqlite")]
    {
        let folder = tempfile::tempdir().unwrap();
        let store = readside::SqliteStore::open(folder.path().join("bench.db")).unwrap();
        bench("sqlite", &store, projections, instances);
        #[cfg(target_os = "linux")]
        idle("sqlite", store, projections, if test { 1 } else { 30 });
    }
    #[cfg(all(feature = "postgres", unix))]
    {
        let place = postgres::Postgres::find();
        let url = place.url();
        let store = readside::PostgresStore::connect(&url).unwrap();
        bench("postgres", &store, projections, instances);
    }
}
