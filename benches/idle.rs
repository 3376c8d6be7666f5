//! What pairs of projection and instance cost that have nothing to do. With a million of them, this measures an
//! engine at rest, and one look for what lags while 100 pairs lag.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a bench")]
#![allow(clippy::cast_precision_loss, reason = "what is measured is not exact to so many places")]
#![allow(dead_code, reason = "each bench uses a part of the harness")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::place::{Database, Postgres};
use common::{Settings, engine, instances, median, process, report, timed};
use readside::prelude::*;
use readside::query::{Cursor, EventBatch, EventFilter, ReadRequest};
use readside::store::{Checkpoint, LagRequest, Lagging};
use readside::{Engine, EngineBuilder, EngineConfig, EngineStore, NewEvent, SqliteStore};
use uuid::Uuid;

/// The largest number of pairs that lag.
const BEHIND: usize = 100;

fn main() {
    let settings = Settings::read();
    let mut server = Postgres::find();
    server.count_statements();
    let pairs = Pairs::new(&settings);
    let database = server.database();
    let store = database.store();
    pairs.fill(&store);
    database.tidy();
    let rest = Duration::from_secs(settings.size(60) as u64);
    if settings.wants("idle-postgres") {
        rest_on_postgres(&pairs, &database, &store, rest);
    }
    let question = "lag-query-postgres";
    if settings.wants(question) {
        let time = pairs.look(&settings, &store);
        report::limit(question, report::millis(time), 500.0, "ms");
    }
    if settings.wants("sqlite") {
        on_sqlite(&settings, &pairs, rest / 3);
    }
}

fn rest_on_postgres(pairs: &Pairs, database: &Database, store: &readside::PostgresStore, rest: Duration) {
    let engine = pairs.start(store);
    database.settle();
    let (server, mut counter) = (database.server_process(), database.counter());
    let server_cpu = || server.and_then(process::cpu_seconds);
    // The first look for work is over by then.
    std::thread::sleep(rest / 6);
    let before = (counter.count(), process::own_cpu_seconds(), server_cpu());
    std::thread::sleep(rest);
    let after = (counter.count(), process::own_cpu_seconds(), server_cpu());
    engine::shut_down(&engine);
    let seconds = rest.as_secs_f64();
    println!("idle-postgres: {} pairs for {seconds:.0} s, {}", pairs.count(), counter.what());
    // No query at all counts as one. The CPU clock of processes ticks in hundredths of a second.
    report::limit("idle-postgres-queries", (after.0 - before.0).max(1) as f64 / seconds, 2.0, "a second");
    let share = |seconds_of_cpu: f64| 100.0 * seconds_of_cpu.max(0.01) / seconds;
    report::limit("idle-postgres-client-cpu", share(after.1 - before.1), 1.0, "% of a core");
    match (before.2, after.2) {
        (Some(before), Some(after)) => {
            report::limit("idle-postgres-server-cpu", share(after - before), 1.0, "% of a core");
        }
        _ => println!("idle-postgres-server-cpu: the server's processes cannot be seen from here"),
    }
}

fn on_sqlite(settings: &Settings, pairs: &Pairs, rest: Duration) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("bench.db")).unwrap();
    pairs.fill(&store);
    let engine = pairs.start(&store);
    let before = process::own_cpu_seconds();
    std::thread::sleep(rest);
    let share = 100.0 * (process::own_cpu_seconds() - before) / rest.as_secs_f64();
    engine::shut_down(&engine);
    println!("idle-sqlite: {} pairs for {rest:.0?}: {share:.3} % of a core", pairs.count());
    println!("lag-query-sqlite: {:.1?}", pairs.look(settings, &store));
}

struct Pairs {
    projections: Vec<Projection>,
    instances: Vec<Arc<str>>,
}

impl Pairs {
    fn new(settings: &Settings) -> Self {
        let instances = instances(settings.size(10_000)).into_iter().map(Arc::from).collect();
        Self { projections: (0..settings.size(100)).map(projection).collect(), instances }
    }

