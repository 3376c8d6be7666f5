//! Start, stop, and what may happen in between: Contract: J1-J3, L4, L8.

use std::time::Duration;

use readside::failure::FailureQuery;
use readside::health::StopCause;
use readside::prelude::*;
use readside::query::{HeadsRequest, Query, SubQuery};
use readside::store::{EventSource, ProjectionStore};
use readside::subscription::Topics;
use readside::testing::FaultyStore;
use readside::{Engine, EventStore, HandlerConfig, NewEvent, PostgresStore, SqliteStore, error};

use crate::{LONG, Place, count, counts, eager, instance, lazy, start, sum};

/// The number of start/stop cycles. `READSIDE_STRESS_CYCLES` sets another one.
fn cycles() -> usize {
    std::env::var("READSIDE_STRESS_CYCLES").map_or(25, |text| text.parse().unwrap())
}

// Contract: E4, J1, J2: nothing remains of an engine, whenever it was stopped.
both!(an_engine_starts_and_stops_many_times);
pub(crate) fn an_engine_starts_and_stops_many_times<P: Place>(place: &P) {
    let store = place.open();
    store.setup(&[&counts("counts")]).unwrap();
    let mut pushed = 0;
    for cycle in 0..cycles() {
        let engine = start(store.clone(), &["counts"], eager());
        for n in 0..(cycle % 7) {
            engine.push(&[count(&instance(n), 1)]).unwrap();
            pushed += 1;
        }
        if cycle % 3 == 0 {
            drop(engine);
        } else {
            engine.shutdown(LONG).unwrap();
            engine.shutdown(Duration::ZERO).unwrap();
        }
        let states = store.states(&counts("counts").key(), &[instance(0).into()]).unwrap();
        assert_eq!(states[0].owner, None, "no lease is left");
    }
    let engine = start(store.clone(), &["counts"], lazy());
    for n in 0..6 {
        let head = HeadsRequest { instances: vec![instance(n).into()], limit: 1, ..HeadsRequest::default() };
        for head in store.heads(&head).unwrap() {
            engine.await_position("counts", &instance(n), head.head, LONG).unwrap();
        }
    }
    assert_eq!(sum::<P>(&store, "counts", None), pushed);
    assert_eq!(engine.health().unwrap().members, 1, "who left is off the list");
}

// Contract: J3, C5: no transaction succeeds, so the call that brings the instance up to date waits before its next attempt.
both!(a_stop_ends_every_wait);
pub(crate) fn a_stop_ends_every_wait<P: Place>(place: &P) {
    let (calls, all) = crossbeam_channel::unbounded();
    let store = FaultyStore::failing(place.open(), move |call| {
        let of = std::thread::current().name().unwrap_or_default().to_owned();
        let _ = calls.send((of, call.name));
        if call.name == "ProjectionStore::transaction" {
            return Err(error::StoreError::new("working", error::StoreErrorKind::Connection, "cut off on purpose"));
        }
        Ok(())
    });
    let called = |of: &str, name: &str| while all.recv_timeout(LONG).unwrap() != (of.to_owned(), name) {};
    let slow = HandlerConfig::default().retries(1).retry_failed_after(2 * LONG);
    let engine = Engine::builder(store).projection_with(counts("counts"), slow).config(lazy()).start().unwrap();
    let pushed = engine.push(&[count("a", 1)]).unwrap();
    std::thread::scope(|scope| {
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let triggers = || engine.trigger("counts", &["a"]);
        let triggering = thread("triggers").spawn_scoped(scope, triggers).unwrap();
        called("triggers", "ProjectionStore::transaction");
        let waits = || engine.await_pushed("counts", &pushed, 2 * LONG);
        let waiting = thread("waits").spawn_scoped(scope, waits).unwrap();
        // Between two looks at the state it waits.
        for _ in 0..2 {
            called("waits", "ProjectionStore::states");
        }
        assert!(!triggering.is_finished() && !waiting.is_finished());
        engine.shutdown(LONG).unwrap();
        assert!(matches!(waiting.join().unwrap(), Err(error::AwaitError::ShutDown)));
        let Err(error::TriggerError::Stopped { stopped, .. }) = triggering.join().unwrap() else { panic!("it stops") };
        assert!(matches!(stopped[0].cause, StopCause::Cancelled), "{stopped:?}");
    });
    assert!(matches!(engine.trigger("counts", &["a"]), Err(error::TriggerError::Stopped { .. })));
}

