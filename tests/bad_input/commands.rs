//! Bad values in pushes and from reducers: Contract: A8, B4.

use readside::error::{PushError, TriggerError};
use readside::failure::FailureClass;
use readside::prelude::*;
use readside::query::{Query, SubQuery};
use readside::store::ProjectionStore;
use readside::{EventStore, NewEvent, error};

use crate::{Store, command, positions};

const ODD: [&str; 7] =
    ["'; DROP TABLE users; --", "$1 ?1 :a @b", "\"`[]", "\u{202e}\u{feff}ß😀\u{10ffff}", "\t\r\n\\", "%_*", "NULL"];

// Contract: A8, B4
both!(texts_that_look_like_sql_stay_texts);
pub(crate) fn texts_that_look_like_sql_stay_texts<S: Store>(store: &S) {
    for odd in ODD {
        let payload = serde_json::json!({ odd: odd });
        let command = NewEvent::raw(odd, odd, odd, odd)
            .payload(&payload)
            .creator(odd)
            .owner(odd)
            .metadata(odd, odd)
            .add_unique(odd, odd, odd)
            .push_key(odd);
        let pushed = store.push(&[command]).unwrap().remove(0);
        let query = Query::new().or(SubQuery::new().instance(odd).aggregate_type(odd).aggregate_id(odd).owner(odd));
        let found = store.filter(&query).unwrap().remove(0);
        assert_eq!(found, pushed);
        assert_eq!((found.creator(), found.event_type(), found.metadata(odd).as_deref()), (odd, odd, Some(odd)));
        assert_eq!(found.payload::<serde_json::Value>().unwrap(), payload);
    }
    let projection = ODD.iter().fold(Projection::new(ODD[0], 1).table(notes()), |projection, odd| {
        projection.on_raw(odd, odd, |e| {
            multi([
                create([set("id", e.aggregate_id()), set("note", "x"), set("tags", vec![e.owner()])]),
                update([set("note", e.owner())], [eq("id", e.aggregate_id()), contains("tags", e.owner())]),
            ])
        })
    });
    crate::trigger(store, &projection, &ODD).unwrap();
    let rows = store.rows(&projection, "notes");
    assert_eq!(rows.len(), ODD.len());
    assert!(rows.iter().all(|row| row[0].1 == row[1].1 && row[1].1 == row[2].1), "{rows:?}");
}

// Contract: A8
both!(a_revision_beyond_the_last_is_refused_with_the_range);
pub(crate) fn a_revision_beyond_the_last_is_refused_with_the_range<S: Store>(store: &S) {
    for revision in [0, u32::MAX] {
        let error = store.push(&[command("a", "u").revision(revision)]).unwrap_err();
        assert!(error::chain(&error).contains("has to be between 1 and 2147483647"), "{error:?}");
    }
}

fn notes() -> Table {
    let table = Table::new("notes").column(text("id")).column(text("note")).column(text_array("tags"));
    table.primary_key(["id"])
}

// Contract: A8
both!(nothing_of_a_refused_push_is_stored);
pub(crate) fn nothing_of_a_refused_push_is_stored<S: Store>(store: &S) {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let bad: [(&str, NewEvent); 10] = [
        ("payload", command("a", "1").payload_json(r#"{"x":"\u0000"}"#)),
        ("payload", command("a", "1").payload_json(r#""\ud800""#)),
        ("payload", command("a", "1").payload_json(deep)),
        ("payload", command("a", "1").payload_json("{")),
        ("payload", command("a", "1").payload("a\0b")),
        ("metadata", command("a", "1").metadata("h", "\0")),
        ("instance", command("a\0", "1")),
        ("aggregate id", command("a", "")),
        ("aggregate type", NewEvent::raw("a", "", "1", "t")),
        ("event type", NewEvent::raw("a", "t", "1", "")),
    ];
    for (wanted, bad) in bad {
        let error = store.push(&[command("a", "good"), bad]).unwrap_err();
        let PushError::Invalid { index: 1, field, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*field, wanted);
    }
    assert_eq!(positions(store, "a"), [0; 0]);
}

// Contract: A8, H1: the projection does not get stuck, and no other event is lost.
both!(json_too_deep_for_a_column_fails_its_event_only);
pub(crate) fn json_too_deep_for_a_column_fails_its_event_only<S: Store>(store: &S) {
    let table = Table::new("docs").column(text("id")).column(json("doc")).primary_key(["id"]);
    let projection = Projection::new("docs", 1).table(table).on_raw("user", "added", |e| {
        let depth = if e.aggregate_id() == "deep" { 10_000 } else { 100 };
        let doc = Value::Json(format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
        create([set("id", e.aggregate_id()), set("doc", doc)])
    });
    store.push(&[command("a", "flat"), command("a", "deep"), command("b", "flat")]).unwrap();
    let stopped = match crate::trigger(store, &projection, &["a", "b"]) {
        Err(TriggerError::Stopped { stopped, .. }) => stopped,
        other => panic!("{other:?}"),
    };
    assert_eq!((stopped.len(), stopped[0].position), (1, 2));
    let held =
        store.failed_events(&projection.key(), &readside::failure::FailureQuery::all()).unwrap().remove(0).attempt;
    assert_eq!(held.class, FailureClass::Statement);
    assert!(held.error.contains("deeper than 127 levels"), "{}", held.error);
    assert_eq!(store.rows(&projection, "docs").len(), 2);
}

// Contract: B4
both!(values_of_the_wrong_type_fail_before_any_sql);
pub(crate) fn values_of_the_wrong_type_fail_before_any_sql<S: Store>(store: &S) {
    let table = Table::new("typed").column(text("id")).column(integer("n")).primary_key(["id"]);
    let wrong = |projection: Projection, kind: &str, column: &'static str, value: Value| {
        projection.on_raw("user", kind, move |e| create([set("id", e.aggregate_id()), set(column, value.clone())]))
    };
    let projection = Projection::new("typed", 1).table(table);
    let projection = wrong(projection, "text", "n", "1; DROP TABLE typed".into());
    let projection = wrong(projection, "null", "n", Value::Null);
    let projection = wrong(projection, "unknown", "m", 1.into());
    for (at, kind, class, words) in [
        (1, "text", FailureClass::Statement, "column \"n\" of table \"typed\" holds Integer, not Text"),
        (1, "unknown", FailureClass::Statement, "table \"typed\" has no column \"m\""),
        (1, "null", FailureClass::Constraint, ""),
    ] {
        store.push(&[NewEvent::raw(kind, "user", "u", kind)]).unwrap();
        assert!(crate::trigger(store, &projection, &[kind]).is_err());
        let held = store.failed_events(&projection.key(), &readside::failure::FailureQuery::all()).unwrap();
        let held = held.iter().find(|held| &*held.attempt.instance == kind).unwrap();
        assert_eq!((held.attempt.position, held.attempt.class), (at, class), "{held:?}");
        assert!(held.attempt.error.contains(words), "{}", held.attempt.error);
    }
    assert!(store.rows(&projection, "typed").is_empty());
}
