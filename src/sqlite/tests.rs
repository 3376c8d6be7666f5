//! What can only be reached from inside: a disk that is full.

use super::SqliteStore;
use crate::error::{PushError, StoreErrorKind};
use crate::event::Command;
use crate::query::Query;
use crate::store::EventStore;

#[test]
fn a_full_disk_stores_nothing_and_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("test.db")).unwrap();
    store.setup().unwrap();
    let limit = |pages: i64| {
        let writer = store.backend().writer.lock();
        let _: i64 = writer.pragma_update_and_check(None, "max_page_count", pages, |row| row.get(0)).unwrap();
    };
    limit(40);
    let large = || Command::raw("a", "user", "u", "added").payload(&"x".repeat(100_000));
    store.push(&[Command::raw("a", "user", "u", "added")]).unwrap();
    match store.push(&[Command::raw("a", "user", "u", "added"), large(), large()]) {
        Err(PushError::Store(error)) => {
            assert_eq!(error.kind(), StoreErrorKind::Full);
            assert!(error.to_string().contains("free some space, nothing was stored"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(store.filter(&Query::new()).unwrap().len(), 1);
    limit(1_000_000);
    assert_eq!(store.push(&[large()]).unwrap()[0].position(), 2);
}
