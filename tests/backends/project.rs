//! One pass, on every backend: Contract: C1, G1, H1, H2, L2, L3, L4.

use std::sync::Arc;

use readside::error::TriggerError;
use readside::failure::{FailureClass, FailureStatus};
use readside::health::StopCause;
use readside::prelude::*;

use readside::testing::{Answer, Call, Faults, FaultyStore};
use readside::{HandlerConfig, NewEvent, Policy, ProjectionHandler, error};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Fixture;

#[derive(Serialize, Deserialize)]
struct Added {
    name: String,
}
impl Payload for Added {
    const AGGREGATE: &str = "user";
    const TYPE: &str = "user.added";
}

#[derive(Serialize, Deserialize)]
struct Renamed {
    name: String,
}
impl Payload for Renamed {
    const AGGREGATE: &str = "user";
    const TYPE: &str = "user.renamed";
}

fn users() -> Projection {
    Projection::new("users", 1)
        .table(
            Table::new("users")
                .column(text("id"))
                .column(text("name"))
                .column(integer("changes").default(0))
                .primary_key(["id"])
                .unique(["name"]),
        )
        .on(|e, p: Added| create([set("id", e.aggregate_id()), set("name", p.name)]))
        .on(|e, p: Renamed| update([set("name", p.name), increment("changes", 1)], [eq("id", e.aggregate_id())]))
}

fn handler(fixture: &Fixture, projection: Projection, config: HandlerConfig) -> ProjectionHandler {
    let handler = ProjectionHandler::new(fixture.source(), fixture.models(), projection, config).unwrap();
    handler.setup().unwrap();
    handler
}

fn add(instance: &str, id: &str, name: &str) -> NewEvent {
    NewEvent::new(instance, id, &Added { name: name.into() })
}

fn rename(instance: &str, id: &str, name: &str) -> NewEvent {
    NewEvent::new(instance, id, &Renamed { name: name.into() })
}

/// Rows as texts, in the same form for every backend.
fn rows(fixture: &Fixture, projection: &Projection, table: &str) -> Vec<String> {
    let show = |(name, value): &(String, Value)| format!("{name}={value:?}");
    let rows = fixture.read_rows(projection, table);
    rows.iter().map(|row| row.iter().map(show).collect::<Vec<_>>().join(" ")).collect()
}

fn position(fixture: &Fixture, projection: &Projection, instance: &str) -> i64 {
    fixture.store.states(&projection.key(), &[Arc::from(instance)]).unwrap()[0].position
}

// Contract: C1, L2
both!(a_read_model_follows_its_events);
pub(crate) fn a_read_model_follows_its_events(fixture: &Fixture) {
    for bulk_limit in [1, 2, 500] {
        let projection = Projection::clone(&users());
        let handler = handler(fixture, projection.clone(), HandlerConfig::default().bulk_limit(bulk_limit));
        let id = format!("u{bulk_limit}");
        let push = |commands: &[NewEvent]| fixture.store.push(commands).unwrap();
        push(&[add("a", &id, &id), add("b", &id, "x"), rename("a", &id, "tmp"), rename("a", &id, &format!("{id}!"))]);
        handler.trigger(&["a", "b", "none"]).unwrap();
        handler.trigger(&["a"]).unwrap();
        let row = format!("instance_id=Text(\"a\") id=Text(\"{id}\") name=Text(\"{id}!\") changes=Integer(2)");
        assert!(rows(fixture, &projection, "users").contains(&row), "{:?}", rows(fixture, &projection, "users"));
        push(&[rename("b", &id, &format!("only {id}"))]);
        handler.trigger(&["b"]).unwrap();
    }
    assert_eq!(rows(fixture, &users(), "users").len(), 6);
    assert_eq!(position(fixture, &users(), "a"), 9);
    assert!(matches!(
        handler(fixture, users(), HandlerConfig::default()).trigger(&[]),
        Err(TriggerError::NoInstances { .. })
    ));
}

