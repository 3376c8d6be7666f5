//! Values at the limits of columns and keys, from a push to the read model.

use readside::admin::RebuildOptions;
use readside::failure::{FailureClass, FailureQuery};
use readside::inspect::Inspect;
use readside::prelude::*;
use readside::store::LeaseStore;
use readside::{Engine, NewEvent};

use crate::{LONG, Place, by, eager, eventually, lazy};

fn tagged() -> Projection {
    let table = Table::new("tagged").column(integer("n")).column(text_array("tags").nullable()).primary_key(["n"]);
    let twice = |_: &Event| create([set("n", 1)]);
    Projection::new("tagged", 1).table(table).on_raw("thing", "twice", twice).on_raw("thing", "tagged", |e| {
        let tags = (e.position() % 2 == 0).then(|| vec![e.payload_json().to_owned(), "NULL".to_owned(), String::new()]);
        create([set("n", e.position()), set("tags", tags)])
    })
}

// Contract: G2, G3, L11: everything that folding accepts can be written in bulk. A batch that falls back to single
// steps shows.
both!(arrays_and_their_absence_are_written_in_bulk);
pub(crate) fn arrays_and_their_absence_are_written_in_bulk<P: Place>(place: &P) {
    let store = place.open();
    let engine = Engine::builder(store.clone()).projection(tagged()).config(lazy()).start().unwrap();
    let tags: Vec<NewEvent> =
        (0..5).map(|_| NewEvent::raw("a", "thing", "x", "tagged").payload(r#"a "quoted", \ one"#)).collect();
    engine.await_pushed("tagged", &engine.push(&tags).unwrap(), LONG).unwrap();
    for _ in 0..4 {
        let report = engine.admin().rebuild("tagged", RebuildOptions::default(), &by(), |_| {}).unwrap();
        assert!(report.switched, "{report:?}");
    }
    let rows = P::rows(&store, &tagged());
    let text = serde_json::to_string(r#"a "quoted", \ one"#).unwrap();
    let full = Value::TextArray(vec![text, "NULL".to_owned(), String::new()]);
    let held: Vec<&Value> = rows.iter().map(|row| &row[2].1).collect();
    assert_eq!(held, [&Value::Null, &full, &Value::Null, &full, &Value::Null]);
    assert_eq!(engine.health().unwrap().projections[0].single_steps, 0); // A refused row causes single steps.
    let _ = engine.push(&[NewEvent::raw("a", "thing", "x", "twice")]).unwrap();
    let held = || engine.admin().failed_events("tagged", &FailureQuery::all()).unwrap();
    eventually("a record of it", || !held().is_empty());
    assert_eq!(held()[0].attempt.class, FailureClass::Constraint);
    assert!(engine.health().unwrap().projections[0].single_steps > 0);
}

// Contract: L11: if a reducer expects rows that do not exist, this shows.
both!(missed_rows_show_in_health);
pub(crate) fn missed_rows_show_in_health<P: Place>(place: &P) {
    let table = Table::new("tagged").column(integer("n")).primary_key(["n"]);
    let projection = Projection::new("tagged", 1).table(table).on_any(|e| match e.event_type() {
        "made" => create([set("n", e.position())]),
        _ => update([set("n", 0)], [eq("n", 999)]),
    });
    let engine = Engine::builder(place.open()).projection(projection).config(eager()).start().unwrap();
    let missed = || engine.health().unwrap().projections[0].missed;
    let raw = |event_type: &str| NewEvent::raw("a", "thing", "x", event_type);
    engine.await_pushed("tagged", &engine.push(&[raw("made")]).unwrap(), LONG).unwrap();
    assert_eq!(missed(), 0);
    engine.await_pushed("tagged", &engine.push(&[raw("moved"), raw("made"), raw("moved")]).unwrap(), LONG).unwrap();
    assert_eq!(missed(), 2);
    let told = || place.open().status(false).unwrap().projections[0].missed;
    eventually("a word to the others", || told() == Some(2));
    // Whom others take for dead and forget comes back with what it told.
    let process = place.open().status(false).unwrap().members[0].process;
    place.open().leave(process).unwrap();
    eventually("the same word again", || told() == Some(2));
    #[cfg(feature = "serve")]
    {
        let labels = [("projection", "tagged"), ("version", "1")];
        assert_eq!(engine.metrics().unwrap().number("readside_missed_rows_total", &labels), Some(2.0));
    }
    engine.shutdown(LONG).unwrap();
    assert_eq!(told(), None, "nobody is there who tells");
}
