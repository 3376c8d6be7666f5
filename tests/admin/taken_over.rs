//! A process dies while it carries out a command about failures, and another one takes the command over:
//! Contract: H3, O2.

use std::sync::Arc;
use std::time::Duration;

use readside::admin::{AdminCommand, NewCommand};
use readside::error::{StoreError, StoreErrorKind};
use readside::failure::FailureQuery;
use readside::store::{ProjectionKey, ProjectionStore};
use readside::testing::{Call, FaultyStore};
use readside::{Engine, EngineStore, NewEvent, ProjectionHandler};
use serde_json::{Value, json};

use crate::{LONG, Place, by, count, counts_without, eager, eventually, handler, remote, seen, start};

/// Two aggregates with one event each that fails, and four events that wait behind it. Afterwards no engine is alive.
fn parked<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    for thing in ["x", "y"] {
        let events: Vec<NewEvent> = [13, 1, 1, 1, 1].map(|by| count("a", thing, by)).into();
        engine.push(&events).unwrap();
    }
    let key = ProjectionKey { name: "counts".into(), version: 1 };
    let store = place.open();
    eventually("the failures", || store.failure_count(&key, &FailureQuery::all()).unwrap() == 10);
    engine.shutdown(LONG).unwrap();
}

fn mended<S: EngineStore + Clone + 'static>(store: &S) -> ProjectionHandler {
    let shared = Arc::new(store.clone());
    ProjectionHandler::new(shared.clone(), shared, counts_without(1, &[]), handler()).unwrap()
}

/// A process takes a command, says that it has begun, does this, and dies. Another process answers.
fn taken_over<P: Place>(place: &P, command: AdminCommand, of: u64, does: &dyn Fn(&ProjectionHandler)) -> Value {
    let (store, remote, owner) = (place.open(), remote(place), uuid::Uuid::from_u128(7));
    let commands = store.commands();
    let id = commands.ask(&NewCommand { projection: "counts".into(), version: None, command, by: by() }).unwrap();
    let taken = commands.take(owner, &[("counts".into(), 1)], Duration::from_millis(100), 10).unwrap();
    assert_eq!(taken.len(), 1);
    let told = json!({ "step": "retrying", "done": 0, "total": of });
    assert!(commands.report(id, owner, &told).unwrap());
    does(&mended(&store));
    let engine = Engine::builder(place.open()).projection_with(counts_without(1, &[]), handler());
    let engine = engine.config(eager().lease(Duration::from_millis(500))).start().unwrap();
    let answer = remote.answer(id, LONG).unwrap();
    engine.shutdown(LONG).unwrap();
    answer["mended"].clone()
}

// Contract: O2: the report includes what was applied before the takeover.
both!(a_retry_that_is_taken_over_counts_on);
pub(crate) fn a_retry_that_is_taken_over_counts_on<P: Place>(place: &P) {
    parked(place);
    let first = |handler: &ProjectionHandler| drop(handler.retry("a", 1, &by()).unwrap());
    let told = taken_over(place, AdminCommand::RetryAll, 10, &first);
    assert_eq!(told["went_on"], Value::Null, "{told}");
    assert_eq!((&told["applied"], &told["before"], &told["after"]), (&json!(10), &json!(10), &json!(0)), "{told}");
    assert_eq!(seen(place), ["a/x=17", "a/y=17"]);
}

// Contract: O2: the process dies after all work is done, but before it says so.
both!(a_retry_that_was_through_is_done);
pub(crate) fn a_retry_that_was_through_is_done<P: Place>(place: &P) {
    parked(place);
    let retry = AdminCommand::Retry { instance: "a".into(), position: 6 };
    let all = |handler: &ProjectionHandler| drop(handler.retry("a", 6, &by()).unwrap());
    let told = taken_over(place, retry, 5, &all);
    assert_eq!((&told["applied"], &told["before"], &told["after"]), (&json!(5), &json!(5), &json!(0)), "{told}");
}

// Contract: H3: if an event was given up, the next process that takes the command applies what waited behind it.
both!(a_discard_that_was_cut_off_goes_on);
pub(crate) fn a_discard_that_was_cut_off_goes_on<P: Place>(place: &P) {
    parked(place);
    let is_cut_off = |call: &Call| match call.name {
        "ProjectionTransaction::apply" | "ProjectionTransaction::apply_one" => {
            Err(StoreError::new("applying", StoreErrorKind::Full, "it dies here"))
        }
        _ => Ok(()),
    };
    let (store, cut_off) = (place.open(), Arc::new(FaultyStore::failing(place.open(), is_cut_off)));
    let dying = ProjectionHandler::new(cut_off.clone(), cut_off, counts_without(1, &[]), handler()).unwrap();
    dying.discard("a", 1, &by()).unwrap_err();
    let handler = mended(&store);
    assert_eq!(handler.discard("a", 1, &by()).unwrap().applied, 4);
    assert_eq!(handler.discard("a", 1, &by()).unwrap().applied, 0);
    assert_eq!(seen(place), ["a/x=4"]);
    assert_eq!(handler.interventions(10).unwrap().len(), 1);
}
