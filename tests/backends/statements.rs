//! Conditions joined by OR, look-ups, expected rows, and reducers for every type: Contract: B1, B2, B3, H1.

use std::sync::Arc;

use readside::failure::{FailureClass, FailureQuery};
use readside::prelude::*;

use readside::{HandlerConfig, NewEvent, Policy, ProjectionHandler, error};

use crate::Fixture;

/// Customers, and orders that keep the name of their customer.
fn orders(reducer: impl Fn(&Event) -> Reduced + Send + Sync + 'static) -> Projection {
    Projection::new("orders", 1)
        .table(
            Table::new("orders")
                .column(text("id"))
                .column(text("customer").nullable())
                .column(text("state").default("open"))
                .column(integer("n").default(0))
                .primary_key(["id"]),
        )
        .table(
            Table::new("customers")
                .column(text("id"))
                .column(text("name"))
                .column(text("mail"))
                .primary_key(["id"])
                .unique(["mail"]),
        )
        .on_any(reducer)
}

/// Stores one event for each word, applies them, and returns the handler, so that the test can read its rows.
fn applied(fixture: &Fixture, projection: &Projection, words: &[&str]) -> ProjectionHandler {
    let event = |word: &&str| NewEvent::raw("a", "thing", "x", word);
    fixture.store.push(&words.iter().map(event).collect::<Vec<_>>()).unwrap();
    let config = HandlerConfig::default().policy(Policy::Skip).max_failure_count(1);
    let handler = ProjectionHandler::new(fixture.source(), fixture.models(), projection.clone(), config).unwrap();
    handler.setup().unwrap();
    handler.trigger(&["a"]).unwrap();
    handler
}

/// `id customer state n` for every order.
fn rows(fixture: &Fixture, projection: &Projection) -> Vec<String> {
    let show = |value: &Value| match value {
        Value::Text(text) => text.clone(),
        Value::Integer(n) => n.to_string(),
        Value::Null => "-".to_owned(),
        other => panic!("{other:?}"),
    };
    let rows = fixture.read_rows(projection, "orders");
    rows.iter().map(|row| row[1..].iter().map(|(_, value)| show(value)).collect::<Vec<_>>().join(" ")).collect()
}

fn order(id: &str, state: &str, n: i64) -> Reduced {
    create([set("id", id), set("state", state), set("n", n)])
}

// Contract: B3: conditions joined by OR, also nested, and over several columns at once. NULL equals NULL.
both!(conditions_are_joined_by_or);
pub(crate) fn conditions_are_joined_by_or(fixture: &Fixture) {
    let projection = orders(|e| match e.event_type() {
        "made" => multi([order("1", "open", 1), order("2", "open", 2), order("3", "shut", 3), order("4", "lost", 4)]),
        "or" => update([set("customer", "or")], [any_of([eq("n", 1), all_of([eq("state", "shut"), gt("n", 2)])])]),
        "none" => delete([any_of([])]),
        "pairs" => update(
            [increment("n", 100)],
            [are_in(["state", "n"], [[Value::from("open"), 2.into()], [Value::from("open"), 4.into()]])],
        ),
        "nulls" => update(
            [set("state", "null")],
            [are_in(["customer", "n"], [[Value::Null, 4.into()], [Value::Null, 3.into()]])],
        ),
        "many" => update([increment("n", 1)], [any_of((0..5000).map(|n| eq("id", n.to_string())))]),
        "not" => delete([not(any_of([eq("id", "1"), eq("id", "2")])), any_of([is_null("customer"), eq("id", "1")])]),
        _ => noop(),
    });
    let handler = applied(fixture, &projection, &["made", "or", "none", "pairs", "nulls", "many"]);
    assert_eq!(handler.failed_events(&FailureQuery::all()).unwrap(), []);
    assert_eq!(rows(fixture, &projection), ["1 or open 2", "2 - open 103", "3 or shut 4", "4 - null 5"]);
    applied(fixture, &projection, &["not"]);
    assert_eq!(rows(fixture, &projection), ["1 or open 2", "2 - open 103", "3 or shut 4"]);
}

