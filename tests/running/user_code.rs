//! The service's code does what it should not. It then fails its event, and nothing else.

use std::error::Error as StdError;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use readside::admin::RebuildOptions;
use readside::error::{AwaitError, FailureError, OperateError, TriggerError};
use readside::failure::{FailedEvent, FailureClass, FailureQuery, FailureStatus};
use readside::health::Verdict;
use readside::inspect::Inspect;
use readside::prelude::*;
use readside::store::{ProjectionStore, Standstill, StandstillKind};
use readside::testing::{Call, FaultyStore};
use readside::{Engine, EventStore, HandlerConfig, NewEvent, ProjectionHandler};

use crate::{Counted, LONG, Place, by, count, counts, eager, eventually, instance, lazy, start, sum};

/// An error that misbehaves in one way.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rude {
    DisplayPanics,
    DisplayFails,
    DisplayWithoutEnd,
    ItsOwnCause,
    SourcePanics,
    DropPanics,
}

const ALL: [Rude; 6] = [
    Rude::DisplayPanics,
    Rude::DisplayFails,
    Rude::DisplayWithoutEnd,
    Rude::ItsOwnCause,
    Rude::SourcePanics,
    Rude::DropPanics,
];

impl fmt::Display for Rude {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DisplayPanics => panic!("no text"),
            Self::DisplayFails => Err(fmt::Error),
            Self::DisplayWithoutEnd => (0..).try_for_each(|n| write!(f, "{n} ")),
            _ => f.write_str("rude"),
        }
    }
}

/// Wraps [`Rude`], which is `Copy` and so cannot have a destructor.
#[derive(Debug)]
struct Error(Rude);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self.0 {
            Rude::ItsOwnCause => Some(self),
            Rude::SourcePanics => panic!("no source"),
            _ => None,
        }
    }
}

impl Drop for Error {
    fn drop(&mut self) {
        assert!(self.0 != Rude::DropPanics || std::thread::panicking(), "no drop");
    }
}

/// A panic value whose drop panics too.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            std::panic::panic_any(Bomb);
        }
    }
}

/// A type of payload that panics when it is read or written.
struct Picky;

impl<'de> serde::Deserialize<'de> for Picky {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("no payload")
    }
}

impl serde::Serialize for Picky {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("no payload")
    }
}

fn rude() -> Projection {
    let projection = ALL.into_iter().fold(counts("rude"), |projection, rude| {
        projection.on_raw("thing", &format!("{rude:?}"), move |_| Err(Error(rude).into()))
    });
    projection
        .on_raw("thing", "Bomb", |_| std::panic::panic_any(Bomb))
        .on_raw("thing", "Picky", |e| e.payload::<Picky>().map(|_| noop())?)
        .on_raw("thing", "Upcast", |_| noop())
        .upcast("Upcast", 1, |_: i64| Picky)
}

fn kinds() -> Vec<String> {
    let others = ["Bomb", "Picky", "Upcast"].map(str::to_owned);
    ALL.into_iter().map(|rude| format!("{rude:?}")).chain(others).collect()
}

/// Pushes an event of each kind in its own instance, and well-behaved events in other instances.
fn pushed(store: &impl EventStore) -> Vec<Event> {
    let bad = kinds().into_iter().map(|kind| NewEvent::raw(&kind, "thing", "x", &kind).payload(&1)).collect::<Vec<_>>();
    store.push(&bad).unwrap();
    store.push(&[count("A-first", 1), count("Z-last", 2)]).unwrap()
}

fn check_failures(held: &[FailedEvent]) {
    let of = |kind: &str| held.iter().map(|held| &held.attempt).find(|attempt| *attempt.event_type == *kind).unwrap();
    for kind in kinds() {
        let attempt = of(&kind);
        let class = match kind.as_str() {
            "Bomb" | "Picky" | "Upcast" => FailureClass::Panic,
            _ => FailureClass::Reducer,
        };
        assert_eq!((attempt.state, attempt.class), (FailureStatus::Parked, class), "{attempt:?}");
        assert!(!attempt.error.is_empty() && attempt.error.len() < 5000, "{attempt:?}");
    }
    assert!(of("DisplayPanics").error.contains("its Display panics (no text)"));
    assert_eq!(of("ItsOwnCause").error, "rude");
}

