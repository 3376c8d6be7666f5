//! The engine's tables in a schema that the service chooses.

use readside::admin::Doctor;
use readside::error::{StoreErrorKind, chain};
use readside::failure::By;
use readside::inspect::{Inspect, Severity};
use readside::postgres_driver::{Client, NoTls};
use readside::prelude::*;
use readside::query::{Query, SubQuery};
use readside::retention::{Redaction, TableRows};
use readside::store::{Notifications, Notifier, ProjectionStore};
use readside::{Engine, EventStore, NewEvent, PostgresOptions, PostgresStore};

use crate::LONG;
use crate::common::postgres::database;

fn store(url: &str, schema: &str) -> PostgresStore {
    let options = PostgresOptions::default().schema(schema.to_owned());
    PostgresStore::connect_with(url, options).unwrap()
}

fn things(name: &str) -> Projection {
    Projection::new(name, 1).table(Table::new(name).column(text("thing")).primary_key(["thing"])).on_raw(
        "thing",
        "thing.made",
        |e| create([set("thing", e.aggregate_id())]),
    )
}

fn made(thing: &str) -> NewEvent {
    NewEvent::raw("acme", "thing", thing, "thing.made")
}

fn number(client: &mut Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).unwrap().get(0)
}

// Contract: I1, L2: two sets of tables in one database do not affect each other, whatever is done to them.
#[test]
fn two_sets_live_in_one_database() {
    let database = database();
    let mut client = Client::connect(database.url(), NoTls).unwrap();
    let (other, usual) = (store(database.url(), "other_1"), store(database.url(), "readside"));
    let engine =
        |store: &PostgresStore, name: &str| Engine::builder(store.clone()).projection(things(name)).start().unwrap();
    let first = engine(&other, "things");
    assert_eq!(number(&mut client, "SELECT count(*) FROM pg_namespace WHERE nspname = 'readside'"), 0);
    let second = engine(&usual, "stuff");
    let pushed = first.push(&[made("a"), made("b")]).unwrap();
    first.await_pushed("things", &pushed, LONG).unwrap();
    let pushed = second.push(&[made("c")]).unwrap();
    second.await_pushed("stuff", &pushed, LONG).unwrap();
    let acme = Query::new().or(SubQuery::new().instance("acme"));
    assert_eq!((other.filter(&acme).unwrap().len(), usual.filter(&acme).unwrap().len()), (2, 1));
    let events = |home: &str| format!("SELECT count(*) FROM {home}.events WHERE instance_id = 'acme'");
    assert_eq!((number(&mut client, &events("other_1")), number(&mut client, &events("readside"))), (2, 1));
    assert_eq!(
        (number(&mut client, "SELECT count(*) FROM things"), number(&mut client, "SELECT count(*) FROM stuff")),
        (2, 1)
    );
    // Pushes inside a caller's transaction, repairs and looks use the same schema.
    let mut transaction = client.transaction().unwrap();
    let pushed = other.push_in(&mut transaction, &[made("d")]).unwrap();
    transaction.commit().unwrap();
    pushed.token.fire();
    first.await_position("things", "acme", 3, LONG).unwrap();
    let by = By::new("ada", "a test");
    other.redact(&Redaction::of_aggregate("acme", "thing", "a"), &by, &mut |_: &TableRows| {}).unwrap();
    assert_eq!(number(&mut client, "SELECT count(*) FROM other_1.operations"), 1);
    assert_eq!(number(&mut client, "SELECT count(*) FROM readside.operations"), 0);
    let names: Vec<String> = other.status(false).unwrap().projections.iter().map(|found| found.name.clone()).collect();
    assert_eq!(names, ["things"]);
    let findings = Doctor::default().examine(&other);
    let failed: Vec<_> = findings.iter().filter(|finding| finding.verdict == Severity::Fail).collect();
    assert!(failed.is_empty(), "{failed:?}");
    let grants = other.grant_sql("a clerk", &[]).unwrap();
    assert!(grants.contains("ON TABLE \"other_1\".\"events\"") && !grants.contains("readside"), "{grants}");
    for engine in [first, second] {
        engine.shutdown(LONG).unwrap();
    }
}

// Contract: I1
#[test]
fn the_script_sets_up_that_schema() {
    let database = database();
    let other = store(database.url(), "other");
    let things = things("things");
    let script = other.setup_sql(&[&things]).unwrap();
    let mut client = Client::connect(database.url(), NoTls).unwrap();
    client.batch_execute(&script).unwrap();
    assert_eq!(number(&mut client, "SELECT count(*) FROM pg_namespace WHERE nspname = 'readside'"), 0);
    other.verify(&[&things]).unwrap();
    other.push(&[made("a")]).unwrap();
    assert_eq!(number(&mut client, "SELECT count(*) FROM other.events"), 1);
}

// Contract: A7: each set has its own channel.
#[test]
fn pushes_to_another_set_are_no_news() {
    let database = database();
    let [ours, theirs] = ["ours", "theirs"].map(|schema| {
        let store = store(database.url(), schema);
        store.setup().unwrap();
        store
    });
    let teller = store(database.url(), "ours");
    let mut listener = ours.listener();
    listener.listen(std::time::Duration::ZERO).unwrap();
    theirs.announce(&Notifications { instances: vec![("far".into(), "thing".into())], all: false }).unwrap();
    teller.announce(&Notifications { instances: vec![("near".into(), "thing".into())], all: false }).unwrap();
    let mut heard = Vec::new();
    crate::eventually("the news", || {
        let news = listener.listen(std::time::Duration::from_millis(100)).unwrap();
        heard.extend(news.instances.into_iter().map(|(instance, _)| instance.to_string()));
        heard.contains(&"near".to_owned())
    });
    assert_eq!(heard, ["near"]);
}

#[test]
fn a_schema_that_cannot_be_is_refused() {
    for schema in ["", "Other", "a.b", "pg_x", "information_schema", "1a", "a\"b", "ä", &"a".repeat(64), "zecret://"] {
        let options = PostgresOptions::default().schema(schema.to_owned());
        let error = PostgresStore::connect_with("postgres://127.0.0.1:1/x", options).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Usage, "{schema}");
        assert!(chain(&error).contains("schema has to be") && !chain(&error).contains("zecret"), "{error:?}");
    }
}
