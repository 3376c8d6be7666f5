//! A file is moved away or replaced beneath a running engine: Contract: L10.

use std::fs;
use std::path::{Path, PathBuf};

use readside::error::{AwaitError, PushError, StoreErrorKind as Kind};

use readside::{Engine, EngineStore, EventStore, PostgresStore, SqliteStore};

use crate::{LONG, count, counts, eager, eventually, start, sum};

fn at(folder: &tempfile::TempDir, name: &str) -> PathBuf {
    folder.path().join(name)
}

/// Puts a copy in the place of a file, as a person does who restores a backup. The old file is kept under another
/// name.
fn restore(path: &Path, backup: &Path) {
    fs::rename(path, path.with_extension("aside")).unwrap();
    fs::copy(backup, path.with_extension("copy")).unwrap();
    fs::rename(path.with_extension("copy"), path).unwrap();
}

fn is_replaced(error: &AwaitError) -> bool {
    matches!(error, AwaitError::Store(error) if error.kind() == Kind::Replaced)
}

// Contract: L10, L11: pushes are refused, waits return an error, health does not say that all is well, and nothing is
// lost.
#[test]
fn an_engine_on_a_replaced_file_stores_nothing_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = at(&folder, "test.db");
    let store = SqliteStore::open(&path).unwrap();
    let engine = start(store.clone(), &["counts"], eager());
    let pushed = engine.push(&[count("a", 1)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    readside::rusqlite::Connection::open(&path)
        .unwrap()
        .execute("VACUUM INTO ?1", [at(&folder, "backup.db").to_str().unwrap()])
        .unwrap();
    let mut acknowledged = 1;
    for _ in 0..5 {
        engine.push(&[count("a", 1)]).unwrap();
        acknowledged += 1;
    }
    restore(&path, &at(&folder, "backup.db"));
    for _ in 0..20 {
        match engine.push(&[count("a", 1)]) {
            Err(PushError::Store(error)) => assert_eq!(error.kind(), Kind::Replaced, "{error:?}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(is_replaced(&engine.await_position("counts", "a", acknowledged + 1, LONG).unwrap_err()));
    assert_eq!(engine.health().unwrap_err().kind(), Kind::Replaced);
    // The engine no longer touches the file that it had open. When the file is put back, it holds every acknowledged
    // event, and everything goes on.
    fs::rename(path.with_extension("aside"), &path).unwrap();
    engine.await_position("counts", "a", acknowledged, LONG).unwrap();
    let pushed = engine.push(&[count("a", 1)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    assert_eq!(
        (pushed[0].position(), sum::<crate::File>(&store, "counts", None)),
        (acknowledged + 1, acknowledged + 1)
    );
    engine.shutdown(LONG).unwrap();
}

/// The read models of an event store are in a file that is removed, and then replaced by an older copy.
fn models_are_taken_away<S: EngineStore + EventStore + Clone>(events: &S) {
    let folder = tempfile::tempdir().unwrap();
    let path = at(&folder, "models.db");
    let models = SqliteStore::open(&path).unwrap();
    events.setup(&[]).unwrap();
    let engine = Engine::builder(events.clone())
        .models(models.clone())
        .config(eager())
        .projection(counts("counts"))
        .start()
        .unwrap();
    let pushed = engine.push(&[count("a", 1)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    readside::rusqlite::Connection::open(&path)
        .unwrap()
        .execute("VACUUM INTO ?1", [at(&folder, "backup.db").to_str().unwrap()])
        .unwrap();
    let pushed = engine.push(&[count("a", 1)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    restore(&path, &at(&folder, "backup.db"));
    let pushed = engine.push(&[count("a", 1)]).unwrap();
    assert!(is_replaced(&engine.await_pushed("counts", &pushed, LONG).unwrap_err()));
    fs::remove_file(&path).unwrap();
    let pushed = engine.push(&[count("a", 1)]).unwrap();
    assert!(is_replaced(&engine.await_pushed("counts", &pushed, LONG).unwrap_err()));
    assert_eq!(engine.health().unwrap_err().kind(), Kind::Replaced);
    assert_eq!(models.read_rows(&counts("counts"), "counts").unwrap_err().kind(), Kind::Replaced);
    fs::rename(path.with_extension("aside"), &path).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    eventually("an engine that is well", || {
        engine.health().is_ok_and(|health| health.projections[0].lagging_instances == 0)
    });
    assert_eq!(sum::<crate::File>(&models, "counts", None), 4);
    engine.shutdown(LONG).unwrap();
}

// Contract: L10, G5
#[test]
fn read_models_in_a_replaced_file_stand_still_and_say_so() {
    let folder = tempfile::tempdir().unwrap();
    models_are_taken_away(&SqliteStore::open(at(&folder, "events.db")).unwrap());
}

// Contract: L10, G5
#[cfg(feature = "postgres")]
#[test]
fn read_models_in_a_replaced_file_beside_a_server_stand_still_and_say_so() {
    let database = crate::common::postgres::database();
    models_are_taken_away(&PostgresStore::connect(database.url()).unwrap());
}
