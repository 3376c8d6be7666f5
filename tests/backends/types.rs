//! Column types: what each of them holds and refuses, in the same way on both databases.

use std::time::Duration;

use readside::failure::{FailureClass, FailureQuery};
use readside::prelude::*;

use readside::{HandlerConfig, NewEvent, Policy, ProjectionHandler, error};
use uuid::Uuid;

use crate::Fixture;

fn handler(fixture: &Fixture, projection: &Projection) -> ProjectionHandler {
    let config = HandlerConfig::default().retries(0).max_failure_count(1).policy(Policy::Skip);
    let handler = ProjectionHandler::new(fixture.source(), fixture.models(), projection.clone(), config).unwrap();
    handler.setup().unwrap();
    handler
}

fn orders() -> Table {
    Table::new("orders")
        .column(text("id"))
        .column(decimal("price", 5, 2).nullable().default(Value::decimal("-0.50")))
        .column(date("day").nullable().default(Value::date("0001-01-01")))
        .column(time("at").nullable().default(Value::time("23:59:59.999999")))
        .column(duration("took").nullable().default(Value::Duration(-i64::MAX)))
        .column(enumeration("state", ["open", "it's done"]).default("it's done"))
        .column(integer_array("numbers").nullable().default(vec![i64::MIN, i64::MAX]))
        .column(uuid_array("uuids").nullable().default(vec![Uuid::from_u128(7)]))
        .column(integer("n").nullable())
        .column(float("f").nullable())
        .primary_key(["id"])
}

/// Builds the same statements at each call.
trait Statements: Fn() -> Vec<Reduced> + Send + Sync + 'static {}

impl<F: Fn() -> Vec<Reduced> + Send + Sync + 'static> Statements for F {}

/// For each event, runs the statement at the index that is the id of its aggregate.
fn doing(table: Table, statements: impl Statements) -> Projection {
    let at = |event: &Event| event.aggregate_id().parse::<usize>().unwrap();
    Projection::new("orders", 1)
        .table(table)
        .on_raw("order", "order.changed", move |event| statements().swap_remove(at(event)))
}

/// Applies each statement by its own event. Returns the class and the text of each failure.
fn apply(fixture: &Fixture, table: Table, statements: impl Statements) -> Vec<Option<(FailureClass, String)>> {
    let count = statements().len();
    let projection = doing(table, statements);
    let handler = handler(fixture, &projection);
    let commands: Vec<NewEvent> =
        (0..count).map(|at| NewEvent::raw("a", "order", &at.to_string(), "order.changed")).collect();
    let pushed = fixture.store.push(&commands).unwrap();
    handler.trigger(&["a"]).unwrap();
    let held = handler.failed_events(&FailureQuery::all()).unwrap();
    let of = |event: &Event| {
        let attempt = held.iter().map(|held| &held.attempt).find(|attempt| attempt.position == event.position());
        attempt.map(|attempt| (attempt.class, attempt.error.clone()))
    };
    pushed.iter().map(of).collect()
}

fn row(fixture: &Fixture, table: Table, id: &str) -> Vec<Value> {
    let rows = fixture.read_rows(&doing(table, Vec::new), "orders");
    let row = rows.into_iter().find(|row| row[1].1 == Value::from(id)).unwrap_or_default();
    row.into_iter().skip(2).map(|(_, value)| value).collect()
}

fn new(id: &str, rest: impl IntoIterator<Item = Assignment>) -> Reduced {
    create(std::iter::once(set("id", id)).chain(rest))
}

fn change(id: &str, values: impl IntoIterator<Item = Assignment>) -> Reduced {
    update(values, [eq("id", id)])
}

