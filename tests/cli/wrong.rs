//! Faults in the arguments, the database or the data: the error says what helps, and shows no secret.

use std::fs;

use readside::postgres_driver::{Client, NoTls};

use crate::{Place, fresh, on_both, run};

#[test]
fn wrong_arguments_end_with_2() {
    for args in [
        vec!["status"],
        vec!["-d", "x.db", "nothing"],
        vec!["-d", "x.db", "status", "--max-lag", "soon"],
        vec!["-d", "x.db", "push", "--batch", "0"],
        vec!["-d", "x.db", "events", "--created-after", "yesterday"],
        vec!["-d", "x.db", "failed", "discard", "users", "acme", "1"],
        vec!["-d", "x.db", "failed", "retry", "users", "--why", "x"],
    ] {
        let ran = run(&args);
        assert_eq!(ran.code, 2, "{args:?}: {}", ran.err);
    }
    let no_database = run(&["status"]).err;
    assert!(
        no_database.contains("no database is named: give --database-url PATH|URL, or set READSIDE_DATABASE_URL"),
        "{no_database}"
    );
    let why = run(&["-d", "x.db", "events", "--created-after", "yesterday"]).err;
    assert!(why.contains("for instance 2026-01-31T12:00:00Z"), "{why}");
}

#[test]
fn no_secret_is_printed() {
    for args in [
        vec!["-d", "postgres://ada:secret@127.0.0.1:1/db", "status"],
        vec!["-d", "postgres://ada:se%40cret@127.0.0.1:1/db?x=secret", "status"],
        vec!["-d", "postgres://ada:x@secret@127.0.0.1:1/db", "status"],
        vec!["-d", "postgres://ada:secret@127.0.0.1:port/db", "status"],
        vec!["-d", "mysql://ada:secret@127.0.0.1/db", "status"],
        vec!["-d", "host=127.0.0.1 password=secret", "status"],
        vec!["postgres://ada:secret@127.0.0.1:1/db", "status"],
    ] {
        let ran = run(&args);
        assert_ne!(ran.code, 0);
        assert!(!format!("{}{}", ran.out, ran.err).contains("cret"), "{args:?}: {}", ran.err);
    }
}

#[test]
fn a_server_that_cannot_be_reached_is_named() {
    let error = run(&["-d", "postgres://ada@127.0.0.1:1/db", "status"]).failed();
    assert!(error.contains("127.0.0.1:1/db"), "{error}");
    assert!(error.contains("check that the server runs"), "{error}");
}

#[test]
fn a_file_that_is_no_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    fs::write(&path, "this is a long enough text, and no database").unwrap();
    let name = path.to_str().unwrap();
    for command in ["status", "setup"] {
        let error = run(&["-d", name, command]).failed();
        assert!(error.contains("is not an SQLite database"), "{error}");
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    let error = run(&["-d", folder.path().to_str().unwrap(), "status"]).failed();
    assert!(error.contains("is not a file"), "{error}");
    let missing = folder.path().join("missing.db");
    let error = run(&["-d", missing.to_str().unwrap(), "status"]).failed();
    assert!(error.contains("there is no file") && error.contains("`readside setup` makes one"), "{error}");
    assert!(!missing.exists());
}

#[test]
fn a_database_of_somebody_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.db");
    let other = readside::rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE notes (text TEXT)").unwrap();
    drop(other);
    let before = fs::read(&path).unwrap();
    let error = run(&["-d", path.to_str().unwrap(), "status"]).failed();
    assert!(error.contains("has no tables of readside"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before, "not even its journal mode changed");
    let [_, postgres] = fresh();
    let error = postgres.run(&["status"]).failed();
    assert!(error.contains("no tables of readside") && error.contains("`readside setup`"), "{error}");
}

#[test]
fn another_schema_is_named() {
    on_both(|place| {
        let insert =
            |table: &str, version: i64| execute(place, &format!("INSERT INTO {table} (version) VALUES ({version})"));
        let table =
            if matches!(place, Place::Sqlite(_)) { "readside_schema_migrations" } else { "readside.schema_migrations" };
        insert(table, 999);
        let error = place.run(&["status"]).failed();
        assert!(error.contains("schema 999") && error.contains("update readside"), "{error}");
        execute(place, &format!("DELETE FROM {table}"));
        insert(table, 0);
        let error = place.run(&["status"]).failed();
        assert!(error.contains("no tables of readside"), "{error}");
    });
}

pub(crate) fn execute(place: &Place, sql: &str) {
    match place {
        Place::Sqlite(_) => readside::rusqlite::Connection::open(place.name()).unwrap().execute_batch(sql).unwrap(),
        Place::Postgres(database) => Client::connect(database.url(), NoTls).unwrap().batch_execute(sql).unwrap(),
    }
}

#[test]
fn what_is_not_there_is_named_with_what_is() {
    on_both(|place| {
        let error = place.run(&["pause", "users", "--why", "w"]).failed();
        assert!(error.contains("there is no projection \"users\" here, nor any other"), "{error}");
        place.with(|store| drop(store.handler(crate::service::users(true), readside::HandlerConfig::default())));
        for args in [
            vec!["pause", "uesrs", "--why", "w"],
            vec!["status", "uesrs"],
            vec!["instances", "--projection", "uesrs"],
            vec!["failed", "list", "uesrs"],
            vec!["leases", "uesrs"],
        ] {
            let error = place.run(&args).failed();
            assert!(error.contains("there is no projection \"uesrs\" here; there are: users"), "{args:?}: {error}");
        }
        let error = place.run(&["failed", "list", "users", "--projection-version", "7"]).failed();
        assert!(error.contains("has no version 7 here, but 1"), "{error}");
        let error = place.run(&["pause", "users", "--instance", "nobody", "--why", "w"]).failed();
        assert!(error.contains("there is no instance \"nobody\" here"), "{error}");
        let error = place.run(&["failed", "show", "users", "nobody", "1"]).failed();
        assert!(error.contains("there is no instance \"nobody\" here"), "{error}");
    });
}

#[test]
fn completions_are_no_json() {
    let ran = run(&["completions", "bash", "--json"]);
    assert_eq!(ran.code, 2, "{}", ran.out);
    assert!(ran.err.contains("--json") && ran.out.is_empty(), "{}", ran.err);
}