// Contract: B2: a condition that means every row, or cannot hold, is refused when it is built.
#[test]
fn conditions_that_cannot_be_are_refused() {
    let refused = |reduced: Reduced| reduced.unwrap_err().to_string();
    assert!(refused(delete([all_of([])])).contains("all_of has no condition"));
    assert!(refused(delete([not(any_of([all_of([])]))])).contains("all_of has no condition"));
    assert!(refused(delete([are_in(["a", "b"], [["x"]])])).contains("2 columns, but 1 values"));
    assert!(refused(delete([any_of([eq("instance_id", "b")])])).contains("the engine sets it itself"));
    assert!(refused(update([look_up("a", "t", "b", [])], [eq("id", 1)])).contains("look_up has no condition"));
    assert!(refused(create([set("id", 1)]).expect_rows(1)).contains("not of create"));
    assert!(refused(multi([delete([eq("id", 1)])]).expect_rows(1)).contains("not of multi"));
}

// Contract: B2, H1: a look-up names one row by a key, with values of the column's type.
#[test]
fn a_look_up_that_names_no_row_fails_its_event() {
    let failure = |value: fn() -> Assignment| {
        let projection = orders(move |_| create([set("id", "o"), value()]));
        projection.reduce(&Event::new("a", "thing", "x", "made")).unwrap_err()
    };
    let no_key = failure(|| look_up("customer", "customers", "name", [eq("name", "Ada")]));
    assert!(no_key.class == FailureClass::Statement && no_key.error.contains("name no row"), "{no_key:?}");
    let more = failure(|| look_up("customer", "customers", "name", [eq("id", "c"), eq("name", "Ada")]));
    assert!(more.error.contains("name no row"), "{more:?}");
    assert!(
        failure(|| look_up("customer", "customers", "name", [eq("id", Value::Null)])).error.contains("name no row")
    );
    assert!(failure(|| look_up("n", "customers", "name", [eq("id", "c")])).error.contains("holds Integer, not Text"));
    assert!(failure(|| look_up("customer", "nobody", "name", [eq("id", "c")])).error.contains("no table \"nobody\""));
}

// Contract: B3: a look-up sees the writes of the events before it, also those of the same batch, in every kind of
// statement.
both!(a_row_takes_over_what_another_one_holds);
pub(crate) fn a_row_takes_over_what_another_one_holds(fixture: &Fixture) {
    let name = |key: Condition| look_up("customer", "customers", "name", [key]);
    let projection = orders(move |e| match e.event_type() {
        "ada" => in_table("customers", create([set("id", "c"), set("name", "Ada"), set("mail", "ada@example.org")])),
        "bob" => in_table("customers", update([set("name", "Bob")], [eq("id", "c")])),
        "created" => create([set("id", "1"), name(eq("id", "c"))]),
        "upserted" => upsert(["id"], [set("id", "2"), name(eq("mail", "ada@example.org"))]),
        "updated" => update([name(eq("id", "c"))], [eq("id", "1")]),
        "missed" => upsert(["id"], [set("id", "2"), name(eq("id", "nobody"))]),
        "demanded" => in_table(
            "customers",
            create([set("id", "d"), look_up("name", "customers", "name", [eq("id", "e")]), set("mail", "d")]),
        ),
        _ => noop(),
    });
    applied(fixture, &projection, &["ada", "created", "upserted", "bob", "upserted"]);
    assert_eq!(rows(fixture, &projection), ["1 Ada open 0", "2 Bob open 0"]);
    let handler = applied(fixture, &projection, &["updated", "missed", "demanded"]);
    assert_eq!(rows(fixture, &projection), ["1 Bob open 0", "2 - open 0"], "where there is no such row it is NULL");
    let failed = handler.failed_events(&FailureQuery::all()).unwrap();
    let failed: Vec<_> = failed.iter().map(|held| (held.attempt.position, held.attempt.class)).collect();
    assert_eq!(failed, [(8, FailureClass::Constraint)], "where it may not be NULL, the event fails");
}

