//! A service's own SQL, in every build and in everything that applies events again.

use readside::admin::{CommandState, ExplainRequest, RebuildOptions};
use readside::error::{ProjectionError, SetupError, StoreErrorKind};
use readside::failure::{FailureClass, FailureQuery};
use readside::prelude::*;
use readside::store::ProjectionStore;
use readside::{Engine, Error, NewEvent, PostgresStore, testing};

use crate::{Counted, LONG, Place, by, count, eager, eventually, handler, tenant};

/// A function that only one database has. It computes a text from a word.
const COVERED: Dialects = Dialects::each(
    "UPDATE {items} SET word = md5($3) WHERE instance_id = $1 AND id = $2",
    "UPDATE {items} SET word = hex($3) WHERE instance_id = $1 AND id = $2",
);

/// Adds up numbers by custom SQL, `times` for each event, in two tables. One table refers to the other.
fn items(version: u32, times: i64) -> Projection {
    let tags = Table::suffix("tags").column(text("id")).column(integer("position")).column(integer("n"));
    let items = Table::new("items").column(text("id")).column(integer("n")).column(text("word").nullable());
    Projection::new("items", version)
        .table(items.primary_key(["id"]))
        .table(tags.primary_key(["id", "position"]).references_primary(["id"]))
        .sql("raise", "UPDATE {items} SET n = n + $3 WHERE instance_id = $1 AND id = $2")
        .sql(
            "copy",
            "INSERT INTO {tags} (instance_id, id, position, n) \
             SELECT instance_id, id, $3, n FROM {items} WHERE instance_id = $1 AND id = $2",
        )
        .sql("cover", COVERED)
        .on(move |e, p: Counted| {
            let id = || Value::from(e.aggregate_id());
            let new = upsert(["id"], [set("id", e.aggregate_id()), set_on_insert("n", 0)]);
            let raise = exec("raise", [id(), (times * p.by).into()]);
            let copy = exec("copy", [id(), e.position().into()]);
            multi([new, raise, copy, exec("cover", [id(), "a word".into()])])
        })
        // This fails in the database, and the batch goes on in single steps.
        .on_raw("thing", "thing.broken", |e| {
            in_table("tags", create([set("id", e.aggregate_id()), set("position", 1), set("n", 1)]))
        })
}

fn start<P: Place>(place: &P, projection: &Projection, auto_switch: bool) -> Engine {
    let config = eager().auto_switch(auto_switch);
    Engine::builder(place.open()).projection_with(projection.clone(), handler()).config(config).start().unwrap()
}

fn seen<P: Place>(place: &P) -> Vec<String> {
    let rows = "SELECT instance_id || '/' || id || '=' || n FROM items UNION ALL \
                SELECT instance_id || '/' || id || '@' || position || '=' || n FROM items_tags ORDER BY 1";
    place.query(rows)
}

fn fill(engine: &Engine) {
    let commands = [(0, "a", 1), (0, "b", 2), (1, "a", 3), (0, "a", 4)].map(|(n, id, by)| count(&tenant(n), id, by));
    let pushed = engine.push(&commands).unwrap();
    engine.await_pushed("items", &pushed, LONG).unwrap();
}

fn expected(times: i64) -> Vec<String> {
    let rows = [
        ("000/a=", 5),
        ("000/a@1=", 1),
        ("000/a@3=", 5),
        ("000/b=", 2),
        ("000/b@2=", 2),
        ("001/a=", 3),
        ("001/a@1=", 3),
    ];
    rows.map(|(row, n)| format!("tenant-{row}{}", n * times)).to_vec()
}

/// True if verify and the law checker find nothing.
fn is_clean<P: Place>(place: &P, engine: &Engine, projection: &Projection) -> bool {
    let store = place.open();
    let report = testing::laws::check(&store, &store, projection).unwrap();
    let found = engine.admin().verify("items", None).unwrap();
    assert_eq!(report.is_lawful(), found.is_clean(), "{report}\n{found:?}");
    assert_eq!(found.events, 4);
    found.is_clean()
}

// Contract: B2: a raised version writes into its own tables, and readers see nothing of it before the switch.
both!(a_raised_version_is_filled_by_it);
pub(crate) fn a_raised_version_is_filled_by_it<P: Place>(place: &P) {
    let old = start(place, &items(1, 1), true);
    fill(&old);
    assert_eq!(seen(place), expected(1));
    let new = start(place, &items(2, 10), false);
    eventually("the new version", || {
        place.query("SELECT phase FROM readside.projections WHERE version = 2") == ["ready"]
    });
    assert_eq!(seen(place), expected(1));
    eventually("the end of the rebuild", || new.admin().commands(None, 1).unwrap()[0].state == CommandState::Done);
    new.admin().switch("items", &by()).unwrap();
    assert_eq!(seen(place), expected(10));
    assert!(is_clean(place, &new, &items(2, 10)));
    assert_eq!(place.query("SELECT n FROM items_1 WHERE id = 'b'"), ["2"]);
}

