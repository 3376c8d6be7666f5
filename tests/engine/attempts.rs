//! Attempts, back-off, and what is put on record: Contract: C5, H1, H2, L4.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use readside::clock::{Clock, ManualClock};
use readside::error::{StoreErrorKind, TriggerError};
use readside::failure::{FailureClass, FailureStatus};
use readside::health::StopCause;
use readside::store::ProjectionStore;
use readside::{HandlerConfig, Policy, Projection, ProjectionHandler, SqliteStore};

use readside::testing::{Call, FaultyStore};

use crate::faults::{Fault, OneFault, faulty};
use crate::{config, count, counts, handler, patient, position, push, rows, stopped, store};

fn forward(clock: &ManualClock, by: Duration) {
    clock.set(clock.now() + by);
}

fn limited(max_failure_count: u32) -> HandlerConfig {
    config().max_failure_count(max_failure_count).max_lasting_failure_count(max_failure_count).policy(Policy::Stop)
}

// Contract: H1
#[test]
fn a_failing_event_is_recorded_with_all_that_is_known() {
    let (store, _) = store();
    push(&store, &[count("a", "x", 1), count("a", "y", 13), count("a", "x", 2)]);
    let stopped = stopped(handler(&store, patient()).trigger(&["a"]));
    assert_eq!((stopped[0].instance.as_ref(), stopped[0].position), ("a", 2));
    let StopCause::Failing(blocked) = &stopped[0].cause else { panic!("{stopped:?}") };
    assert!(blocked.retry_in > Duration::from_secs(4) && blocked.retry_in <= Duration::from_secs(5));
    let held = store.failed_events(&counts().key(), &readside::failure::FailureQuery::all()).unwrap().remove(0);
    let attempt = &held.attempt;
    assert_eq!((attempt.position, attempt.attempts, attempt.state), (2, 1, FailureStatus::Failing));
    assert_eq!(
        (&*attempt.aggregate_type, &*attempt.aggregate_id, &*attempt.event_type),
        ("thing", "y", "thing.counted")
    );
    assert_eq!((attempt.class, attempt.error.as_str()), (FailureClass::Reducer, "bad luck"));
    assert_eq!(held.first_at, SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
    assert_eq!(rows(&store), ["a/x=1"], "what precedes it is applied");
}

// Contract: C5, H2
#[test]
fn the_instance_waits_until_the_next_attempt_is_due_and_stops_at_the_limit() {
    let (store, clock) = store();
    push(&store, &[count("a", "y", 13)]);
    let handler = handler(&store, limited(3));
    for attempt in 1..=2 {
        stopped(handler.trigger(&["a"]));
        let early = stopped(handler.trigger(&["a"]));
        let StopCause::Failing(blocked) = &early[0].cause else { panic!("{early:?}") };
        assert_eq!(blocked.attempts, attempt, "before it is due there is no further attempt");
        forward(&clock, Duration::from_secs(10));
    }
    let last = stopped(handler.trigger(&["a"]));
    let StopCause::Stopped(blocked) = &last[0].cause else { panic!("{last:?}") };
    assert_eq!(blocked.attempts, 3);
    forward(&clock, Duration::from_hours(100));
    assert!(matches!(stopped(handler.trigger(&["a"]))[0].cause, StopCause::Stopped(_)));
    assert_eq!(
        store.failed_events(&counts().key(), &readside::failure::FailureQuery::all()).unwrap()[0].attempt.attempts,
        3
    );
}

// Contract: H2: a clock that was wrong makes no instance wait for years.
#[test]
fn a_wait_that_no_back_off_can_have_set_is_over() {
    let (store, clock) = store();
    push(&store, &[count("a", "y", 13)]);
    let (handler, now) = (handler(&store, limited(9)), clock.now());
    forward(&clock, Duration::from_hours(24 * 365));
    stopped(handler.trigger(&["a"]));
    clock.set(now);
    let again = stopped(handler.trigger(&["a"]));
    assert!(matches!(&again[0].cause, StopCause::Failing(blocked) if blocked.attempts == 2), "{again:?}");
}

/// Fails this many times, then counts.
fn flaky(failures: usize) -> (Projection, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = calls.clone();
    let projection = counts().on_raw("thing", "thing.flaky", move |_| {
        assert!(seen.fetch_add(1, Ordering::SeqCst) >= failures, "not yet");
        readside::statement::create([readside::statement::set("thing", "flaky"), readside::statement::set("n", 1)])
    });
    (projection, calls)
}

fn flaky_handler(store: &SqliteStore, projection: Projection, config: HandlerConfig) -> ProjectionHandler {
    let store = Arc::new(store.clone());
    ProjectionHandler::new(store.clone(), store, projection, config).unwrap()
}

// Contract: C5
#[test]
fn attempts_are_retries_and_one_and_one_call_counts_once() {
    let (store, clock) = store();
    push(&store, &[readside::NewEvent::raw("a", "thing", "f", "thing.flaky")]);
    let (projection, calls) = flaky(usize::MAX);
    let handler = flaky_handler(&store, projection, patient().retries(2));
    stopped(handler.trigger(&["a"]));
    assert_eq!(calls.load(Ordering::SeqCst), 3);
    let held = store.failed_events(&counts().key(), &readside::failure::FailureQuery::all()).unwrap();
    assert_eq!((held[0].attempt.attempts, held[0].attempt.class), (1, FailureClass::Panic));
    forward(&clock, Duration::from_secs(6));
    stopped(handler.trigger(&["a"]));
    assert_eq!(
        (
            calls.load(Ordering::SeqCst),
            store.failed_events(&counts().key(), &readside::failure::FailureQuery::all()).unwrap()[0].attempt.attempts
        ),
        (6, 2)
    );
}

// Contract: H2
#[test]
fn a_later_success_clears_the_record() {
    let (store, clock) = store();
    push(&store, &[readside::NewEvent::raw("a", "thing", "f", "thing.flaky"), count("a", "x", 1)]);
    let (projection, _) = flaky(2);
    let handler = flaky_handler(&store, projection, patient());
    for _ in 0..2 {
        stopped(handler.trigger(&["a"]));
        forward(&clock, Duration::from_mins(1));
    }
    handler.trigger(&["a"]).unwrap();
    assert_eq!(store.failed_events(&counts().key(), &readside::failure::FailureQuery::all()).unwrap(), []);
    assert_eq!(rows(&store), ["a/flaky=1", "a/x=1"]);
}

// Contract: C5: a failure that is not the event's fault is retried, and is never counted.
#[test]
fn trouble_of_the_database_is_not_counted() {
    for kind in [StoreErrorKind::Connection, StoreErrorKind::Conflict, StoreErrorKind::Timeout, StoreErrorKind::Full] {
        let (store, _) = store();
        push(&store, &[count("a", "x", 1)]);
        let fault = OneFault::first("ProjectionTransaction::apply", Fault::Fails(kind));
        let faulty = faulty(store.clone(), &fault);
        let handler = ProjectionHandler::new(faulty.clone(), faulty, counts(), config()).unwrap();
        let stopped = stopped(handler.trigger(&["a"]));
        assert!(matches!(&stopped[0].cause, StopCause::Store(error) if error.kind() == kind), "{stopped:?}");
        assert_eq!(store.failed_events(&counts().key(), &readside::failure::FailureQuery::all()).unwrap(), []);
        handler.trigger(&["a"]).unwrap();
        assert_eq!(rows(&store), ["a/x=1"]);
    }
}

// Contract: G2, G3, L4: the table refuses one event. The earlier events of its instance and all other instances go
// on.
#[test]
fn a_refused_statement_is_found_by_single_steps() {
    let (store, _) = store();
    for n in 0..10 {
        let instance = format!("i{n}");
        push(&store, &[count(&instance, "x", 1), count(&instance, "y", 2)]);
    }
    push(&store, &[count("i3", "x", 0), count("i3", "x", 5), count("i7", "y", 0), count("i9", "x", 10)]);
    let names: Vec<String> = (0..10).map(|n| format!("i{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let stopped = stopped(handler(&store, config()).trigger(&names));
    let found: Vec<_> = stopped.iter().map(|stopped| (&*stopped.instance, stopped.position)).collect();
    assert_eq!(found, [("i3", 3), ("i7", 3)]);
    assert!(stopped.iter().all(|stopped| {
        matches!(&stopped.cause, StopCause::Failing(blocked) if blocked.class == FailureClass::Constraint)
    }));
    assert_eq!((position(&store, "i3"), position(&store, "i9"), rows(&store).len()), (2, 3, 20));
    assert!(rows(&store).contains(&"i9/x=11".to_owned()));
}

// Contract: H2
#[test]
fn skip_goes_on_at_once_and_keeps_the_record() {
    let (store, _) = store();
    push(&store, &[count("a", "x", 13), count("a", "x", 13), count("a", "x", 2)]);
    let config = limited(1).policy(Policy::Skip);
    handler(&store, config).trigger(&["a"]).unwrap();
    assert_eq!(rows(&store), ["a/x=2"]);
    let held = store.failed_events(&counts().key(), &readside::failure::FailureQuery::all()).unwrap();
    assert!(held.len() == 2 && held.iter().all(|held| held.attempt.state == FailureStatus::Skipped));
}

// Contract: C2
#[test]
fn no_instances_is_an_error() {
    let (store, _) = store();
    let handler = handler(&store, config());
    assert!(matches!(handler.trigger(&[]), Err(TriggerError::NoInstances { .. })));
    assert!(matches!(handler.fetch_events(&[]), Err(TriggerError::NoInstances { .. })));
}

// Contract: H2, G2: each transaction goes as far as it can, so events that fail for good delay nobody for long.
#[test]
fn many_events_that_fail_for_good_take_few_transactions() {
    const MANY: usize = 100;
    for bad in [13, 0] {
        let ((store, _), commits) = (store(), Arc::new(AtomicUsize::new(0)));
        for n in 0..MANY {
            let thing = format!("t{n}");
            push(&store, &[1, bad, 2].map(|by| count("a", &thing, by)));
        }
        let counted = Arc::clone(&commits);
        let count = move |call: &Call| {
            counted.fetch_add(usize::from(call.name == "ProjectionStore::commit"), Ordering::Relaxed);
            Ok(())
        };
        let shared = Arc::new(FaultyStore::failing(store.clone(), count));
        let config = config().max_failure_count(1);
        let handler = ProjectionHandler::new(shared.clone(), shared, counts(), config).unwrap();
        handler.trigger(&["a"]).unwrap();
        let states: Vec<FailureStatus> = store
            .failed_events(&counts().key(), &readside::failure::FailureQuery::all())
            .unwrap()
            .iter()
            .map(|held| held.attempt.state)
            .collect();
        assert_eq!(states, [FailureStatus::Parked, FailureStatus::Behind].repeat(MANY));
        assert!(rows(&store).len() == MANY && rows(&store).iter().all(|row| row.ends_with("=1")), "{:?}", rows(&store));
        assert_eq!(position(&store, "a"), 3 * i64::try_from(MANY).unwrap());
        let commits = commits.load(Ordering::Relaxed);
        assert!(commits <= 10, "{commits} transactions for {MANY} failures of {bad}");
    }
}
