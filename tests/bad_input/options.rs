//! The ends of the range of each option of a store: no limit, none at all, or refused by name.

use std::time::Duration;

use readside::{EventStore, HandlerConfig, ProjectionHandler, ProjectionStore, Query};

use crate::{command, names::people};

/// Does what a store is for.
#[cfg(feature = "sqlite")]
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
        let options = SqliteOptions { busy_timeout, ..Default::default() };
        works(&SqliteStore::open_with(&path, options.clone()).unwrap());
        works(&SqliteStore::in_memory_with(options).unwrap());
    }
}
