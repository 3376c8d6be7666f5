//! Database files that are moved, replaced or removed while they are open: Contract: L10.

use std::fs;
use std::path::{Path, PathBuf};

use readside::error::{PushError, StoreError, StoreErrorKind as Kind, chain};
use readside::query::Query;
use readside::rusqlite::{Connection, TransactionBehavior};
use readside::store::{EventSource, ProjectionStore};
use readside::{EventStore, SqliteStore};

use crate::{command, names::people};

/// The name of a change to a file, the change, and how to undo it.
type Deed = (&'static str, fn(&Path), fn(&Path));

fn aside(path: &Path) -> PathBuf {
    path.with_extension("aside")
}

fn move_away(path: &Path) {
    fs::rename(path, aside(path)).unwrap();
}

fn put_back(path: &Path) {
    fs::rename(aside(path), path).unwrap();
}

/// Does `mv backup.db f.db`, but keeps the old file for later.
fn replace(path: &Path) {
    fs::copy(path, path.with_extension("backup")).unwrap();
    move_away(path);
    fs::rename(path.with_extension("backup"), path).unwrap();
}

const DEEDS: [Deed; 2] = [("removed", move_away, put_back), ("replaced", replace, put_back)];

fn in_folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    (folder, path)
}

// Contract: L10: if the file is gone, no write is acknowledged and nothing is read. When it is back, everything goes
// on.
#[test]
fn a_file_that_is_gone_or_replaced_is_neither_written_nor_read() {
    for (what, deed, undo) in DEEDS {
        let (_folder, path) = in_folder();
        let store = SqliteStore::open(&path).unwrap();
        store.setup().unwrap();
        store.push(&[command("a", "1")]).unwrap();
        assert_eq!(store.filter(&Query::new()).unwrap().len(), 1);
        deed(&path);
        for _ in 0..2 {
            match store.push(&[command("a", "2")]) {
                Err(PushError::Store(error)) => {
                    assert_eq!(error.kind(), Kind::Replaced, "{what}: {error:?}");
                    assert!(!error.is_transient());
                    let text = chain(&error);
                    assert!(text.contains(path.to_str().unwrap()) && text.contains("-wal"), "{text}");
                }
                other => panic!("{what}: {other:?}"),
            }
            assert_eq!(store.filter(&Query::new()).unwrap_err().kind(), Kind::Replaced, "{what}");
            let states = store.states(&people("people", 1).key(), &["a".into()]);
            assert_eq!(states.unwrap_err().kind(), Kind::Replaced, "{what}");
            assert_eq!(store.transaction(&mut |_| Ok(())).unwrap_err().kind(), Kind::Replaced, "{what}");
        }
        undo(&path);
        store.push(&[command("a", "3")]).unwrap();
        assert_eq!(store.filter(&Query::new()).unwrap().len(), 2, "{what}");
        drop(store);
        let all: String =
            Connection::open(&path).unwrap().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(all, "ok", "{what}");
    }
}

// Contract: L10: a reader that was not open yet opens the path, where another file may be by then.
#[test]
fn no_reader_is_opened_on_another_file() {
    let (_folder, path) = in_folder();
    let store = SqliteStore::open(&path).unwrap();
    store.setup().unwrap();
    let other = SqliteStore::open(path.with_extension("other")).unwrap();
    other.setup().unwrap();
    other.push(&[command("a", "of the other file")]).unwrap();
    drop(other);
    move_away(&path);
    fs::rename(path.with_extension("other"), &path).unwrap();
    assert_eq!(store.filter(&Query::new()).unwrap_err().kind(), Kind::Replaced);
    assert_eq!(EventSource::store_id(&store).unwrap_err().kind(), Kind::Replaced);
}

// Contract: L10: the path may be a link, which may be changed to point to another file. The name of a file may be a
// URI.
#[test]
fn links_and_uris_are_followed() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["one.db", "two.db"] {
        let store = SqliteStore::open(at(name)).unwrap();
        store.setup().unwrap();
        store.push(&[command("a", name)]).unwrap();
    }
    let turn_to = |name: &str| {
        let _ = fs::remove_file(at("link.db"));
        std::os::unix::fs::symlink(at(name), at("link.db")).unwrap();
    };
    turn_to("one.db");
    let uri = format!("file:{}?cache=private", at("link.db").display());
    let opened = [SqliteStore::open(at("link.db")).unwrap(), SqliteStore::open(uri).unwrap()];
    for store in &opened {
        store.push(&[command("a", "2")]).unwrap();
    }
    turn_to("two.db");
    for store in &opened {
        assert_eq!(store.filter(&Query::new()).unwrap_err().kind(), Kind::Replaced);
    }
    turn_to("one.db");
    for store in &opened {
        assert_eq!(store.filter(&Query::new()).unwrap().len(), 3);
    }
    move_away(&at("one.db"));
    for store in &opened {
        assert!(
            matches!(store.push(&[command("a", "3")]), Err(PushError::Store(error)) if error.kind() == Kind::Replaced)
        );
    }
}

