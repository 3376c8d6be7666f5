//! Watches of read models: Contract: S6.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use readside::admin::RebuildOptions;
use readside::error::WatchError;
use readside::prelude::*;
use readside::watch::{Changes, LiveChange, Rows, WatchMark};
use readside::{Engine, HandlerConfig, NewEvent, Policy};
use serde_json::json;

use crate::{LONG, Place, by, count, counts, eager, lazy, start, sum};

fn next(changes: &Changes) -> LiveChange {
    changes.recv_timeout(LONG).expect("a change")
}

/// The position, and the keys of each table. Null if the client has to read everything again.
fn told(change: &LiveChange) -> (i64, serde_json::Value) {
    let keys = match &change.rows {
        Rows::Known(tables) => tables.iter().map(|rows| (rows.table.clone(), rows.keys_json())).collect(),
        Rows::Anew => serde_json::Value::Null,
    };
    assert_eq!(change.position, change.mark.position());
    (change.position, keys)
}

fn thing(name: &str) -> serde_json::Value {
    json!({ "counts": [{ "thing": name }] })
}

/// Pushes events, and waits until their rows can be read. Watches hear of it a moment later.
fn push(engine: &Engine, events: &[NewEvent]) {
    let pushed = engine.push(events).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
}

/// Waits until watches of instance "a" have heard of this position.
fn heard(engine: &Engine, position: i64) {
    let changes = engine.watch("counts", "a").unwrap();
    let mut at = changes.mark().position();
    while at < position {
        at = next(&changes).position;
    }
}

// Contract: S6
both!(a_commit_tells_which_rows_it_changed);
fn a_commit_tells_which_rows_it_changed<P: Place>(place: &P) {
    let store = place.open();
    let engine = start(store.clone(), &["counts", "others"], lazy());
    push(&engine, &[count("a", 1)]);
    let (a, b) = (engine.watch("counts", "a").unwrap(), engine.watch("counts", "b").unwrap());
    let also = engine.watch("counts", "a").unwrap();
    assert_eq!((a.mark().position(), b.mark().position()), (1, 0));
    engine.push(&[count("a", 2)]).unwrap();
    for changes in [&a, &also] {
        assert_eq!(told(&next(changes)), (2, thing("x")));
    }
    assert_eq!(sum::<P>(&store, "counts", Some("a")), 3, "what is told of can be read");
    engine.push(&[count("a", 3), NewEvent::new("a", "y", &crate::Counted { by: 1 }), count("a", 4)]).unwrap();
    assert_eq!(told(&next(&a)), (5, json!({ "counts": [{ "thing": "x" }, { "thing": "y" }] })));
    engine.push(&[count("b", 1)]).unwrap();
    assert_eq!(told(&next(&b)), (1, thing("x")));
    assert_eq!((a.try_recv(), b.try_recv()), (None, None), "nobody hears of others");
    // A dropped watch blocks nothing.
    drop(also);
    push(&engine, &[count("a", 1)]);
    assert_eq!(told(&next(&a)), (6, thing("x")));
    match engine.watch("nobody", "a") {
        Err(WatchError::UnknownProjection { projection }) => assert_eq!(projection, "nobody"),
        other => panic!("{other:?}"),
    }
    engine.shutdown(LONG).unwrap();
    assert!(a.recv_timeout(LONG).is_none() && a.is_over());
    assert!(matches!(engine.watch("counts", "a"), Err(WatchError::ShutDown)));
}

// Contract: S6, L9: a client that takes no changes blocks nobody. Instead of what it missed, it is told to read
// everything again.
both!(who_is_slow_is_told_to_read_anew);
fn who_is_slow_is_told_to_read_anew<P: Place>(place: &P) {
    let engine = start(place.open(), &["counts"], lazy());
    let slow = engine.watch("counts", "a").unwrap();
    for _ in 0..70 {
        push(&engine, &[count("a", 1)]);
    }
    heard(&engine, 70);
    let found: Vec<_> = std::iter::from_fn(|| slow.try_recv()).map(|change| told(&change)).collect();
    let rest = (66..=70).map(|position| (position, thing("x")));
    let expected: Vec<_> = std::iter::once((65, serde_json::Value::Null)).chain(rest).collect();
    assert_eq!(found, expected);
}

