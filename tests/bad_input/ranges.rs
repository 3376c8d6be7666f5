//! Each kind of value and key has one range, the same on both databases. What can be stored can also fail and be
//! recorded.

use std::time::{Duration, SystemTime};

use readside::error::{InvalidEvent, PushError};
use readside::failure::{By, FailureQuery, FailureStatus};
use readside::prelude::*;
use readside::query::{Query, SubQuery};

use readside::{EventStore, HandlerConfig, NewEvent, ProjectionHandler};

use crate::common::random::Random;
use crate::{Store, command, shared};

/// Letters that no server can compress.
fn letters(count: usize) -> String {
    let mut random = Random::new(count as u64);
    let letters = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    (0..count).map(|_| char::from(letters[random.below(letters.len())])).collect()
}

fn at_once() -> HandlerConfig {
    HandlerConfig::default().retries(0).max_failure_count(1)
}

fn handler<S: Store>(store: &S, projection: &Projection) -> ProjectionHandler {
    let handler = ProjectionHandler::new(shared(store), shared(store), projection.clone(), at_once()).unwrap();
    handler.setup().unwrap();
    handler
}

/// Fails for every event of this type.
fn failing(aggregate_type: &str, event_type: &str) -> Projection {
    let name = "x".repeat(61);
    Projection::new(&name, 1).table(Table::new("rows").column(text("id")).primary_key(["id"])).on_raw(
        aggregate_type,
        event_type,
        |_| Err(ReduceError::new("bad luck")),
    )
}

fn states(handler: &ProjectionHandler, query: &FailureQuery) -> Vec<(i64, FailureStatus)> {
    let held = handler.failed_events(query).unwrap();
    held.iter().map(|held| (held.attempt.position, held.attempt.state)).collect()
}

// Contract: A1, A8, H1
both!(the_longest_ids_are_stored_fail_and_are_recorded);
pub(crate) fn the_longest_ids_are_stored_fail_and_are_recorded<S: Store>(store: &S) {
    let (name, id) = (letters(500), letters(1500));
    let longest = || NewEvent::raw(&name, &name, &id, &name).push_key(&id).add_unique(&name, &id, "taken");
    let pushed = store.push(&[longest()]).unwrap();
    assert_eq!(store.push(&[longest()]).unwrap(), pushed, "the push key is found");
    let taken = NewEvent::raw(&name, &name, &id, &name).add_unique(&name, &id, "taken");
    assert!(matches!(store.push(&[taken]), Err(PushError::UniqueViolation { .. })));
    let projection = failing(&name, &name);
    let handler = handler(store, &projection);
    handler.trigger(&[&name]).unwrap();
    store.push(&[NewEvent::raw(&name, &name, &id, &name)]).unwrap();
    handler.trigger(&[&name]).unwrap();
    let parked = [(1, FailureStatus::Parked), (2, FailureStatus::Behind)];
    assert_eq!(states(&handler, &FailureQuery::all().instance(&name).aggregate(&name, &id)), parked);
    assert_eq!(states(&handler, &FailureQuery::all().aggregate(&name, &id)), parked);
    assert_eq!(states(&handler, &FailureQuery::all().aggregate(&name, "another")), []);
    let query = SubQuery::new().instance(&name).aggregate_type(&name).aggregate_id(&id).event_type(&name);
    assert_eq!(store.filter(&Query::new().or(query)).unwrap().len(), 2);
}

// Contract: A1, A8
both!(longer_ids_are_refused_by_name);
pub(crate) fn longer_ids_are_refused_by_name<S: Store>(store: &S) {
    for (length, only_names) in [
        (501, true),
        (1501, false),
        (2600, false),
        (2672, false),
        (2680, false),
        (2704, false),
        (3000, false),
        (200_000, false),
    ] {
        let long = letters(length);
        let bad = [
            ("instance", 500, NewEvent::raw(&long, "t", "1", "e")),
            ("aggregate type", 500, NewEvent::raw("a", &long, "1", "e")),
            ("event type", 500, NewEvent::raw("a", "t", "1", &long)),
            ("unique constraint", 500, command("a", "1").add_unique(&long, "v", "taken")),
            ("aggregate id", 1500, NewEvent::raw("a", "t", &long, "e")),
            ("push key", 1500, command("a", "1").push_key(&long)),
            ("unique value", 1500, command("a", "1").add_unique("c", &long, "taken")),
        ];
        for (wanted, most, bad) in bad.into_iter().filter(|(_, most, _)| !only_names || *most == 500) {
            let error = store.push(&[bad]).unwrap_err();
            let PushError::Invalid { field, source: InvalidEvent::TooLong { length: found, limit }, .. } = &error
            else {
                panic!("{error:?}")
            };
            assert_eq!((*field, *found, *limit), (wanted, length, most));
        }
        // Values that were taken before there was a limit can be given back, and queries can name long values.
        store.push(&[command("b", "1").remove_unique("c", &long)]).unwrap();
        let query = SubQuery::new().instance(&long).aggregate_id(&long).owner(&long);
        assert_eq!(store.filter(&Query::new().or(query)).unwrap(), []);
    }
}

