//! What an engine logs, as a service's logger receives it: the text and the key-values hold the same facts.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use log::kv::{Error, Key, Value, VisitSource};
use readside::admin::RebuildOptions;
use readside::error::{StoreError, StoreErrorKind};
use readside::failure::{By, FailureQuery};
use readside::prelude::*;
use readside::testing::FaultyStore;
use readside::{Engine, EngineConfig, EngineStore, HandlerConfig, NewEvent, Policy, SqliteStore};

use crate::common::{LONG, eventually};

/// A log line: its level, its text, and its key-values.
#[derive(Debug, Clone)]
struct Line {
    level: log::Level,
    text: String,
    facts: BTreeMap<String, String>,
}

struct Capture(Mutex<Vec<Line>>);

static CAPTURE: Capture = Capture(Mutex::new(Vec::new()));
static READY: Once = Once::new();

struct Facts(BTreeMap<String, String>);

impl<'kvs> VisitSource<'kvs> for Facts {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        self.0.insert(key.to_string(), value.to_string());
        Ok(())
    }
}

impl log::Log for Capture {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        let mut facts = Facts(BTreeMap::new());
        record.key_values().visit(&mut facts).unwrap();
        let (level, text) = (record.level(), record.args().to_string());
        if record.target().starts_with("readside") {
            self.0.lock().unwrap().push(Line { level, text, facts: facts.0 });
        }
    }
    fn flush(&self) {}
}

/// The lines with this value of this fact.
fn lines(name: &str, value: &str) -> Vec<Line> {
    let all = CAPTURE.0.lock().unwrap();
    all.iter().filter(|line| line.facts.get(name).is_some_and(|found| found == value)).cloned().collect()
}

fn events(lines: &[Line]) -> Vec<&str> {
    lines.iter().filter_map(|line| line.facts.get("event").map(String::as_str)).collect()
}

/// An engine with this name, and a projection with the same name. Events of things named `bad…` fail for good.
fn start(store: impl EngineStore, name: &str) -> Engine {
    started(store, name, HandlerConfig::default().max_failure_count(1).policy(Policy::Park))
}

fn ready() {
    READY.call_once(|| {
        log::set_logger(&CAPTURE).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
    });
}

fn started(store: impl EngineStore, name: &str, handler: HandlerConfig) -> Engine {
    ready();
    let reduce = |event: &Event| {
        if event.aggregate_id().starts_with("bad") {
            return Err(ReduceError::new("it is bad"));
        }
        create([set("thing", event.aggregate_id())])
    };
    let table = Table::new(name).column(text("thing")).primary_key(["thing"]);
    let projection = Projection::new(name, 1).table(table).on_raw("thing", "thing.made", reduce);
    let config = EngineConfig::default().name(name).handler(handler).lease(Duration::from_secs(5));
    let config = config.requeue_every(Duration::from_millis(100));
    Engine::builder(store).config(config).projection(projection).start().unwrap()
}

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn tells(store: impl EngineStore, name: &str) {
    let engine = start(store, name);
    let made = |instance: &str, thing: &str| NewEvent::raw(instance, "thing", thing, "thing.made");
    let traced = |instance: &str, trace: &str| made(instance, "bad").metadata("traceparent", trace);
    let good: Vec<NewEvent> = (0..50).map(|number| made("good", &number.to_string())).collect();
    let pushed = engine.push(&good).unwrap();
    engine.await_pushed(name, &pushed, LONG).unwrap();
    engine.push(&[traced("traced", TRACE), traced("odd", "hunter2"), made("plain", "bad")]).unwrap();
    eventually("the failures", || engine.admin().failed_events(name, &FailureQuery::all()).unwrap().len() == 3);
    eventually("the first success", || !lines("event", "first-success").is_empty());
    engine.admin().rebuild(name, RebuildOptions::default(), &By::new("ada", "a test"), |_| {}).unwrap();
    engine.shutdown(LONG).unwrap();
    engine.shutdown(LONG).unwrap();

    let of_engine = lines("name", name);
    assert_eq!(events(&of_engine), ["start", "stop"], "{of_engine:?}");
    let process = of_engine[0].facts["process"].clone();
    assert!(of_engine.iter().all(|line| line.text.contains(name) && line.text.contains(&process)), "{of_engine:?}");

    let of_projection = lines("projection", name);
    let failures = |trace: &str| -> Vec<Line> {
        let is_failure = |line: &&Line| line.facts["event"] == "failure" && line.facts["instance"] == trace;
        of_projection.iter().filter(is_failure).cloned().collect()
    };
    for (instance, trace) in [("traced", TRACE), ("odd", ""), ("plain", "")] {
        let line = failures(instance).into_iter().next().unwrap();
        assert_eq!(line.level, log::Level::Error);
        for fact in ["projection", "instance", "position", "event_type", "class"] {
            assert!(line.text.contains(&line.facts[fact]), "{fact}: {line:?}");
        }
        assert_eq!(line.text.contains(TRACE), !trace.is_empty(), "{line:?}");
        let told = line.facts["traceparent"].contains(TRACE);
        assert_eq!(told, !trace.is_empty(), "{line:?}");
        assert!(!format!("{line:?}").contains("hunter2"), "{line:?}");
    }
    let told = events(&of_projection);
    for event in ["rebuild", "switch", "first-success"] {
        assert!(told.contains(&event), "{event}: {told:?}");
    }
    let all = CAPTURE.0.lock().unwrap();
    let loud = all.iter().filter(|line| line.level <= log::Level::Info && line.text.contains("\"good\"")).count();
    assert_eq!(loud, 0, "nothing is told of an event that goes well");
}

