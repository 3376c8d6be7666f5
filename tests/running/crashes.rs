//! An event that kills the process that handles it: Contract: F7.
#![cfg(unix)]

use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use readside::error::{StoreError, TriggerError};
use readside::failure::{FailureClass, FailureQuery, FailureStatus};
use readside::health::StopCause;
use readside::prelude::*;
use readside::query::{EventBatch, Flaw, Head, HeadsRequest, ReadRequest, Span};
use readside::store::{EventSource, LeaseStore, Member, ProjectionStore, State};
use readside::{
    Engine, EngineConfig, EngineStore, EventStore, HandlerConfig, NewEvent, PostgresStore, ProjectionHandler,
    SqliteStore,
};
use uuid::Uuid;

use crate::{Counted, Place, counts, eventually, sum};

/// Counts. An event with 13 kills the process.
fn deadly() -> Projection {
    Projection::new("counts", 1)
        .table(Table::new("counts").column(text("thing")).column(integer("n")).primary_key(["thing"]))
        .on(|e, p: Counted| match p.by {
            13 => std::process::abort(),
            by => upsert(["thing"], [set("thing", e.aggregate_id()), increment("n", by)]),
        })
}

fn handler_config() -> HandlerConfig {
    HandlerConfig::default().max_failure_count(2).backoff_base(Duration::from_millis(1))
}

fn work<S: EngineStore>(store: S) {
    let config =
        EngineConfig::default().requeue_every(Duration::from_millis(20)).lease(Duration::from_millis(300)).workers(2);
    let engine = Engine::builder(store).projection_with(deadly(), handler_config()).config(config).start().unwrap();
    if std::env::var_os("READSIDE_TEST_PUSHES").is_some() {
        engine.push(&[put("c", "x", 1)]).unwrap();
        crate::eventually("the first run", || engine.health().is_ok_and(|health| health.projections[0].succeeded));
        engine.await_position("counts", "c", 1, crate::LONG).unwrap();
        // From now on, events come directly from the queue.
        engine.push(&[put("c", "x", 13), put("c", "x", 1), put("c", "y", 2)]).unwrap();
        crate::eventually("the end", || false);
    }
    let mut rest = String::new();
    std::io::stdin().read_line(&mut rest).unwrap();
    engine.shutdown(Duration::from_secs(10)).unwrap();
}

/// The process that the test below starts.
#[test]
#[ignore = "run as a process of its own by the tests that follow"]
fn worker() {
    let place = std::env::var("READSIDE_TEST_PLACE").unwrap();
    #[cfg(feature = "postgres")]
    if place.starts_with("postgres") {
        return work(PostgresStore::connect(&place).unwrap());
    }
    #[cfg(feature = "sqlite")]
    work(SqliteStore::open(&place).unwrap());
}

fn start(place: &str) -> Child {
    process(place).spawn().unwrap()
}

fn process(place: &str) -> Process {
    let mut process = Process::new(std::env::current_exe().unwrap());
    process
        .args(["--exact", "crashes::worker", "--ignored", "--nocapture", "--test-threads", "1"])
        .env("READSIDE_TEST_PLACE", place)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    process
}

fn put(instance: &str, thing: &str, by: i64) -> NewEvent {
    NewEvent::new(instance, thing, &Counted { by })
}

/// Starts a process again whenever it dies, until the work is done. Returns the number of deaths.
fn outlive(address: &str, mut done: impl FnMut() -> bool) -> u32 {
    let (mut deaths, mut child) = (0, start(address));
    eventually("the rest of the work", || {
        if child.try_wait().unwrap().is_some() {
            deaths += 1;
            child = start(address);
        }
        done()
    });
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    deaths
}

/// The failed events of an instance.
fn held<S: EngineStore>(store: &S, instance: &str) -> Vec<(i64, FailureStatus, FailureClass)> {
    let held = store.failed_events(&deadly().key(), &FailureQuery::all().instance(instance)).unwrap();
    held.iter().map(|held| (held.attempt.position, held.attempt.state, held.attempt.class)).collect()
}

const FOUND: (FailureStatus, FailureClass) = (FailureStatus::Parked, FailureClass::Crash);
const BEHIND: (FailureStatus, FailureClass) = (FailureStatus::Behind, FailureClass::Predecessor);