fn at_once() -> HandlerConfig {
    HandlerConfig::default().max_failure_count(1)
}

// Contract: L4, L8, H1: the events are in one batch with others, which go on.
both!(whatever_user_code_does_fails_its_event_only);
pub(crate) fn whatever_user_code_does_fails_its_event_only<P: Place>(place: &P) {
    let store = place.open();
    ProjectionStore::setup(&store, &[&rude()]).unwrap();
    let good = pushed(&store);
    let config = eager().handler(at_once());
    let engine = Engine::builder(store.clone()).projection(rude()).config(config).start().unwrap();
    engine.await_pushed("rude", &good, LONG).unwrap();
    let held = || engine.admin().failed_events("rude", &FailureQuery::all()).unwrap();
    eventually("a record of each", || held().len() == kinds().len());
    check_failures(&held());
    // The same for events directly from the queue.
    let good = pushed(&store);
    engine.await_pushed("rude", &good, LONG).unwrap();
    eventually("what waits behind", || held().len() == 2 * kinds().len());
    assert_eq!(sum::<P>(&store, "rude", None), 6);
    assert_eq!(engine.health().unwrap().worker_panics, 0);
}

// Contract: C1, L8, H1
both!(a_trigger_outlives_whatever_user_code_does);
pub(crate) fn a_trigger_outlives_whatever_user_code_does<P: Place>(place: &P) {
    let store = Arc::new(place.open());
    let handler = ProjectionHandler::new(store.clone(), store.clone(), rude(), at_once()).unwrap();
    handler.setup().unwrap();
    let _ = pushed(&*store);
    let mut instances = kinds();
    instances.extend(["A-first".to_owned(), "Z-last".to_owned()]);
    let instances: Vec<&str> = instances.iter().map(String::as_str).collect();
    handler.trigger(&instances).unwrap();
    check_failures(&handler.failed_events(&FailureQuery::all()).unwrap());
    assert_eq!(sum::<P>(&store, "rude", None), 3);
}

/// The answers that a reducer got when it called an engine.
fn calls(engine: &Engine, event: &Event) -> Vec<String> {
    let (instance, position) = (event.instance(), event.position());
    let inside = |named: bool, text: String| format!("{named} {}", text.contains("it could wait for itself"));
    let trigger = engine.trigger("counts", &[instance]).unwrap_err();
    let wait = engine.await_position("counts", instance, position, LONG).unwrap_err();
    let read = engine.await_pushed("counts", std::slice::from_ref(event), LONG).unwrap_err();
    let retry = engine.admin().retry("counts", instance, position, &by()).unwrap_err();
    let all = engine.admin().retry_all("counts", &by()).unwrap_err();
    let rebuild = engine.admin().rebuild("counts", RebuildOptions::default(), &by(), |_| {}).unwrap_err();
    let reset = engine.admin().reset("counts", None, &by()).unwrap_err();
    vec![
        inside(matches!(trigger, TriggerError::InsideReducer { .. }), trigger.to_string()),
        inside(matches!(wait, AwaitError::InsideReducer { .. }), wait.to_string()),
        inside(matches!(read, AwaitError::InsideReducer { .. }), read.to_string()),
        inside(matches!(retry, OperateError::Failure(FailureError::InsideReducer { .. })), retry.to_string()),
        inside(matches!(all, OperateError::Failure(FailureError::InsideReducer { .. })), all.to_string()),
        inside(matches!(rebuild, OperateError::InsideReducer), rebuild.to_string()),
        inside(matches!(reset, OperateError::InsideReducer), reset.to_string()),
    ]
}

