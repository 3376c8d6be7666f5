//! A push inside the caller's own transaction: Contract: A4.

use std::sync::Arc;

use readside::error::PushError;
use readside::subscription::Topics;
use readside::{EventStore, Expected};

use crate::{Store, command, positions};

// Contract: A4, L1
both!(rows_and_events_are_stored_together);
pub(crate) fn rows_and_events_are_stored_together<S: Store>(store: &S) {
    store.sql("CREATE TABLE legacy (id TEXT PRIMARY KEY)");
    for (id, commits) in [("1", true), ("2", false), ("3", true)] {
        store.transaction_of_ones_own(commits, &mut |tx| {
            tx.sql(&format!("INSERT INTO legacy VALUES ('{id}')"));
            let pushed = tx.push(&[command("a", id), command("b", id)]).unwrap();
            assert_eq!(pushed.events.len(), 2);
        });
    }
    assert_eq!(store.number("SELECT count(*) FROM legacy"), 2);
    assert_eq!((positions(store, "a"), positions(store, "b")), (vec![1, 2], vec![1, 2]));
}

// Contract: A4
both!(a_transaction_goes_on_after_a_refused_push);
pub(crate) fn a_transaction_goes_on_after_a_refused_push<S: Store>(store: &S) {
    store.sql("CREATE TABLE legacy (id TEXT PRIMARY KEY)");
    store.push(&[command("a", "1").add_unique("name", "ada", "taken")]).unwrap();
    store.transaction_of_ones_own(true, &mut |tx| {
        tx.sql("INSERT INTO legacy VALUES ('before')");
        let conflict = tx.push(&[command("a", "1").expect(Expected::New)]).unwrap_err();
        assert!(matches!(conflict, PushError::Conflict { found: 1, .. }), "{conflict:?}");
        let clash = tx.push(&[command("c", "2"), command("a", "2").add_unique("name", "ada", "taken")]).unwrap_err();
        assert!(matches!(clash, PushError::UniqueViolation { .. }), "{clash:?}");
        tx.sql("INSERT INTO legacy VALUES ('after')");
        assert_eq!(tx.push(&[command("a", "2")]).unwrap().events[0].position(), 2);
    });
    assert_eq!(store.number("SELECT count(*) FROM legacy"), 2);
    assert_eq!((positions(store, "a"), positions(store, "c")), (vec![1, 2], vec![]));
}

// Contract: A4, A6
both!(a_token_wakes_subscribers);
pub(crate) fn a_token_wakes_subscribers<S: Store>(store: &S) {
    let subscription = store.subscribe(Topics::all());
    let mut tokens = Vec::new();
    store.transaction_of_ones_own(true, &mut |tx| tokens.push(tx.push(&[command("a", "1")]).unwrap().token));
    assert!(subscription.drain().is_empty(), "nobody heard of it before the token is fired");
    tokens.remove(0).fire();
    let received = subscription.drain();
    assert_eq!((received.events.len(), received.dirty), (0, vec![Arc::from("a")]));
}

// Contract: A4
#[cfg(feature = "sqlite")]
#[test]
fn a_deferred_transaction_that_has_read_is_refused() {
    use readside::SqliteStore;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let store = SqliteStore::open(&path).unwrap();
    store.setup().unwrap();
    let mut db = readside::rusqlite::Connection::open(&path).unwrap();
    let tx = db.transaction().unwrap();
    let _: i64 = tx.query_row("SELECT count(*) FROM readside_events", [], |row| row.get(0)).unwrap();
    let error = store.push_in(&tx, &[command("a", "1")]).unwrap_err();
    assert!(matches!(error, PushError::Transaction { .. }));
    assert!(error.to_string().contains("TransactionBehavior::Immediate"), "{error}");
    drop(tx);
    let tx = db.transaction().unwrap();
    store.push_in(&tx, &[command("a", "1")]).unwrap().token.fire();
    tx.commit().unwrap();
    assert_eq!(readside::EventStore::filter(&store, &readside::query::Query::new()).unwrap().len(), 1);
}

// Contract: A4: the settings of the session are unchanged after success and after failure.
#[cfg(feature = "postgres")]
#[test]
fn settings_of_the_session_stay() {
    let store = crate::OnPostgres::new();
    let mut client = store.connect();
    client.batch_execute("SET lock_timeout = '7s'").unwrap();
    let mut tx = client.transaction().unwrap();
    let setting = |tx: &mut readside::postgres_driver::Transaction<'_>| -> String {
        tx.query_one("SHOW lock_timeout", &[]).unwrap().get(0)
    };
    store.store.push_in(&mut tx, &[command("a", "1")]).unwrap().token.fire();
    assert_eq!(setting(&mut tx), "7s");
    assert!(store.store.push_in(&mut tx, &[command("a", "1").expect(Expected::New)]).is_err());
    assert_eq!(setting(&mut tx), "7s");
    tx.commit().unwrap();
}

// Contract: A1, A4: a snapshot older than another push's commit leads to an error that can be retried, not to wrong
// versions.
#[cfg(feature = "postgres")]
#[test]
fn an_old_snapshot_is_refused() {
    let store = crate::OnPostgres::new();
    store.push(&[command("a", "1")]).unwrap();
    let mut client = store.connect();
    let level = readside::postgres_driver::IsolationLevel::RepeatableRead;
    let mut tx = client.build_transaction().isolation_level(level).start().unwrap();
    tx.query_one("SELECT 1", &[]).unwrap();
    store.push(&[command("a", "1")]).unwrap();
    let error = store.store.push_in(&mut tx, &[command("a", "1")]).unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    tx.rollback().unwrap();
    assert_eq!(positions(&store, "a"), [1, 2]);
}