    fn count(&self) -> usize {
        self.projections.len() * self.instances.len()
    }

    /// Stores one event in each instance. All projections handle it, so their first runs are over.
    fn fill<S: EngineStore>(&self, store: &S) {
        store.setup(&self.projections.iter().collect::<Vec<_>>()).unwrap();
        common::fill(store, self.instances.iter().map(|name| NewEvent::raw(name, "idler", "u", "idler.added")));
        let (source, owner) = (store.store_id().unwrap(), Uuid::now_v7());
        let first = |name: &Arc<str>| Cursor { instance: Arc::clone(name), after: 1 };
        let wanted = EventFilter::default();
        let request =
            ReadRequest { cursors: self.instances.iter().map(first).collect(), wanted, limit: 1, max_bytes: 1 };
        let handled =
            |slice: EventBatch| Checkpoint { instance: slice.instance, position: 1, event: slice.at, store: source };
        let checkpoints: Vec<Checkpoint> = store.read(&request).unwrap().into_iter().map(handled).collect();
        for projection in &self.projections {
            let key = projection.key();
            let mut save = |tx: &mut dyn readside::store::ProjectionTransaction| {
                tx.lock(&key, &self.instances)?;
                tx.save(&key, &checkpoints, readside::store::Log::Here)
            };
            store.transaction(&mut save).unwrap();
            assert!(store.lead(&key, owner, Duration::from_secs(30)).unwrap());
            assert!(store.succeed(&key, owner).unwrap());
        }
    }

    fn start<S: EngineStore + Clone>(&self, store: &S) -> Engine {
        let builder = Engine::builder(store.clone());
        let engine = self.projections.iter().cloned().fold(builder, EngineBuilder::projection).start().unwrap();
        let health = engine.health().unwrap();
        assert!(health.projections.iter().all(|one| one.succeeded && one.lagging_instances == 0), "nothing is to do");
        engine
    }

    /// Makes up to 100 pairs lag, each in another instance, and looks for them.
    fn look<S: EngineStore>(&self, settings: &Settings, store: &S) -> Duration {
        let behind = BEHIND.min(self.projections.len());
        let step = self.instances.len() / behind;
        let lagging: Vec<(usize, Arc<str>)> = (0..behind).map(|n| (n, Arc::clone(&self.instances[n * step]))).collect();
        let event = |(n, name): &(usize, Arc<str>)| NewEvent::raw(name, &own_type(*n), "u", "idler.added");
        store.push(&lagging.iter().map(event).collect::<Vec<_>>()).unwrap();
        let config = EngineConfig::default();
        let request = LagRequest {
            projections: self.projections.iter().map(|one| (one.key(), one.wanted().aggregate_types)).collect(),
            instances: Vec::new(),
            owner: Uuid::now_v7(),
            lagging: Lagging::Free,
            system: false,
            longest_wait: config.handler.backoff_cap * 2,
            lease: config.lease,
            limit: 10_000,
        };
        let source = store.store_id().unwrap();
        let look = || {
            let mut found = Vec::new();
            let time = timed(|| found = store.lagging(source, &request).unwrap().unwrap());
            let mut found: Vec<_> = found.into_iter().map(|lag| (lag.projection, lag.instance)).collect();
            found.sort();
            assert_eq!(found, lagging, "exactly these lag");
            time
        };
        median((0..settings.rounds).map(|_| look()).collect())
    }
}

/// A projection of two event types: one that all projections want, and one that only this projection wants.
fn projection(n: usize) -> Projection {
    let name = format!("p{n:03}");
    let added = |e: &readside::Event| create([set("id", e.aggregate_id())]);
    Projection::new(&name, 1)
        .table(Table::new(name.as_str()).column(text("id")).primary_key(["id"]))
        .on_raw("idler", "idler.added", added)
        .on_raw(&own_type(n), "idler.added", added)
}

fn own_type(n: usize) -> String {
    format!("idler-{n}")
}
