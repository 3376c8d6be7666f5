//! How often a push is tried before its caller hears of the trouble: Contract: A1, L6. A sequence counts the attempts,
//! because no roll-back takes its numbers back.

use readside::error::{PushError, StoreErrorKind as Kind};
use readside::{EventStore, PostgresStore};

use crate::common::proxy::{Fate, Proxy};
use crate::{OnPostgres, Store, command, positions};

/// A push is tried again this often.
const RETRIES: i64 = 5;

/// Does this SQL in the first `times` transactions that insert events, at the end of the statement or at the commit.
fn spoil(store: &OnPostgres, times: i64, sql: &str, at_commit: bool) {
    let when = if at_commit { "DEFERRABLE INITIALLY DEFERRED" } else { "NOT DEFERRABLE" };
    store.sql(&format!(
        "CREATE SEQUENCE IF NOT EXISTS tries; ALTER SEQUENCE tries RESTART; \
         CREATE OR REPLACE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS \
           $$ BEGIN IF nextval('tries') <= {times} THEN {sql}; END IF; RETURN NULL; END $$; \
         DROP TRIGGER IF EXISTS spoil ON readside.events; \
         CREATE CONSTRAINT TRIGGER spoil AFTER INSERT ON readside.events {when} FOR EACH ROW EXECUTE FUNCTION spoil()"
    ));
}

fn raise(code: &str) -> String {
    format!("RAISE EXCEPTION 'not now' USING ERRCODE = '{code}'")
}

fn tries(store: &OnPostgres) -> i64 {
    store.number("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM tries")
}

// Contract: A1: what the server rolled back in favour of others is tried again, and stored once.
#[test]
fn a_serialization_failure_or_a_deadlock_is_tried_again() {
    let store = OnPostgres::new();
    let mut stored = 0;
    for code in ["40001", "40P01"] {
        for at_commit in [false, true] {
            let case = format!("{code}, at the commit: {at_commit}");
            spoil(&store, RETRIES, &raise(code), at_commit);
            stored += 1;
            assert_eq!(store.push(&[command("a", &case)]).unwrap()[0].position(), stored, "{case}");
            assert_eq!(tries(&store), RETRIES + 1, "{case}");
            // One more is too much, and the caller hears that it may try again.
            spoil(&store, RETRIES + 1, &raise(code), at_commit);
            let error = store.push(&[command("a", &case)]).unwrap_err();
            assert!(error.is_transient(), "{case}: {error:?}");
            match error {
                PushError::Store(error) => assert_eq!((error.kind(), error.code()), (Kind::Conflict, Some(code))),
                other => panic!("{case}: {other:?}"),
            }
            assert_eq!(tries(&store), RETRIES + 1, "{case}");
            assert_eq!(positions(&store, "a"), (1..=stored).collect::<Vec<_>>(), "{case}");
        }
    }
}

// Contract: A1, L6: other trouble reaches the caller after one attempt, and nothing is stored.
#[test]
fn other_trouble_is_not_tried_again() {
    let store = OnPostgres::new();
    let ends = "PERFORM pg_terminate_backend(pg_backend_pid())".to_owned();
    let cases = [
        (ends, Some(Kind::Connection)),
        (raise("53100"), Some(Kind::Full)),
        (raise("23514"), Some(Kind::Constraint)),
        (raise("55P03"), None),
        (raise("57014"), None),
    ];
    for (stored, (sql, wanted)) in (0..).zip(cases) {
        spoil(&store, 1, &sql, false);
        let case = stored.to_string();
        match (store.push(&[command("a", &case)]).unwrap_err(), wanted) {
            (PushError::Store(error), Some(wanted)) => assert_eq!(error.kind(), wanted, "{sql}: {error:?}"),
            (PushError::Busy { instance, .. }, None) => assert_eq!(instance, "a", "{sql}"),
            (other, _) => panic!("{sql}: {other:?}"),
        }
        assert_eq!((tries(&store), positions(&store, "a").len()), (1, stored), "{sql}");
        // The next push finds another connection where this one is gone.
        store.push(&[command("a", &case)]).unwrap();
        assert_eq!((tries(&store), positions(&store, "a").len()), (2, stored + 1), "{sql}");
    }
}

// Contract: L6, K1: when the connection is lost around the commit, one attempt is made, and its outcome is not known.
#[test]
fn a_lost_commit_is_not_tried_again() {
    let store = OnPostgres::new();
    let proxy = Proxy::before(store.database.url());
    let through = PostgresStore::connect(&proxy.url(store.database.url())).unwrap();
    spoil(&store, 0, "NULL", false);
    through.push(&[command("a", "0")]).unwrap();
    for (fate, stored, tried) in [(Fate::Lost, 1, [2, 3]), (Fate::Unanswered, 3, [4, 4])] {
        let mut fates = vec![fate];
        proxy.commits_of("INSERT INTO", move || fates.pop().unwrap_or(Fate::Pass));
        let push = [command("a", "1").push_key(&format!("{fate:?}"))];
        match through.push(&push) {
            Err(PushError::Store(error)) => assert_eq!(error.kind(), Kind::CommitUnknown, "{fate:?}: {error:?}"),
            other => panic!("{fate:?}: {other:?}"),
        }
        assert_eq!((tries(&store), positions(&store, "a").len()), (tried[0], stored), "{fate:?}");
        proxy.pass_commits();
        through.push(&push).unwrap();
        assert_eq!(tries(&store), tried[1], "{fate:?}: what is stored is not stored again");
    }
    assert_eq!(positions(&store, "a"), [1, 2, 3]);
}
