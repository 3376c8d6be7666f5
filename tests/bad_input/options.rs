//! The ends of the range of each option of a store: they mean no limit or none at all, or are refused by name.

use std::time::Duration;

use readside::query::Query;
use readside::store::ProjectionStore;
use readside::{EventStore, HandlerConfig, ProjectionHandler};

use crate::{command, names::people};

/// Does the main work of a store: a push and a read.
fn works<S: EventStore + ProjectionStore + Clone + 'static>(store: &S) {
    store.setup(&[]).unwrap();
    let before = store.filter(&Query::new()).unwrap().len();
    store.push(&[command("a", "1")]).unwrap();
    assert_eq!(store.filter(&Query::new()).unwrap().len(), before + 1);
    let store = std::sync::Arc::new(store.clone());
    let handler = ProjectionHandler::new(store.clone(), store, people("people", 1), HandlerConfig::default()).unwrap();
    handler.setup().unwrap();
    handler.trigger(&["a"]).unwrap();
}

#[cfg(feature = "sqlite")]
#[test]
fn a_file_takes_any_time_out() {
    use readside::{SqliteOptions, SqliteStore};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    for busy_timeout in [Duration::MAX, Duration::ZERO, Duration::from_nanos(1)] {
        let options = SqliteOptions::default().busy_timeout(busy_timeout);
        works(&SqliteStore::open_with(&path, options.clone()).unwrap());
        works(&SqliteStore::in_memory_with(options).unwrap());
    }
}

#[cfg(feature = "postgres")]
#[test]
fn a_server_takes_any_option_or_refuses_it_by_name() {
    use readside::error::{StoreErrorKind as Kind, chain};
    use readside::{PostgresOptions, PostgresStore};
    type Change = (&'static str, fn(&mut PostgresOptions, Duration), bool);
    let database = crate::common::postgres::database();
    let changes: [Change; 6] = [
        ("connect_timeout", |options, to| options.connect_timeout = to, false),
        ("lock_timeout", |options, to| options.lock_timeout = to, true),
        ("statement_timeout", |options, to| options.statement_timeout = to, false),
        ("idle_in_transaction_timeout", |options, to| options.idle_in_transaction_timeout = to, false),
        ("max_lifetime", |options, to| options.max_lifetime = to, true),
        ("idle_timeout", |options, to| options.idle_timeout = to, true),
    ];
    let refused = |options: PostgresOptions, name: &str| {
        let error = PostgresStore::connect_with(database.url(), options).unwrap_err();
        let text = chain(&error);
        assert!(error.kind() == Kind::Usage && text.contains(name), "{text}");
    };
    for (name, change, may_be_zero) in changes {
        let with = |to| {
            let mut options = PostgresOptions::default();
            change(&mut options, to);
            options
        };
        works(&PostgresStore::connect_with(database.url(), with(Duration::MAX)).unwrap());
        if may_be_zero {
            works(&PostgresStore::connect_with(database.url(), with(Duration::ZERO)).unwrap());
        } else {
            refused(with(Duration::ZERO), name);
        }
    }
    let with = |max_connections| PostgresOptions::default().max_connections(max_connections);
    works(&PostgresStore::connect_with(database.url(), with(usize::MAX)).unwrap());
    refused(with(0), "max_connections");
    let store = PostgresStore::connect_with(database.url(), with(usize::MAX)).unwrap();
    let engine = readside::Engine::builder(store).projection(people("people", 1)).start().unwrap();
    engine.shutdown(Duration::from_mins(1)).unwrap();
}
