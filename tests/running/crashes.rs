//! An event that kills the process that handles it: SPEC F7.
#![cfg(unix)]

use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use readside::error::TriggerError;
use readside::*;
use uuid::Uuid;

use crate::{Counted, Place, counts, eventually, sum};

/// Counts; 13 kills the process.
fn deadly() -> Projection {
    Projection::new("counts", 1)
        .table(Table::new("counts").column(text("thing")).column(integer("n")).primary_key(["thing"]))
        .on(|e, p: Counted| match p.by {
            13 => std::process::abort(),
            by => upsert(["thing"], [set("thing", e.aggregate_id()), increment("n", by)]),
        })
}

fn handler_config() -> HandlerConfig {
    HandlerConfig { max_failure_count: 2, backoff_base: Duration::from_millis(1), ..HandlerConfig::default() }
}

fn work<S: EngineStore>(store: S) {
    let config = EngineConfig {
        requeue_every: Duration::from_millis(20),
        lease: Duration::from_millis(300),
        workers: 2,
        ..EngineConfig::default()
    };
    let engine = Engine::builder(store).projection_with(deadly(), handler_config()).config(config).start().unwrap();
    if std::env::var_os("READSIDE_TEST_PUSHES").is_some() {
        engine.push(&[put("c", "x", 1)]).unwrap();
        crate::eventually("the first run", || engine.health().is_ok_and(|health| health.projections[0].succeeded));
        engine.await_position("counts", "c", 1, crate::LONG).unwrap();
        // From here on events come straight from the queue.
        engine.push(&[put("c", "x", 13), put("c", "x", 1), put("c", "y", 2)]).unwrap();
        crate::eventually("the end", || false);
    }
    let mut rest = String::new();
    std::io::stdin().read_line(&mut rest).unwrap();
    engine.shutdown(Duration::from_secs(10)).unwrap();
}

/// A process of the test below.
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

fn put(instance: &str, thing: &str, by: i64) -> Command {
    Command::new(instance, thing, &Counted { by })
}

/// Starts a process as often as it dies, until the work is done; counts the deaths.
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

/// What is held in an instance.
fn held<S: EngineStore>(store: &S, instance: &str) -> Vec<(i64, HeldState, FailureClass)> {
    let held = store.held_events(&deadly().key(), &HeldQuery::all().instance(instance)).unwrap();
    held.iter().map(|held| (held.attempt.position, held.attempt.state, held.attempt.class)).collect()
}

const FOUND: (HeldState, FailureClass) = (HeldState::Parked, FailureClass::Crash);
const BEHIND: (HeldState, FailureClass) = (HeldState::Behind, FailureClass::Predecessor);

// SPEC F7
fn found<P: Place>(place: &P, address: &str) {
    let store = place.open();
    store.setup(&[&deadly()]).unwrap();
    store.push(&[put("a", "x", 1), put("a", "x", 13), put("a", "y", 5), put("a", "x", 7), put("b", "x", 1)]).unwrap();
    let counted = |instance: &str| sum::<P>(&store, "counts", Some(instance));
    let deaths = outlive(address, || counted("a") == 6 && counted("b") == 1);
    // Two are counted; before that, one or more that nobody expected, while the dead seem alive by their heartbeat.
    assert!((3..=6).contains(&deaths), "{deaths} deaths");
    assert_eq!(held(&store, "a"), [(2, FOUND.0, FOUND.1), (4, BEHIND.0, BEHIND.1)]);
    // Straight from the queue there is no lease that the dead could leave: that costs one more process. A tick may be first.
    let mut pusher = process(address).env("READSIDE_TEST_PUSHES", "yes").spawn().unwrap();
    assert!(!pusher.wait().unwrap().success());
    let deaths = outlive(address, || counted("c") == 3);
    assert!((2..=6).contains(&deaths), "{deaths} deaths");
    assert_eq!(held(&store, "c"), [(2, FOUND.0, FOUND.1), (3, BEHIND.0, BEHIND.1)]);
}

#[cfg(feature = "sqlite")]
#[test]
fn an_event_that_kills_processes_is_found_on_sqlite() {
    let file = crate::File(tempfile::tempdir().unwrap());
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

// SPEC F7: what a dead process held is worked on with care, what a slow one lost is not; triggers wait for the outcome.
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

// SPEC F7: and everything is reduced so near its checkpoint that whoever comes after a death looks there.
pub(crate) fn nothing_is_reduced_further_ahead_than_care_goes<P: Place>(place: &P) {
    const LIMIT: usize = 5;
    const EVENTS: i64 = 60;
    let (store, seen) = (place.open(), place.open());
    let furthest = Arc::new(AtomicI64::new(0));
    let plain = counts("counts");
    let (key, ahead) = (plain.key(), Arc::clone(&furthest));
    let projection = Projection::new("counts", 1).table(plain.tables()[0].clone()).on(move |e, p: Counted| {
        let states = seen.states(&key, &[Arc::from(e.instance())]).map_err(|e| ReduceError::new(e.to_string()))?;
        let checkpoint = states[0].position;
        ahead.fetch_max(e.position() - checkpoint, Ordering::Relaxed);
        upsert(["thing"], [set("thing", e.aggregate_id()), increment("n", p.by)])
    });
    store.setup(&[&projection]).unwrap();
    for instance in ["a", "b"] {
        store.push(&(0..EVENTS).map(|_| put(instance, "x", 1)).collect::<Vec<_>>()).unwrap();
    }
    let handler = HandlerConfig { bulk_limit: LIMIT, ..HandlerConfig::default() };
    let engine = Engine::builder(store.clone()).projection_with(projection, handler).config(crate::eager()).start();
    let engine = engine.unwrap();
    for instance in ["a", "b"] {
        engine.await_position("counts", instance, EVENTS, crate::LONG).unwrap();
    }
    assert_eq!(furthest.load(Ordering::Relaxed), i64::try_from(LIMIT).unwrap());
    assert_eq!(sum::<P>(&store, "counts", None), 2 * EVENTS);
}
