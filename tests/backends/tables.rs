//! Several tables, schemas, custom SQL, and long reads: Contract: A5, B1, B2, B5, I2.

use readside::error::SetupError;
use readside::failure::FailureClass;
use readside::prelude::*;
use readside::query::Query;
use readside::{HandlerConfig, NewEvent, Policy, ProjectionHandler};

use crate::Fixture;

fn handler(fixture: &Fixture, projection: &Projection) -> ProjectionHandler {
    // A failure is reported, not skipped.
    let config = HandlerConfig::default().retries(0).policy(Policy::Stop);
    let handler = ProjectionHandler::new(fixture.source(), fixture.models(), projection.clone(), config).unwrap();
    handler.setup().unwrap();
    handler
}

/// Orders with lines, in a schema. The first table is the primary one.
fn orders() -> Projection {
    Projection::new("orders", 2)
        .schema("shop \"x\"")
        .table(Table::new("orders").column(text("id")).column(integer("total").default(0)).primary_key(["id"]))
        .table(
            Table::suffix("lines")
                .column(text("order_id"))
                .column(integer("number"))
                .column(text("what").nullable())
                .primary_key(["order_id", "number"])
                .references_primary(["order_id"]),
        )
        .sql("what", "UPDATE {lines} SET what = $2 WHERE instance_id = $1")
        .on_raw("order", "placed", |e| create([set("id", e.aggregate_id())]))
        .on_raw("order", "line", |e| {
            multi([
                in_table("lines", create([set("order_id", e.aggregate_id()), set("number", e.position())])),
                update([increment("total", 1)], [eq("id", e.aggregate_id())]),
                exec("what", [e.aggregate_id()]),
            ])
        })
        .on_raw("order", "broken", |e| {
            multi([
                update([increment("total", 100)], [eq("id", e.aggregate_id())]),
                in_table("lines", create([set("order_id", "nobody's"), set("number", 1)])),
            ])
        })
        .on_raw("order", "gone", |e| delete([eq("id", e.aggregate_id())]))
}

// Contract: B1, B2, B5
both!(a_projection_has_several_tables_in_a_schema);
pub(crate) fn a_projection_has_several_tables_in_a_schema(fixture: &Fixture) {
    let projection = orders();
    let handler = handler(fixture, &projection);
    let push = |instance: &str, id: &str, kind: &str| {
        fixture.store.push(&[NewEvent::raw(instance, "order", id, kind)]).unwrap();
    };
    for instance in ["a", "b"] {
        push(instance, "o1", "placed");
        push(instance, "o1", "line");
        push(instance, "o1", "line");
    }
    push("a", "o2", "placed");
    handler.trigger(&["a", "b"]).unwrap();
    let value = |table: &str, row: usize, column: usize| fixture.read_rows(&projection, table)[row][column].1.clone();
    assert_eq!(value("orders", 0, 2), 2.into());
    assert_eq!(fixture.read_rows(&projection, "orders_lines").len(), 4);
    assert_eq!(value("lines", 0, 3), "o1".into());
    push("b", "o1", "broken");
    assert!(handler.trigger(&["b"]).is_err());
    let held = fixture.store.failed_events(&projection.key(), &readside::failure::FailureQuery::all()).unwrap();
    assert_eq!(held[0].attempt.class, FailureClass::Constraint);
    assert_eq!(fixture.read_rows(&projection, "orders").last().unwrap()[2].1, 2.into(), "all of a multi or nothing");
    push("a", "o1", "gone");
    handler.trigger(&["a"]).unwrap();
    assert_eq!(fixture.read_rows(&projection, "lines").len(), 2, "the lines of the order went with it");
}

// Contract: I2
both!(a_table_that_was_changed_by_hand_is_reported);
pub(crate) fn a_table_that_was_changed_by_hand_is_reported(fixture: &Fixture) {
    let things = |version| {
        Projection::new("things", version)
            .table(Table::new("things").column(text("id")).column(integer("n").nullable()).primary_key(["id"]))
            .on_raw("t", "x", |e| create([set("id", e.aggregate_id())]))
    };
    fixture.store.setup(&[&things(1)]).unwrap();
    alter(fixture, "ALTER TABLE things_1 ADD COLUMN by_hand TEXT");
    for outcome in [fixture.store.setup(&[&things(1)]), fixture.store.verify(&[&things(1)])] {
        match outcome {
            Err(SetupError::TableDiffers { table, difference, .. }) => {
                assert_eq!(table, "things_1");
                assert!(difference.contains("by_hand"), "{difference}");
            }
            other => panic!("{other:?}"),
        }
    }
    fixture.store.setup(&[&things(2)]).unwrap();
}

