//! A process is killed between two steps of an operation, and a repetition of the operation finishes it:
//! Contract: K2-K4.

use std::sync::mpsc;
use std::time::SystemTime;

use readside::query::Query;
use readside::retention::{Archival, Redaction, TableRows};
use readside::store::ProjectionStore;
use readside::{EventStore, PostgresStore, SqliteStore, error};

use crate::common::LONG;
use crate::common::child::Child;
use crate::{ADA, Place, Store, add, catch_up, handler, rename, store, users};

/// Runs an operation, says when it has made this many steps, and then stops for good.
fn run<S: Store>(store: &S, operation: &str, steps: usize) {
    let mut left = steps;
    let mut progress = |_: &TableRows| {
        left -= 1;
        if left == 0 {
            println!("\nsteps are done");
            crate::common::child::until_told();
        }
    };
    match operation {
        "redact" => store.redact(&Redaction::of_aggregate("a", "user", "u1"), &mut progress).map(|_| ()),
        "remove" => store.remove("a", &mut progress).map(|_| ()),
        "archive" => store.archive(&Archival::before(SystemTime::now()), &mut progress).map(|_| ()),
        other => panic!("{other}"),
    }
    .unwrap();
}

/// The process that the tests below start.
#[test]
#[ignore = "run as a process of its own by the tests that follow"]
fn worker() {
    let [place, operation, steps] =
        ["PLACE", "OPERATION", "STEPS"].map(|name| std::env::var(format!("READSIDE_TEST_{name}")).unwrap());
    let steps = steps.parse().unwrap();
    #[cfg(feature = "postgres")]
    if place.starts_with("postgres") {
        return run(&PostgresStore::connect(&place).unwrap(), &operation, steps);
    }
    run(&SqliteStore::open(&place).unwrap(), &operation, steps);
}

fn killed(address: &str, operation: &str, steps: usize) {
    let (sender, receiver) = mpsc::channel();
    let env = [
        ("READSIDE_TEST_PLACE", address),
        ("READSIDE_TEST_OPERATION", operation),
        ("READSIDE_TEST_STEPS", &steps.to_string()),
    ];
    let child = Child::start("kills::worker", &env, move |line| {
        if line == "steps are done" {
            let _ = sender.send(());
        }
    });
    receiver.recv_timeout(LONG).expect("the steps are done");
    child.kill();
}

fn fill<P: Place>(place: &P) -> P::Store {
    let store = store(place, &[&users(1)]);
    store.push(&[add("a", "u1", ADA)]).unwrap();
    for _ in 0..5 {
        store.push(&(0..500).map(|_| rename("a", "u1", ADA)).collect::<Vec<_>>()).unwrap();
    }
    catch_up(&store, users(1), &["a"]);
    store
}

fn finished<S: Store>(store: &S) {
    assert!(store.operations().iter().all(|operation| operation.ended_at.is_some()), "{:?}", store.operations());
    assert_eq!(store.operations().iter().filter(|operation| operation.tables.is_empty()).count(), 1, "the killed one");
}

// Contract: K2
both!(a_killed_erasure_is_finished);
pub(crate) fn a_killed_erasure_is_finished<P: Place>(place: &P) {
    let store = fill(place);
    killed(&place.address(), "redact", 2);
    let erased = || store.filter(&Query::new()).unwrap().iter().filter(|event| event.is_redacted()).count();
    assert_eq!(erased(), 2000);
    assert_eq!(store.operations()[0].ended_at, None);
    run(&store, "redact", usize::MAX);
    assert_eq!(erased(), 2501);
    finished(&store);
}

// Contract: K3
both!(a_killed_removal_is_finished);
pub(crate) fn a_killed_removal_is_finished<P: Place>(place: &P) {
    let store = fill(place);
    // Each of the two read tables takes three steps. Then the events are removed from the end.
    killed(&place.address(), "remove", 5);
    let left: Vec<i64> = store.positions(Query::new(), 1000).iter().map(|found| found.1).collect();
    assert_eq!(left, (1..=1501).collect::<Vec<_>>());
    assert_eq!(store.operations()[0].ended_at, None);
    // In this state nothing is stuck, nobody can push, and the instance cannot be reopened.
    handler(&store, users(1)).trigger(&["a"]).unwrap();
    assert!(matches!(store.push(&[add("a", "u", ADA)]), Err(error::PushError::InstanceRemoved { .. })));
    assert!(matches!(store.reopen("a"), Err(error::RetentionError::Unfinished { .. })));
    let report = store.remove("a", &mut |_| ()).unwrap();
    assert_eq!(report.head, 2501);
    assert_eq!(place.traces(ADA), [""; 0]);
    finished(&store);
    store.reopen("a").unwrap();
}

// Contract: K3: nobody is told to remove a tenant again that was reopened.
both!(a_removal_that_was_killed_at_its_end_is_over_when_it_is_reopened);
pub(crate) fn a_removal_that_was_killed_at_its_end_is_over_when_it_is_reopened<P: Place>(place: &P) {
    let store = fill(place);
    store.remove("a", &mut |_| ()).unwrap();
    let operations =
        if place.address().starts_with("postgres") { "readside.operations" } else { "readside_operations" };
    place.sql(&format!("UPDATE {operations} SET ended_at = NULL"));
    assert_eq!(store.operations()[0].ended_at, None);
    store.reopen("a").unwrap();
    assert!(store.operations().iter().all(|operation| operation.ended_at.is_some()), "{:?}", store.operations());
}

// Contract: K4
both!(a_killed_archival_is_finished);
pub(crate) fn a_killed_archival_is_finished<P: Place>(place: &P) {
    let store = fill(place);
    killed(&place.address(), "archive", 1);
    let hot = || place.dump().iter().filter(|(table, _)| table.ends_with("events") && !table.contains("held")).count();
    assert_eq!(hot(), 1501);
    let whole: Vec<i64> = store.positions(Query::new(), 700).iter().map(|found| found.1).collect();
    assert_eq!(whole, (1..=2501).collect::<Vec<_>>());
    let fresh = users(2);
    ProjectionStore::setup(&store, &[&fresh]).unwrap();
    catch_up(&store, fresh.clone(), &["a"]);
    crate::assert_lawful(&store, &fresh);
    let report = store.archive(&Archival::before(SystemTime::now() + LONG), &mut |_| ()).unwrap();
    assert_eq!((report.events, hot()), (1501, 0));
}