// Contract: H1, A8: such ids were stored before there was a limit.
both!(longer_ids_that_are_there_fail_and_are_mended);
pub(crate) fn longer_ids_that_are_there_fail_and_are_mended<S: Store>(store: &S) {
    for length in [2600, 2640, 2672] {
        let (instance, id) = (format!("i{length}"), letters(length));
        store.push(&[command(&instance, "short"), command(&instance, "other")]).unwrap();
        let table = store.table("events");
        store.sql(&format!(
            "UPDATE {table} SET aggregate_id = '{id}' WHERE instance_id = '{instance}' AND position = 1"
        ));
        let handler = handler(store, &failing("user", "added"));
        handler.trigger(&[&instance]).unwrap();
        let of_long = FailureQuery::all().instance(&instance).aggregate("user", &id);
        assert_eq!(states(&handler, &of_long), [(1, FailureStatus::Parked)]);
        handler.discard(&instance, 1, &By::new("ada", "a test")).unwrap();
        assert_eq!(states(&handler, &FailureQuery::all().instance(&instance)), [(2, FailureStatus::Parked)]);
    }
}

/// The outcome of one event for each of these ids: the text of its failure, if it failed.
fn outcomes<S: Store>(store: &S, projection: &Projection, ids: &[&str]) -> Vec<Option<String>> {
    let commands: Vec<NewEvent> = ids.iter().map(|id| command("a", id)).collect();
    let pushed = store.push(&commands).unwrap();
    let handler = handler(store, projection);
    handler.trigger(&["a"]).unwrap();
    let held = handler.failed_events(&FailureQuery::all()).unwrap();
    let of = |event: &Event| {
        let attempt = held.iter().map(|held| &held.attempt).find(|attempt| attempt.position == event.position())?;
        Some(format!("{}: {}", attempt.class, attempt.error))
    };
    pushed.iter().map(of).collect()
}

// Contract: G3, H1: a value that an index of PostgreSQL could not hold fails its event, on both databases.
both!(values_too_long_for_an_index_fail_their_event);
pub(crate) fn values_too_long_for_an_index_fail_their_event<S: Store>(store: &S) {
    let table = Table::new("keyed").column(integer("n")).column(text("id")).column(text("a")).column(text("b"));
    let table = table.column(json("j").nullable()).column(text_array("l").nullable()).column(text("free").nullable());
    let table = table.primary_key(["n", "id"]).unique(["id"]).index(["a", "b"]).index(["j"]).index(["l"]);
    let projection = Projection::new("keyed", 1).table(table).on_raw("user", "added", |e| {
        let row = |id: usize, a: usize, rest: Vec<Assignment>| {
            let keys = vec![set("n", e.position()), set("id", letters(id)), set("a", letters(a)), set("b", letters(a))];
            create(keys.into_iter().chain(rest))
        };
        match e.aggregate_id() {
            "key" => row(1984, 1, vec![]),
            "long-key" => row(1985, 1, vec![]),
            "index" => row(2, 1000, vec![]),
            "long-index" => row(3, 1001, vec![]),
            "json" => row(4, 1, vec![set("j", Value::Json(format!("[{}1]", "1,".repeat(122))))]),
            "long-json" => row(5, 1, vec![set("j", Value::Json(format!("[{}1]", "1,".repeat(130))))]),
            "array" => row(6, 1, vec![set("l", vec![""; 247])]),
            "long-array" => row(7, 1, vec![set("l", vec![""; 248])]),
            "free" => row(8, 1, vec![set("free", letters(100_000))]),
            _ => update([set("a", letters(1001))], [eq("n", 1)]),
        }
    });
    let ids = ["key", "long-key", "index", "long-index", "json", "long-json", "array", "long-array", "free", "update"];
    let refused = |column: &str, size: usize, limit: usize| {
        Some(format!(
            "statement: the value of column {column:?} of table \"keyed\" takes {size} bytes; {limit} are allowed, \
             because the column is part of a key or an index"
        ))
    };
    let wanted = [
        None,
        refused("id", 1985, 1984),
        None,
        refused("a", 1001, 1000),
        None,
        refused("j", 263 * 8, 2000),
        None,
        refused("l", 248 * 8 + 24, 2000),
        None,
        refused("a", 1001, 1000),
    ];
    assert_eq!(outcomes(store, &projection, &ids), wanted);
    assert_eq!(store.rows(&projection, "keyed").len(), 5);
}

fn micros(micros: i64) -> SystemTime {
    let distance = Duration::from_micros(micros.unsigned_abs());
    if micros < 0 { SystemTime::UNIX_EPOCH - distance } else { SystemTime::UNIX_EPOCH + distance }
}

const FIRST: i64 = -62_135_596_800_000_000;
const LAST: i64 = 253_402_300_799_999_999;

