//! Reducers for every event type: of an aggregate type, or of all events.

use readside::admin::RebuildOptions;
use readside::prelude::*;

use readside::{Engine, EventStore, NewEvent, error};

use crate::{LONG, Place, by, count, counts, eager, lazy};

fn trail() -> Table {
    Table::new("trail").column(integer("at")).column(text("what")).primary_key(["at"])
}

fn noted(e: &Event, by: &str) -> Reduced {
    create([set("at", e.position()), set("what", format!("{} {}", by, e.event_type()))])
}

/// Records each event, and which of its reducers handled it.
fn audit() -> Projection {
    Projection::new("trail", 1)
        .table(trail())
        .on_any(|e| noted(e, "any"))
        .on_aggregate("user", |e| if e.event_type() == "bad" { panic!("on purpose") } else { noted(e, "user") })
        .on_raw("user", "added", |e| noted(e, "own"))
}

fn of_users() -> Projection {
    let table = Table::new("users").column(integer("at")).column(text("what")).primary_key(["at"]);
    Projection::new("users", 1).table(table).on_aggregate("user", |e| noted(e, "user"))
}

fn what<P: Place>(store: &P::Store, projection: &Projection) -> Vec<String> {
    let text = |value: &Value| if let Value::Text(text) = value { text.clone() } else { panic!("{value:?}") };
    P::rows(store, projection).iter().map(|row| text(&row[2].1)).collect()
}

fn raw(aggregate_type: &str, event_type: &str) -> NewEvent {
    NewEvent::raw("a", aggregate_type, "x", event_type)
}

// Contract: B1, L5, E2: an event without its own reducer reaches the reducer for its aggregate type, or else the one
// for all events. This holds from the queue and by catching up, with any types. Waits do not wait for other events.
both!(every_type_of_event_is_caught);
pub(crate) fn every_type_of_event_is_caught<P: Place>(place: &P) {
    let store = place.open();
    let builder = |config| {
        let builder = Engine::builder(place.open()).projection(audit()).projection(of_users());
        builder.projection(counts("counts")).config(config).start().unwrap()
    };
    let engine = builder(lazy());
    let pushed =
        engine.push(&[raw("user", "added"), raw("user", "seen"), raw("order", "paid"), count("a", 1)]).unwrap();
    for (projection, upto) in [("trail", 4), ("users", 2), ("counts", 4)] {
        engine.await_pushed(projection, &pushed[..upto], LONG).unwrap();
    }
    assert_eq!(what::<P>(&store, &audit()), ["own added", "user seen", "any paid", "any thing.counted"]);
    assert_eq!(what::<P>(&store, &of_users()), ["user added", "user seen"]);
    engine.shutdown(LONG).unwrap();
    // These events are pushed while no engine runs. Ticks find them by the heads of types that no code names.
    store.push(&[raw("brand new", "first"), raw("user", "first")]).unwrap();
    let engine = builder(eager());
    engine.await_position("trail", "a", 6, LONG).unwrap();
    engine.await_position("users", "a", 6, LONG).unwrap();
    assert_eq!(what::<P>(&store, &audit())[4..], ["any first", "user first"]);
    assert_eq!(what::<P>(&store, &of_users()), ["user added", "user seen", "user first"]);
    let health = engine.health().unwrap();
    assert!(health.projections.iter().all(|projection| projection.lag_events == 0), "{health:?}");
    let report = engine.admin().rebuild("trail", RebuildOptions::default(), &by(), |_| {}).unwrap();
    assert!(report.switched, "{report:?}");
    assert_eq!(what::<P>(&store, &audit()).len(), 6);
    // An event that fails in a catch-all reducer is retried like any other.
    engine.push(&[raw("user", "bad"), raw("user", "added")]).map(drop).unwrap();
    let refused = engine.await_position("trail", "a", 8, LONG);
    assert!(matches!(refused, Err(error::AwaitError::EventFailed { .. })), "{refused:?}");
    let retried = engine.admin().retry("trail", "a", 8, &by());
    assert!(
        matches!(retried, Err(error::OperateError::Failure(error::FailureError::StillFails { position: 7, .. }))),
        "{retried:?}"
    );
    engine.admin().discard("trail", "a", 7, &by()).unwrap();
    assert_eq!(what::<P>(&store, &audit())[6..], ["own added"]);
}

// Contract: B1: two reducers for one type, or a reducer for an empty type, are refused before anything runs.
#[test]
fn a_catch_all_that_is_given_twice_or_for_no_type_is_refused() {
    let twice = audit().on_any(|_| noop());
    assert!(matches!(twice.check(), Err(error::ProjectionError::DuplicateReducer { .. })));
    assert!(twice.check().unwrap_err().to_string().ends_with("two reducers for all events that have no other"));
    for unnamed in [
        of_users().on_aggregate("", |_| noop()),
        of_users().on_raw("", "added", |_| noop()),
        of_users().on_raw("user", "", |_| noop()),
    ] {
        let error = unnamed.check().unwrap_err().to_string();
        assert!(matches!(unnamed.check(), Err(error::ProjectionError::Name { .. })), "{error}");
    }
    audit().upcast("added", 1, |old: String| old).check().unwrap();
    assert_ne!(
        audit().definition(),
        Projection::new("trail", 1).table(trail()).on_any(|e| noted(e, "any")).definition()
    );
}