// Contract: F7
fn found<P: Place>(place: &P, address: &str) {
    let store = place.open();
    store.setup(&[&deadly()]).unwrap();
    store.push(&[put("a", "x", 1), put("a", "x", 13), put("a", "y", 5), put("a", "x", 7), put("b", "x", 1)]).unwrap();
    let counted = |instance: &str| sum::<P>(&store, "counts", Some(instance));
    let is_held = |instance| held(&store, instance).len() == 2;
    let deaths = outlive(address, || counted("a") == 6 && counted("b") == 1 && is_held("a"));
    // Two deaths are counted. Before them come one or more deaths that nobody expects, while the dead process still
    // seems alive by its heartbeat.
    assert!((3..=6).contains(&deaths), "{deaths} deaths");
    assert_eq!(held(&store, "a"), [(2, FOUND.0, FOUND.1), (4, BEHIND.0, BEHIND.1)]);
    // Events from the queue have no lease that a dead process could leave behind, so one more process dies. A tick
    // may come first.
    let mut pusher = process(address).env("READSIDE_TEST_PUSHES", "yes").spawn().unwrap();
    assert!(!pusher.wait().unwrap().success());
    let deaths = outlive(address, || counted("c") == 3 && is_held("c"));
    assert!((2..=6).contains(&deaths), "{deaths} deaths");
    assert_eq!(held(&store, "c"), [(2, FOUND.0, FOUND.1), (3, BEHIND.0, BEHIND.1)]);
}

#[cfg(feature = "sqlite")]
#[test]
fn an_event_that_kills_processes_is_found_on_sqlite() {
    let file = crate::File::new();
    let address = file.path();
    found(&file, &address);
}

#[cfg(feature = "postgres")]
#[test]
fn an_event_that_kills_processes_is_found_on_postgres() {
    let database = crate::common::postgres::database();
    let address = database.url().to_owned();
    found(&database, &address);
}

// Contract: F7: events of a dead process are applied one by one, and events of a slow process are not. Triggers wait
// for the outcome.
both!(work_of_the_dead_goes_on_with_care);
pub(crate) fn work_of_the_dead_goes_on_with_care<P: Place>(place: &P) {
    let store = place.open();
    let key = counts("counts").key();
    store.setup(&[&counts("counts")]).unwrap();
    store.push(&[put("a", "x", 1), put("b", "x", 1)]).unwrap();
    let [slow, dead, me] = [1, 2, 3].map(Uuid::from_u128);
    let member = Member { process: slow, name: "slow".into(), projections: vec![("counts".into(), 1)] };
    store.heartbeat(&member, Duration::from_mins(5)).unwrap();
    let (short, long) = (Duration::from_millis(1), Duration::from_mins(5));
    let (a, b): (Vec<Arc<str>>, Vec<Arc<str>>) = (vec!["a".into()], vec!["b".into()]);
    store.acquire(&key, &a, dead, short).unwrap();
    store.acquire(&key, &b, slow, short).unwrap();
    let mut taken = Vec::new();
    eventually("the end of both leases", || {
        taken.extend(store.acquire(&key, &a, me, long).unwrap());
        taken.extend(store.acquire(&key, &b, me, long).unwrap());
        taken.len() >= 2
            && taken.iter().any(|lease| &*lease.instance == "a")
            && taken.iter().any(|lease| &*lease.instance == "b")
    });
    assert!(taken.iter().all(|lease| lease.careful == (&*lease.instance == "a")), "{taken:?}");
    store.release(&key, &a, me).unwrap();
    store.release(&key, &b, me).unwrap();

    let shared = Arc::new(store.clone());
    let handler = ProjectionHandler::new(shared.clone(), shared, counts("counts"), HandlerConfig::default()).unwrap();
    match handler.trigger(&["a", "b"]) {
        Err(TriggerError::Stopped { stopped, .. }) => {
            assert!(stopped.len() == 1 && matches!(stopped[0].cause, StopCause::Suspect), "{stopped:?}");
        }
        other => panic!("{other:?}"),
    }
    let engine = crate::start(place.open(), &["counts"], crate::eager());
    engine.await_position("counts", "a", 1, crate::LONG).unwrap();
    eventually("the end of the care", || handler.trigger(&["a"]).is_ok());
    assert_eq!(sum::<P>(&store, "counts", None), 2);
}

