//! Events that people gave up or retry during rebuilds, and rebuilds of single instances whose rows other rows refer
//! to.

use readside::Engine;
use readside::admin::{CommandState, RebuildOptions, Switch};
use readside::failure::FailureQuery;
use readside::prelude::*;
use readside::store::{ProjectionKey, ProjectionStore};
use serde_json::{Value, json};

use crate::objects::{rebuild, refused};
use crate::versions::{live, start_doubled};
use crate::{LONG, Place, by, count, counts_without, eager, eventually, fill, handler, seen, start, tenant};

fn start_without<P: Place>(place: &P, bad: &'static [i64]) -> Engine {
    let engine = Engine::builder(place.open()).projection_with(counts_without(1, bad), handler());
    engine.config(eager()).start().unwrap()
}

/// Carries out a command that is given as JSON.
fn ask(engine: &Engine, command: Value) -> Value {
    let id = engine.admin().ask("counts", serde_json::from_value(command).unwrap(), &by()).unwrap();
    engine.admin().answer(id, std::time::Duration::MAX).unwrap()
}

fn failed<P: Place>(place: &P, build: &str) -> Vec<i64> {
    let key = ProjectionKey { name: build.into(), version: 1 };
    let found = place.open().failed_events(&key, &FailureQuery::all()).unwrap();
    found.into_iter().map(|one| one.attempt.position).collect()
}

// Contract: H3: this includes events that fail in a build that readers do not see.
both!(what_fails_in_a_build_alone_is_mended_there);
pub(crate) fn what_fails_in_a_build_alone_is_mended_there<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    let pushed = engine.push(&[count("a", "x", 3), count("a", "y", 5), count("a", "z", 7)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    engine.shutdown(LONG).unwrap();
    let engine = start_without(place, &[5, 7]);
    let options = RebuildOptions::default().switch(Switch::Asked);
    engine.admin().rebuild("counts", options, &by(), |_| {}).unwrap();
    assert_eq!(failed(place, "counts#next"), [2, 3]);
    ask(&engine, json!({ "kind": "discard", "instance": "a", "position": 2 }));
    engine.shutdown(LONG).unwrap();
    let engine = start_without(place, &[]);
    assert_eq!(engine.admin().retry("counts", "a", 3, &by()).unwrap().applied, 1);
    assert!(engine.admin().retry("counts", "a", 1, &by()).is_err(), "it never failed");
    engine.admin().switch("counts", &by()).unwrap();
    assert_eq!(seen(place), ["a/x=3", "a/z=7"]);
}

// Contract: H3: a person who gives an event up does not want it in this projection.
both!(a_discarded_event_stays_away);
pub(crate) fn a_discarded_event_stays_away<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    engine.push(&[count("a", "x", 1), count("a", "x", 13), count("a", "x", 2), count("b", "x", 1)]).unwrap();
    eventually("the failure", || failed(place, "counts") == [2, 3]);
    engine.admin().discard("counts", "a", 2, &by()).unwrap();
    engine.await_position("counts", "b", 1, LONG).unwrap();
    let (rows, once) = (["a/x=3", "b/x=1"], json!(1));
    let is_away = |what: &str, answer: &Value| {
        assert_eq!(answer["left_out"]["discarded"], once, "{what}: {answer}");
        assert_eq!(seen(place), rows, "{what}");
    };
    let rebuild = json!({ "kind": "rebuild", "instance": null, "switch": "caught-up", "compare": true });
    let of_a = json!({ "kind": "rebuild", "instance": "a", "switch": "caught-up", "compare": true });
    is_away("rebuild", &ask(&engine, rebuild.clone()));
    engine.shutdown(LONG).unwrap();
    // This code could apply the event.
    let engine = start_without(place, &[]);
    for _ in 0..2 {
        is_away("rebuild", &ask(&engine, rebuild.clone()));
        is_away("rebuild of the instance", &ask(&engine, of_a.clone()));
        is_away("reset", &ask(&engine, json!({ "kind": "reset", "instance": null })));
        is_away("reset of the instance", &ask(&engine, json!({ "kind": "reset", "instance": "a" })));
    }
    is_away("back", &json!({ "left_out": { "discarded": 1 } }));
    let verified = ask(&engine, json!({ "kind": "verify", "instance": null, "repair": false }));
    assert_eq!(verified["differing"], json!([]), "{verified}");
    assert_eq!(engine.admin().interventions("counts", 10).unwrap().len(), 1, "who did it stays on record");
    engine.shutdown(LONG).unwrap();
    let engine = start_doubled(place.open(), eager());
    eventually("the switch", || live(place) == 2);
    eventually("its record", || engine.admin().commands(None, 1).unwrap()[0].state == CommandState::Done);
    let answer = engine.admin().commands(None, 1).unwrap()[0].answer.clone().unwrap();
    assert_eq!((&answer["left_out"]["discarded"], seen(place)[0].as_str()), (&once, "a/x=6"));
    // It is applied again only if a person asks for that.
    let again =
        json!({ "kind": "rebuild", "instance": null, "switch": "caught-up", "compare": true, "retry_discarded": true });
    let answer = ask(&engine, again);
    assert_eq!((&answer["left_out"]["discarded"], seen(place)[0].as_str()), (&json!(0), "a/x=32"));
}

const ORDERS: &str = "CREATE TABLE orders (instance_id TEXT, thing TEXT, \
     CONSTRAINT known FOREIGN KEY (instance_id, thing) REFERENCES counts_1 (instance_id, thing) ON DELETE CASCADE)";