// Contract: L3
both!(filtered_reads_move_the_checkpoint);
pub(crate) fn filtered_reads_move_the_checkpoint(fixture: &Fixture) {
    let handler = handler(fixture, users(), HandlerConfig::default());
    let other = |kind: &str| NewEvent::raw("a", "user", "u", kind);
    fixture.store.push(&[add("a", "u1", "n"), other("user.seen"), other("user.seen")]).unwrap();
    handler.trigger(&["a"]).unwrap();
    assert_eq!(position(fixture, &users(), "a"), 3);
    fixture.store.push(&[NewEvent::raw("a", "org", "o", "org.added")]).unwrap();
    handler.trigger(&["a"]).unwrap();
    assert_eq!(position(fixture, &users(), "a"), 3, "what does not concern it rewrites nothing");
}

fn once() -> HandlerConfig {
    HandlerConfig::default().retries(0)
}

// Contract: G2, H1, H2, L4
both!(a_poison_event_stops_its_instance_only);
pub(crate) fn a_poison_event_stops_its_instance_only(fixture: &Fixture) {
    let handler = handler(fixture, users(), once().max_failure_count(1).policy(Policy::Stop));
    fixture
        .store
        .push(&[
            add("a", "u1", "n"),
            rename("a", "u1", "m"),
            add("a", "u1", "again"),
            add("a", "u2", "o"),
            add("b", "u1", "n"),
        ])
        .unwrap();
    let stopped = match handler.trigger(&["a", "b"]) {
        Err(TriggerError::Stopped { stopped, .. }) => stopped,
        other => panic!("{other:?}"),
    };
    assert_eq!((stopped.len(), stopped[0].instance.as_ref(), stopped[0].position), (1, "a", 3));
    assert!(matches!(&stopped[0].cause, StopCause::Stopped(blocked) if blocked.class == FailureClass::Constraint));
    assert_eq!(position(fixture, &users(), "a"), 2);
    assert_eq!(position(fixture, &users(), "b"), 1);
    assert_eq!(rows(fixture, &users(), "users").len(), 2);
    let held = fixture.store.failed_events(&users().key(), &readside::failure::FailureQuery::all()).unwrap();
    assert_eq!((held.len(), held[0].attempt.attempts, held[0].attempt.state), (1, 1, FailureStatus::Stopped));
    assert!(matches!(handler.trigger(&["a"]), Err(TriggerError::Stopped { .. })));
    assert_eq!(
        fixture.store.failed_events(&users().key(), &readside::failure::FailureQuery::all()).unwrap()[0]
            .attempt
            .attempts,
        1,
        "no further attempt"
    );
}

// Contract: H2
both!(a_skipped_event_leaves_the_rest);
pub(crate) fn a_skipped_event_leaves_the_rest(fixture: &Fixture) {
    let config = once().max_failure_count(1).policy(Policy::Skip);
    let projection = users().on_raw("user", "user.bad", |_| Err(ReduceError::new("cannot")));
    let handler = handler(fixture, projection.clone(), config);
    let bad = NewEvent::raw("a", "user", "u1", "user.bad");
    fixture.store.push(&[add("a", "u1", "n"), bad, add("a", "u1", "twice"), add("a", "u2", "o")]).unwrap();
    handler.trigger(&["a"]).unwrap();
    assert_eq!(position(fixture, &projection, "a"), 4);
    assert_eq!(rows(fixture, &projection, "users").len(), 2);
    let held = fixture.store.failed_events(&projection.key(), &readside::failure::FailureQuery::all()).unwrap();
    let classes: Vec<_> = held.iter().map(|held| (held.attempt.position, held.attempt.class)).collect();
    assert_eq!(classes, [(2, FailureClass::Reducer), (3, FailureClass::Constraint)]);
}

/// Returns the id of another store.
struct Exchanged;

impl Faults for Exchanged {
    fn after(&self, _: &Call, answer: Answer<'_>) -> Result<(), error::StoreError> {
        if let Answer::StoreId(id) = answer {
            *id = uuid::Uuid::from_u128(7);
        }
        Ok(())
    }
}