/// Rows made by an upsert: with defaults, given values, changed values, and NULL.
fn changes() -> Vec<Reduced> {
    let ids = [1, 2].map(Uuid::from_u128);
    vec![
        new("default", []),
        new(
            "full",
            [
                set("price", Value::decimal("1.50")),
                set("day", Value::date("9999-12-31")),
                set("at", Value::time("12:30:00")),
                set("took", Duration::from_millis(1500)),
                set("state", "open"),
                set("numbers", vec![3_i64, -1, 3]),
                set("uuids", ids.to_vec()),
            ],
        ),
        change(
            "full",
            [
                increment("price", Value::decimal("0.05")),
                least("day", Value::date("2026-01-31")),
                greatest("at", Value::time("12:29:59.999999")),
                decrement("took", Duration::from_secs(2)),
                array_append("numbers", i64::MAX),
                array_remove("uuids", ids[0]),
                greatest("n", 4),
                increment("f", 0.5),
            ],
        ),
        change("full", [array_remove("numbers", 3), array_append("uuids", ids[1]), least("n", 7), set("f", 0.25)]),
        change("full", [array_intersect("numbers", [i64::MAX]), increment("f", -1.5), increment("price", 2)]),
        upsert(
            ["id"],
            [
                set("id", "made"),
                increment("price", 3),
                greatest("n", -5),
                least("f", 1.5),
                array_append("uuids", ids[0]),
                array_append("numbers", 1),
            ],
        ),
        upsert(
            ["id"],
            [
                set("id", "made"),
                decrement("price", Value::decimal("3.01")),
                greatest("n", -6),
                least("f", 1),
                array_append("uuids", ids[1]),
                array_append("numbers", i64::MIN),
            ],
        ),
        new("none", ["price", "day", "at", "took", "numbers", "uuids"].map(|name| set(name, Value::Null))),
        change(
            "none",
            [
                increment("price", 1),
                increment("took", Duration::from_secs(1)),
                greatest("day", Value::date("2026-01-31")),
                array_append("numbers", 9),
                array_remove("uuids", ids[0]),
            ],
        ),
    ]
}

// Contract: A8, B3
both!(each_type_holds_what_it_is_given);
pub(crate) fn each_type_holds_what_it_is_given(fixture: &Fixture) {
    let ids = [1, 2].map(Uuid::from_u128);
    assert_eq!(apply(fixture, orders(), changes).into_iter().flatten().collect::<Vec<_>>(), []);
    let null = || Value::Null;
    assert_eq!(
        row(fixture, orders(), "default"),
        [
            Value::decimal("-0.5"),
            Value::date("0001-01-01"),
            Value::time("23:59:59.999999"),
            Value::Duration(-i64::MAX),
            "it's done".into(),
            vec![i64::MIN, i64::MAX].into(),
            vec![Uuid::from_u128(7)].into(),
            null(),
            null(),
        ]
    );
    assert_eq!(
        row(fixture, orders(), "full"),
        [
            Value::decimal("3.55"),
            Value::date("2026-01-31"),
            Value::time("12:30:00"),
            Value::Duration(-500_000),
            "open".into(),
            vec![i64::MAX].into(),
            vec![ids[1], ids[1]].into(),
            4.into(),
            (-1.25).into(),
        ]
    );
    let made = row(fixture, orders(), "made");
    assert_eq!(made[0], Value::decimal("-0.01"));
    assert_eq!(made[5..], [vec![1, i64::MIN].into(), vec![ids[0], ids[1]].into(), (-5).into(), 1.0.into()]);
    let none = row(fixture, orders(), "none");
    assert_eq!(none[..4], [null(), Value::date("2026-01-31"), null(), null()]);
    assert_eq!(none[5..7], [vec![9_i64].into(), null()]);
}

