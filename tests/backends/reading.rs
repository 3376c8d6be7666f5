//! Queries that a service writes, on every backend: Contract: A10.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use readside::error::{QueryError, StoreErrorKind};
use readside::prelude::*;
use readside::{Date, HandlerConfig, NewEvent, ProjectionHandler, Time};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::{Fixture, Which};

#[derive(Debug, Deserialize)]
pub(crate) struct Facts {
    n: i64,
    many: u64,
    yes: bool,
    share: f64,
    data: Shape,
    raw: Vec<u8>,
    at: SystemTime,
    tags: Vec<String>,
    key: Uuid,
    none: Option<String>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Shape {
    b: f64,
    a: Vec<Option<i32>>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Color {
    Red,
    DarkBlue,
}

fn facts() -> Projection {
    let table = Table::new("facts")
        .column(text("id"))
        .column(integer("n"))
        .column(integer("many"))
        .column(boolean("yes"))
        .column(float("share"))
        .column(json("data"))
        .column(bytes("raw"))
        .column(timestamp("at"))
        .column(text_array("tags"))
        .column(uuid("key"))
        .column(text("none").nullable())
        .column(text("color"))
        .primary_key(["id"]);
    Projection::new("facts", 1).table(table).on_raw("fact", "fact.added", |e| {
        let n = e.aggregate_id().parse::<i64>().unwrap();
        create([
            set("id", e.aggregate_id()),
            set("n", n - 2),
            set("many", n * 1_000_000_000_000),
            set("yes", n % 2 == 1),
            set("share", 0.5),
            set("data", Value::json(&json!({"b": 1.5, "a": [1, null]})).unwrap()),
            set("raw", Value::Bytes(vec![0, 255, 7])),
            set("at", at(n)),
            set("tags", vec!["\"ü\"".to_owned(), String::new(), "null".to_owned()]),
            set("key", key(n)),
            set("none", Value::Null),
            set("color", "dark_blue"),
        ])
    })
}

fn at(n: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) + Duration::from_micros(n.unsigned_abs())
}

fn key(n: i64) -> Uuid {
    Uuid::from_u128(u128::from(n.unsigned_abs()) << 100 | 5)
}

/// Stores this many facts of a tenant, and one fact of another tenant.
pub(crate) fn fill(fixture: &Fixture, count: usize) {
    let handler =
        ProjectionHandler::new(fixture.source(), fixture.models(), facts(), HandlerConfig::default()).unwrap();
    handler.setup().unwrap();
    let added = |instance: &str, n: usize| NewEvent::raw(instance, "fact", &n.to_string(), "fact.added");
    let mut events: Vec<NewEvent> = (1..=count).map(|n| added("acme", n)).collect();
    events.push(added("other", 1));
    fixture.store.push(&events).unwrap();
    handler.trigger(&["acme", "other"]).unwrap();
}

pub(crate) const ALL: &str = "SELECT * FROM facts WHERE instance_id = $instance ORDER BY n";

// Contract: A10
both!(rows_decode_alike);
fn rows_decode_alike(fixture: &Fixture) {
    fill(fixture, 2);
    let found: Vec<Facts> = with_store!(fixture, store => store.query_as("acme", ALL, &[])).unwrap();
    assert_eq!(found.len(), 2);
    let one = &found[0];
    assert_eq!((one.n, one.many, one.yes, found[1].yes), (-1, 1_000_000_000_000, true, false));
    assert_eq!((one.share, &one.data), (0.5, &Shape { b: 1.5, a: vec![Some(1), None] }));
    assert_eq!((&one.raw, one.at, one.key), (&vec![0, 255, 7], at(1), key(1)));
    assert_eq!((&one.tags, &one.none), (&vec!["\"ü\"".to_owned(), String::new(), "null".to_owned()], &None));
    // Types that accept any value get the same values from both databases.
    let sql = "SELECT n, yes, share, data, at, tags, key, none FROM facts WHERE instance_id = $instance AND id = $1";
    let any: Vec<BTreeMap<String, serde_json::Value>> =
        with_store!(fixture, store => store.query_as("acme", sql, &["1".into()])).unwrap();
    let wanted = json!({
        "n": -1, "yes": true, "share": 0.5, "data": {"a": [1, null], "b": 1.5}, "at": "2023-11-14T22:13:20.000001Z",
        "tags": ["\"ü\"", "", "null"], "key": key(1).to_string(), "none": null
    });
    assert_eq!(serde_json::to_value(&any[0]).unwrap(), wanted);
    let texts: Vec<(String, String, String, Color)> = with_store!(fixture, store => store.query_as(
        "acme",
        "SELECT at, key, data, color FROM facts WHERE instance_id = $instance AND at = $1 AND key = $2 AND yes = $3",
        &[at(1).into(), key(1).into(), true.into()],
    ))
    .unwrap();
    let json = r#"{"a":[1,null],"b":1.5}"#.to_owned();
    assert_eq!(texts, [("2023-11-14T22:13:20.000001Z".to_owned(), key(1).to_string(), json, Color::DarkBlue)]);
    let red: Vec<Color> = with_store!(fixture, store => store.query_all_as("SELECT $1", &["red".into()])).unwrap();
    assert_eq!(red, [Color::Red]);
}

type Sums = (u8, i64, f64, SystemTime, String, bool, f64, f64);

const EACH: Dialects = Dialects::each(
    "SELECT data ->> 'b' FROM facts WHERE instance_id = $instance AND data @> '{\"b\": 1.5}' LIMIT $1",
    "SELECT data ->> 'b' FROM facts WHERE instance_id = $instance AND data ->> 'b' = 1.5 LIMIT $1",
);

#[derive(Debug, PartialEq, Deserialize)]
struct Exact {
    amount: Decimal,
    day: Date,
    hour: Time,
    took: i64,
    counts: Vec<i64>,
    keys: Vec<Uuid>,
    color: Color,
}

// Contract: A10: money, days and lists decode into the types that they were written from.
both!(exact_types_decode_alike);
fn exact_types_decode_alike(fixture: &Fixture) {
    let table = Table::new("exact")
        .column(text("id"))
        .column(decimal("amount", 12, 2))
        .column(date("day"))
        .column(time("hour"))
        .column(duration("took"))
        .column(integer_array("counts"))
        .column(uuid_array("keys"))
        .column(enumeration("color", ["red", "dark_blue"]))
        .primary_key(["id"]);
    let (day, hour) = (Date::new(2026, 1, 31).unwrap(), Time::new(12, 30, 0, 5).unwrap());
    let exact = Projection::new("exact", 1).table(table).on_raw("fact", "fact.added", move |e| {
        create([
            set("id", e.aggregate_id()),
            set("amount", Value::decimal("19.90")),
            set("day", day),
            set("hour", hour),
            set("took", Duration::from_millis(1500)),
            set("counts", vec![1_i64, -2]),
            set("keys", vec![key(1)]),
            set("color", "dark_blue"),
        ])
    });
    let config = HandlerConfig::default();
    let handler = ProjectionHandler::new(fixture.source(), fixture.models(), exact, config).unwrap();
    handler.setup().unwrap();
    fixture.store.push(&[NewEvent::raw("acme", "fact", "1", "fact.added")]).unwrap();
    handler.trigger(&["acme"]).unwrap();
    let sql = "SELECT amount, day, hour, took, counts, keys, color FROM exact WHERE instance_id = $instance";
    let found: Vec<Exact> = with_store!(fixture, store => store.query_as("acme", sql, &[])).unwrap();
    let amount = "19.9".parse().unwrap();
    let (counts, keys, color) = (vec![1, -2], vec![key(1)], Color::DarkBlue);
    assert_eq!(found, [Exact { amount, day, hour, took: 1_500_000, counts, keys, color }]);
    let one = "SELECT amount FROM exact WHERE instance_id = $instance";
    let amounts: Vec<Decimal> = with_store!(fixture, store => store.query_as("acme", one, &[])).unwrap();
    assert_eq!(amounts, [amount]);
}

#[derive(Debug, PartialEq, Deserialize)]
struct Wrapped<T>(T);

#[derive(Debug, PartialEq, Deserialize)]
struct Named<T> {
    it: T,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Either {
    Number(i64),
    Text(String),
}

/// A column is this, alone and in a row, behind `Option` and in a type of the service's own.
fn is<T: std::fmt::Debug + PartialEq + serde::de::DeserializeOwned>(fixture: &Fixture, column: &str, wanted: &T) {
    let of =
        |column: &str| format!("SELECT {column} AS it FROM kinds WHERE instance_id = $instance").leak() as &'static str;
    let what = format!("{} of {column}", std::any::type_name::<T>());
    macro_rules! read {
        ($kind:ty, $column:expr) => {{
            let found = with_store!(fixture, store => store.query_as::<$kind>("acme", of($column), &[]));
            let mut found = found.unwrap_or_else(|error| panic!("{what}: {}", readside::error::chain(&error)));
            assert_eq!(found.len(), 1, "{what}");
            found.remove(0)
        }};
    }
    assert_eq!(&read!(T, column), wanted, "{what}");
    assert_eq!(read!(Option<T>, column).as_ref(), Some(wanted), "{what}");
    assert_eq!(&read!(Wrapped<T>, column).0, wanted, "{what}, in a type");
    assert_eq!(read!(Option<Wrapped<T>>, column).map(|own| own.0).as_ref(), Some(wanted), "{what}, in a type");
    assert_eq!(&read!((T,), column).0, wanted, "{what}, in a row");
    assert_eq!(&read!(Named<T>, column).it, wanted, "{what}, by name");
    assert_eq!(read!(Named<Option<Wrapped<T>>>, column).it.map(|own| own.0).as_ref(), Some(wanted), "{what}, by name");
    assert_eq!(read!(Option<T>, "none"), None, "{what}, which is NULL");
    assert_eq!(read!(Option<Wrapped<T>>, "none"), None, "{what}, which is NULL");
}

// Contract: A10: what a service reads a column into needs no row around it.
both!(a_single_column_is_the_value_itself);
fn a_single_column_is_the_value_itself(fixture: &Fixture) {
    let table = Table::new("kinds")
        .column(text("id"))
        .column(integer("n"))
        .column(boolean("yes"))
        .column(float("share"))
        .column(json("data"))
        .column(json("list"))
        .column(bytes("raw"))
        .column(timestamp("at"))
        .column(text_array("tags"))
        .column(uuid("key"))
        .column(decimal("amount", 12, 2))
        .column(date("day"))
        .column(time("hour"))
        .column(integer_array("counts"))
        .column(uuid_array("keys"))
        .column(text("none").nullable())
        .primary_key(["id"]);
    let (day, hour) = (Date::new(2026, 1, 31).unwrap(), Time::new(12, 30, 0, 5).unwrap());
    let kinds = Projection::new("kinds", 1).table(table).on_raw("fact", "fact.added", move |e| {
        create([
            set("id", e.aggregate_id()),
            set("n", 7),
            set("yes", true),
            set("share", 0.5),
            set("data", Value::json(&json!({"b": 1.5})).unwrap()),
            set("list", Value::json(&json!([1, 2])).unwrap()),
            set("raw", Value::Bytes(vec![0, 255, 7])),
            set("at", at(1)),
            set("tags", vec!["ü".to_owned(), String::new()]),
            set("key", key(1)),
            set("amount", Value::decimal("19.90")),
            set("day", day),
            set("hour", hour),
            set("counts", vec![1_i64, -2]),
            set("keys", vec![key(1)]),
        ])
    });
    let config = HandlerConfig::default();
    let handler = ProjectionHandler::new(fixture.source(), fixture.models(), kinds, config).unwrap();
    handler.setup().unwrap();
    fixture.store.push(&[NewEvent::raw("acme", "fact", "one", "fact.added")]).unwrap();
    handler.trigger(&["acme"]).unwrap();
    is(fixture, "amount", &"19.9".parse::<Decimal>().unwrap());
    is(fixture, "amount", &"19.9".parse::<rust_decimal::Decimal>().unwrap());
    is(fixture, "amount", &"19.9".to_owned());
    is(fixture, "n", &rust_decimal::Decimal::from(7));
    is(fixture, "key", &key(1));
    is(fixture, "at", &at(1));
    is(fixture, "at", &chrono::DateTime::<chrono::Utc>::from(at(1)));
    is(fixture, "day", &chrono::NaiveDate::from_ymd_opt(2026, 1, 31).unwrap());
    is(fixture, "hour", &chrono::NaiveTime::from_hms_micro_opt(12, 30, 0, 5).unwrap());
    is(fixture, "at", &jiff::Timestamp::try_from(at(1)).unwrap());
    is(fixture, "day", &jiff::civil::date(2026, 1, 31));
    is(fixture, "hour", &jiff::civil::time(12, 30, 0, 5000));
    is(fixture, "n", &Either::Number(7));
    is(fixture, "id", &Either::Text("one".to_owned()));
    is(fixture, "raw", &vec![0_u8, 255, 7]);
    is(fixture, "tags", &vec!["ü".to_owned(), String::new()]);
    is(fixture, "counts", &vec![1_i64, -2]);
    is(fixture, "list", &vec![1_u8, 2]);
    is(fixture, "keys", &vec![key(1)]);
    for (column, wanted) in [
        ("id", json!("one")),
        ("n", json!(7)),
        ("yes", json!(true)),
        ("share", json!(0.5)),
        ("data", json!({"b": 1.5})),
        ("list", json!([1, 2])),
        ("at", json!("2023-11-14T22:13:20.000001Z")),
        ("tags", json!(["ü", ""])),
        ("key", json!(key(1))),
        ("amount", json!("19.9")),
        ("day", json!("2026-01-31")),
        ("counts", json!([1, -2])),
    ] {
        is(fixture, column, &wanted);
    }
    let sql = "SELECT none FROM kinds WHERE instance_id = $instance";
    let nothing: Vec<serde_json::Value> = with_store!(fixture, store => store.query_as("acme", sql, &[])).unwrap();
    assert_eq!(nothing, [json!(null)]);
    // Several columns are a document, and so is one where a document was asked for.
    let sql = "SELECT n, yes FROM kinds WHERE instance_id = $instance";
    let rows: Vec<serde_json::Value> = with_store!(fixture, store => store.query_as("acme", sql, &[])).unwrap();
    assert_eq!(rows, [json!({"n": 7, "yes": true})]);
    let sql = "SELECT n FROM kinds WHERE instance_id = $instance";
    let rows: Vec<serde_json::Map<String, serde_json::Value>> =
        with_store!(fixture, store => store.query_as("acme", sql, &[])).unwrap();
    assert_eq!(serde_json::Value::from(rows), json!([{"n": 7}]));
}

// Contract: A10
both!(expressions_are_what_is_asked_for);
fn expressions_are_what_is_asked_for(fixture: &Fixture) {
    fill(fixture, 4);
    let sql = "SELECT count(*), sum(n), avg(n), max(at), coalesce(max(none), 'x'), min(n) < 0, sum(share), sum(n * 1.5) \
               FROM facts WHERE instance_id = $instance";
    let sums: Vec<Sums> = with_store!(fixture, store => store.query_as("acme", sql, &[])).unwrap();
    assert_eq!(sums, [(4, 2, 0.5, at(4), "x".to_owned(), true, 2.0, 3.0)]);
    let keys: Vec<Uuid> = with_store!(fixture, store => store.query_as(
        "acme",
        "SELECT coalesce(key, $1) FROM facts WHERE instance_id = $instance ORDER BY n LIMIT 1",
        &[key(9).into()],
    ))
    .unwrap();
    assert_eq!(keys, [key(1)]);
    let nothing: Vec<Option<i64>> = with_store!(
        fixture, store => store.query_as("nobody", "SELECT sum(n) FROM facts WHERE instance_id = $instance", &[])
    )
    .unwrap();
    assert_eq!(nothing, [None]);
    let parts: Vec<f64> = with_store!(fixture, store => store.query_as("acme", EACH, &[1.into()])).unwrap();
    assert_eq!(parts, [1.5]);
}

// Contract: A10, B4: a query cannot read the rows of all tenants by mistake.
both!(a_read_is_about_one_tenant);
fn a_read_is_about_one_tenant(fixture: &Fixture) {
    fill(fixture, 3);
    let count = |instance: &str| {
        let sql = "SELECT count(*) FROM facts WHERE instance_id = $instance";
        with_store!(fixture, store => store.query_as::<i64>(instance, sql, &[])).unwrap()[0]
    };
    assert_eq!((count("acme"), count("other"), count("nobody"), count("' OR '1' = '1")), (3, 1, 0, 0));
    let all = "SELECT count(*) FROM facts";
    assert_eq!(with_store!(fixture, store => store.query_all_as::<i64>(all, &[])).unwrap(), [4]);
    let read = |sql: &'static str, values: &[Value]| {
        with_store!(fixture, store => store.query_as::<i64>("acme", sql, values)).unwrap_err()
    };
    assert!(matches!(read(all, &[]), QueryError::NoInstance));
    assert!(matches!(read("SELECT 1 -- $instance", &[]), QueryError::NoInstance));
    assert!(matches!(read("SELECT '$instance'", &[]), QueryError::NoInstance));
    assert!(matches!(read("DELETE FROM facts WHERE instance_id = $instance", &[]), QueryError::Text { .. }));
    assert!(matches!(read("SELECT 1 WHERE 'a' = $instance; SELECT 1", &[]), QueryError::Text { .. }));
    let values = read("SELECT $1 WHERE 'a' = $instance", &[]);
    assert!(matches!(values, QueryError::Values { placeholders: 1, values: 0 }), "{values:?}");
    assert!(matches!(read("SELECT $2 WHERE 'a' = $instance", &["a".into(), "b".into()]), QueryError::Text { .. }));
    let unexpected = with_store!(fixture, store => store.query_all_as::<i64>("SELECT 1 WHERE 'a' = $instance", &[]));
    assert!(matches!(unexpected, Err(QueryError::UnexpectedInstance)));
    let missing = read("SELECT n FROM nowhere WHERE instance_id = $instance", &[]);
    assert!(matches!(&missing, QueryError::Store(error) if error.kind() == StoreErrorKind::Schema), "{missing:?}");
    let nul = read("SELECT 1 WHERE 'a' = $instance AND 'b' = $1", &["\0".into()]);
    assert!(matches!(&nul, QueryError::Store(error) if error.kind() == StoreErrorKind::Data), "{nul:?}");
    assert_eq!(count("acme"), 3);
}

// Contract: A10, O4
both!(a_row_that_does_not_fit_is_named_without_its_values);
fn a_row_that_does_not_fit_is_named_without_its_values(fixture: &Fixture) {
    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "it is never made")]
    struct Wrong {
        n: i64,
        data: BTreeMap<String, i64>,
    }
    fill(fixture, 2);
    let wrong = with_store!(fixture, store => store.query_as::<Wrong>("acme", ALL, &[])).unwrap_err();
    let QueryError::Decode { row: 0, column, wanted, .. } = &wrong else { panic!("{wrong:?}") };
    assert_eq!(column.as_deref(), Some("data"));
    assert!(wanted.ends_with("Wrong"));
    let said = readside::error::chain(&wrong);
    assert!(said.starts_with("row 0 of the query does not fit ") && said.contains("(column \"data\")"), "{said}");
    for (sql, said) in [
        ("SELECT 'secret' AS x WHERE 'x' <> $instance", "a text was found"),
        ("SELECT 1.5 AS x WHERE 'x' <> $instance", "was found"),
        ("SELECT NULL AS x WHERE 'x' <> $instance", "NULL was found"),
        ("SELECT 300 AS x WHERE 'x' <> $instance", "that does not fit was found"),
        ("SELECT 1, 2 WHERE 'x' <> $instance", "a row of 2 columns was found"),
    ] {
        let error = with_store!(fixture, store => store.query_as::<u8>("acme", sql, &[])).unwrap_err();
        let told = readside::error::chain(&error);
        assert!(told.contains(said) && !told.contains("secret") && !told.contains("300"), "{sql}: {told}");
    }
}

