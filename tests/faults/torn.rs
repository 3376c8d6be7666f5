//! A process on an SQLite file is killed between any two statements, and at any byte that it writes:
//! Contract: L2, G1.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use readside::error::StoreError;
use readside::store::ProjectionStore;
use readside::testing::{Answer, Call, Faults, FaultyStore};
use readside::{EventStore, HandlerConfig, NewEvent, ProjectionHandler, SqliteStore, testing};

use crate::common::child::Child;
use crate::load::{Acknowledged, instance, instances, lawful, ledger, moved};

/// Ends the process silently at the n-th place where something was written, or where a transaction begins or ends.
struct Mortal {
    left: AtomicI64,
}

impl Mortal {
    fn live(&self) {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            crate::common::child::send("-KILL", i64::from(std::process::id()));
            std::thread::sleep(crate::load::LONG);
        }
    }
}

impl Faults for Mortal {
    fn before(&self, call: &mut Call) -> Result<(), StoreError> {
        if matches!(call.name, "ProjectionTransaction::lock" | "ProjectionTransaction::save") {
            self.live();
        }
        Ok(())
    }

    fn after(&self, call: &Call, answer: Answer<'_>) -> Result<(), StoreError> {
        const WRITE: [&str; 4] = [
            "ProjectionTransaction::apply",
            "ProjectionTransaction::apply_one",
            "ProjectionTransaction::save",
            "ProjectionStore::commit",
        ];
        if WRITE.contains(&call.name) && !matches!(answer, Answer::Failed) {
            self.live();
        }
        Ok(())
    }
}

/// The process that the tests below start: it makes one pass over all instances, if it lives long enough.
#[test]
#[ignore = "run as a process of its own by the tests that follow"]
fn pass() {
    let store = SqliteStore::open(std::env::var("READSIDE_TEST_PLACE").unwrap()).unwrap();
    let left = AtomicI64::new(std::env::var("READSIDE_TEST_CALLS").unwrap().parse().unwrap());
    let mortal = FaultyStore::new(store.clone(), Arc::new(Mortal { left })).in_parts(usize::MAX);
    let config = HandlerConfig::default().bulk_limit(3);
    let handler = ProjectionHandler::new(Arc::new(store), Arc::new(mortal), ledger(), config).unwrap();
    let names = instances();
    handler.trigger(&names.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
}

/// Pushes a few events, and starts a process that projects them and dies in the given way. True if it did not die.
fn survives(path: &Path, acknowledged: &Acknowledged, before: &str, calls: usize) -> bool {
    let store = SqliteStore::open(path).unwrap();
    let commands: Vec<NewEvent> = (0..10).map(|n| moved(&instance(n % 2), "x", 1)).collect();
    acknowledged.add(&store.push(&commands).unwrap());
    // While the file is open here, SQLite keeps its log.
    let (place, calls) = (path.to_str().unwrap(), calls.to_string());
    let env = [("READSIDE_TEST_PLACE", place), ("READSIDE_TEST_CALLS", calls.as_str())];
    let status = Child::start_after(before, "torn::pass", &env).ended();
    assert!(status.success() || status.signal().is_some(), "it ended by an error, not by a signal: {status}");
    let report = readside::testing::laws::check(&store, &store, &ledger()).unwrap();
    assert!(report.is_lawful() && report.held() == 0, "{report}");
    status.success()
}

fn file() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    ProjectionStore::setup(&SqliteStore::open(&path).unwrap(), &[&ledger()]).unwrap();
    (folder, path)
}

fn in_the_end(path: &Path, acknowledged: &Acknowledged) -> testing::laws::LawReport {
    let store = SqliteStore::open(path).unwrap();
    let handler =
        ProjectionHandler::new(Arc::new(store.clone()), Arc::new(store.clone()), ledger(), HandlerConfig::default());
    let names = instances();
    handler.unwrap().trigger(&names.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    lawful(&store, acknowledged)
}

// Contract: L2, G1
#[test]
fn killed_between_any_two_statements() {
    let ((_folder, path), acknowledged) = (file(), Acknowledged::default());
    let mut killed = 0;
    while !survives(&path, &acknowledged, "true", killed + 1) {
        killed += 1;
    }
    assert!(killed >= 15, "{killed}");
    println!("killed at {killed} places: {}", in_the_end(&path, &acknowledged));
}

// Contract: L2: a limit for the size of files kills the writer in the middle of a write, of which half is done.
#[test]
fn killed_at_any_block_that_is_written() {
    let ((_folder, path), acknowledged) = (file(), Acknowledged::default());
    let wal = path.with_extension("db-wal");
    let mut killed = 0;
    for more in (0..240).step_by(8) {
        let size = std::fs::metadata(&wal).map_or(0, |file| file.len());
        // The shell counts in blocks of 512 bytes.
        let limit = format!("ulimit -c 0; ulimit -f {}", (size / 512).max(64) + more);
        killed += usize::from(!survives(&path, &acknowledged, &limit, usize::MAX >> 1));
    }
    assert!((5..30).contains(&killed), "some live, so that the limit was met in the middle of the work: {killed}");
    println!("killed at {killed} blocks: {}", in_the_end(&path, &acknowledged));
}