// Contract: B3
both!(conditions_mean_numbers_and_days_and_not_how_they_are_written);
pub(crate) fn conditions_mean_numbers_and_days_and_not_how_they_are_written(fixture: &Fixture) {
    let ids = [1, 2].map(Uuid::from_u128);
    let rows = [("a", "9.50", "1999-12-31", 1), ("b", "10", "2026-01-31", 2), ("c", "-100.01", "0001-01-01", 3)];
    let all = move |(id, price, day, n): (&str, &str, &str, u8)| {
        let (price, day) = (Value::decimal(price), Value::date(day));
        let took = Duration::from_secs(n.into());
        new(
            id,
            [
                set("price", price),
                set("day", day),
                set("took", took),
                set("numbers", vec![i64::from(n)]),
                set("uuids", vec![ids[0]]),
            ],
        )
    };
    let mark = |n: i32, condition: Condition| update([increment("n", n)], [condition]);
    let statements = move || {
        let mut statements: Vec<Reduced> = rows.into_iter().map(all).collect();
        statements.push(update([set("n", 0)], [ne("id", "")]));
        statements.extend([
            mark(1, eq("price", Value::decimal("9.5000"))),
            mark(2, is_in("price", [Value::decimal("10.0"), Value::decimal("-100.01")])),
            mark(4, lt("price", 10)),
            mark(8, ge("day", Value::date("1999-12-31"))),
            mark(16, gt("took", Duration::from_secs(1))),
            mark(32, contains("numbers", 3)),
            mark(64, not(contains("uuids", ids[1]))),
            mark(128, eq("uuids", vec![ids[0]])),
            mark(256, eq("numbers", vec![2_i64])),
            mark(512, is_null("price")),
            copy(
                ["id"],
                ["id", "price", "n"],
                [source_value("c"), source_value(Value::decimal("100.1")).added(), source_column("n")],
                [eq("state", "it's done"), eq("id", "a")],
            ),
        ]);
        statements
    };
    assert_eq!(apply(fixture, orders(), statements).into_iter().flatten().collect::<Vec<_>>(), []);
    let found = ["a", "b", "c"].map(|id| row(fixture, orders(), id)[7].clone());
    assert_eq!(
        found,
        [205.into(), 474.into(), 205.into()],
        "{:?}",
        [1 + 4 + 8 + 64 + 128, 2 + 8 + 16 + 64 + 128 + 256, 205]
    );
    assert_eq!(row(fixture, orders(), "c")[0], Value::decimal("0.09"));
}

// Contract: A8, H1: both databases give the same class, with an error text that does not show the value.
both!(what_a_column_cannot_hold_fails_its_event);
pub(crate) fn what_a_column_cannot_hold_fails_its_event(fixture: &Fixture) {
    let statements = || cases().into_iter().map(|(statement, ..)| statement);
    let failed = apply(fixture, orders(), move || std::iter::once(full_row()).chain(statements()).collect());
    assert_eq!(failed[0], None);
    for ((at, (_, class, text)), failed) in cases().into_iter().enumerate().zip(&failed[1..]) {
        let (found, said) = failed.as_ref().unwrap_or_else(|| panic!("case {at} ({text}) succeeded"));
        assert_eq!(*found, class, "case {at}: {said}");
        assert!(said.contains(text), "case {at}: {said}");
        assert!(!said.contains("other"), "a value is told: {said}");
    }
    assert_eq!(row(fixture, orders(), "x")[0], Value::decimal("999.99"));
}

/// A row with values at the ends of the ranges.
fn full_row() -> Reduced {
    let values = [
        set("price", Value::decimal("999.99")),
        set("took", Value::Duration(i64::MIN)),
        set("n", i64::MIN),
        set("f", f64::MAX),
    ];
    new("x", values)
}

