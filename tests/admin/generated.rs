//! Generated columns, which the database computes. No statement writes them, and they are compared like other columns
//! in each build.

use std::sync::Arc;

use readside::admin::{ExplainRequest, RebuildOptions};
use readside::builds::Phase;
use readside::error::{SetupError, StatementError};
use readside::failure::{FailureClass, FailureQuery};
use readside::prelude::*;
use readside::store::{ProjectionStore, ProjectionTransaction};
use readside::{Engine, NewEvent, error, testing};

use crate::{LONG, Place, by, eager, eventually, handler};

/// Two words, and a unique column `joined` that the database computes from them.
fn words() -> Table {
    Table::new("people")
        .column(text("id"))
        .column(text("first"))
        .column(text("last").nullable())
        .column(text("joined").generated("first || '-' || coalesce(last, '')"))
        .column(integer("letters").nullable().generated(Dialects::each("char_length(last)", "length(last)")))
        .column(decimal("half", 12, 2).generated(Dialects::each("char_length(first) / 2.0", "length(first) * 50")))
        .primary_key(["id"])
        .index(["letters"])
        .index_by(Index::new("loud").expression("upper(first)").covering(["joined"]))
        .demand("short", "letters < 9")
}

fn people(version: u32, table: Table) -> Projection {
    Projection::new("people", version)
        .table(table)
        .on_raw("person", "person.named", |e| {
            let [first, last] = e.payload::<[String; 2]>()?;
            upsert(["id"], [set("id", e.aggregate_id()), set("first", first), set("last", last)])
        })
        .on_raw("person", "person.left", |e| update([set("last", Value::Null)], [eq("id", e.aggregate_id())]))
        .on_raw("person", "person.gone", |e| {
            let both = e.payload::<String>()?;
            delete([eq("joined", both)]).expect_rows(1)
        })
        .on_raw("person", "person.odd", |e| {
            create([set("id", e.aggregate_id()), set("first", "x"), set("joined", "y")])
        })
}

fn event(id: &str, kind: &str, payload: &impl serde::Serialize) -> NewEvent {
    NewEvent::raw("a", "person", id, kind).payload(payload)
}

fn named(id: &str, first: &str, last: &str) -> NewEvent {
    event(id, "person.named", &[first, last])
}