// Contract: C1, L4: a call that waits for a pass is refused inside that pass.
both!(a_reducer_cannot_wait_for_itself);
pub(crate) fn a_reducer_cannot_wait_for_itself<P: Place>(place: &P) {
    let engine: Arc<OnceLock<Weak<Engine>>> = Arc::default();
    let (heard, answers) = crossbeam_channel::bounded(8);
    let own = Arc::clone(&engine);
    let projection = counts("counts").on_raw("thing", "thing.calls", move |e| {
        let engine = own.get().and_then(Weak::upgrade).ok_or(ReduceError::new("no engine"))?;
        let _ = heard.try_send(calls(&engine, e));
        upsert(["thing"], [set("thing", "x"), increment("n", 1)])
    });
    let started = Engine::builder(place.open()).projection(projection).config(lazy()).start().unwrap();
    let started = Arc::new(started);
    engine.set(Arc::downgrade(&started)).unwrap();
    let events = [1, 2].map(|_| NewEvent::raw("a", "thing", "x", "thing.calls"));
    let pushed = started.push(&events).unwrap();
    started.await_pushed("counts", &pushed, LONG).unwrap();
    assert_eq!(answers.recv_timeout(LONG).unwrap(), vec!["true true"; 7]);
    started.trigger("counts", &["a"]).unwrap();
    started.shutdown(LONG).unwrap();
}

// Contract: L11: a hanging reducer is reported, with its event.
both!(a_reducer_that_hangs_is_told);
pub(crate) fn a_reducer_that_hangs_is_told<P: Place>(place: &P) {
    let (open, opened) = std::sync::mpsc::channel::<()>();
    let opened = std::sync::Mutex::new(opened);
    let projection = Projection::new("counts", 1)
        .table(Table::new("counts").column(text("thing")).column(integer("n")).primary_key(["thing"]))
        .on(move |e, p: Counted| {
            if p.by == 7 {
                let _ = opened.lock().unwrap().recv_timeout(LONG);
            }
            upsert(["thing"], [set("thing", e.aggregate_id()), increment("n", p.by)])
        });
    let config = eager().longest_reducer(std::time::Duration::from_millis(20)).workers(4);
    let engine = Engine::builder(place.open()).projection(projection).config(config).start().unwrap();
    engine.await_pushed("counts", &engine.push(&[count("a", 1), count("b", 1)]).unwrap(), LONG).unwrap();
    let hanging = engine.push(&[count("a", 7)]).unwrap();
    let hangs = |standstills: &[Standstill]| {
        standstills
            .iter()
            .find(|one| one.kind == StandstillKind::Hangs && one.instance.as_deref() == Some("a"))
            .cloned()
    };
    let told = || hangs(&engine.health().unwrap().projections[0].standstills);
    eventually("the standstill", || told().is_some());
    let reason = told().unwrap().reason;
    assert!(reason.contains("event 2") && reason.contains("thing.counted") && reason.contains("\"thing\""), "{reason}");
    let status = || place.open().status(false).unwrap().projections.remove(0);
    eventually("the note", || hangs(&status().standstills).is_some_and(|one| one.since.is_some()));
    assert_eq!(status().verdict, Verdict::Stuck);
    drop(open);
    engine.await_pushed("counts", &hanging, LONG).unwrap();
    eventually("the end", || told().is_none() && status().standstills.is_empty());
}

/// Counts. Some events hang until the gate opens, which happens when the sender is dropped.
fn gated(name: &str) -> (Projection, std::sync::mpsc::Sender<()>) {
    let (open, opened) = std::sync::mpsc::channel::<()>();
    let opened = std::sync::Mutex::new(opened);
    let projection = Projection::new(name, 1)
        .table(Table::new(name).column(text("thing")).column(integer("n")).primary_key(["thing"]))
        .on(move |e, p: Counted| {
            if p.by == 7 {
                let _ = opened.lock().unwrap().recv();
            }
            upsert(["thing"], [set("thing", e.aggregate_id()), increment("n", p.by)])
        });
    (projection, open)
}