// Contract: J1: while a thread still runs, no shutdown says that all threads have ended.
both!(a_shutdown_that_is_repeated_waits_for_what_is_left);
pub(crate) fn a_shutdown_that_is_repeated_waits_for_what_is_left<P: Place>(place: &P) {
    let (running, reduces) = std::sync::mpsc::channel();
    let (go_on, waits) = std::sync::mpsc::channel::<()>();
    let (running, waits) = (std::sync::Mutex::new(running), std::sync::Mutex::new(waits));
    let blocks = Projection::new("blocks", 1)
        .table(Table::new("blocks").column(text("thing")).primary_key(["thing"]))
        .on_raw("thing", "thing.counted", move |_| {
            let _ = running.lock().unwrap().send(());
            let _ = waits.lock().unwrap().recv();
            noop()
        });
    let engine = Engine::builder(place.open()).projection(blocks).config(lazy()).start().unwrap();
    engine.push(&[count("a", 1)]).unwrap();
    reduces.recv_timeout(LONG).unwrap();
    let short = Duration::from_millis(10);
    for _ in 0..2 {
        let error = engine.shutdown(short).unwrap_err();
        assert!(error.threads.iter().any(|name| name.starts_with("readside-worker")), "{error}");
    }
    drop(go_on);
    engine.shutdown(LONG).unwrap();
    engine.shutdown(Duration::ZERO).unwrap();
}

// Contract: J1, C6: the longest time and the highest number mean no limit.
both!(the_longest_time_is_no_limit);
pub(crate) fn the_longest_time_is_no_limit<P: Place>(place: &P) {
    let store = place.open();
    // Without the engine's own event, which says that the first run is done.
    let heard = store.subscribe(Topics::all().aggregate_type("thing"));
    let engine = start(store.clone(), &["counts"], lazy());
    let pushed = engine.push(&[count("a", 1), count("a", 13)]).unwrap();
    assert_eq!(heard.recv_timeout(Duration::MAX).events.len(), 2);
    engine.await_pushed("counts", &pushed[..1], Duration::MAX).unwrap();
    engine.await_position("counts", "a", 1, Duration::MAX).unwrap();
    let held = || engine.admin().failed_events("counts", &FailureQuery::all().limit(usize::MAX)).unwrap();
    crate::eventually("the failure", || held().len() == 1);
    assert_eq!(engine.admin().interventions("counts", usize::MAX).unwrap(), []);
    assert_eq!(store.filter(&Query::new().or(SubQuery::new().instance("a")).limit(usize::MAX)).unwrap(), pushed);
    for _ in 0..2 {
        engine.shutdown(Duration::MAX).unwrap();
    }
    drop(engine);
    assert_eq!(store.states(&counts("counts").key(), &["a".into()]).unwrap()[0].owner, None, "no lease is left");
}

// Contract: D3, L4, L8
both!(a_reducer_that_panics_harms_nobody_else);
pub(crate) fn a_reducer_that_panics_harms_nobody_else<P: Place>(place: &P) {
    let store = place.open();
    let bad = counts("bad").on_raw("thing", "thing.bad", |_| panic!("on purpose"));
    let engine =
        Engine::builder(store.clone()).projection(bad).projection(counts("good")).config(lazy()).start().unwrap();
    engine.push(&[NewEvent::raw("a", "thing", "x", "thing.bad"), count("a", 1), count("b", 2)]).unwrap();
    engine.await_position("bad", "b", 1, LONG).unwrap();
    engine.await_position("good", "a", 2, LONG).unwrap();
    engine.await_position("good", "b", 1, LONG).unwrap();
    assert_eq!((sum::<P>(&store, "bad", None), sum::<P>(&store, "good", None)), (2, 3));
    let health = engine.health().unwrap();
    assert!(health.loops.iter().all(|l| l.alive && l.restarts == 0));
}

