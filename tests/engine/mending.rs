//! Repairs under faults: each call of a retry and of a discard fails once, in each way: Contract: H3, L2, L6.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use readside::error::{FailureError, StoreErrorKind as Kind};
use readside::failure::{By, FailureQuery, FailureStatus};
use readside::prelude::*;
use readside::store::ProjectionStore;
use readside::{NewEvent, ProjectionHandler, SqliteStore};

use crate::faults::{Fault, OneFault, faulty};
use crate::{config, count, counts, push, rows, store};

const WAYS: [Fault; 7] = [
    Fault::Fails(Kind::Connection),
    Fault::Fails(Kind::Conflict),
    Fault::Fails(Kind::Full),
    Fault::Fails(Kind::Other),
    Fault::Panics,
    Fault::CommitLost,
    Fault::CommitDone,
];

use FailureStatus::{Behind, Parked};

/// Counts. A late event adds 100, as soon as its reducer is repaired.
fn late(mended: &Arc<AtomicBool>) -> Projection {
    let mended = mended.clone();
    counts().on_raw("thing", "thing.late", move |e| {
        if !mended.load(Ordering::SeqCst) {
            return Err(ReduceError::new("too early"));
        }
        update([increment("n", 100)], [eq("thing", e.aggregate_id())])
    })
}

fn handler(store: &SqliteStore, projection: &Projection, faults: &Arc<OneFault>) -> ProjectionHandler {
    let config = config().max_failure_count(1);
    let wrapped = faulty(store.clone(), faults);
    ProjectionHandler::new(wrapped.clone(), wrapped, projection.clone(), config).unwrap()
}

fn by() -> By {
    By::new("ada", "mended")
}