// Contract: L10, A4
#[test]
fn a_push_in_a_transaction_of_the_callers_is_refused_too() {
    let (_folder, path) = in_folder();
    let store = SqliteStore::open(&path).unwrap();
    store.setup().unwrap();
    let mut own = Connection::open(&path).unwrap();
    let transaction = own.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    move_away(&path);
    match store.push_in(&transaction, &[command("a", "1")]) {
        Err(PushError::Store(error)) => assert_eq!(error.kind(), Kind::Replaced, "{error:?}"),
        other => panic!("{other:?}"),
    }
}

// Contract: L10: the log of a removed file would be taken for the log of the new file.
#[test]
fn a_log_without_its_file_is_not_opened() {
    let (_folder, path) = in_folder();
    let store = SqliteStore::open(&path).unwrap();
    store.setup().unwrap();
    move_away(&path);
    for name in [path.display().to_string(), format!("file:{}", path.display())] {
        for _ in 0..2 {
            let error = SqliteStore::open(&name).unwrap_err();
            assert_eq!(error.kind(), Kind::Replaced, "{error:?}");
            assert!(chain(&error).contains("test.db-wal"), "{}", chain(&error));
        }
    }
    assert!(path.with_extension("db-wal").exists());
    let _ = fs::remove_file(&path);
    put_back(&path);
    SqliteStore::open(&path).unwrap().push(&[command("a", "1")]).unwrap();
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

// Contract: L10: commits go into the log first. Without the log, no write is acknowledged and nothing is read.
#[test]
fn a_log_that_is_gone_or_replaced_is_neither_written_nor_read() {
    for (what, deed, undo) in DEEDS {
        for ending in ["-wal", "-shm"] {
            let (_folder, path) = in_folder();
            let store = SqliteStore::open(&path).unwrap();
            store.setup().unwrap();
            store.push(&[command("a", "1")]).unwrap();
            let log = beside(&path, ending);
            deed(&log);
            match store.push(&[command("a", "2")]) {
                Err(PushError::Store(error)) => {
                    assert_eq!(error.kind(), Kind::Replaced, "{what} {ending}: {error:?}");
                    let text = chain(&error);
                    assert!(text.contains(log.to_str().unwrap()) && text.contains("integrity_check"), "{text}");
                }
                other => panic!("{what} {ending}: {other:?}"),
            }
            assert_eq!(store.filter(&Query::new()).unwrap_err().kind(), Kind::Replaced, "{what} {ending}");
            undo(&log);
            store.push(&[command("a", "3")]).unwrap();
            assert_eq!(store.filter(&Query::new()).unwrap().len(), 2, "{what} {ending}");
        }
    }
}

// Contract: L10: a process that comes later finds an empty log, and the index of the removed log.
#[test]
fn who_opens_beside_a_log_that_was_removed_is_told_so() {
    let (_folder, path) = in_folder();
    let store = SqliteStore::open(&path).unwrap();
    store.setup().unwrap();
    store.push(&[command("a", "1")]).unwrap();
    fs::remove_file(beside(&path, "-wal")).unwrap();
    // Opening the file creates a new log.
    let other = Connection::open(&path).unwrap();
    let _ = other.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
    let error = SqliteStore::open(&path).unwrap_err();
    assert_eq!(error.kind(), Kind::Replaced, "{error:?}");
    assert!(chain(&error).contains("-wal"), "{}", chain(&error));
    assert!(matches!(store.push(&[command("a", "2")]), Err(PushError::Store(error)) if error.kind() == Kind::Replaced));
}

// Contract: L10: while a store is open, SQLite itself keeps the log where it is.
#[test]
fn what_others_may_do_to_the_log_goes_on() {
    let (_folder, path) = in_folder();
    let store = SqliteStore::open(&path).unwrap();
    store.setup().unwrap();
    let deeds =
        ["PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA journal_mode = delete", "VACUUM", "PRAGMA journal_mode = wal"];
    for (number, deed) in (1..).zip(deeds) {
        store.push(&[command("a", &number.to_string())]).unwrap();
        let other = Connection::open(&path).unwrap();
        // Statements that need the file exclusively are refused.
        let _ = other.execute_batch(deed);
        drop(other);
        store.push(&[command("b", &number.to_string())]).unwrap_or_else(|error| panic!("{deed}: {error:?}"));
        assert_eq!(store.filter(&Query::new()).unwrap().len(), 2 * number, "{deed}");
    }
}

// Contract: L10: each name of a file has its own log, so two names would be two databases that overwrite each other.
#[test]
fn a_file_with_two_names_is_not_opened() {
    let (_folder, path) = in_folder();
    let store = SqliteStore::open(&path).unwrap();
    store.setup().unwrap();
    store.push(&[command("a", "1")]).unwrap();
    let unread = SqliteStore::open(&path).unwrap();
    let second = path.with_extension("second");
    fs::hard_link(&path, &second).unwrap();
    for name in [&path, &second] {
        for name in [name.display().to_string(), format!("file:{}", name.display())] {
            let error = SqliteStore::open(&name).unwrap_err();
            assert_eq!(error.kind(), Kind::CannotOpen, "{error:?}");
            let text = chain(&error);
            assert!(text.contains("2 names") && text.contains("symbolic link"), "{text}");
        }
    }
    assert!(!beside(&second, "-wal").exists());
    // A store opens its readers when they are needed.
    assert_eq!(unread.filter(&Query::new()).unwrap_err().kind(), Kind::CannotOpen);
    fs::remove_file(&second).unwrap();
    assert_eq!(unread.filter(&Query::new()).unwrap().len(), 1);
    drop((store, unread));
    SqliteStore::open(&path).unwrap().push(&[command("a", "2")]).unwrap();
}

fn push_each(store: &SqliteStore, ids: std::ops::Range<usize>) {
    for id in ids {
        store.push(&[command("a", &id.to_string())]).unwrap();
    }
}

/// Several threads open the file at once, as processes do that restart.
fn open_at_once(path: &Path) -> Vec<Result<SqliteStore, StoreError>> {
    let together = std::sync::Barrier::new(4);
    let open = || {
        together.wait();
        SqliteStore::open(path)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

// Contract: L2: the log of a killed process is used, also if rows break a constraint of the service.
#[test]
fn a_log_that_was_left_behind_is_taken() {
    let (_folder, path) = in_folder();
    let store = SqliteStore::open(&path).unwrap();
    store.setup().unwrap();
    push_each(&store, 0..150);
    let own =
        "CREATE TABLE own (n INTEGER CHECK (n > 0)); PRAGMA ignore_check_constraints = on; INSERT INTO own VALUES (0)";
    Connection::open(&path).unwrap().execute_batch(own).unwrap();
    let (_other, left) = in_folder();
    fs::copy(&path, &left).unwrap();
    fs::copy(beside(&path, "-wal"), beside(&left, "-wal")).unwrap();
    for opened in open_at_once(&left) {
        assert_eq!(opened.unwrap().filter(&Query::new()).unwrap().len(), 150);
    }
}

// Contract: L10: the pages of the log were written for another state of the file. Either they contain everything that
// is newer, or the two are refused.
#[test]
fn an_older_file_beside_a_log_that_was_left_behind_is_never_mixed() {
    let mut refused = 0;
    for (before, after) in [(50, 1), (50, 10), (50, 300), (0, 100), (1, 60), (300, 10), (300, 60)] {
        let (_folder, path) = in_folder();
        let store = SqliteStore::open(&path).unwrap();
        store.setup().unwrap();
        push_each(&store, 0..before);
        drop(store);
        let copy = path.with_extension("copy");
        fs::copy(&path, &copy).unwrap();
        // The first part goes into the file itself, and the rest stays in the log.
        let store = SqliteStore::open(&path).unwrap();
        push_each(&store, before..before + after);
        drop(store);
        let store = SqliteStore::open(&path).unwrap();
        push_each(&store, before + after..before + after + 3);
        let log = beside(&path, "-wal");
        fs::copy(&log, log.with_extension("left")).unwrap();
        drop(store);
        fs::rename(log.with_extension("left"), &log).unwrap();
        fs::rename(&copy, &path).unwrap();
        let was = (fs::read(&path).unwrap(), fs::read(&log).unwrap());
        let opened = open_at_once(&path);
        if let Ok(store) = &opened[0] {
            assert_eq!(store.filter(&Query::new()).unwrap().len(), before + after + 3);
            let all: String =
                Connection::open(&path).unwrap().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
            assert_eq!(all, "ok", "{before} {after}");
            continue;
        }
        refused += 1;
        for opened in opened {
            let error = opened.unwrap_err();
            assert_eq!(error.kind(), Kind::Corrupt, "{error:?}");
            let text = chain(&error);
            assert!(text.contains(log.to_str().unwrap()) && text.contains("remove the files"), "{text}");
        }
        assert!(was == (fs::read(&path).unwrap(), fs::read(&log).unwrap()), "neither is touched");
        // This is the remedy that the error names.
        fs::remove_file(&log).unwrap();
        let _ = fs::remove_file(beside(&path, "-shm"));
        let store = SqliteStore::open(&path).unwrap();
        assert_eq!(store.filter(&Query::new()).unwrap().len(), before);
        push_each(&store, before..before + 1);
    }
    assert!(refused >= 5, "{refused}");
}