// Contract: S6
both!(one_goes_on_from_a_mark);
fn one_goes_on_from_a_mark<P: Place>(place: &P) {
    let engine = start(place.open(), &["counts"], lazy());
    let changes = engine.watch("counts", "a").unwrap();
    for _ in 0..3 {
        push(&engine, &[count("a", 1)]);
    }
    let marks: Vec<_> = (0..3).map(|_| next(&changes).mark).collect();
    drop(changes);
    // Changes are remembered even if nobody watches.
    push(&engine, &[count("a", 1)]);
    heard(&engine, 4);
    let missed = |mark: &WatchMark| {
        let changes = engine.watch_from("counts", "a", mark).unwrap();
        assert_eq!(changes.mark().position(), 4);
        std::iter::from_fn(|| changes.try_recv()).map(|change| told(&change)).collect::<Vec<_>>()
    };
    assert_eq!(missed(&marks[0]), [(2, thing("x")), (3, thing("x")), (4, thing("x"))]);
    assert_eq!(missed(&marks[2]), [(4, thing("x"))]);
    let now = engine.watch("counts", "a").unwrap().mark();
    assert_eq!(missed(&now), []);
    // Marks of another instance, of another process, or of no process.
    for mark in [engine.watch("counts", "b").unwrap().mark(), "4-1-77".parse().unwrap(), "9-1-77".parse().unwrap()] {
        assert_eq!(missed(&mark), [(4, serde_json::Value::Null)], "{mark}");
    }
    let changes = engine.watch("counts", "a").unwrap();
    engine.admin().reset("counts", Some("a"), &by()).unwrap();
    while next(&changes).position < 4 {}
    assert_eq!(missed(&now)[..1], [(4, serde_json::Value::Null)], "the rows were made anew since");
}

// Contract: S6: an engine that does not do the work itself sees it in the checkpoints.
both!(what_another_process_did_is_told_by_its_position);
fn what_another_process_did_is_told_by_its_position<P: Place>(place: &P) {
    let worker = start(place.open(), &["counts"], lazy());
    let other = start(place.open(), &["others"], lazy());
    let changes = other.watch("counts", "a").unwrap();
    for position in 1..=3 {
        push(&worker, &[count("a", 1)]);
        assert_eq!(told(&next(&changes)), (position, serde_json::Value::Null));
    }
    assert_eq!(changes.try_recv(), None);
}

// Contract: S6: a build sends no changes, and its switch sends one message. Rows that are exchanged, emptied or
// repaired send one too.
both!(a_rebuild_is_one_word);
fn a_rebuild_is_one_word<P: Place>(place: &P) {
    let engine = start(place.open(), &["counts"], eager());
    push(&engine, &[count("a", 1), count("b", 1), count("a", 1)]);
    let changes = engine.watch("counts", "a").unwrap();
    let silent = engine.watch("counts", "b").unwrap();
    assert_eq!(changes.mark().position(), 2);
    for (number, options) in [RebuildOptions::default(), RebuildOptions::default()].into_iter().enumerate() {
        assert!(engine.admin().rebuild("counts", options, &by(), |_| {}).unwrap().switched);
        let position = i64::try_from(number).unwrap() + 2;
        assert_eq!(told(&next(&changes)), (position, serde_json::Value::Null));
        assert_eq!(told(&next(&silent)), (1, serde_json::Value::Null));
        push(&engine, &[count("a", 1)]);
        assert_eq!(told(&next(&changes)), (position + 1, thing("x")));
    }
    let one = RebuildOptions::default().instance("a");
    assert!(engine.admin().rebuild("counts", one, &by(), |_| {}).unwrap().switched);
    assert_eq!(told(&next(&changes)), (4, serde_json::Value::Null), "at the same position");
    push(&engine, &[count("a", 1)]);
    assert_eq!(told(&next(&changes)), (5, thing("x")));
    assert_eq!((changes.try_recv(), silent.try_recv()), (None, None));
}

// Contract: S6: this includes repairs below the checkpoint, by any process.
both!(what_is_mended_is_told);
fn what_is_mended_is_told<P: Place>(place: &P) {
    let mended = Arc::new(AtomicBool::new(false));
    let of = |mended: &Arc<AtomicBool>| {
        let mended = Arc::clone(mended);
        let table = Table::new("counts").column(text("thing")).column(integer("n")).primary_key(["thing"]);
        Projection::new("counts", 1).table(table).on_raw("thing", "thing.counted", move |event| {
            if event.aggregate_id() == "bad" && !mended.load(Ordering::SeqCst) {
                return Err(ReduceError::new("not yet"));
            }
            upsert(["thing"], [set("thing", event.aggregate_id()), increment("n", 1)])
        })
    };
    let handler = HandlerConfig::default().policy(Policy::Park);
    let worker = Engine::builder(place.open()).projection_with(of(&mended), handler).config(lazy()).start().unwrap();
    let other = start(place.open(), &["others"], lazy());
    let pushed = worker.push(&[NewEvent::new("a", "bad", &crate::Counted { by: 1 }), count("a", 1)]).unwrap();
    worker.await_position("counts", "a", pushed[1].position(), LONG).unwrap();
    let (here, there) = (worker.watch("counts", "a").unwrap(), other.watch("counts", "a").unwrap());
    mended.store(true, Ordering::SeqCst);
    assert_eq!(worker.admin().retry("counts", "a", 1, &by()).unwrap().applied, 1);
    for changes in [&here, &there] {
        assert_eq!(told(&next(changes)), (2, serde_json::Value::Null));
        assert_eq!(changes.try_recv(), None);
    }
    assert_eq!(counts("counts").key(), of(&mended).key());
}
