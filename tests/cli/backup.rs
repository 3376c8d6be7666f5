//! A copy of a file, also while an engine reads and writes the file.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use readside::query::Query;
use readside::testing::laws;
use readside::{EngineConfig, EventStore, NewEvent, SqliteStore};

use crate::service::users;
use crate::{command, fresh, on_both, ran};

fn added(number: usize) -> NewEvent {
    NewEvent::raw("acme", "user", &format!("u{number}"), "user.added")
}

// Contract: L2, L10: each copy shows the database at one moment: events without holes, and rows that fit a
// checkpoint.
#[test]
fn a_copy_made_while_an_engine_works_is_whole() {
    let [file, _] = fresh();
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(file.name()).unwrap();
    let config = EngineConfig::default().requeue_every(Duration::from_millis(50));
    let engine = readside::Engine::builder(store.clone()).projection(users(true)).config(config).start().unwrap();
    let (ends, mut before) = (AtomicBool::new(false), 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                if ends.load(Ordering::SeqCst) {
                    break;
                }
                engine.push(&[added(number)]).unwrap();
            }
        });
        for copy in 0..5 {
            let to = folder.path().join(format!("{copy}.db"));
            file.run(&["backup", to.to_str().unwrap()]).ok();
            let copied = SqliteStore::open(&to).unwrap();
            let report = laws::check(&copied, &copied, &users(true)).unwrap();
            assert!(report.faults().is_empty(), "{report:?}");
            let count = copied.filter(&Query::new()).unwrap().len();
            assert!(count >= before, "a later copy holds no less");
            before = count;
        }
        ends.store(true, Ordering::SeqCst);
    });
    assert!(before > 0, "something was pushed meanwhile");
    engine.shutdown(crate::common::LONG).unwrap();
}

#[test]
fn a_copy_goes_to_a_free_place_only_and_leaves_nothing_behind() {
    let [file, _] = fresh();
    file.run(&["setup"]).ok();
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(place("taken"), "mine").unwrap();
    let error = file.run(&["backup", &place("taken")]).failed();
    assert!(error.contains("there is something already") && error.contains("not there yet"), "{error}");
    assert_eq!(std::fs::read(place("taken")).unwrap(), b"mine");
    file.run(&["backup", &place("no/such/folder.db")]).failed();
    let error = file.run(&["backup", "postgres://ada:zecret@h/x"]).failed();
    assert!(!error.contains("zecret"), "{error}");
    let report = file.run(&["backup", &place("copy.db"), "--json"]).json();
    assert_eq!(report["bytes"], std::fs::metadata(place("copy.db")).unwrap().len());
    let mut left: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["copy.db", "taken"]);
    ran(command().args(["-d", &place("copy.db"), "status"]), "").ok();
}

// The copy has the permissions of the file.
#[test]
fn a_copy_has_the_rights_of_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let [file, _] = fresh();
    file.run(&["setup"]).ok();
    std::fs::set_permissions(file.name(), PermissionsExt::from_mode(0o600)).unwrap();
    let to = format!("{}-copy", file.name());
    file.run(&["backup", &to]).ok();
    assert_eq!(std::fs::metadata(to).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_database_in_memory_is_copied() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::in_memory().unwrap();
    store.setup().unwrap();
    store.push(&[added(1)]).unwrap();
    let to = folder.path().join("copy.db");
    store.back_up(&to).unwrap();
    assert_eq!(SqliteStore::open(to).unwrap().filter(&Query::new()).unwrap().len(), 1);
}

#[test]
fn postgres_has_tools_of_its_own() {
    on_both(|place| {
        if let crate::Place::Postgres(_) = place {
            let error = place.run(&["backup", "copy.db"]).failed();
            assert!(error.contains("pg_dump"), "{error}");
        }
    });
    assert!(!std::path::Path::new("copy.db").exists());
}