/// Others come to this store, somebody sets checkpoints beyond the log, and somebody else forgets them.
fn tells_of_trouble<S: EngineStore + Clone>(store: &S, name: &str, others: usize, sql: impl Fn(&str)) {
    let start = || start(store.clone(), name);
    let engine = start();
    let made = |instance: &str| NewEvent::raw(instance, "thing", "x", "thing.made");
    let pushed = engine.push(&[made("a"), made("b")]).unwrap();
    engine.await_pushed(name, &pushed, LONG).unwrap();
    let more: Vec<Engine> = (0..others).map(|_| start()).collect();
    let processes = (others + 1).to_string();
    let told = || lines("event", "hand-over").into_iter().find(|line| line.facts["processes"] == processes);
    eventually("the hand-over", || told().is_some());
    let line = told().unwrap();
    assert_eq!((line.level, line.text), (log::Level::Info, format!("{processes} processes share the work")));
    more.iter().chain([&engine]).for_each(|engine| engine.shutdown(LONG).unwrap());
    drop((more, engine));

    sql("UPDATE readside.projection_states SET position = 99 WHERE instance_id = 'a'");
    sql("DELETE FROM readside.projection_states WHERE instance_id = 'b'");
    let engine = start();
    engine.push(&[made("a"), made("b")]).unwrap();
    for (event, instance) in [("divergence", "a"), ("standstill", "b")] {
        let of = |line: &Line| line.facts["event"] == event && line.facts["instance"] == instance;
        let told = || lines("projection", name).into_iter().find(of);
        eventually(event, || told().is_some());
        let line = told().unwrap();
        assert!(line.level <= log::Level::Warn, "{line:?}");
        assert!(line.text.contains(name) && line.text.contains(&format!("{instance:?}")), "{line:?}");
    }
    engine.shutdown(LONG).unwrap();
}

// Contract: S4, L11: who shares the work, and what stands still, is told with the same facts beside the text.
#[test]
fn trouble_on_sqlite() {
    let file = common::file::File::new();
    tells_of_trouble(&SqliteStore::open(file.path()).unwrap(), "trouble_sqlite", 1, |sql| {
        let client = readside::rusqlite::Connection::open(file.path()).unwrap();
        client.busy_timeout(LONG).unwrap();
        client.execute_batch(&sql.replace("readside.", "readside_")).unwrap();
    });
}

#[cfg(feature = "postgres")]
#[test]
fn trouble_on_postgres() {
    let database = common::postgres::database();
    let store = readside::PostgresStore::connect(database.url()).unwrap();
    tells_of_trouble(&store, "trouble_postgres", 2, |sql| {
        let mut client =
            readside::postgres_driver::Client::connect(database.url(), readside::postgres_driver::NoTls).unwrap();
        client.batch_execute(sql).unwrap();
    });
}

/// The database refuses to write rows, attempt after attempt and tick after tick.
fn tells_once<S>(store: S, name: &str)
where
    FaultyStore<S>: EngineStore,
{
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let denying = FaultyStore::failing(store, move |call| {
        if !call.name.starts_with("ProjectionTransaction::apply") {
            return Ok(());
        }
        counted.fetch_add(1, Ordering::SeqCst);
        Err(StoreError::new("writing a read table", StoreErrorKind::Denied, "denied by a test"))
    });
    let handler = HandlerConfig::default().retry_failed_after(Duration::from_millis(1));
    let engine = started(denying, name, handler);
    engine.push(&[NewEvent::raw("a", "thing", "x", "thing.made")]).unwrap();
    eventually("many attempts", || tries.load(Ordering::SeqCst) >= 12);
    engine.shutdown(LONG).unwrap();
    let all = CAPTURE.0.lock().unwrap();
    let is_told = |line: &&Line| line.text.contains("denied by a test") && line.text.contains(name);
    let (told, quiet): (Vec<&Line>, Vec<&Line>) =
        all.iter().filter(is_told).partition(|line| line.level <= log::Level::Info);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].level, told[0].facts["event"].as_str()), (log::Level::Warn, "standstill"));
    assert!(quiet.len() >= 8, "a debug line tells each further attempt: {quiet:?}");
}

