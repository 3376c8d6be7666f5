//! Faults strike before a call, after it, and between the parts of a batch.

use parking_lot::Mutex;

use super::*;
use crate::engine::{HandlerConfig, ProjectionHandler};
use crate::error::StoreErrorKind;
use crate::event::NewEvent;
use crate::projection::Projection;
use crate::sqlite::SqliteStore;
use crate::statement::{create, set};
use crate::store::Notifier;
use crate::store::{EventStore, ProjectionStore};
use crate::subscription::Topics;
use crate::table::{Table, text};

/// Records calls, and fails the calls of one name: before they reach the store, or after they took effect.
#[derive(Debug, Default)]
struct Log {
    calls: Mutex<Vec<String>>,
    fails_before: &'static str,
    fails_after: &'static str,
}

fn refused() -> StoreError {
    StoreError::new("testing", StoreErrorKind::Full, "refused")
}

impl Faults for Log {
    fn before(&self, call: &mut Call) -> Result<(), StoreError> {
        let of = call.projection.as_ref().map_or("", |key| &*key.name);
        let instances = call.instances.join("+");
        self.calls.lock().push(format!("{} {of} {instances} {}/{}", call.name, call.part, call.parts));
        if call.name == self.fails_before { Err(refused()) } else { Ok(()) }
    }

    fn after(&self, call: &Call, answer: Answer<'_>) -> Result<(), StoreError> {
        if matches!(answer, Answer::Failed) {
            self.calls.lock().push(format!("{} failed", call.name));
        }
        if call.name == self.fails_after { Err(refused()) } else { Ok(()) }
    }
}

fn names() -> Projection {
    Projection::new("names", 1).table(Table::new("names").column(text("name")).primary_key(["name"])).on_raw(
        "thing",
        "made",
        |e| create([set("name", e.aggregate_id())]),
    )
}

fn applied(log: Log) -> (SqliteStore, Arc<Log>, bool) {
    let (store, log) = (SqliteStore::in_memory().unwrap(), Arc::new(log));
    ProjectionStore::setup(&store, &[&names()]).unwrap();
    let events = [("a", "1"), ("a", "2"), ("a", "3"), ("b", "4")];
    store.push(&events.map(|(instance, id)| NewEvent::raw(instance, "thing", id, "made"))).unwrap();
    let faulty = Arc::new(FaultyStore::new(store.clone(), log.clone()).in_parts(3));
    let config = HandlerConfig { retries: 0, ..HandlerConfig::default() };
    let done = ProjectionHandler::new(faulty.clone(), faulty, names(), config).unwrap().trigger(&["a", "b"]).is_ok();
    (store, log, done)
}

fn rows(store: &SqliteStore) -> usize {
    store.read_rows(&names(), "names").unwrap().len()
}

#[test]
fn a_batch_is_applied_in_parts_and_each_call_is_told() {
    let (store, log, done) = applied(Log::default());
    assert!(done && rows(&store) == 4);
    let calls = log.calls.lock().clone();
    let applied: Vec<&str> =
        calls.iter().filter_map(|call| call.strip_prefix("ProjectionTransaction::apply ")).collect();
    assert_eq!(applied, ["names a 0/3", "names a 1/3", "names b 2/3"]);
}

#[test]
fn a_call_fails_before_it_reaches_the_store_or_after_it_took_effect() {
    for (before, after, rows_left) in [
        ("ProjectionTransaction::save", "", 0),
        ("ProjectionStore::commit", "", 0),
        ("", "ProjectionTransaction::save", 0),
        ("", "ProjectionStore::commit", 4),
    ] {
        let (store, log, done) = applied(Log { fails_before: before, fails_after: after, ..Log::default() });
        assert_eq!((done, rows(&store)), (false, rows_left), "{before}{after}");
        drop(log);
    }
}

#[test]
fn who_cannot_subscribe_or_listen_hears_nothing() {
    let store = FaultyStore::failing(SqliteStore::in_memory().unwrap(), |call| match call.name {
        "EventStore::subscribe" | "NotificationListener::listen" => Err(refused()),
        _ => Ok(()),
    });
    store.inner().setup().unwrap();
    let heard = store.subscribe(Topics::all());
    store.push(&[NewEvent::raw("a", "thing", "1", "made")]).unwrap();
    assert!(heard.drain().is_empty());
    assert!(store.listener().listen(Duration::ZERO).is_err());
}