// Contract: G6
both!(an_exchanged_store_is_noticed);
pub(crate) fn an_exchanged_store_is_noticed(fixture: &Fixture) {
    fixture.store.push(&[add("a", "u1", "n")]).unwrap();
    handler(fixture, users(), once()).trigger(&["a"]).unwrap();
    fixture.store.push(&[add("a", "u2", "o")]).unwrap();
    let source = Arc::new(FaultyStore::new(fixture.source(), Arc::new(Exchanged)));
    let other = ProjectionHandler::new(source, fixture.models(), users(), once()).unwrap();
    match other.trigger(&["a"]) {
        Err(TriggerError::Stopped { stopped, .. }) => {
            assert!(matches!(stopped[0].cause, StopCause::HistoryDiverged { .. }), "{stopped:?}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(rows(fixture, &users(), "users").len(), 1);
}

fn every_type() -> Projection {
    let table = Table::new("things")
        .column(text("id"))
        .column(integer("n").nullable())
        .column(boolean("b").nullable())
        .column(float("f").nullable())
        .column(json("j").nullable())
        .column(bytes("raw").nullable())
        .column(timestamp("at").nullable())
        .column(text_array("tags").nullable())
        .column(uuid("u").nullable())
        .primary_key(["id"]);
    let at = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_micros(1_234_567_890_123);
    Projection::new("things", 1)
        .table(table)
        .on_raw("t", "full", move |e| {
            create([
                set("id", e.aggregate_id()),
                set("n", i64::MIN),
                set("b", true),
                set("f", 1.5),
                set_json("j", &json!({"a": [1, {"b": null}]})),
                set("raw", vec![0_u8, 255]),
                set("at", at),
                set("tags", vec!["x", "y,\"", "x"]),
                set("u", uuid::Uuid::from_u128(5)),
            ])
        })
        .on_raw("t", "empty", |e| create([set("id", e.aggregate_id())]))
        .on_raw("t", "arrays", |e| {
            multi([
                update([array_append("tags", "z")], [eq("id", e.aggregate_id())]),
                update([array_remove("tags", "x")], [contains("tags", "z")]),
            ])
        })
        .on_raw("t", "count", |e| {
            upsert(["id"], [set("id", e.aggregate_id()), increment("n", 2), set_on_insert("b", false)])
        })
        .on_raw("t", "where", |e| {
            multi([
                update([set("f", 9.0)], [is_null("raw"), not(eq("id", "zzz")), is_in("id", [e.aggregate_id()])]),
                update([set("f", 7)], [eq("raw", None::<Vec<u8>>), gt("n", 3), ne("b", None::<bool>)]),
                delete([json_contains("j", &json!({"a": [1]})), le("n", 0)]),
                copy(["id"], ["id", "n"], [source_value("copied"), source_column("n")], [eq("id", e.aggregate_id())]),
            ])
        })
}

// Contract: B2, B3
both!(columns_and_conditions_do_what_they_say);
pub(crate) fn columns_and_conditions_do_what_they_say(fixture: &Fixture) {
    let handler = handler(fixture, every_type(), once());
    let push = |id: &str, kind: &str| fixture.store.push(&[NewEvent::raw("a", "t", id, kind)]).unwrap();
    push("full", "full");
    push("empty", "empty");
    handler.trigger(&["a"]).unwrap();
    let found = fixture.read_rows(&every_type(), "things");
    let value = |row: usize, name: &str| found[row].iter().find(|(n, _)| n == name).unwrap().1.clone();
    assert!(found[0][2..].iter().all(|(_, value)| value.is_null()), "{found:?}");
    assert_eq!(value(1, "n"), Value::Integer(i64::MIN));
    assert_eq!(value(1, "tags"), Value::from(vec!["x", "y,\"", "x"]));
    assert_eq!(value(1, "raw"), Value::Bytes(vec![0, 255]));
    assert_eq!(value(1, "u"), Value::Uuid(uuid::Uuid::from_u128(5)));
    assert!(
        matches!(value(1, "at"), Value::Timestamp(at) if at.duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() == 1_234_567_890_123)
    );
    push("full", "arrays");
    push("c", "count");
    push("c", "count");
    push("c", "where");
    handler.trigger(&["a"]).unwrap();
    let found = fixture.read_rows(&every_type(), "things");
    let ids: Vec<&Value> = found.iter().map(|row| &row[1].1).collect();
    assert_eq!(ids, [&Value::from("c"), &Value::from("copied"), &Value::from("empty")]);
    let value = |row: usize, name: &str| found[row].iter().find(|(n, _)| n == name).unwrap().1.clone();
    assert_eq!((value(0, "n"), value(0, "b"), value(0, "f")), (4.into(), false.into(), 7.0.into()));
    assert_eq!((value(1, "n"), value(1, "b")), (4.into(), Value::Null));
}