/// Statements that fail, with the class and the text of the failure.
fn cases() -> Vec<(Reduced, FailureClass, &'static str)> {
    use FailureClass as Class;
    let far = i64::MAX.unsigned_abs() + 1;
    vec![
        (
            new("1", [set("price", Value::decimal("1000"))]),
            Class::Statement,
            "Decimal(5, 2), not a number of 4 digits, 0 of",
        ),
        (new("1", [set("price", 1000)]), Class::Statement, "Decimal(5, 2), not a number of 4 digits, 0 of"),
        (new("1", [set("price", Value::decimal("0.125"))]), Class::Statement, "not a number of 3 digits, 3 of"),
        (new("1", [set("price", 1.5)]), Class::Statement, "Decimal(5, 2), not Float"),
        (new("1", [set("price", "1.5")]), Class::Statement, "Decimal(5, 2), not Text"),
        (new("1", [set("price", Value::decimal("NaN"))]), Class::Statement, "it is not a decimal number"),
        (new("1", [set("price", Value::decimal("1234567890123456789"))]), Class::Statement, "more than 18 digits"),
        (new("1", [set("day", Value::date("2026-02-30"))]), Class::Statement, "it is not a date"),
        (new("1", [set("day", Value::date("0000-12-31"))]), Class::Statement, "it is not a date"),
        (new("1", [set("at", Value::time("24:00:00"))]), Class::Statement, "it is not a time of day"),
        (new("1", [set("took", Duration::MAX)]), Class::Statement, "longer than"),
        (new("1", [set("n", far)]), Class::Statement, "outside of"),
        (new("1", [set("numbers", vec![1, far])]), Class::Statement, "outside of"),
        (change("x", [increment("n", far)]), Class::Statement, "outside of"),
        (new("1", [set("state", "other")]), Class::Statement, r#"one of ["open", "it's done"]"#),
        (delete([eq("state", "other")]), Class::Statement, r#"one of ["open", "it's done"]"#),
        (change("x", [increment("price", Value::decimal("0.001"))]), Class::Statement, "3 of them behind the point"),
        (change("x", [increment("price", 0.5)]), Class::Statement, "not Float"),
        (change("x", [increment("n", Value::Null)]), Class::Statement, "not NULL"),
        (change("x", [increment("state", 1)]), Class::Statement, "holds Text, not a number"),
        (change("x", [greatest("numbers", vec![1_i64])]), Class::Statement, "in the same order"),
        (change("x", [least("n", Value::Null)]), Class::Statement, "not NULL"),
        (change("x", [array_append("numbers", "1")]), Class::Statement, "not Text as an item"),
        (change("x", [array_intersect("uuids", [1])]), Class::Statement, "not Integer as an item"),
        (delete([contains("state", "open")]), Class::Statement, "not an array"),
        (delete([lt("price", Value::decimal("0.001"))]), Class::Statement, "3 of them behind the point"),
        // Only the database computes these sums.
        (change("x", [increment("price", Value::decimal("0.01"))]), Class::Data, ""),
        (change("x", [increment("took", Value::Duration(-1))]), Class::Data, ""),
        (change("x", [increment("n", -1)]), Class::Data, ""),
        (change("x", [increment("f", f64::MAX)]), Class::Data, ""),
        (upsert(["id"], [set("id", "x"), increment("price", 1)]), Class::Data, ""),
        (upsert(["id"], [set("id", "x"), increment("f", f64::MAX)]), Class::Data, ""),
        (
            copy(["id"], ["id", "f"], [source_value("x"), source_value(f64::MAX).added()], [eq("id", "x")]),
            Class::Data,
            "",
        ),
    ]
}

// Contract: A8, B2: a value that a column cannot hold is refused in the same way, also if the service's own SQL
// brings it.
both!(own_sql_stores_what_columns_of_these_types_hold);
pub(crate) fn own_sql_stores_what_columns_of_these_types_hold(fixture: &Fixture) {
    let names = ["price", "day", "at", "took", "state", "numbers", "uuids"];
    let fits = [
        ("price", Value::decimal("5.00")),
        ("day", Value::date("2026-02-28")),
        ("at", Value::time("00:00:00")),
        ("took", Value::Duration(i64::MAX)),
        ("state", "open".into()),
        ("numbers", vec![i64::MIN].into()),
        ("uuids", vec![Uuid::max()].into()),
    ];
    let wrong = [
        ("price", Value::decimal("1000.00")),
        ("price", Value::decimal("5.0")),
        ("price", "five".into()),
        ("day", "2026-02-30".into()),
        ("day", "0000-02-03".into()),
        ("at", "24:00:00.000000".into()),
        ("took", "long".into()),
        ("state", "other".into()),
        ("numbers", "1".into()),
        ("uuids", 7.into()),
    ];
    let cases: Vec<_> = fits.iter().chain(&wrong).cloned().collect();
    let sql: Vec<(String, String)> = names
        .iter()
        .map(|name| ((*name).to_owned(), format!("UPDATE {{orders}} SET \"{name}\" = $2 WHERE instance_id = $1")))
        .collect();
    let reduce = cases.clone();
    let projection = Projection::new("orders", 1).table(orders()).on_raw("t", "x", move |e| {
        let (name, value) = reduce[e.aggregate_id().parse::<usize>().unwrap()].clone();
        multi([create([set("id", e.aggregate_id())]), exec(name, [value])])
    });
    let projection = sql
        .into_iter()
        .fold(projection, |projection, (name, sql)| projection.sql(&name, &*Box::leak(sql.into_boxed_str())));
    let handler = handler(fixture, &projection);
    for (n, (name, value)) in cases.iter().enumerate() {
        let (id, instance) = (n.to_string(), format!("i{n}"));
        fixture.store.push(&[NewEvent::raw(&instance, "t", &id, "x")]).unwrap();
        handler.trigger(&[&instance]).unwrap();
        let failed = !handler.failed_events(&FailureQuery::all().instance(&instance)).unwrap().is_empty();
        assert_eq!(failed, n >= fits.len(), "{name} {value:?}");
    }
    let rows = fixture.read_rows(&projection, "orders");
    assert_eq!(rows.len(), fits.len());
    for (name, value) in &fits {
        let is = |(column, found): &(String, Value)| column == name && found == value;
        assert_eq!(rows.iter().flatten().filter(|pair| is(pair)).count(), 1, "{name}");
    }
}

// Contract: I2
both!(a_type_that_no_column_can_have_is_refused_by_name);
pub(crate) fn a_type_that_no_column_can_have_is_refused_by_name(fixture: &Fixture) {
    let none: [&str; 0] = [];
    for (column, text) in [
        (decimal("x", 19, 2), "\"x\" for decimals of 19 digits"),
        (decimal("x", 0, 0), "1 to 18"),
        (decimal("x", 2, 3), "3 of them behind"),
        (enumeration("x", none), "lists nothing"),
        (enumeration("x", ["a", "a"]), "twice"),
        (enumeration("x", ["a\0"]), "NUL"),
        (enumeration("x", ["a"]).default("b"), "default"),
        (decimal("x", 4, 2).default(Value::decimal("0.125")), "default"),
        (decimal("x", 4, 2).default(Value::decimal("NaN")), "not a decimal"),
        (integer("x").default(u64::MAX), "outside of"),
    ] {
        let table = Table::new("orders").column(text_id()).column(column).primary_key(["id"]);
        let error = fixture.store.setup(&[&doing(table, Vec::new)]).unwrap_err();
        let said = error::chain(&error);
        assert!(said.contains(text) && said.contains("\"x\""), "{said}");
    }
}

fn text_id() -> Column {
    text("id")
}

// Contract: A8: a stored value has one form, however it was given.
both!(keys_and_unique_columns_tell_values_and_not_spellings);
pub(crate) fn keys_and_unique_columns_tell_values_and_not_spellings(fixture: &Fixture) {
    let table = || {
        Table::new("orders")
            .column(text("id"))
            .column(decimal("price", 5, 2))
            .column(date("day"))
            .primary_key(["price", "day"])
            .unique(["id"])
    };
    let new = |id: &str, price: &str| {
        create([set("id", id), set("price", Value::decimal(price)), set("day", Value::date("2026-01-31"))])
    };
    let found = apply(fixture, table(), move || {
        vec![new("a", "1.50"), new("b", "1.5"), new("c", "-0.00"), new("d", "0"), new("e", "1.51"), new("e", "7")]
    });
    let classes: Vec<_> = found.into_iter().map(|failed| failed.map(|(class, _)| class)).collect();
    let taken = Some(FailureClass::Constraint);
    assert_eq!(classes, [None, taken, None, taken, None, taken]);
}