/// As `counts`, but calls `look` with each event and the state at that moment.
fn watched<S: EngineStore + Clone>(store: S, look: impl Fn(&Event, &State) + Send + Sync + 'static) -> Projection {
    let plain = counts("counts");
    let key = plain.key();
    Projection::new("counts", 1).table(plain.tables()[0].clone()).on(move |e, p: Counted| {
        let states = store.states(&key, &[Arc::from(e.instance())]).map_err(|e| ReduceError::new(e.to_string()))?;
        look(e, &states[0]);
        upsert(["thing"], [set("thing", e.aggregate_id()), increment("n", p.by)])
    })
}

/// Pages of one instance each, so that most pages are prepared before the work on them.
fn paged(bulk_limit: usize) -> HandlerConfig {
    HandlerConfig::default().bulk_limit(bulk_limit).concurrent_instances(1)
}

const TENANTS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

fn push_to<S: EngineStore>(store: &S, tenants: &[&str], events: i64) {
    for instance in tenants {
        store.push(&(0..events).map(|_| put(instance, "x", 1)).collect::<Vec<_>>()).unwrap();
    }
}

fn catch_up<P: Place>(place: &P, projection: Projection, config: HandlerConfig, tenants: &[&str], events: i64) {
    let engine = Engine::builder(place.open()).projection_with(projection, config).config(crate::eager()).start();
    let engine = engine.unwrap();
    for instance in tenants {
        engine.await_position("counts", instance, events, crate::LONG).unwrap();
        assert_eq!(sum::<P>(&place.open(), "counts", Some(instance)), events);
    }
    engine.shutdown(crate::LONG).unwrap();
}

// Contract: F7: everything is reduced under a lease, close to its checkpoint. So a process that comes after a death
// looks there.
both!(what_is_reduced_ahead_is_found_if_it_kills);
pub(crate) fn what_is_reduced_ahead_is_found_if_it_kills<P: Place>(place: &P) {
    const LIMIT: usize = 5;
    const EVENTS: i64 = 30;
    let store = place.open();
    let (furthest, unleased) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)));
    let (ahead, bare) = (Arc::clone(&furthest), Arc::clone(&unleased));
    let projection = watched(place.open(), move |event, state| {
        ahead.fetch_max(event.position() - state.position, Ordering::Relaxed);
        bare.fetch_add(i64::from(state.owner.is_none()), Ordering::Relaxed);
    });
    store.setup(&[&projection]).unwrap();
    // In the first run, the pages of one instance follow each other. In the second run, its first page is prepared
    // ahead.
    for tenants in [&TENANTS[..1], &TENANTS[1..]] {
        push_to(&store, tenants, EVENTS);
        catch_up(place, projection.clone(), paged(LIMIT), tenants, EVENTS);
    }
    assert_eq!(furthest.load(Ordering::Relaxed), i64::try_from(LIMIT).unwrap());
    assert_eq!(unleased.load(Ordering::Relaxed), 0);
}

// Contract: F7
both!(what_the_dead_left_is_marked_before_it_is_reduced);
pub(crate) fn what_the_dead_left_is_marked_before_it_is_reduced<P: Place>(place: &P) {
    const EVENTS: i64 = 4;
    let (store, key) = (place.open(), counts("counts").key());
    let (careful, unmarked) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)));
    let (seen, bare) = (Arc::clone(&careful), Arc::clone(&unmarked));
    let projection = watched(place.open(), move |event, state| {
        let marked = state.mark.is_some_and(|mark| mark.position == event.position());
        seen.fetch_add(i64::from(state.careful), Ordering::Relaxed);
        bare.fetch_add(i64::from(state.careful && !marked), Ordering::Relaxed);
    });
    store.setup(&[&projection]).unwrap();
    push_to(&store, &TENANTS, EVENTS);
    let all: Vec<Arc<str>> = TENANTS.map(Arc::from).into();
    store.acquire(&key, &all, Uuid::from_u128(1), Duration::from_millis(1)).unwrap();
    catch_up(place, projection, paged(100), &TENANTS, EVENTS);
    assert_eq!(careful.load(Ordering::Relaxed), EVENTS * i64::try_from(TENANTS.len()).unwrap());
    assert_eq!(unmarked.load(Ordering::Relaxed), 0);
}

