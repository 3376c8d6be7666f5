//! Each call of a run fails once, in each way; afterwards the read model is what one application of each event gives.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use readside::error::StoreErrorKind as Kind;
use readside::{HandlerConfig, HeldState, Policy, ProjectionHandler, ProjectionStore, SqliteStore};

use crate::faults::{Fault, Faults, Faulty};
use crate::{config, count, counts, position, push, rows, store};

const WAYS: [Fault; 8] = [
    Fault::Fails(Kind::Connection),
    Fault::Fails(Kind::Conflict),
    Fault::Fails(Kind::Timeout),
    Fault::Fails(Kind::Full),
    Fault::Fails(Kind::Other),
    Fault::Panics,
    Fault::CommitLost,
    Fault::CommitDone,
];

/// The events of two instances, of which one has an event that cannot be reduced and one that its table refuses.
fn filled() -> SqliteStore {
    let (store, _) = store();
    push(&store, &[count("a", "x", 1), count("b", "x", 100), count("a", "y", 2), count("a", "x", 3)]);
    push(
        &store,
        &[count("a", "x", 13), count("a", "x", 4), count("b", "y", 7), count("a", "y", 0), count("a", "z", 5)],
    );
    store
}

const ROWS: [&str; 5] = ["a/x=8", "a/y=2", "a/z=5", "b/x=100", "b/y=7"];

fn faulty(store: &SqliteStore, faults: &Arc<Faults>, config: HandlerConfig) -> ProjectionHandler {
    let wrapped = Arc::new(Faulty { inner: store.clone(), faults: faults.clone() });
    ProjectionHandler::new(wrapped.clone(), wrapped, counts(), config).unwrap()
}

fn skips(retries: u32) -> HandlerConfig {
    HandlerConfig { bulk_limit: 2, max_failure_count: 1, policy: Policy::Skip, retries, ..config() }
}

/// Runs with a fault, then without one until all is well; gives the number of calls of the first run.
fn run(way: Fault, at: usize, retries: u32) -> usize {
    let store = filled();
    let faults = Faults::nth(at, way);
    let handler = faulty(&store, &faults, skips(retries));
    let first = catch_unwind(AssertUnwindSafe(|| handler.trigger(&["a", "b"])));
    let calls = faults.calls();
    if calls < at {
        assert!(matches!(first, Ok(Ok(()))), "{first:?}");
        return calls;
    }
    handler.trigger(&["a", "b"]).unwrap();
    assert_eq!(rows(&store), ROWS, "{way:?} at call {at}");
    assert_eq!((position(&store, "a"), position(&store, "b")), (7, 2));
    let held = store.held_events(&counts().key(), &readside::HeldQuery::all()).unwrap();
    let held: Vec<_> =
        held.iter().map(|held| (held.attempt.position, held.attempt.attempts, held.attempt.state)).collect();
    assert_eq!(held, [(4, 1, HeldState::Skipped), (6, 1, HeldState::Skipped)], "{way:?} at call {at}");
    calls
}

// SPEC L2, L6, G1, G2, C5
#[test]
fn whichever_call_fails_each_event_counts_once() {
    for way in WAYS {
        for retries in [0, 1] {
            let mut at = 1;
            while run(way, at, retries) >= at {
                at += 1;
            }
            assert!(at > 20, "only {at} calls were made to fail");
        }
    }
}

// SPEC L6: a commit that did happen is not repeated, one that did not is.
#[test]
fn a_commit_of_unknown_outcome_is_looked_up() {
    for (way, transactions) in [(Fault::CommitDone, 1), (Fault::CommitLost, 2)] {
        let (store, _) = store();
        push(&store, &[count("a", "x", 1)]);
        // store id, states, read, begin, lock, apply, save, commit
        let faults = Faults::nth(8, way);
        faulty(&store, &faults, HandlerConfig { retries: 1, ..config() }).trigger(&["a"]).unwrap();
        assert_eq!(rows(&store), ["a/x=1"]);
        // After the commit: one look at the states; then, if it was lost, all of the transaction again.
        assert_eq!(faults.calls(), 8 + 1 + (transactions - 1) * 5, "{way:?}");
    }
}