// Contract: A8, B3: the range is 0001-01-01T00:00:00Z to 9999-12-31T23:59:59.999999Z.
both!(times_have_one_range);
pub(crate) fn times_have_one_range<S: Store>(store: &S) {
    let table = Table::new("times").column(text("id")).column(timestamp("at")).primary_key(["at"]);
    let times = [("first", FIRST), ("last", LAST), ("before", FIRST - 1), ("after", LAST + 1), ("far", i64::MAX)];
    let projection = Projection::new("times", 1).table(table).on_raw("user", "added", move |e| {
        let at = times.iter().find(|(id, _)| *id == e.aggregate_id()).map_or(0, |(_, at)| *at);
        create([set("id", e.aggregate_id()), set("at", micros(at))])
    });
    let outcomes = outcomes(store, &projection, &times.map(|(id, _)| id));
    assert_eq!(outcomes[..2], [None, None]);
    for outcome in &outcomes[2..] {
        assert!(
            outcome.as_ref().is_some_and(|text| text.contains("outside of 0001-01-01T00:00:00Z to")),
            "{outcome:?}"
        );
    }
    let rows = store.rows(&projection, "times");
    let found: Vec<&Value> = rows.iter().map(|row| &row[2].1).collect();
    assert_eq!(found, [&Value::Timestamp(micros(FIRST)), &Value::Timestamp(micros(LAST))]);
    assert_eq!(found[1].to_json(), "9999-12-31T23:59:59.999999Z");
    assert_eq!(found[0].to_json(), "0001-01-01T00:00:00.000000Z");

    // A time in the far past is before all stored times, and a time in the far future is after them.
    let far = Duration::from_hours(24 * 365 * 500_000);
    let (past, future) = (SystemTime::UNIX_EPOCH - far, SystemTime::UNIX_EPOCH + far);
    let count = |sub: SubQuery| store.filter(&Query::new().or(sub)).unwrap().len();
    for (past, future) in [(past, future), (micros(FIRST), micros(LAST)), (micros(i64::MIN + 1), micros(i64::MAX))] {
        assert_eq!(count(SubQuery::new().created_after(past)), 5);
        assert_eq!(count(SubQuery::new().created_before(past)), 0);
        assert_eq!(count(SubQuery::new().created_after(future)), 0);
        assert_eq!(count(SubQuery::new().created_before(future)), 5);
    }
    let last = store.filter(&Query::new().descending().limit(1)).unwrap()[0].created_at();
    assert_eq!(count(SubQuery::new().created_before(last + Duration::from_nanos(1))), 5);
    assert_eq!(count(SubQuery::new().created_after(last)), 0);
}

// Contract: A8, G3
both!(minus_zero_is_zero);
pub(crate) fn minus_zero_is_zero<S: Store>(store: &S) {
    let table = Table::new("floats").column(text("id")).column(float("f")).column(float("d").default(-0.0));
    let table = table.column(float("raw").default(Value::Float(-0.0))).primary_key(["id"]);
    let projection = Projection::new("floats", 1).table(table).on_raw("user", "added", |e| {
        let zero = if e.aggregate_id() == "raw" { Value::Float(-0.0) } else { (-0.0).into() };
        create([set("id", e.aggregate_id()), set("f", zero)])
    });
    assert_eq!(outcomes(store, &projection, &["raw", "made"]), [None, None]);
    let shown: Vec<String> = store.rows(&projection, "floats").iter().map(|row| format!("{:?}", &row[2..])).collect();
    let zeros = r#"[("f", Float(0.0)), ("d", Float(0.0)), ("raw", Float(0.0))]"#;
    assert_eq!(shown, [zeros, zeros]);
}

// Contract: A8, H1
both!(numbers_of_json_columns_have_one_range);
pub(crate) fn numbers_of_json_columns_have_one_range<S: Store>(store: &S) {
    let table = Table::new("docs").column(text("id")).column(json("doc")).primary_key(["id"]);
    let projection = Projection::new("docs", 1).table(table).on_raw("user", "added", |e| {
        create([set("id", e.aggregate_id()), set("doc", Value::Json(format!("[{}]", e.aggregate_id())))])
    });
    let good = [
        "1E2",
        "-0",
        "2.5e3",
        "1e400",
        "1e131071",
        "1e-16383",
        "0.1234567890123456789",
        "123456789012345678901234567890",
    ];
    assert_eq!(outcomes(store, &projection, &good), vec![None; good.len()]);
    let bad = ["1e131072", "1e200000", "1e-16384", "1e-20000", "1e99999999999999999999"];
    for outcome in outcomes(store, &projection, &bad) {
        assert!(outcome.as_ref().is_some_and(|text| text.contains("more digits than PostgreSQL holds")), "{outcome:?}");
    }
    let ids: Vec<Value> = store.rows(&projection, "docs").into_iter().map(|mut row| row.remove(1).1).collect();
    assert_eq!(ids.len(), good.len());
    assert!(good.iter().all(|good| ids.contains(&Value::from(*good))));
}
