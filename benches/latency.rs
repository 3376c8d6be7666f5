//! How long it takes on PostgreSQL until a read model shows a pushed event. In one process, this is compared with
//! durable commits, which are measured between the events. It is also measured with the engine in another process.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a bench")]
#![allow(clippy::cast_precision_loss, reason = "what is measured is not exact to so many places")]
#![allow(dead_code, reason = "each bench uses a part of the harness")]

mod common;

use std::time::{Duration, Instant};

use common::place::{Commit, Database, Postgres, connect};
use common::process::{Other, role, until_told};
use common::{Settings, engine, median, report, share};
use readside::postgres_driver::{Client, Statement};
use readside::prelude::*;
use readside::{Engine, NewEvent, PostgresStore};

/// The pause between two events: fifty events a second.
const GAP: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(30);

/// The first events, which open connections and do not count.
const FIRST: usize = 10;

fn main() {
    match role().as_deref() {
        Some([url]) => run_engine(url),
        _ => bench(&Settings::read()),
    }
}

fn bench(settings: &Settings) {
    let server = Postgres::find();
    let events = settings.size(500);
    if settings.wants("latency-in-process") {
        in_process(&server, events);
    }
    if settings.wants("latency-across-processes") {
        across_processes(&server, events);
    }
}

fn projection() -> Projection {
    let seen = Table::new("seen").column(text("id")).column(integer("n")).primary_key(["id"]);
    let reduce = |e: &Event| upsert(["id"], [set("id", e.aggregate_id()), increment("n", 1)]);
    Projection::new("seen", 1).table(seen).on_raw("user", "user.seen", reduce)
}

fn in_process(server: &Postgres, events: usize) {
    let database = server.database();
    let engine = Engine::builder(database.store()).projection(projection()).start().unwrap();
    engine::until_succeeded(&engine);
    let (mut commit, mut commits) = (Commit::on(&database), Vec::new());
    let mut reader = Reader::new(&database);
    let times = measure(events, &engine, |pushed, number| {
        engine.await_pushed("seen", pushed, LONG).unwrap();
        let visible = Instant::now();
        assert_eq!(reader.read(), number, "the row shows every event so far");
        commits.push(commit.time());
        visible
    });
    engine::shut_down(&engine);
    let (p50, p99) = (median(times.clone()), share(times, 99));
    let commit = median(commits.clone());
    let worst = share(commits, 99);
    println!("latency-in-process: p50 {p50:.2?}, p99 {p99:.2?}; a durable commit p50 {commit:.2?}, p99 {worst:.2?}");
    report::limit("latency-in-process-p50", report::millis(p50), 4.0 * report::millis(commit), "ms");
    report::limit("latency-in-process-p99", report::millis(p99), 12.0 * report::millis(commit), "ms");
}

/// This process pushes with an engine without projections, and another process projects. This process polls the row.
fn across_processes(server: &Postgres, events: usize) {
    let database = server.database();
    let store = database.store();
    let mut other = Other::start(&[&database.url]);
    assert_eq!(other.line(), "ready");
    let engine = Engine::builder(store).start().unwrap();
    while engine.health().unwrap().members < 2 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut reader = Reader::new(&database);
    let times = measure(events, &engine, |_, number| {
        let deadline = Instant::now() + LONG;
        while reader.read() < number {
            assert!(Instant::now() < deadline, "the other process does nothing");
            std::thread::sleep(Duration::from_micros(200));
        }
        Instant::now()
    });
    engine::shut_down(&engine);
    let (p50, p99) = (report::millis(median(times.clone())), report::millis(share(times, 99)));
    report::limit("latency-across-processes-p50", p50, 25.0, "ms");
    report::limit("latency-across-processes-p99", p99, 60.0, "ms");
}

/// The time from the return of each push until `visible` returns. `visible` gets the number of events so far, and
/// returns when the row showed the last one.
fn measure(events: usize, engine: &Engine, mut visible: impl FnMut(&[Event], i64) -> Instant) -> Vec<Duration> {
    let (mut times, mut next) = (Vec::new(), Instant::now());
    for number in 1..=events + FIRST {
        next += GAP;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        let pushed = engine.push(&[NewEvent::raw("tenant", "user", "u", "user.seen")]).unwrap();
        let stored = Instant::now();
        times.push(visible(&pushed, i64::try_from(number).unwrap()) - stored);
    }
    times.split_off(FIRST)
}

/// Reads the row that counts the events.
struct Reader {
    client: Client,
    read: Statement,
}

impl Reader {
    fn new(database: &Database) -> Self {
        let mut client = connect(&database.url);
        let read = client.prepare("SELECT n FROM seen WHERE instance_id = 'tenant' AND id = 'u'").unwrap();
        Self { client, read }
    }

    fn read(&mut self) -> i64 {
        self.client.query_opt(&self.read, &[]).unwrap().map_or(0, |row| row.get(0))
    }
}

/// What the other process does.
fn run_engine(url: &str) {
    let engine = Engine::builder(PostgresStore::connect(url).unwrap()).projection(projection()).start().unwrap();
    engine::until_succeeded(&engine);
    println!("ready");
    until_told();
    engine::shut_down(&engine);
}