// Contract: B2, G3, O1, O3
both!(generated_columns_are_the_databases_own_on_every_build);
pub(crate) fn generated_columns_are_the_databases_own_on_every_build<P: Place>(place: &P) {
    let store = place.open();
    let first = people(1, words().unique(["joined"]));
    let start = |projection: Projection| {
        Engine::builder(place.open()).projection_with(projection, handler()).config(eager()).start().unwrap()
    };
    let engine = start(first.clone());
    let mut events: Vec<NewEvent> = (0..40).map(|n| named(&format!("p{n}"), &format!("f{n}"), "x")).collect();
    // Another row may take a unique value only after its holder gave it up.
    events.extend([named("p0", "new", "name"), named("p1", "f0", "x"), event("p2", "person.left", &())]);
    events.push(event("p3", "person.gone", &"f3-x"));
    let pushed = engine.push(&events).unwrap();
    engine.await_pushed("people", &pushed, LONG).unwrap();
    let rows = || place.query("SELECT joined FROM people WHERE id IN ('p0', 'p1', 'p2', 'p3') ORDER BY id");
    assert_eq!(rows(), ["new-name", "f0-x", "f2-"]);
    // These fail: a duplicate, a word that is too long for the check, and a statement that writes a generated column.
    let refused = [named("q1", "f0", "x"), named("q2", "a", "far too long"), event("q3", "person.odd", &())];
    let positions: Vec<i64> = engine.push(&refused).unwrap().iter().map(Event::position).collect();
    for position in &positions {
        engine.await_position("people", "a", *position, LONG).unwrap_err();
    }
    let failed = engine.admin().failed_events("people", &FailureQuery::all()).unwrap();
    let classes: Vec<_> = failed.iter().map(|held| held.attempt.class).collect();
    assert_eq!(classes, [FailureClass::Constraint, FailureClass::Constraint, FailureClass::Statement]);
    let said = &failed[2].attempt.error;
    assert!(said.contains("\"joined\"") && said.contains("generated") && said.contains("leave it out"), "{said}");
    assert!(engine.admin().verify("people", None).unwrap().is_clean());
    assert!(testing::laws::check(&store, &store, &first).unwrap().is_lawful());
    let question = ExplainRequest { instance: "a".into(), table: None, key: vec!["p0".into()], at: None };
    let told = engine.admin().explain("people", &question).unwrap();
    let row = serde_json::to_value(told.row.unwrap()).unwrap();
    let wanted = serde_json::json!({
        "instance_id": "a", "id": "p0", "first": "new", "last": "name", "joined": "new-name", "letters": 4, "half": "1.5",
    });
    assert_eq!((row, told.differs), (wanted, false));
    let whole = rows();
    let mut one = RebuildOptions::default();
    one.instance = Some("a".to_owned());
    for options in [RebuildOptions::default(), one.clone()] {
        let report = engine.admin().rebuild("people", options, &by(), |_| {}).unwrap();
        assert_eq!((report.left_behind, rows()), (Vec::<String>::new(), whole.clone()));
    }
    // Rows that other rows refer to are changed in place.
    let refers = "CREATE TABLE orders (instance_id TEXT, id TEXT, FOREIGN KEY (instance_id, id) REFERENCES people_1 (instance_id, id))";
    place.sql(&format!("{refers}; INSERT INTO orders VALUES ('a', 'p0')"));
    engine.admin().rebuild("people", one, &by(), |_| {}).unwrap();
    assert_eq!(rows(), whole);
    place.sql("DROP TABLE orders");
    ProjectionStore::verify(&store, &[&first]).unwrap();
    drop(engine);
    let second = people(2, words());
    let engine = start(second.clone());
    eventually("the raised version", || {
        let builds = store.builds().builds().unwrap();
        builds.iter().any(|build| build.key == second.key() && build.phase == Phase::Live && build.trouble.is_none())
    });
    assert_eq!(rows(), whole);
    assert!(engine.admin().verify("people", None).unwrap().is_clean());
    drop(engine);
}

// Contract: G3: without a unique constraint on the column, many rows are one statement with the same outcome.
both!(generated_columns_are_the_same_written_together_and_alone);
pub(crate) fn generated_columns_are_the_same_written_together_and_alone<P: Place>(place: &P) {
    let (store, projection) = (place.open(), people(1, words()));
    ProjectionStore::setup(&store, &[&projection]).unwrap();
    let named = |id: String, last: Option<&str>| {
        upsert(["id"], [set("id", id), set("first", "f"), set("last", last.map(str::to_owned))]).unwrap()
    };
    let mut statements: Vec<Statement> = (0..30).map(|n| named(format!("p{n}"), Some("x"))).collect();
    statements.extend((0..10).map(|n| named(format!("p{n}"), None)));
    statements.push(update([set("last", "yy")], [eq("id", "p5")]).unwrap());
    statements.push(delete([is_null("letters"), eq("id", "p6")]).unwrap());
    let mut both = |tx: &mut dyn ProjectionTransaction| {
        let of = |instance: &str| (Arc::<str>::from(instance), statements.iter().collect::<Vec<_>>());
        tx.apply(&projection, &[of("together")])?;
        statements.iter().try_for_each(|statement| tx.apply_one(&projection, "alone", statement))
    };
    store.transaction(&mut both).unwrap();
    let rows = |instance: &str| {
        let all = "id || ' ' || joined || ' ' || coalesce(CAST(letters AS TEXT), '')";
        place.query(&format!("SELECT {all} FROM people_1 WHERE instance_id = '{instance}' ORDER BY id"))
    };
    assert_eq!((rows("together").len(), rows("together")), (29, rows("alone")));
}