// Contract: L4, L11: one of two workers may hang, as often as there are spare threads. After that, the projection
// reports it.
both!(a_reducer_that_hangs_keeps_no_other_tenant_waiting);
pub(crate) fn a_reducer_that_hangs_keeps_no_other_tenant_waiting<P: Place>(place: &P) {
    let store = place.open();
    let (projection, open) = gated("counts");
    ProjectionStore::setup(&store, &[&projection, &counts("others")]).unwrap();
    let backlog = [count("b", 1), count("a", 7), count("c", 1)].map(|one| store.push(&[one]).unwrap()).concat();
    let config = eager().longest_reducer(std::time::Duration::from_millis(20)).workers(2);
    let builder = Engine::builder(place.open()).projection(projection).projection(counts("others"));
    let engine = builder.config(config).start().unwrap();
    let shown = |events: &[Event]| engine.await_pushed("counts", events, LONG).unwrap();
    let of = |instance: &str| -> Vec<Event> {
        backlog.iter().filter(|event| event.instance() == instance).cloned().collect()
    };
    shown(&of("b"));
    shown(&of("c"));
    let pushed = engine.push(&[count("d", 7), count("e", 1), count("b", 1)]).unwrap();
    shown(&pushed[1..]);
    engine.push(&[count("f", 7)]).unwrap();
    let starves = || {
        let health = engine.health().unwrap().projections.remove(0);
        health.standstills.into_iter().any(|one| one.instance.is_none() && one.kind == StandstillKind::Hangs)
    };
    let mut last = Vec::new();
    eventually("the end of the spares", || {
        last = engine.push(&[count("g", 1)]).unwrap();
        starves()
    });
    engine.await_pushed("others", &last, LONG).unwrap();
    drop(open);
    shown(&last);
    for instance in ["a", "d", "f"] {
        engine.await_position("counts", instance, 1, LONG).unwrap();
    }
    eventually("the end", || engine.health().unwrap().projections[0].standstills.is_empty());
    assert_eq!(sum::<P>(&store, "counts", Some("b")), 2);
    engine.shutdown(LONG).unwrap();
}

// Contract: L4, C1: callers share a run, but do not wait for other instances of that run.
both!(a_trigger_does_not_wait_for_a_reducer_elsewhere);
pub(crate) fn a_trigger_does_not_wait_for_a_reducer_elsewhere<P: Place>(place: &P) {
    let store = Arc::new(place.open());
    let (projection, open) = gated("counts");
    let handler = ProjectionHandler::new(store.clone(), store.clone(), projection, at_once()).unwrap();
    handler.setup().unwrap();
    store.push(&[count("a", 7), count("b", 1)]).unwrap();
    std::thread::scope(|scope| {
        let hangs = scope.spawn(|| handler.trigger(&["a", "b"]));
        let goes_on = scope.spawn(|| handler.trigger(&["b"]));
        let is_shown = || sum::<P>(&store, "counts", Some("b")) == 1;
        eventually("the other instance", || goes_on.is_finished() && is_shown());
        assert!(!hangs.is_finished());
        drop(open);
        goes_on.join().unwrap().unwrap();
        hangs.join().unwrap().unwrap();
    });
    assert_eq!(sum::<P>(&store, "counts", Some("a")) + sum::<P>(&store, "counts", Some("b")), 8);
}

// Contract: H2, G2: events that fail for good are recorded together with the work of the other tenants.
both!(failures_of_many_tenants_take_few_transactions);
pub(crate) fn failures_of_many_tenants_take_few_transactions<P: Place>(place: &P) {
    const TENANTS: usize = 60;
    let (store, commits) = (place.open(), Arc::new(AtomicUsize::new(0)));
    store.setup(&[]).unwrap();
    for n in 0..TENANTS {
        let tenant = instance(n);
        let (bad, good) = (count(&tenant, 13), NewEvent::new(&tenant, "y", &Counted { by: 2 }));
        store.push(&[count(&tenant, 1), bad, count(&tenant, 4), good]).unwrap();
    }
    let counted = Arc::clone(&commits);
    let counting = FaultyStore::failing(store.clone(), move |call: &Call| {
        counted.fetch_add(usize::from(call.name == "ProjectionStore::commit"), Ordering::Relaxed);
        Ok(())
    });
    let engine = start(counting, &["counts"], lazy());
    let key = counts("counts").key();
    let held = || store.failed_events(&key, &FailureQuery::all()).unwrap();
    eventually("failures", || held().len() == 2 * TENANTS && sum::<P>(&store, "counts", None) == 3 * 60);
    engine.shutdown(LONG).unwrap();
    let states = held().into_iter().map(|one| one.attempt.state).collect::<Vec<_>>();
    assert_eq!(states, [FailureStatus::Parked, FailureStatus::Behind].repeat(TENANTS));
    let commits = commits.load(Ordering::Relaxed);
    assert!(commits < TENANTS / 4, "{commits} transactions for {TENANTS} tenants of which an event fails");
}