/// Applies what can be applied, and gives up the event at 5, which nobody can apply.
fn mend(handler: &ProjectionHandler) -> Result<(), FailureError> {
    match handler.retry_all(&by()) {
        Ok(_) => {}
        Err(FailureError::SomeStillFail { mended, .. }) if mended.refused[0].position == 5 => {}
        Err(error) => return Err(error),
    }
    match handler.discard("a", 5, &by()) {
        Ok(_) | Err(FailureError::NotOnRecord { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn held(store: &SqliteStore) -> Vec<(i64, FailureStatus)> {
    let held = store.failed_events(&counts().key(), &FailureQuery::all()).unwrap();
    held.iter().map(|held| (held.attempt.position, held.attempt.state)).collect()
}

/// Parks events, repairs them with a fault, and repairs them again without one. Returns the number of calls of the
/// first repair.
fn run(way: Fault, at: usize) -> usize {
    let (store, _) = store();
    let mended = Arc::new(AtomicBool::new(false));
    let projection = late(&mended);
    let bad = NewEvent::raw("a", "thing", "x", "thing.late");
    push(&store, &[count("a", "x", 1), bad, count("a", "x", 2), count("a", "y", 3), count("a", "x", 13)]);
    push(&store, &[count("a", "x", 4)]);
    let well = handler(&store, &projection, &OneFault::nth(usize::MAX, Fault::Panics));
    well.trigger(&["a"]).unwrap();
    assert_eq!(held(&store), [(2, Parked), (3, Behind), (5, Behind), (6, Behind)]);
    mended.store(true, Ordering::SeqCst);

    let faults = OneFault::nth(at, way);
    let failing = handler(&store, &projection, &faults);
    let first = catch_unwind(AssertUnwindSafe(|| mend(&failing)));
    let calls = faults.calls();
    assert!(calls >= at || matches!(first, Ok(Ok(()))), "{first:?}");
    if let Some(first) = held(&store).first() {
        assert_eq!(first.1, Parked, "{way:?} at call {at}: the first of an aggregate is the parked one");
    }
    mend(&well).unwrap();
    assert_eq!((rows(&store), held(&store)), (vec!["a/x=107".to_owned(), "a/y=3".to_owned()], vec![]), "{way:?} {at}");
    calls
}

// Contract: H3, L2, L6
#[test]
fn whichever_call_of_a_mending_fails_each_event_counts_once() {
    for way in WAYS {
        let mut at = 1;
        while run(way, at) >= at {
            at += 1;
        }
        assert!(at > 30, "only {at} calls were made to fail");
    }
}

// Contract: H3: a long queue is applied in pages, as catching up does, not event by event.
#[test]
fn a_parked_aggregate_is_applied_in_few_calls() {
    let (store, _) = store();
    let mended = Arc::new(AtomicBool::new(false));
    let projection = late(&mended);
    let bad = NewEvent::raw("a", "thing", "x", "thing.late");
    push(&store, &[count("a", "x", 1), bad]);
    push(&store, &(0..2500).map(|_| count("a", "x", 1)).collect::<Vec<_>>());
    let faults = OneFault::nth(usize::MAX, Fault::Panics);
    let handler = handler(&store, &projection, &faults);
    handler.trigger(&["a"]).unwrap();
    assert_eq!(held(&store).len(), 2501);
    mended.store(true, Ordering::SeqCst);
    let before = faults.calls();
    assert_eq!(handler.retry("a", 2, &by()).unwrap().applied, 2501);
    let calls = faults.calls() - before;
    assert!(calls < 60, "{calls} calls");
    assert_eq!((rows(&store), held(&store)), (vec!["a/x=2601".to_owned()], vec![]));
}

// Contract: H3: one query finds the first remaining event of each of many aggregates, not a query for each aggregate.
#[test]
fn many_parked_aggregates_are_applied_in_few_calls() {
    const THINGS: usize = 300;
    let (store, _) = store();
    let mended = Arc::new(AtomicBool::new(false));
    let projection = late(&mended);
    let things: Vec<String> = (0..THINGS).map(|n| format!("x{n:03}")).collect();
    push(&store, &things.iter().map(|thing| count("a", thing, 1)).collect::<Vec<_>>());
    push(&store, &things.iter().map(|thing| NewEvent::raw("a", "thing", thing, "thing.late")).collect::<Vec<_>>());
    for _ in 0..5 {
        push(&store, &things.iter().map(|thing| count("a", thing, 1)).collect::<Vec<_>>());
    }
    let faults = OneFault::nth(usize::MAX, Fault::Panics);
    let handler = handler(&store, &projection, &faults);
    handler.trigger(&["a"]).unwrap();
    assert_eq!(held(&store).len(), 6 * THINGS);
    mended.store(true, Ordering::SeqCst);
    let before = faults.calls();
    assert_eq!(handler.retry_all(&by()).unwrap().applied, 1800);
    let calls = faults.calls() - before;
    assert!(calls < 60, "{calls} calls");
    let all: Vec<String> = things.iter().map(|thing| format!("a/{thing}=106")).collect();
    assert_eq!((rows(&store), held(&store)), (all, vec![]));
}

// Contract: L4: an error in one instance does not keep the others from being repaired, and is reported at the end.
#[test]
fn a_fault_with_one_instance_leaves_the_others_to_be_mended() {
    // The first two calls look for what has to be repaired, in all instances.
    for at in 3.. {
        let (store, _) = store();
        let mended = Arc::new(AtomicBool::new(false));
        let projection = late(&mended);
        let bad = |instance| NewEvent::raw(instance, "thing", "x", "thing.late");
        push(&store, &[count("a", "x", 1), bad("a"), count("b", "x", 2), bad("b")]);
        let well = handler(&store, &projection, &OneFault::nth(usize::MAX, Fault::Panics));
        well.trigger(&["a", "b"]).unwrap();
        assert_eq!(held(&store), [(2, Parked), (2, Parked)]);
        mended.store(true, Ordering::SeqCst);
        let faults = OneFault::nth(at, Fault::Fails(Kind::Unsupported));
        let outcome = handler(&store, &projection, &faults).retry_all(&by());
        if faults.calls() < at {
            assert!(outcome.is_ok() && at > 10, "{outcome:?} at {at}");
            break;
        }
        let Err(FailureError::Store(error)) = outcome else { panic!("{outcome:?} at {at}") };
        assert_eq!(error.kind(), Kind::Unsupported);
        assert!(held(&store).len() < 2, "both are left at {at}: {:?}", faults.names());
    }
}