// Contract: B2, I2, J5
both!(a_generated_column_that_cannot_be_is_refused_before_anything_is_changed);
pub(crate) fn a_generated_column_that_cannot_be_is_refused_before_anything_is_changed<P: Place>(place: &P) {
    let store = place.open();
    let one = |column: Column| {
        Table::new("people").column(text("id")).column(text("first")).column(column).primary_key(["id"])
    };
    let fine = Projection::new("fine", 1).table(Table::new("fine").column(text("id")).primary_key(["id"])).on_raw(
        "a",
        "b",
        |_| noop(),
    );
    for sql in ["upper(", "nowhere + 1", "nothing(first)", "first +", "random()"] {
        let odd = people(1, one(integer("made").generated(sql)));
        let refused = ProjectionStore::setup(&store, &[&fine, &odd]).unwrap_err();
        let said = error::chain(&refused);
        let is_typed = matches!(&refused, SetupError::Expression { table, .. } if table == "people");
        assert!(is_typed || sql == "upper(", "{refused:?}");
        assert!(said.contains("\"made\"") && said.contains("\"people\""), "{said}");
        assert!(sql == "upper(" || said.contains("Nothing was changed"), "{said}");
    }
    let tables = "SELECT count(*) FROM ";
    let of = if place.address().starts_with("postgres") {
        "pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    } else {
        "sqlite_master"
    };
    assert_eq!(place.query(&format!("{tables}{of}")), ["0"]);
    let only = if place.address().starts_with("postgres") { Dialects::sqlite } else { Dialects::postgres };
    for (table, words) in [
        (one(text("made").default("x").generated("upper(first)")), "default"),
        (one(text("made").generated("upper(first); --")), "semicolon"),
        (one(text("made").generated(only("upper(first)"))), "without a text"),
        (one(text("made").generated("upper(first)")).column(text("more").generated("lower(made)")), "\"made\""),
        (one(text("made").generated("upper(first)")).references_primary(["made"]), "foreign key"),
        (
            Table::new("people").column(text("first")).column(text("id").generated("first")).primary_key(["id"]),
            "primary key",
        ),
    ] {
        let said = error::chain(&ProjectionStore::setup(&store, &[&people(1, table)]).unwrap_err());
        assert!(said.contains("generated column") && said.contains(words), "{said}");
    }
    let copies = copy(["id"], ["id", "made"], [source_value("x"), source_column("first")], [eq("id", "y")]).unwrap();
    let copying = people(1, one(text("made").generated("upper(first)")))
        .on_raw("person", "person.copied", move |_| Ok(copies.clone()));
    let failure = copying.reduce(&Event::new("a", "person", "p", "person.copied")).unwrap_err();
    let wanted = StatementError::Generated { table: "people".into(), column: "made".into() };
    assert_eq!(failure.error, wanted.to_string());
}

// Contract: I2
both!(a_column_that_is_not_generated_any_more_is_named);
pub(crate) fn a_column_that_is_not_generated_any_more_is_named<P: Place>(place: &P) {
    let store = place.open();
    let plain = Table::new("people").column(text("id")).column(text("made")).primary_key(["id"]);
    ProjectionStore::setup(&store, &[&people(1, plain)]).unwrap();
    let made = Table::new("people").column(text("id")).column(text("made").generated("upper(id)")).primary_key(["id"]);
    ProjectionStore::setup(&store, &[&people(2, made)]).unwrap();
    place.sql("DROP TABLE people_2; ALTER TABLE people_1 RENAME TO people_2");
    let made = Table::new("people").column(text("id")).column(text("made").generated("upper(id)")).primary_key(["id"]);
    let refused = ProjectionStore::verify(&store, &[&people(2, made)]).unwrap_err();
    let is_it = matches!(&refused, SetupError::TableDiffers { difference, .. } if difference.contains("generated"));
    assert!(is_it, "{refused:?}");
}