/// A query whose rows never end.
const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";

#[derive(Debug)]
enum Stop {
    Enough,
    Query(QueryError),
}

impl From<QueryError> for Stop {
    fn from(error: QueryError) -> Self {
        Self::Query(error)
    }
}

// Contract: A10, L9
both!(a_stream_holds_a_part_at_a_time);
fn a_stream_holds_a_part_at_a_time(fixture: &Fixture) {
    fill(fixture, 700);
    let mut seen = Vec::new();
    let streamed = with_store!(fixture, store => store.stream_as(
        "acme",
        "SELECT n FROM facts WHERE instance_id = $instance AND n > $1 ORDER BY n",
        &[100.into()],
        |n: i64| {
            seen.push(n);
            Ok::<(), QueryError>(())
        },
    ));
    streamed.unwrap();
    assert_eq!(seen, (101..=698).collect::<Vec<i64>>());
    // The caller reads an endless query as far as it wants.
    let mut last = 0;
    let stopped = with_store!(fixture, store => store.stream_all_as(ENDLESS, &[], |i: i64| {
        last = i;
        if i == 1001 { Err(Stop::Enough) } else { Ok(()) }
    }));
    assert!(matches!(stopped, Err(Stop::Enough)), "{stopped:?}");
    assert_eq!(last, 1001);
    let wrong = with_store!(fixture, store => store.stream_all_as(ENDLESS, &[], |_: String| Ok::<(), Stop>(())));
    assert!(matches!(wrong, Err(Stop::Query(QueryError::Decode { row: 0, .. }))), "{wrong:?}");
    let none = with_store!(fixture, store => store.stream_all_as("SELECT 1 WHERE $1", &[Value::Boolean(false)], |_: i64| Err(Stop::Enough)));
    none.unwrap();
    let null = with_store!(fixture, store => store.stream_all_as("SELECT n FROM facts WHERE none = $1", &[Value::Null], |_: i64| Err(Stop::Enough)));
    null.unwrap();
}