// Contract: F4: user code that takes longer than the lease does not stop its renewal. A process without an engine
// pushes the event, because events from the engine's own queue have no lease.
both!(a_reducer_slower_than_the_lease_keeps_it);
pub(crate) fn a_reducer_slower_than_the_lease_keeps_it<P: Place>(place: &P) {
    let (entered, wait) = crossbeam_channel::bounded::<()>(8);
    let (open, opened) = crossbeam_channel::bounded::<()>(8);
    let slow = move || {
        let (entered, opened) = (entered.clone(), opened.clone());
        counts("counts").on_raw("thing", "thing.slow", move |_| {
            entered.send(()).unwrap();
            let _ = opened.recv_timeout(LONG);
            upsert(["thing"], [set("thing", "slow"), increment("n", 100)])
        })
    };
    // A lease is renewed when a third of it has passed. The rest is the time that a busy machine has for that.
    let config = eager().lease(Duration::from_secs(6));
    let (renewal, renewals) = crossbeam_channel::unbounded();
    let stores = [place.open(), place.open()];
    let engines = stores.clone().map(|store| {
        let renewal = renewal.clone();
        let store = FaultyStore::failing(store, move |call| {
            if call.name == "LeaseStore::renew" {
                renewal.send(()).unwrap();
            }
            Ok(())
        });
        Engine::builder(store).projection(slow()).config(config.clone()).start().unwrap()
    });
    let pushed = place.open().push(&[NewEvent::raw("a", "thing", "s", "thing.slow")]).unwrap();
    wait.recv_timeout(LONG).unwrap();
    let epoch = || stores[0].states(&counts("counts").key(), &["a".into()]).unwrap()[0].epoch;
    let before = epoch();
    // Between the first of four renewals and the last lies a lease.
    for _ in 0..4 {
        renewals.recv_timeout(LONG).unwrap();
    }
    assert_eq!(epoch(), before, "nobody else took it");
    open.send(()).unwrap();
    engines[1].await_pushed("counts", &pushed, LONG).unwrap();
    assert_eq!(sum::<P>(&stores[0], "counts", None), 100);
    assert!(wait.try_recv().is_err(), "it was reduced once");
}

// Contract: F4: a transaction that takes longer than the lease keeps the lease too. The renewal skips locked rows,
// and the checkpoint write makes up for that.
#[cfg(feature = "postgres")]
#[test]
fn a_transaction_longer_than_the_lease_keeps_it() {
    let database = crate::common::postgres::database();
    let store = PostgresStore::connect(database.url()).unwrap();
    store.setup().unwrap();
    let (entered, wait) = crossbeam_channel::bounded::<()>(8);
    let (open, opened) = crossbeam_channel::bounded::<()>(8);
    let sleep = Dialects::postgres("SELECT pg_sleep(1.2), $1::text");
    let slow = counts("counts")
        .sql("sleep", sleep)
        .on_raw("thing", "thing.slow", |_| exec::<Value>("sleep", []))
        .on_raw("thing", "thing.held", move |_| {
            entered.send(()).unwrap();
            let _ = opened.recv_timeout(LONG);
            noop()
        });
    let events = ["thing.slow", "thing.held"].map(|name| NewEvent::raw("a", "thing", "s", name));
    let pushed = store.push(&events).unwrap();
    let config = eager().lease(Duration::from_secs(1)).handler(HandlerConfig::default().bulk_limit(1));
    let engine = Engine::builder(store.clone()).projection(slow).config(config).start().unwrap();
    wait.recv_timeout(LONG).unwrap();
    let state = store.states(&counts("counts").key(), &["a".into()]).unwrap().remove(0);
    open.send(()).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    assert_eq!((state.position, state.epoch), (1, 1), "it was not lost and taken again");
}

// Contract: J2: the number of threads does not grow with projections, and all threads have names and end.
#[cfg(all(feature = "sqlite", target_os = "linux"))]
#[test]
fn the_number_of_threads_is_fixed() {
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "lifecycle::counting_threads", "--ignored", "--test-threads", "1"])
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
}

/// Runs in its own process, where no other test has threads.
#[cfg(all(feature = "sqlite", target_os = "linux"))]
#[test]
#[ignore = "run by the_number_of_threads_is_fixed in a process of its own"]
fn counting_threads() {
    let ours = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
        names.filter(|name| name.starts_with("readside")).count()
    };
    for projections in [1, 30] {
        let names: Vec<String> = (0..projections).map(|n| format!("p{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let engine = start(SqliteStore::in_memory().unwrap(), &names, lazy());
        let pushed = engine.push(&(0..50).map(|n| count(&instance(n), 1)).collect::<Vec<_>>()).unwrap();
        engine.await_pushed("p0", &pushed, LONG).unwrap();
        assert_eq!(ours(), 6 + 2 * 2, "six loops, and two workers with a spare each");
        for _ in 0..2 {
            engine.shutdown(Duration::MAX).unwrap();
            assert_eq!(ours(), 0);
        }
        drop(engine);
    }
}