both!(rows_that_others_refer_to_stay);
/// If the service's own rows refer to an instance, they do not block its rebuild, and the rebuild does not delete
/// them.
pub(crate) fn rows_that_others_refer_to_stay<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    fill(&engine, 2, 5);
    let before = seen(place);
    place.sql(ORDERS);
    place.sql("INSERT INTO orders VALUES ('tenant-000', 'x1')");
    place.sql("INSERT INTO counts_1 (instance_id, thing, n) VALUES ('tenant-000', 'by hand', 1)");
    place.sql("UPDATE counts_1 SET n = n + 100 WHERE instance_id = 'tenant-000'");
    place.sql("DELETE FROM counts_log_1 WHERE instance_id = 'tenant-000' AND thing = 'x2'");
    place.sql("DELETE FROM counts_1 WHERE instance_id = 'tenant-000' AND thing = 'x2'");
    let one = || RebuildOptions::default().instance(tenant(0));
    for _ in 0..2 {
        engine.admin().rebuild("counts", one(), &by(), |_| {}).unwrap();
        assert_eq!((seen(place), place.query("SELECT thing FROM orders")), (before.clone(), vec!["x1".to_owned()]));
    }
    // A reset in place would delete the orders too.
    for instance in [Some("tenant-000"), None] {
        let error = refused(engine.admin().reset("counts", instance, &by()));
        assert!(error.contains("orders") && error.contains("readside rebuild"), "{error}");
        assert_eq!((seen(place), place.query("SELECT thing FROM orders")), (before.clone(), vec!["x1".to_owned()]));
    }
    rebuild(&engine).unwrap();
    assert_eq!(place.query("SELECT thing FROM orders"), ["x1"]);
    crate::lawful(place);
}

both!(a_row_that_goes_and_is_referred_to_is_named);
/// If a row has to go but another table still refers to it, the error names that table.
pub(crate) fn a_row_that_goes_and_is_referred_to_is_named<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    fill(&engine, 1, 5);
    place.sql(&ORDERS.replace("ON DELETE CASCADE", ""));
    place.sql("INSERT INTO orders VALUES ('tenant-000', 'x1')");
    let before = seen(place);
    place.redact("tenant-000", "x1");
    let one = || RebuildOptions::default().instance(tenant(0));
    let error = refused(engine.admin().rebuild("counts", one(), &by(), |_| {}));
    assert!(error.contains("orders") && error.contains("counts_1") && error.contains("first"), "{error}");
    assert_eq!(seen(place), before);
    place.sql("DELETE FROM orders");
    engine.admin().rebuild("counts", one(), &by(), |_| {}).unwrap();
    assert_eq!(seen(place).len(), before.len() - 1);
}

both!(unique_values_change_hands_in_place);
/// Rows can swap unique values, also if other rows refer to one of them. If other rows refer to all of them, an error
/// says so.
pub(crate) fn unique_values_change_hands_in_place<P: Place>(place: &P) {
    let engine = Engine::builder(place.open()).projection_with(unique(1), handler()).config(eager()).start().unwrap();
    let pushed = engine.push(&[count("a", "x", 1), count("a", "y", 2), count("a", "z", 3)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    let right = seen(place);
    place.sql(ORDERS);
    place.sql("INSERT INTO orders VALUES ('a', 'x')");
    let swap = || {
        place.sql("UPDATE counts_1 SET n = 9 WHERE thing = 'x'");
        place.sql("UPDATE counts_1 SET n = 1 WHERE thing = 'y'");
        place.sql("UPDATE counts_1 SET n = 2 WHERE thing = 'x'");
    };
    let one = || RebuildOptions::default().instance("a");
    swap();
    engine.admin().rebuild("counts", one(), &by(), |_| {}).unwrap();
    assert_eq!((seen(place), place.query("SELECT thing FROM orders")), (right.clone(), vec!["x".to_owned()]));
    swap();
    place.sql("INSERT INTO orders VALUES ('a', 'y')");
    let (before, error) = (seen(place), refused(engine.admin().rebuild("counts", one(), &by(), |_| {})));
    assert!(error.contains("cannot take their new values in place") && error.contains("whole projection"), "{error}");
    assert_eq!(seen(place), before);
    rebuild(&engine).unwrap();
    assert_eq!(
        (seen(place), place.query("SELECT thing FROM orders ORDER BY 1")),
        (right, vec!["x".to_owned(), "y".to_owned()])
    );
}

fn unique(version: u32) -> Projection {
    let table = Table::new("counts").column(text("thing")).column(integer("n")).primary_key(["thing"]);
    Projection::new("counts", version)
        .table(table.unique(["n"]).index(["n", "thing"]))
        .on(|e, p: crate::Counted| upsert(["thing"], [set("thing", e.aggregate_id()), set("n", p.by)]))
}

both!(a_rebuilt_table_has_the_names_of_a_fresh_one);
/// A table has the same names before and after a rebuild. They show in errors, and people use them in SQL.
pub(crate) fn a_rebuilt_table_has_the_names_of_a_fresh_one<P: Place>(place: &P) {
    let config = || eager();
    let engine = Engine::builder(place.open()).projection_with(unique(1), handler()).config(config()).start().unwrap();
    let pushed = engine.push(&[count("a", "x", 1), count("a", "y", 2)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    let fresh = place.own_names("counts_1");
    assert!(!fresh.is_empty());
    for round in 1..=3 {
        rebuild(&engine).unwrap();
        assert_eq!(place.own_names("counts_1"), fresh, "round {round}");
    }
    engine.admin().drop_old("counts", &by()).unwrap();
    assert_eq!(place.own_names("counts_1"), fresh);
    let pushed = engine.push(&[count("a", "z", 3)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
}