// Contract: A10: every wait has an end.
both!(a_read_has_its_time);
fn a_read_has_its_time(fixture: &Fixture) {
    fill(fixture, 1);
    let within = Duration::from_millis(200);
    let endless = "SELECT count(*) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i % 1000 + 1 FROM n) SELECT i FROM n) x";
    let late = with_store!(fixture, store => store.reader().within(within).query_all_as::<i64>(endless, &[]));
    assert!(matches!(late, Err(QueryError::TooLong { .. })), "{late:?}");
    let late = with_store!(
        fixture, store => store.reader().within(within).stream_all_as(endless, &[], |_: i64| Ok::<(), QueryError>(()))
    );
    assert!(matches!(late, Err(QueryError::TooLong { .. })), "{late:?}");
    let said = readside::error::chain(&late.unwrap_err());
    assert!(said.contains("after 200 ms") && said.contains("Reader::within"), "{said}");
    let found: Vec<Facts> = with_store!(fixture, store => store.query_as("acme", ALL, &[])).unwrap();
    assert_eq!(found.len(), 1);
    fixture.store.push(&[NewEvent::raw("acme", "fact", "2", "fact.added")]).unwrap();
}

// Contract: A10: if the service's own query writes, the query is at fault.
#[cfg(feature = "postgres")]
#[test]
fn a_query_that_writes_is_refused_and_costs_no_connection() {
    let fixture = crate::postgres();
    fill(&fixture, 1);
    let Which::Postgres(store) = &fixture.which else { unreachable!() };
    let generation = fixture.store.generation();
    let sql = "WITH gone AS (DELETE FROM facts_1 RETURNING n) SELECT n FROM gone";
    let refused = store.query_all_as::<i64>(sql, &[]);
    let Err(QueryError::Store(error)) = refused else { panic!("{refused:?}") };
    assert_eq!(error.kind(), StoreErrorKind::Usage);
    assert!(error.to_string().contains("a read must not"), "{error}");
    assert_eq!(fixture.store.generation(), generation);
}