// Contract: F7: a process without a lease does not even reduce events that are being applied one by one.
both!(a_trigger_leaves_what_the_dead_left);
pub(crate) fn a_trigger_leaves_what_the_dead_left<P: Place>(place: &P) {
    let (store, key) = (place.open(), counts("counts").key());
    let calls = Arc::new(AtomicI64::new(0));
    let count = Arc::clone(&calls);
    let projection = watched(place.open(), move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    store.setup(&[&projection]).unwrap();
    push_to(&store, &TENANTS, 1);
    let a: Vec<Arc<str>> = vec!["a".into()];
    let [dead, me] = [1, 2].map(Uuid::from_u128);
    store.acquire(&key, &a, dead, Duration::from_millis(1)).unwrap();
    eventually("the end of the lease", || {
        store.acquire(&key, &a, me, Duration::from_mins(1)).unwrap().iter().any(|lease| lease.careful)
    });
    store.release(&key, &a, me).unwrap();
    let shared = Arc::new(store.clone());
    let handler = ProjectionHandler::new(shared.clone(), shared, projection, HandlerConfig::default()).unwrap();
    match handler.trigger(&["a"]) {
        Err(TriggerError::Stopped { stopped, .. }) => {
            assert!(stopped.len() == 1 && matches!(stopped[0].cause, StopCause::Suspect), "{stopped:?}");
        }
        other => panic!("{other:?}"),
    }
    let fetched = handler.fetch_events(&["a"]).unwrap();
    assert!(fetched.events().next().is_none() && fetched.stopped().len() == 1, "{fetched:?}");
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    handler.trigger(&["b"]).unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

/// A log that returns its events once, and has lost them afterwards.
#[derive(Debug, Clone)]
struct Vanishing<S> {
    inner: S,
    is_lost: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl<S: EventSource> EventSource for Vanishing<S> {
    fn store_id(&self) -> Result<Uuid, StoreError> {
        self.inner.store_id()
    }

    fn heads(&self, request: &HeadsRequest) -> Result<Vec<Head>, StoreError> {
        if self.is_lost.load(Ordering::SeqCst) { Ok(Vec::new()) } else { self.inner.heads(request) }
    }

    fn read(&self, request: &ReadRequest) -> Result<Vec<EventBatch>, StoreError> {
        let mut read = self.inner.read(request)?;
        if !self.is_lost.swap(request.limit > 1, Ordering::SeqCst) {
            return Ok(read);
        }
        self.is_lost.store(true, Ordering::SeqCst);
        for batch in &mut read {
            (batch.at, batch.head, batch.head_id, batch.relevant, batch.more) = (None, 0, None, 0, false);
            batch.events.clear();
        }
        self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(read)
    }

    fn removed(&self, instance: &str) -> Result<i64, StoreError> {
        self.inner.removed(instance)
    }

    fn flaws(&self, spans: &[Span]) -> Result<Vec<Flaw>, StoreError> {
        self.inner.flaws(spans)
    }

    fn generation(&self) -> u64 {
        self.inner.generation()
    }

    fn forget(&self) {
        self.inner.forget();
    }
}

// Contract: L10, F7: a death is counted only while the log still holds the event.
both!(no_death_is_counted_for_an_event_that_the_log_lost);
pub(crate) fn no_death_is_counted_for_an_event_that_the_log_lost<P: Place>(place: &P) {
    let (events, models, key) = (place.open(), place.elsewhere(), counts("counts").key());
    events.setup(&[]).unwrap();
    models.setup(&[&counts("counts")]).unwrap();
    events.push(&[put("a", "x", 1)]).unwrap();
    models.acquire(&key, &["a".into()], Uuid::from_u128(1), Duration::from_millis(1)).unwrap();
    models.transaction(&mut |tx| tx.mark(&key, "a", Some(1))).unwrap();
    let source = Vanishing { inner: events, is_lost: Arc::default(), asked: Arc::default() };
    let config = HandlerConfig::default().max_failure_count(1);
    let builder = Engine::builder(models.clone()).source(source.clone()).projection_with(counts("counts"), config);
    let engine = builder.config(crate::eager()).start().unwrap();
    let failed = || models.failed_events(&key, &FailureQuery::all()).unwrap();
    eventually("a look at the log, or a count", || source.asked.load(Ordering::SeqCst) > 0 || !failed().is_empty());
    engine.shutdown(crate::LONG).unwrap();
    assert!(failed().is_empty(), "{:?}", failed());
    let state = models.states(&key, &["a".into()]).unwrap().remove(0);
    assert_eq!((state.position, state.mark.map(|mark| mark.position)), (0, Some(1)));
}
