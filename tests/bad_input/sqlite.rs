//! Files that are no databases, are not ours, or cannot be written.

use readside::error::{PushError, SetupError, StoreError, StoreErrorKind as Kind, chain};
use readside::query::Query;
use readside::rusqlite::Connection;
use readside::store::ProjectionStore;
use readside::{EventStore, SqliteOptions, SqliteStore};

use crate::{PATIENCE, command};

fn opened(path: &std::path::Path) -> Result<SqliteStore, StoreError> {
    SqliteStore::open_with(path, SqliteOptions::default().busy_timeout(PATIENCE))
}

fn refused(path: &std::path::Path) -> StoreError {
    let error = opened(path).unwrap_err();
    let text = chain(&error);
    assert!(text.starts_with("opening the database") && text.contains(path.to_str().unwrap()), "{text}");
    error
}

#[test]
fn paths_that_cannot_be_opened_are_named() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(refused(folder.path()).kind(), Kind::CannotOpen);
    let missing = refused(&folder.path().join("no/such/folder/x.db"));
    assert_eq!(missing.kind(), Kind::CannotOpen);
    assert!(missing.to_string().contains("check that its folder exists"), "{missing}");
}

#[test]
fn files_that_are_no_databases_are_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letter.txt");
    let text = "Dear reader, ".repeat(1000);
    std::fs::write(&path, &text).unwrap();
    assert_eq!(refused(&path).kind(), Kind::Corrupt);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn a_read_only_database_is_read_and_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let store = SqliteStore::open(&path).unwrap();
    store.setup().unwrap();
    store.push(&[command("a", "1")]).unwrap();
    for asked in ["mode=ro", "cache=private&mode=ro#there", "immutable=1"] {
        if asked == "immutable=1" {
            // SQLite reads no log then, so it has to be empty.
            let conn = rusqlite::Connection::open(&path).unwrap();
            conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        }
        let uri = format!("file:{}?{asked}", path.display());
        let read_only = SqliteStore::open(&uri).unwrap();
        assert_eq!(read_only.filter(&Query::new()).unwrap().len(), 1);
        match read_only.push(&[command("a", "2")]) {
            Err(PushError::Store(error)) => {
                assert_eq!(error.kind(), Kind::ReadOnly, "{error:?}");
                // The path says it, so that rights of files and folders have nothing to do with it.
                assert!(chain(&error).contains(&format!(
                    "in \"{uri}\" failed; to write, leave mode=ro and immutable=1 out of its path: its path asks to be \
                     opened for reading only"
                )), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(store.filter(&Query::new()).unwrap().len(), 1);
}

#[test]
fn a_file_without_a_log_is_read_by_an_uri() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let store = SqliteStore::open(&path).unwrap();
    store.setup().unwrap();
    store.push(&[command("a", "1")]).unwrap();
    drop(store);
    Connection::open(&path).unwrap().pragma_update(None, "journal_mode", "delete").unwrap();
    for uri in ["file:PATH?mode=ro", "file:PATH?immutable=1", "file:PATH?mode=ro&immutable=1"] {
        let store = SqliteStore::open(uri.replace("PATH", path.to_str().unwrap())).unwrap();
        assert_eq!(store.filter(&Query::new()).unwrap().len(), 1, "{uri}");
        assert!(store.push(&[command("a", "2")]).is_err(), "{uri}");
    }
    let files = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files, 1);
}

// Contract: L10: otherwise the content of the log would be missing, and nobody would know.
#[test]
fn an_immutable_file_is_not_read_without_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let store = SqliteStore::open(&path).unwrap();
    store.setup().unwrap();
    store.push(&[command("a", "1")]).unwrap();
    let place = path.to_str().unwrap();
    for uri in ["file:PATH?immutable=1", "file:PATH?mode=ro&immutable=1"] {
        let error = SqliteStore::open(uri.replace("PATH", place)).unwrap_err();
        assert_eq!(error.kind(), Kind::CannotOpen, "{error:?}");
        let text = chain(&error);
        assert!(text.contains("test.db-wal") && text.contains("without immutable=1"), "{text}");
    }
    let live = SqliteStore::open(format!("file:{place}?mode=ro")).unwrap();
    assert_eq!(live.filter(&Query::new()).unwrap().len(), 1);
    drop((live, store));
    let alone = SqliteStore::open(format!("file:{place}?immutable=1")).unwrap();
    assert_eq!(alone.filter(&Query::new()).unwrap().len(), 1);
}

// Contract: L10: in the file of another application a set-up does not help, or would be a mistake.
#[test]
fn the_file_of_another_application_is_refused_for_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY)").unwrap();
    let store = SqliteStore::open(&path).unwrap();
    let Err(PushError::Store(error)) = store.push(&[command("a", "1")]) else { panic!("it was stored") };
    let text = chain(&error);
    assert!(error.kind() == Kind::Schema && text.contains("check that this is the right database"), "{text}");
    // It has a table of such a name, so a set-up was run already.
    db.execute_batch("CREATE TABLE readside_events (id INTEGER PRIMARY KEY)").unwrap();
    let error = store.setup().unwrap_err();
    let text = chain(&error);
    assert!(text.contains("readside_events already exists"), "{text}");
    assert!(text.contains("rename") && !text.contains("setup()"), "{text}");
}

// Contract: I1
#[test]
fn a_newer_schema_and_a_missing_one_are_named() {
    let store = SqliteStore::in_memory().unwrap();
    match store.push(&[command("a", "1")]) {
        Err(PushError::Store(error)) => {
            assert_eq!(error.kind(), Kind::Schema);
            assert!(chain(&error).contains("run setup()"), "{}", chain(&error));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(store.verify(&[]), Err(SetupError::Missing { .. })));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let store = SqliteStore::open(&path).unwrap();
    store.setup().unwrap();
    store.verify(&[]).unwrap();
    let db = Connection::open(&path).unwrap();
    db.execute("INSERT INTO readside_schema_migrations (version) VALUES (99)", []).unwrap();
    for outcome in [store.setup(), store.verify(&[])] {
        let error = outcome.unwrap_err();
        assert!(matches!(error, SetupError::NewerSchema { found: 99, .. }), "{error:?}");
        assert!(error.to_string().contains("update readside"), "{error}");
    }
}

#[test]
fn a_database_locked_by_another_process_is_waited_for_only_so_long() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let store = opened(&path).unwrap();
    store.setup().unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.push(&[command("a", "1")]).unwrap_err();
    assert!(matches!(error, PushError::Busy { .. }), "{error:?}");
    match store.setup() {
        Ok(()) => {}
        Err(error) => panic!("nothing is to be done, so nobody waits: {error:?}"),
    }
    other.execute_batch("ROLLBACK").unwrap();
    store.push(&[command("a", "1")]).unwrap();
    assert_eq!(store.filter(&Query::new()).unwrap().len(), 1);
}
