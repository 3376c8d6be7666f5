//! Cases of the original handler, which this one re-creates, as far as no other test covers them: what a trigger and a
//! fetch return.

use readside::error::{StoreErrorKind as Kind, TriggerError};
use readside::health::StopCause;
use readside::query::Query;
use readside::{EventStore, ProjectionHandler};

use crate::faults::{Fault, OneFault, faulty};
use crate::{config, count, counts, handler, patient, position, push, rows, stopped, store};

fn failing(at: &'static str, kind: Kind) -> (readside::SqliteStore, ProjectionHandler) {
    let (store, _) = store();
    push(&store, &[count("a", "x", 1)]);
    let wrapped = faulty(store.clone(), &OneFault::first(at, Fault::Fails(kind)));
    (store, ProjectionHandler::new(wrapped.clone(), wrapped, counts(), config()).unwrap())
}

// Contract: C1: an error of a query or of the event store is returned, and nothing is written.
#[test]
fn errors_of_reading_are_returned() {
    for at in ["EventSource::store_id", "ProjectionStore::states", "EventSource::read"] {
        let (store, handler) = failing(at, Kind::Denied);
        match handler.trigger(&["a"]) {
            Err(TriggerError::Store(error)) => assert_eq!(error.kind(), Kind::Denied, "call {at}"),
            other => panic!("{other:?}"),
        }
        assert_eq!((position(&store, "a"), rows(&store).len()), (0, 0));
        handler.trigger(&["a"]).unwrap();
    }
}

// Contract: G1: if begin, lock, save or commit fails, the transaction is rolled back, and the cause is kept.
#[test]
fn errors_of_the_transaction_are_returned_and_roll_back() {
    for at in [
        "ProjectionStore::transaction",
        "ProjectionTransaction::lock",
        "ProjectionTransaction::apply",
        "ProjectionTransaction::save",
        "ProjectionStore::commit",
    ] {
        let (store, handler) = failing(at, Kind::Full);
        let stopped = stopped(handler.trigger(&["a"]));
        assert!(matches!(&stopped[0].cause, StopCause::Store(error) if error.kind() == Kind::Full), "{stopped:?}");
        assert_eq!((position(&store, "a"), rows(&store).len()), (0, 0), "call {at}");
    }
}

// Contract: C1: without events the result is `Ok`, and no state row is created.
#[test]
fn nothing_to_do_is_well() {
    let (store, _) = store();
    let handler = handler(&store, config());
    handler.trigger(&["a", "nobody"]).unwrap();
    let fetched = handler.fetch_events(&["a"]).unwrap();
    assert_eq!((fetched.events().count(), fetched.more().len()), (0, 0));
    let processed = handler.process(fetched);
    assert_eq!((processed.applied, processed.stopped.len()), (0, 0));
    let nothing = handler.process_events(&[]);
    assert_eq!((nothing.applied, nothing.stopped.len()), (0, 0));
}

// Contract: C3: with less than the limit, the limit, and more than the limit.
#[test]
fn more_says_that_the_limit_ended_the_fetch() {
    let (store, _) = store();
    push(&store, &[count("a", "x", 1), count("a", "x", 1)]);
    for (bulk_limit, events, more) in [(5, 2, 0), (2, 2, 0), (1, 1, 1)] {
        let fetched = handler(&store, config().bulk_limit(bulk_limit)).fetch_events(&["a"]).unwrap();
        assert_eq!((fetched.events().count(), fetched.more().len()), (events, more), "limit {bulk_limit}");
    }
    handler(&store, config().bulk_limit(1)).trigger(&["a"]).unwrap();
    assert_eq!(rows(&store), ["a/x=2"]);
}

// Contract: C4: the original handler lost the events before a reducer's error, and its retries could skip events
// after an inserted one.
#[test]
fn a_reducers_error_loses_nothing_before_it_and_counts_are_the_callers() {
    let (store, _) = store();
    push(&store, &[count("a", "x", 1), count("a", "x", 2), count("a", "x", 13), count("a", "x", 4)]);
    let all = store.filter(&Query::new()).unwrap();
    let handler = handler(&store, patient().retries(3));
    let processed = handler.process_events(&all[1..]);
    assert_eq!(processed.applied, 0);
    assert!(
        matches!(processed.stopped[0].cause, StopCause::Gap { checkpoint: 0 }),
        "a missing row is a checkpoint of 0"
    );
    let processed = handler.process_events(&all);
    assert_eq!((processed.applied, processed.stopped[0].position), (2, 3));
    assert_eq!(rows(&store), ["a/x=3"]);
}
