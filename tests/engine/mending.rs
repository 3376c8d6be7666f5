//! Mending under faults: each call of a retry and of a discard fails once, in each way: SPEC H3, L2, L6.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use readside::error::{MendError, StoreErrorKind as Kind};
use readside::{
    By, Command, HandlerConfig, HeldQuery, HeldState, Projection, ProjectionHandler, ProjectionStore, ReduceError,
    SqliteStore, eq, increment, update,
};

use crate::faults::{Fault, Faults, Faulty};
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

use HeldState::{Behind, Parked};

/// Counts; a late event adds 100, once it can be reduced.
fn late(mended: &Arc<AtomicBool>) -> Projection {
    let mended = mended.clone();
    counts().on_raw("thing", "thing.late", move |e| {
        if !mended.load(Ordering::SeqCst) {
            return Err(ReduceError::new("too early"));
        }
        update([increment("n", 100)], [eq("thing", e.aggregate_id())])
    })
}

fn handler(store: &SqliteStore, projection: &Projection, faults: Arc<Faults>) -> ProjectionHandler {
    let config = HandlerConfig { max_failure_count: 1, ..config() };
    let wrapped = Arc::new(Faulty { inner: store.clone(), faults });
    ProjectionHandler::new(wrapped.clone(), wrapped, projection.clone(), config).unwrap()
}

fn by() -> By {
    By::new("ada", "mended")
}

/// Applies what can be applied, and gives up the event at 5, which nobody can.
fn mend(handler: &ProjectionHandler) -> Result<(), MendError> {
    match handler.retry_all(&by()) {
        Ok(_) | Err(MendError::StillFails { position: 5, .. }) => {}
        Err(error) => return Err(error),
    }
    match handler.discard("a", 5, &by()) {
        Ok(_) | Err(MendError::NotHeld { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn held(store: &SqliteStore) -> Vec<(i64, HeldState)> {
    let held = store.held_events(&counts().key(), &HeldQuery::all()).unwrap();
    held.iter().map(|held| (held.attempt.position, held.attempt.state)).collect()
}

/// Parks, mends with a fault, and mends again without; gives the number of calls of the first time.
fn run(way: Fault, at: usize) -> usize {
    let (store, _) = store();
    let mended = Arc::new(AtomicBool::new(false));
    let projection = late(&mended);
    let bad = Command::raw("a", "thing", "x", "thing.late");
    push(&store, &[count("a", "x", 1), bad, count("a", "x", 2), count("a", "y", 3), count("a", "x", 13)]);
    push(&store, &[count("a", "x", 4)]);
    let well = handler(&store, &projection, Faults::nth(usize::MAX, Fault::Panics));
    well.trigger(&["a"]).unwrap();
    assert_eq!(held(&store), [(2, Parked), (3, Behind), (5, Behind), (6, Behind)]);
    mended.store(true, Ordering::SeqCst);

    let faults = Faults::nth(at, way);
    let failing = handler(&store, &projection, faults.clone());
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

// SPEC H3, L2, L6
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