// Contract: B2: the same holds for a rebuild, of all instances or of one.
both!(a_rebuild_is_filled_by_it);
pub(crate) fn a_rebuild_is_filled_by_it<P: Place>(place: &P) {
    let engine = start(place, &items(1, 1), true);
    fill(&engine);
    place.sql("UPDATE items_1 SET n = 7 WHERE id = 'b'");
    let report = engine.admin().rebuild("items", RebuildOptions::default(), &by(), |_| {}).unwrap();
    let changed = report.comparison.unwrap().tables.iter().map(|table| table.changed).sum::<u64>();
    assert_eq!((changed, seen(place)), (1, expected(1)));
    place.sql("DELETE FROM items_tags_1; UPDATE items_1 SET n = 8");
    let repaired = engine.admin().repair("items", None, &by()).unwrap().repaired;
    assert_eq!((repaired, seen(place)), (vec![tenant(0), tenant(1)], expected(1)));
    assert!(is_clean(place, &engine, &items(1, 1)));
}

// Contract: B2: verify and explain say what the database of the read models would say.
both!(it_is_verified_and_explained);
pub(crate) fn it_is_verified_and_explained<P: Place>(place: &P) {
    let engine = start(place, &items(1, 1), true);
    fill(&engine);
    assert!(is_clean(place, &engine, &items(1, 1)));
    let question = |at| ExplainRequest { instance: tenant(0), table: None, key: vec!["a".into()], at };
    let told = engine.admin().explain("items", &question(None)).unwrap();
    let steps: Vec<_> =
        told.steps.iter().map(|step| (step.position, step.row.as_ref().unwrap()["n"].clone())).collect();
    assert_eq!(steps, [(1, 1.into()), (3, 5.into())]);
    assert!(told.row.is_some() && told.row == told.found, "{told:?}");
    let statement = &told.steps[1].statement;
    assert!(statement.contains("exec raise with (\"a\", 4)"), "{statement}");
    assert_eq!(engine.admin().explain("items", &question(Some(2))).unwrap().row.unwrap()["n"], 1);
    place.sql("UPDATE items_1 SET word = 'other' WHERE id = 'b'");
    assert!(!is_clean(place, &engine, &items(1, 1)));
    let found = engine.admin().verify("items", Some(&tenant(0))).unwrap();
    assert_eq!((found.differing[0].differing_rows, &found.differing[0].samples[0].key["id"]), (1, &"b".into()));
    assert_eq!(seen(place), expected(1), "nothing was changed by looking");
}

// Contract: G2, G3: it runs separately among folded statements, and in single steps if a batch fails.
both!(a_batch_that_fails_goes_on_with_it);
pub(crate) fn a_batch_that_fails_goes_on_with_it<P: Place>(place: &P) {
    let engine = start(place, &items(1, 1), true);
    let commands = [
        count("a", "x", 1),
        count("a", "x", 2),
        NewEvent::raw("a", "thing", "nobody", "thing.broken"),
        count("a", "x", 3),
    ];
    let pushed = engine.push(&commands).unwrap();
    engine.await_position("items", "a", pushed[3].position(), LONG).unwrap();
    assert_eq!(place.query("SELECT n FROM items"), ["6"]);
    assert_eq!(engine.admin().failed_events("items", &FailureQuery::all()).unwrap().len(), 1);
    assert!(engine.admin().verify("items", None).unwrap().is_clean());
}

// Contract: B2: a service on one database needs only one text. A text for the other database counts as none.
both!(one_text_suffices_for_its_own_database);
pub(crate) fn one_text_suffices_for_its_own_database<P: Place>(place: &P) {
    let is_postgres = place.address().starts_with("postgres");
    let with = |sql| {
        Projection::new("notes", 1)
            .table(Table::new("notes").column(text("id")).column(text("word")).primary_key(["id"]))
            .sql("write", sql)
            .on(|e, _: Counted| exec("write", [e.aggregate_id()]))
    };
    let postgres = Dialects::postgres("INSERT INTO {notes} (instance_id, id, word) VALUES ($1, $2, md5($2))");
    let sqlite = Dialects::sqlite("INSERT INTO {notes} (instance_id, id, word) VALUES ($1, $2, hex($2))");
    let (own, other) = if is_postgres { (postgres, sqlite) } else { (sqlite, postgres) };
    for outcome in [ProjectionStore::setup(&place.open(), &[&with(other)]), place.open().verify(&[&with(other)])] {
        match outcome {
            Err(SetupError::Projection(error @ ProjectionError::Sql { .. })) => {
                let error = error.to_string();
                assert!(error.contains("has no text for") && error.contains("Dialects::each"), "{error}");
            }
            outcome => panic!("{outcome:?}"),
        }
    }
    let engine = start(place, &with(own), true);
    let pushed = engine.push(&[count("a", "x", 1)]).unwrap();
    engine.await_pushed("notes", &pushed, LONG).unwrap();
    assert!(engine.admin().verify("notes", None).unwrap().is_clean());
    let _ = engine.admin().rebuild("notes", RebuildOptions::default(), &by(), |_| {}).unwrap();
    assert_eq!(place.query("SELECT id FROM notes"), ["x"]);
}

