//! A process on an SQLite file killed between any two statements, and at any byte that it writes: Contract: L2, G1.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use readside::error::{SetupError, StoreError};
use readside::*;

use crate::common::child::Child;
use crate::load::{Acknowledged, instance, instances, lawful, ledger, moved};

/// Ends the process, without a word, at the n-th call.
#[derive(Debug)]
struct Mortal {
    inner: SqliteStore,
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

impl ProjectionStore for Mortal {
    fn setup(&self, projections: &[&Projection]) -> Result<(), SetupError> {
        ProjectionStore::setup(&self.inner, projections)
    }
    fn verify(&self, projections: &[&Projection]) -> Result<(), SetupError> {
        self.inner.verify(projections)
    }
    fn states(&self, projection: &ProjectionKey, instances: &[Arc<str>]) -> Result<Vec<State>, StoreError> {
        self.inner.states(projection, instances)
    }
    fn states_after(
        &self,
        projection: &ProjectionKey,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<State>, StoreError> {
        self.inner.states_after(projection, after, limit)
    }
    fn holds(&self, source: uuid::Uuid) -> Result<bool, StoreError> {
        self.inner.holds(source)
    }
    fn transaction(
        &self,
        work: &mut dyn FnMut(&mut dyn ProjectionTransaction) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.inner.transaction(&mut |tx| work(&mut MortalTransaction { inner: tx, store: self }))?;
        self.live();
        Ok(())
    }
    fn failed_events(&self, projection: &ProjectionKey, query: &FailureQuery) -> Result<Vec<FailedEvent>, StoreError> {
        self.inner.failed_events(projection, query)
    }
    fn failure_counts(&self, projection: &ProjectionKey) -> Result<Vec<(FailureStatus, u64)>, StoreError> {
        self.inner.failure_counts(projection)
    }
    fn interventions(&self, projection: &ProjectionKey, limit: usize) -> Result<Vec<Intervention>, StoreError> {
        self.inner.interventions(projection, limit)
    }
    fn switch(&self, projection: &Projection) -> Result<(), SetupError> {
        self.inner.switch(projection)
    }
}

struct MortalTransaction<'t> {
    inner: &'t mut dyn ProjectionTransaction,
    store: &'t Mortal,
}

impl ProjectionTransaction for MortalTransaction<'_> {
    fn lock(&mut self, projection: &ProjectionKey, instances: &[Arc<str>]) -> Result<Vec<State>, StoreError> {
        self.store.live();
        self.inner.lock(projection, instances)
    }
    fn apply(&mut self, projection: &Projection, batches: &[(Arc<str>, Vec<&Statement>)]) -> Result<(), StoreError> {
        for (instance, statements) in batches {
            for statement in statements {
                self.inner.apply(projection, &[(Arc::clone(instance), vec![*statement])])?;
                self.store.live();
            }
        }
        Ok(())
    }
    fn apply_one(&mut self, projection: &Projection, instance: &str, statement: &Statement) -> Result<(), StoreError> {
        self.inner.apply_one(projection, instance, statement)?;
        self.store.live();
        Ok(())
    }
    fn save(&mut self, projection: &ProjectionKey, checkpoints: &[Checkpoint], log: Log) -> Result<(), StoreError> {
        self.store.live();
        self.inner.save(projection, checkpoints, log)?;
        self.store.live();
        Ok(())
    }
    fn record(&mut self, projection: &ProjectionKey, attempts: &[Attempt]) -> Result<(), StoreError> {
        self.inner.record(projection, attempts)
    }
    fn forget(&mut self, projection: &ProjectionKey, instance: &str, positions: &[i64]) -> Result<(), StoreError> {
        self.inner.forget(projection, instance, positions)
    }
    fn failed_events(
        &mut self,
        projection: &ProjectionKey,
        query: &FailureQuery,
    ) -> Result<Vec<FailedEvent>, StoreError> {
        self.inner.failed_events(projection, query)
    }
    fn parked(
        &mut self,
        projection: &ProjectionKey,
        instance: &str,
        ids: &[Arc<str>],
    ) -> Result<Aggregates, StoreError> {
        self.inner.parked(projection, instance, ids)
    }
    fn mark(&mut self, projection: &ProjectionKey, instance: &str, event: Option<i64>) -> Result<(), StoreError> {
        self.inner.mark(projection, instance, event)
    }
    fn relax(&mut self, projection: &ProjectionKey, instance: &str) -> Result<(), StoreError> {
        self.inner.relax(projection, instance)
    }
    fn note(
        &mut self,
        projection: &ProjectionKey,
        instance: &str,
        position: i64,
        action: Action,
        by: &By,
    ) -> Result<(), StoreError> {
        self.inner.note(projection, instance, position, action, by)
    }
    fn clear(&mut self, projection: &ProjectionKey, instance: &str, up_to: i64) -> Result<(), StoreError> {
        self.inner.clear(projection, instance, up_to)
    }
}

/// A process of the tests below: one pass over all instances, if it lives so long.
#[test]
#[ignore = "run as a process of its own by the tests that follow"]
fn pass() {
    let store = SqliteStore::open(std::env::var("READSIDE_TEST_PLACE").unwrap()).unwrap();
    let left = AtomicI64::new(std::env::var("READSIDE_TEST_CALLS").unwrap().parse().unwrap());
    let mortal = Arc::new(Mortal { inner: store.clone(), left });
    let config = HandlerConfig { bulk_limit: 3, ..HandlerConfig::default() };
    let handler = ProjectionHandler::new(Arc::new(store), mortal, ledger(), config).unwrap();
    let names = instances();
    handler.trigger(&names.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
}

/// Pushes a few events and has a process project them that dies in the way given; true when it did not die.
fn survives(path: &Path, acknowledged: &Acknowledged, before: &str, calls: usize) -> bool {
    let store = SqliteStore::open(path).unwrap();
    let commands: Vec<NewEvent> = (0..10).map(|n| moved(&instance(n % 2), "x", 1)).collect();
    acknowledged.add(&store.push(&commands).unwrap());
    // While it is open here, the log of the file is kept.
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

// Contract: L2: a limit on the size of files kills the writer in the middle of a write, which leaves half of it.
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
