//! What a server answers to COMMIT, and what the answer says about the outcome: Contract: L6.

use std::time::Duration;

use readside::error::{PushError, StoreErrorKind as Kind, chain};
use readside::postgres_driver::Client;
use readside::query::Query;
use readside::store::ProjectionStore;
use readside::{EventStore, HandlerConfig, PostgresStore, ProjectionHandler};

use crate::common::proxy::{Fate, Proxy};
use crate::{OnPostgres, Store, command, names::people, shared};

/// Makes the server answer COMMIT with this code, the first time only.
fn fails_once_at_commit(client: &mut Client, table: &str, code: &str) {
    client
        .batch_execute(&format!(
            "CREATE SEQUENCE IF NOT EXISTS tries; ALTER SEQUENCE tries RESTART; \
             CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS \
               $$ BEGIN IF nextval('tries') = 1 THEN RAISE EXCEPTION 'not now' USING ERRCODE = '{code}'; END IF; \
               RETURN NULL; END $$; \
             DROP TRIGGER IF EXISTS fail ON {table}; \
             CREATE CONSTRAINT TRIGGER fail AFTER INSERT OR UPDATE ON {table} DEFERRABLE INITIALLY DEFERRED \
               FOR EACH ROW EXECUTE FUNCTION fail()"
        ))
        .unwrap();
}

// Contract: L6: proxies and distributed servers give these answers to COMMIT when they do not know the outcome. Only
// an answer that proves a rollback counts as one.
#[test]
fn a_commit_that_is_not_proved_to_be_rolled_back_is_not_known() {
    let store = OnPostgres::new();
    let mut client = store.connect();
    let cases = [
        ("XX000", Kind::CommitUnknown),
        ("58030", Kind::CommitUnknown),
        ("57P01", Kind::CommitUnknown),
        ("08006", Kind::CommitUnknown),
        ("40003", Kind::CommitUnknown),
        ("23514", Kind::Constraint),
        ("53100", Kind::Full),
    ];
    for (n, (code, wanted)) in cases.into_iter().enumerate() {
        fails_once_at_commit(&mut client, "readside.events", code);
        let push = [command("a", "1").push_key(code)];
        match store.push(&push) {
            Err(PushError::Store(error)) => {
                assert_eq!((error.kind(), error.code()), (wanted, Some(code)));
                let text = chain(&error);
                assert!(!text.contains("backup"), "{text}");
                assert_eq!(text.contains("may have happened"), wanted == Kind::CommitUnknown, "{text}");
            }
            other => panic!("{code}: {other:?}"),
        }
        assert_eq!(usize::try_from(store.push(&push).unwrap()[0].position()).unwrap(), n + 1);
    }
}

// Contract: L2, L6: after an unknown commit, the state is read again, and the work is done again if needed.
#[test]
fn an_unknown_commit_of_a_read_model_is_resolved() {
    let store = OnPostgres::new();
    let projection = people("people", 1);
    ProjectionStore::setup(&*store, &[&projection]).unwrap();
    let mut client = store.connect();
    store.push(&[command("a", "1"), command("a", "2")]).unwrap();
    fails_once_at_commit(&mut client, "people_1", "XX000");
    let config = HandlerConfig::default().retry_failed_after(Duration::from_millis(1));
    let handler = ProjectionHandler::new(shared(&store), shared(&store), projection.clone(), config).unwrap();
    handler.trigger(&["a"]).unwrap();
    assert_eq!(store.rows(&projection, "people").len(), 2);
    assert_eq!(store.states(&projection.key(), &["a".into()]).unwrap()[0].position, 2);
}

// Contract: L6: a read commits nothing. So nobody has to look up the outcome of one whose end was cut off.
#[test]
fn a_read_that_is_cut_off_at_its_end_has_committed_nothing() {
    let store = OnPostgres::new();
    store.push(&[command("a", "1")]).unwrap();
    let proxy = Proxy::before(store.database.url());
    let through = PostgresStore::connect(&proxy.url(store.database.url())).unwrap();
    for fate in [Fate::Lost, Fate::Unanswered] {
        proxy.commits_of("SELECT", move || fate);
        let error = through.filter(&Query::new()).unwrap_err();
        proxy.pass_commits();
        assert_eq!(error.kind(), Kind::Connection, "{fate:?}: {error:?}");
        assert!(!chain(&error).contains("may have happened"), "{}", chain(&error));
        assert_eq!(through.filter(&Query::new()).unwrap().len(), 1, "{fate:?}");
    }
    assert_eq!((proxy.counts().1, proxy.counts().2), (1, 1));
}
