//! A store of which the n-th call fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use readside::error::{SetupError, StoreError, StoreErrorKind};
use readside::{
    Action, Attempt, By, Checkpoint, EventBatch, EventSource, FailedEvent, FailureQuery, FailureStatus, Head,
    HeadsRequest, Intervention, Log, Projection, ProjectionKey, ProjectionStore, ProjectionTransaction, ReadRequest,
    State, Statement,
};

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Fails(StoreErrorKind),
    Panics,
    /// At a commit: cut off before it happened.
    CommitLost,
    /// At a commit: cut off after it happened.
    CommitDone,
}

#[derive(Debug)]
pub(crate) struct Faults {
    at: usize,
    fault: Fault,
    calls: AtomicUsize,
}

impl Faults {
    pub(crate) fn nth(at: usize, fault: Fault) -> Arc<Self> {
        Arc::new(Self { at, fault, calls: AtomicUsize::new(0) })
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn is_hit(&self) -> bool {
        self.calls.fetch_add(1, Ordering::SeqCst) + 1 == self.at
    }

    fn call(&self) -> Result<(), StoreError> {
        if !self.is_hit() {
            return Ok(());
        }
        match self.fault {
            Fault::Fails(kind) => Err(StoreError::new("a call that fails", kind, "on purpose")),
            Fault::Panics => panic!("on purpose"),
            Fault::CommitLost | Fault::CommitDone => Ok(()),
        }
    }
}

fn unknown() -> StoreError {
    StoreError::new("committing", StoreErrorKind::CommitUnknown, "cut off on purpose")
}

#[derive(Debug)]
pub(crate) struct Faulty<S> {
    pub(crate) inner: S,
    pub(crate) faults: Arc<Faults>,
}

impl<S: EventSource> EventSource for Faulty<S> {
    fn store_id(&self) -> Result<uuid::Uuid, StoreError> {
        self.faults.call()?;
        self.inner.store_id()
    }
    fn heads(&self, request: &HeadsRequest) -> Result<Vec<Head>, StoreError> {
        self.faults.call()?;
        self.inner.heads(request)
    }
    fn read(&self, request: &ReadRequest) -> Result<Vec<EventBatch>, StoreError> {
        self.faults.call()?;
        self.inner.read(request)
    }
}

impl<S: ProjectionStore> ProjectionStore for Faulty<S> {
    fn setup(&self, projections: &[&Projection]) -> Result<(), SetupError> {
        ProjectionStore::setup(&self.inner, projections)
    }
    fn verify(&self, projections: &[&Projection]) -> Result<(), SetupError> {
        self.inner.verify(projections)
    }
    fn states(&self, projection: &ProjectionKey, instances: &[Arc<str>]) -> Result<Vec<State>, StoreError> {
        self.faults.call()?;
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
        self.faults.call()?;
        let mut cut_off = false;
        self.inner.transaction(&mut |tx| {
            work(&mut FaultyTransaction { inner: tx, faults: &self.faults })?;
            if !self.faults.is_hit() {
                return Ok(());
            }
            match self.faults.fault {
                Fault::CommitLost => Err(unknown()),
                Fault::CommitDone => {
                    cut_off = true;
                    Ok(())
                }
                Fault::Fails(kind) => Err(StoreError::new("committing", kind, "on purpose")),
                Fault::Panics => panic!("on purpose"),
            }
        })?;
        if cut_off { Err(unknown()) } else { Ok(()) }
    }
    fn failed_events(&self, projection: &ProjectionKey, query: &FailureQuery) -> Result<Vec<FailedEvent>, StoreError> {
        self.faults.call()?;
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

struct FaultyTransaction<'t> {
    inner: &'t mut dyn ProjectionTransaction,
    faults: &'t Faults,
}

impl ProjectionTransaction for FaultyTransaction<'_> {
    fn lock(&mut self, projection: &ProjectionKey, instances: &[Arc<str>]) -> Result<Vec<State>, StoreError> {
        self.faults.call()?;
        self.inner.lock(projection, instances)
    }
    fn apply(&mut self, projection: &Projection, batches: &[(Arc<str>, Vec<&Statement>)]) -> Result<(), StoreError> {
        // Half of the work is done when it fails.
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for (instance, statements) in batches {
            let (one, other) = statements.split_at(statements.len() / 2);
            first.push((Arc::clone(instance), one.to_vec()));
            second.push((Arc::clone(instance), other.to_vec()));
        }
        self.inner.apply(projection, &first)?;
        self.faults.call()?;
        self.inner.apply(projection, &second)
    }
    fn apply_one(&mut self, projection: &Projection, instance: &str, statement: &Statement) -> Result<(), StoreError> {
        self.faults.call()?;
        self.inner.apply_one(projection, instance, statement)
    }
    fn save(&mut self, projection: &ProjectionKey, checkpoints: &[Checkpoint], log: Log) -> Result<(), StoreError> {
        self.faults.call()?;
        self.inner.save(projection, checkpoints, log)
    }
    fn record(&mut self, projection: &ProjectionKey, attempts: &[Attempt]) -> Result<(), StoreError> {
        self.faults.call()?;
        self.inner.record(projection, attempts)
    }
    fn clear(&mut self, projection: &ProjectionKey, instance: &str, up_to: i64) -> Result<(), StoreError> {
        self.faults.call()?;
        self.inner.clear(projection, instance, up_to)
    }
    fn forget(&mut self, projection: &ProjectionKey, instance: &str, positions: &[i64]) -> Result<(), StoreError> {
        self.faults.call()?;
        self.inner.forget(projection, instance, positions)
    }
    fn failed_events(
        &mut self,
        projection: &ProjectionKey,
        query: &FailureQuery,
    ) -> Result<Vec<FailedEvent>, StoreError> {
        self.faults.call()?;
        self.inner.failed_events(projection, query)
    }
    fn parked(
        &mut self,
        projection: &ProjectionKey,
        instance: &str,
        ids: &[Arc<str>],
    ) -> Result<readside::Aggregates, StoreError> {
        self.faults.call()?;
        self.inner.parked(projection, instance, ids)
    }
    fn mark(&mut self, projection: &ProjectionKey, instance: &str, event: Option<i64>) -> Result<(), StoreError> {
        self.faults.call()?;
        self.inner.mark(projection, instance, event)
    }
    fn relax(&mut self, projection: &ProjectionKey, instance: &str) -> Result<(), StoreError> {
        self.faults.call()?;
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
        self.faults.call()?;
        self.inner.note(projection, instance, position, action, by)
    }
}