// Contract: B2: faults that can be known early are refused before any thread or SQL. The others fail their event.
both!(what_does_not_hold_together_is_refused);
pub(crate) fn what_does_not_hold_together_is_refused<P: Place>(place: &P) {
    let with = |sql: &'static str, values: usize| {
        Projection::new("notes", 1)
            .table(Table::new("notes").column(text("id")).primary_key(["id"]))
            .sql("write", sql)
            .on_raw("note", "known", move |e| exec("write", vec![e.aggregate_id(); values]))
            .on_raw("note", "unknown", |_| exec::<Value>("right", []))
    };
    for sql in [
        "INSERT INTO notes (instance_id, id) VALUES ($1, $2)",
        "INSERT INTO notes_1 (instance_id, id) VALUES ($1, $2)",
        "INSERT INTO {note} (instance_id, id) VALUES ($1, $2)",
        "INSERT INTO {notes} (instance_id, id) VALUES (?1, ?2)",
        "INSERT INTO {notes} (instance_id, id) VALUES ($1, $3)",
    ] {
        match Engine::builder(place.open()).projection(with(sql, 1)).start() {
            Err(Error::Projection(ProjectionError::Sql { .. }) | Error::Setup(SetupError::Projection(_))) => {}
            outcome => panic!("{sql}: {outcome:?}"),
        }
    }
    let twice = with("DELETE FROM other WHERE a = $1", 0)
        .sql("write", "DELETE FROM other WHERE a = $1")
        .check()
        .unwrap_err()
        .to_string();
    assert!(twice.contains("declared twice"), "{twice}");
    let projection = with("INSERT INTO {notes} (instance_id, id) VALUES ($1, $2)", 2);
    for (kind, wanted) in [
        ("known", "takes 1 value besides the instance, and 2 values are given"),
        ("unknown", "declares no SQL named \"right\""),
    ] {
        let failure = projection.reduce(&Event::new("a", "note", "x", kind)).unwrap_err();
        assert_eq!(failure.class, FailureClass::Statement);
        assert!(failure.error.contains(wanted), "{}", failure.error);
    }
}

// Contract: I1: a role that may not create temporary tables is told what to ask for.
#[cfg(feature = "postgres")]
#[test]
fn rights_that_a_verification_lacks_are_named() {
    let place = crate::common::postgres::database();
    let engine = start(&place, &items(1, 1), true);
    fill(&engine);
    engine.shutdown(LONG).unwrap();
    let database = place.query("SELECT current_database()").remove(0);
    let role = format!("{database}_poor");
    place.sql(&format!(
        "CREATE ROLE {role} LOGIN; REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC; \
         GRANT USAGE ON SCHEMA readside TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA readside, public TO {role}"
    ));
    let store = PostgresStore::connect(&place.url().replacen("//tester@", &format!("//{role}@"), 1)).unwrap();
    match testing::laws::check(&store, &store, &items(1, 1)) {
        Err(Error::Store(error)) => {
            assert_eq!(error.kind(), StoreErrorKind::Denied);
            assert!(error.to_string().contains("GRANT TEMPORARY"), "{error}");
        }
        outcome => panic!("{outcome:?}"),
    }
    place.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

// Contract: O3: an array with NULL, which only custom SQL makes, is shown alike on both databases, and breaks no look
// at the table.
both!(an_array_with_null_is_read);
pub(crate) fn an_array_with_null_is_read<P: Place>(place: &P) {
    let sql = Dialects::each(
        "INSERT INTO {tagged} (instance_id, id, tags) VALUES ($1, $2, ARRAY['x', NULL])",
        "INSERT INTO {tagged} (instance_id, id, tags) VALUES ($1, $2, '[\"x\",null]')",
    );
    let tagged = Projection::new("tagged", 1)
        .table(Table::new("tagged").column(text("id")).column(text_array("tags").nullable()).primary_key(["id"]))
        .sql("write", sql)
        .on(|e, _: Counted| exec("write", [e.aggregate_id()]));
    let engine = Engine::builder(place.open()).projection(tagged).config(eager()).start().unwrap();
    let pushed = engine.push(&[count("a", "t1", 1)]).unwrap();
    engine.await_pushed("tagged", &pushed, LONG).unwrap();
    let verified = engine.admin().verify("tagged", None).unwrap();
    assert!(verified.differing.is_empty(), "{verified:?}");
    let question = ExplainRequest { instance: "a".into(), table: None, key: vec!["t1".into()], at: None };
    let explained = engine.admin().explain("tagged", &question).unwrap();
    assert!(format!("{explained:?}").contains("null"), "{explained:?}");
}
