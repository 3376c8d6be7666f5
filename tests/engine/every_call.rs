//! Each call of a run fails once, in each way. Afterwards the read model shows that each event was applied once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use readside::error::StoreErrorKind as Kind;
use readside::failure::{FailureQuery, FailureStatus};
use readside::testing::laws::{self, Models};
use readside::{EngineStore, EventStore, HandlerConfig, Policy, ProjectionHandler, Value};

use crate::faults::{Fault, OneFault, faulty};
use crate::{config, count, counts, rows, show, store};

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

/// A store that all runs use. Each run has its own instances.
trait Tried: EngineStore + Models + Clone + 'static {}
impl<S: EngineStore + Models + Clone + 'static> Tried for S {}

/// The events of two instances. In one instance, the reducer refuses one event and the table another one.
fn fill<S: Tried>(store: &S, a: &str, b: &str) {
    store.push(&[count(a, "x", 1), count(b, "x", 100), count(a, "y", 2), count(a, "x", 3)]).unwrap();
    store.push(&[count(a, "x", 13), count(a, "x", 4), count(b, "y", 7), count(a, "y", 0), count(a, "z", 5)]).unwrap();
}

/// The checkpoint, and `thing=count` for every row.
fn found<S: Tried>(store: &S, instance: &str) -> (i64, Vec<String>) {
    let model = store.model(&counts(), instance).unwrap();
    let column =
        |row: &[(String, Value)], name: &str| show(&row.iter().find(|(column, _)| column == name).expect("a column").1);
    let mut rows: Vec<String> =
        model.tables[0].iter().map(|row| format!("{}={}", column(row, "thing"), column(row, "n"))).collect();
    rows.sort();
    (model.state.position, rows)
}

fn failing<S: Tried>(store: &S, faults: &Arc<OneFault>, config: HandlerConfig) -> ProjectionHandler {
    let wrapped = faulty(store.clone(), faults);
    ProjectionHandler::new(wrapped.clone(), wrapped, counts(), config).unwrap()
}

fn skips(retries: u32) -> HandlerConfig {
    config().bulk_limit(2).max_failure_count(1).policy(Policy::Skip).retries(retries)
}

/// Runs with a fault, then without one until all is well. Returns the number of calls of the first run.
fn run<S: Tried>(store: &S, way: Fault, at: usize, retries: u32) -> usize {
    let (a, b) = (format!("a-{way:?}-{at}-{retries}"), format!("b-{way:?}-{at}-{retries}"));
    fill(store, &a, &b);
    let faults = OneFault::nth(at, way);
    let handler = failing(store, &faults, skips(retries));
    let first = catch_unwind(AssertUnwindSafe(|| handler.trigger(&[&a, &b])));
    let calls = faults.calls();
    if calls < at {
        assert!(matches!(first, Ok(Ok(()))), "{first:?}");
        return calls;
    }
    handler.trigger(&[&a, &b]).unwrap();
    assert_eq!(found(store, &a), (7, ["x=8", "y=2", "z=5"].map(str::to_owned).to_vec()), "{way:?} at call {at}");
    assert_eq!(found(store, &b), (2, ["x=100", "y=7"].map(str::to_owned).to_vec()), "{way:?} at call {at}");
    let held = store.failed_events(&counts().key(), &FailureQuery::all().instance(&a)).unwrap();
    let held: Vec<_> =
        held.iter().map(|held| (held.attempt.position, held.attempt.attempts, held.attempt.state)).collect();
    assert_eq!(held, [(4, 1, FailureStatus::Skipped), (6, 1, FailureStatus::Skipped)], "{way:?} at call {at}");
    calls
}

fn whichever_call_fails_each_event_counts_once<S: Tried>(store: &S) {
    for way in WAYS {
        for retries in [0, 1] {
            let mut at = 1;
            while run(store, way, at, retries) >= at {
                at += 1;
            }
            assert!(at > 20, "only {at} calls were made to fail");
        }
    }
    let report = laws::check(store, store, &counts()).unwrap();
    assert!(report.is_lawful(), "{report}");
}

// Contract: L2, L6, G1, G2, C5
#[test]
fn whichever_call_fails_each_event_counts_once_on_sqlite() {
    whichever_call_fails_each_event_counts_once(&store().0);
}

// Contract: L2, L6, G1, G2, C5
#[cfg(feature = "postgres")]
#[test]
fn whichever_call_fails_each_event_counts_once_on_postgres() {
    let database = crate::common::postgres::database();
    let store = readside::PostgresStore::connect(database.url()).unwrap();
    readside::store::ProjectionStore::setup(&store, &[&counts()]).unwrap();
    whichever_call_fails_each_event_counts_once(&store);
}

// Contract: L6: a commit that happened is not repeated, and a commit that did not happen is.
#[test]
fn a_commit_of_unknown_outcome_is_looked_up() {
    for (way, transactions) in [(Fault::CommitDone, 1), (Fault::CommitLost, 2)] {
        let (store, _) = store();
        store.push(&[count("a", "x", 1)]).unwrap();
        let faults = OneFault::first("ProjectionStore::commit", way);
        failing(&store, &faults, config().retries(1)).trigger(&["a"]).unwrap();
        assert_eq!(rows(&store), ["a/x=1"]);
        // After the commit, the handler reads the states once. If the commit was lost, the whole transaction follows
        // again.
        let names = faults.names();
        let after = &names[names.iter().position(|name| *name == "ProjectionStore::commit").unwrap() + 1..];
        assert_eq!(after[0], "ProjectionStore::states", "{way:?}: {names:?}");
        let commits = names.iter().filter(|name| **name == "ProjectionStore::commit").count();
        assert_eq!(commits, transactions, "{way:?}: {names:?}");
        assert_eq!(after.len() == 1, transactions == 1, "{way:?}: {names:?}");
    }
}