// Contract: L11, S4: what stands still is told once, and not with each attempt.
#[test]
fn what_stands_still_is_told_once_on_sqlite() {
    tells_once(SqliteStore::in_memory().unwrap(), "once_sqlite");
}

#[cfg(feature = "postgres")]
#[test]
fn what_stands_still_is_told_once_on_postgres() {
    let database = common::postgres::database();
    tells_once(readside::PostgresStore::connect(database.url()).unwrap(), "once_postgres");
}

/// The database is away for each thread that asks it again and again.
fn tells_of_an_outage<S>(store: S, name: &'static str)
where
    FaultyStore<S>: EngineStore,
{
    const LOOKERS: [&str; 3] = ["readside-ticker", "readside-operator", "readside-renewal"];
    let (is_away, asked) = (Arc::new(AtomicBool::new(false)), Arc::new([const { AtomicUsize::new(0) }; 3]));
    let (away, counted) = (Arc::clone(&is_away), Arc::clone(&asked));
    let failing = FaultyStore::failing(store, move |call| {
        if !away.load(Ordering::SeqCst) || call.name == "NotificationListener::listen" {
            return Ok(());
        }
        let thread = std::thread::current();
        if let Some(at) = LOOKERS.iter().position(|one| Some(*one) == thread.name()) {
            counted[at].fetch_add(1, Ordering::SeqCst);
        }
        Err(StoreError::new("asking the database", StoreErrorKind::Connection, format!("{name} is away")))
    });
    let engine = started(failing, name, HandlerConfig::default());
    is_away.store(true, Ordering::SeqCst);
    // A renewal makes two calls or three.
    eventually("two looks of each", || asked.iter().all(|count| count.load(Ordering::SeqCst) >= 4));
    let of_outage = || lines("event", "outage").into_iter().filter(|line| line.facts["engine"] == name);
    assert_eq!(of_outage().count(), 1, "{:?}", of_outage().collect::<Vec<_>>());
    is_away.store(false, Ordering::SeqCst);
    eventually("the end", || of_outage().count() == 2);
    let [begins, over] = of_outage().collect::<Vec<_>>().try_into().unwrap();
    assert_eq!((begins.level, begins.facts["state"].as_str()), (log::Level::Warn, "begins"));
    assert!(begins.text.contains(&format!("{name} is away")) && begins.text.contains("check that the server runs"));
    assert_eq!((over.level, over.facts["state"].as_str()), (log::Level::Info, "over"));
    let looks: usize = over.facts["looks"].parse().unwrap();
    assert!(looks >= 6 && over.text.contains(&looks.to_string()), "{over:?}");
    engine.shutdown(LONG).unwrap();
    let all = CAPTURE.0.lock().unwrap();
    let loud =
        all.iter().filter(|line| line.level <= log::Level::Info && line.text.contains(&format!("{name} is away")));
    assert_eq!(loud.count(), 1, "what repeats is told once");
}

// Contract: L11, S4: an outage is told when it begins and when it is over, by all threads together.
#[test]
fn an_outage_is_told_once_on_sqlite() {
    tells_of_an_outage(SqliteStore::in_memory().unwrap(), "away_sqlite");
}

#[cfg(feature = "postgres")]
#[test]
fn an_outage_is_told_once_on_postgres() {
    let database = common::postgres::database();
    tells_of_an_outage(readside::PostgresStore::connect(database.url()).unwrap(), "away_postgres");
}

/// What the log says of the first two imports of a database.
fn tells_of_the_index(import: impl Fn(&NewEvent)) {
    let told = || {
        let all = CAPTURE.0.lock().unwrap();
        all.iter().filter(|line| line.text.contains("makes the indexes of event ids")).count()
    };
    let before = told();
    for (id, wanted) in [(1, before + 1), (2, before + 1)] {
        import(&NewEvent::raw("a", "thing", "x", "thing.made").id(uuid::Uuid::from_u128(id)));
        assert_eq!(told(), wanted, "import {id}");
    }
}

// Contract: S4: pushes wait while an import makes the index.
#[test]
fn the_index_of_ids_is_told_of() {
    ready();
    let store = SqliteStore::in_memory().unwrap();
    store.setup().unwrap();
    tells_of_the_index(|event| drop(store.push_imported(std::slice::from_ref(event)).unwrap()));
    #[cfg(feature = "postgres")]
    {
        let database = common::postgres::database();
        let store = readside::PostgresStore::connect(database.url()).unwrap();
        store.setup().unwrap();
        tells_of_the_index(|event| drop(store.push_imported(std::slice::from_ref(event)).unwrap()));
    }
}

// Contract: S4: the same facts stand in the text and beside it.
#[test]
fn on_sqlite() {
    tells(SqliteStore::in_memory().unwrap(), "logged_sqlite");
}

#[cfg(feature = "postgres")]
#[test]
fn on_postgres() {
    let database = common::postgres::database();
    tells(readside::PostgresStore::connect(database.url()).unwrap(), "logged_postgres");
}