// Contract: A8, B2: a value that a column cannot hold is refused in the same way, also if the service's own SQL
// brings it.
both!(own_sql_stores_what_the_columns_hold);
pub(crate) fn own_sql_stores_what_the_columns_hold(fixture: &Fixture) {
    const SETS: [(&str, &str); 5] = [
        ("on", "UPDATE {things} SET \"on\" = $2 WHERE instance_id = $1"),
        ("at", "UPDATE {things} SET at = $2 WHERE instance_id = $1"),
        ("doc", "UPDATE {things} SET doc = $2 WHERE instance_id = $1"),
        ("ref", "UPDATE {things} SET ref = $2 WHERE instance_id = $1"),
        ("tags", "UPDATE {things} SET tags = $2 WHERE instance_id = $1"),
    ];
    let columns = [boolean("on"), timestamp("at"), json("doc"), uuid("ref"), text_array("tags")];
    let table = columns
        .into_iter()
        .fold(Table::new("things").column(text("id")), |table, column| table.column(column.nullable()));
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_micros(1_234_567);
    let fits = [
        ("on", Value::from(true)),
        ("at", at.into()),
        ("doc", Value::json(&7).unwrap()),
        ("ref", uuid::Uuid::nil().into()),
        ("tags", Value::TextArray(vec!["a".into()])),
    ];
    let wrong = [
        ("on", Value::from(5)),
        ("at", "tomorrow".into()),
        ("at", "2026-13-31T12:00:00.000000Z".into()),
        ("at", 7.into()),
        ("doc", "{no json".into()),
        ("ref", "no uuid".into()),
        ("ref", Value::Bytes(vec![1, 2, 3])),
        ("tags", "a".into()),
    ];
    let nulls = SETS.map(|(name, _)| (name, Value::Null));
    let cases: Vec<_> = fits.iter().chain(&wrong).chain(&nulls).cloned().collect();
    let reduce = cases.clone();
    let projection = Projection::new("things", 1).table(table.primary_key(["id"])).on_raw("t", "x", move |e| {
        let (name, value) = reduce[e.aggregate_id().parse::<usize>().unwrap()].clone();
        multi([create([set("id", e.aggregate_id())]), exec(name, [value])])
    });
    let projection = SETS.into_iter().fold(projection, |projection, (name, sql)| projection.sql(name, sql));
    let handler = handler(fixture, &projection);
    for (n, (name, value)) in cases.iter().enumerate() {
        let (id, instance) = (n.to_string(), format!("i{n}"));
        fixture.store.push(&[NewEvent::raw(&instance, "t", &id, "x")]).unwrap();
        let is_wrong = wrong.contains(&(*name, value.clone()));
        assert_eq!(handler.trigger(&[&instance]).is_err(), is_wrong, "{name} {value:?}");
    }
    let rows = fixture.read_rows(&projection, "things");
    assert_eq!(rows.len(), fits.len() + nulls.len());
    for (name, value) in &fits {
        let found = rows.iter().flatten().filter(|(column, found)| column == name && !matches!(found, Value::Null));
        assert_eq!(found.map(|(_, found)| found).collect::<Vec<_>>(), [value]);
    }
}

/// Runs DDL in the store's own database, through a projection without tables.
fn alter(fixture: &Fixture, sql: &'static str) {
    let hand =
        Projection::new("hand", 1).sql("ddl", sql).on_raw("t", "by_hand", move |_| multi([exec::<Value>("ddl", [])]));
    fixture.store.push(&[NewEvent::raw("hand", "t", "h", "by_hand")]).unwrap();
    handler(fixture, &hand).trigger(&["hand"]).unwrap();
}

// Contract: A5: a long read in pages returns each event once, in order, also while events are added.
both!(a_stream_is_complete);
pub(crate) fn a_stream_is_complete(fixture: &Fixture) {
    let push = |n: usize| {
        let commands: Vec<NewEvent> = (0..n).map(|n| NewEvent::raw(["a", "b"][n % 2], "t", "x", "e")).collect();
        fixture.store.push(&commands).unwrap();
    };
    push(25);
    for page in [1, 7, 1000] {
        let found = fixture.stream(Query::new(), page);
        assert_eq!(found.len(), 25);
        assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "{found:?}");
        assert_eq!(fixture.stream(Query::new().limit(11), page).len(), 11);
        assert_eq!(fixture.stream(Query::new().descending(), page).first(), found.last());
    }
}