// Contract: H1, B5: if a statement meets an unexpected number of rows, its event fails with that class, and the error
// says the number.
both!(expected_rows_are_insisted_on);
pub(crate) fn expected_rows_are_insisted_on(fixture: &Fixture) {
    let projection = orders(|e| match e.event_type() {
        "made" => multi([order("1", "open", 1), order("2", "open", 2)]),
        "one" => update([increment("n", 10)], [eq("id", "1")]).expect_rows(1),
        "two" => update([increment("n", 10)], [eq("state", "open")]).expect_rows(2),
        "late" => multi([order("3", "open", 3), delete([eq("id", "9")]).expect_rows(1)]),
        "many" => delete([eq("state", "open")]).expect_rows(1),
        "copied" => copy(["id"], ["id"], [source_value("7")], [eq("id", "8")]).expect_rows(1),
        "gone" => delete([eq("id", "2")]).expect_rows(1),
        _ => noop(),
    });
    let handler = applied(fixture, &projection, &["made", "one", "two", "late", "many", "copied", "gone"]);
    assert_eq!(rows(fixture, &projection), ["1 - open 21"]);
    let failed = handler.failed_events(&FailureQuery::all()).unwrap();
    let failed: Vec<_> =
        failed.iter().map(|held| (held.attempt.position, held.attempt.class, held.attempt.error.as_str())).collect();
    let said = "writing a read table of projection \"orders\" failed: the";
    let (late, many, copied) = (
        format!("{said} delete met 0 rows, not 1"),
        format!("{said} delete met 2 rows, not 1"),
        format!("{said} copy met 0 rows, not 1"),
    );
    let class = FailureClass::Statement;
    assert_eq!(failed, [(4, class, late.as_str()), (5, class, &many), (6, class, &copied)]);
}

// Contract: L11: missed rows are counted where the database reports them.
both!(missed_updates_are_counted);
pub(crate) fn missed_updates_are_counted(fixture: &Fixture) {
    let projection = orders(|e| match e.event_type() {
        "made" => order("1", "open", 1),
        "missed" => update([increment("n", 1)], [eq("id", "nobody")]),
        "by state" => update([increment("n", 1)], [eq("state", "nowhere")]),
        "met" => multi([
            update([increment("n", 1)], [eq("id", "1")]),
            upsert(["id"], [set("id", "2"), increment("n", 1), set_on_insert("customer", "x")]),
            update([increment("n", 1)], [eq("id", "2")]),
        ]),
        "gone" => delete([eq("state", "nowhere")]),
        _ => in_table("customers", update([set("name", "x")], [eq("id", "c")])),
    });
    fixture.models().setup(&[&projection]).unwrap();
    let statement = |word: &str| projection.reduce(&Event::new("a", "thing", "x", word)).unwrap();
    let missed = |words: &[&str]| {
        let statements: Vec<Statement> = words.iter().map(|word| statement(word)).collect();
        let (mut together, mut alone) = (0, 0);
        let all = [(Arc::from("a"), statements.iter().collect())];
        let tried = fixture.models().transaction(&mut |tx| {
            tx.apply(&projection, &all)?;
            together = tx.missed();
            Err(error::StoreError::new("rolling back", error::StoreErrorKind::Other, "on purpose"))
        });
        assert!(tried.is_err());
        let single = fixture.models().transaction(&mut |tx| {
            statements.iter().try_for_each(|one| tx.apply_one(&projection, "a", one))?;
            alone = tx.missed();
            Ok(())
        });
        single.unwrap();
        (together, alone)
    };
    assert_eq!(missed(&["made", "met"]), (0, 0));
    assert_eq!(missed(&["met", "missed", "by state", "gone"]), (3, 3));
    assert_eq!(missed(&["missed", "missed", "met"]), (1, 2), "two updates of one row are one");
    assert_eq!(missed(&["customer"; 4]), (4, 4), "a table whose rows are written in order");
}
