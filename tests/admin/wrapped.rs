//! A store that does what another one does, and tells a test on the way.

use std::sync::Arc;
use std::time::Duration;

use readside::error::{SetupError, StoreError, StoreErrorKind, SwitchError};
use readside::*;

/// What a test does at certain points of a store's work.
pub(crate) trait Hook: std::fmt::Debug + Send + Sync + 'static {
    /// Statements are about to be applied.
    fn apply(&self, _projection: &Projection) -> Result<(), StoreError> {
        Ok(())
    }
    /// A call of the build store is about to begin (`begin`), or has ended (`begin.`).
    fn at(&self, _point: &str) {}
    /// Whether word of the commit of this exchange gets lost.
    fn loses_commit(&self) -> bool {
        false
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Wrapped<S> {
    pub(crate) inner: S,
    pub(crate) hook: Arc<dyn Hook>,
}

struct WrappedTransaction<'t, 'f>(&'t mut dyn ProjectionTransaction, &'f dyn Hook);

impl<S: EngineStore> EventSource for Wrapped<S> {
    fn store_id(&self) -> Result<uuid::Uuid, StoreError> {
        self.inner.store_id()
    }
    fn heads(&self, request: &HeadsRequest) -> Result<Vec<Head>, StoreError> {
        self.inner.heads(request)
    }
    fn read(&self, request: &ReadRequest) -> Result<Vec<EventBatch>, StoreError> {
        self.inner.read(request)
    }
}
impl<S: EngineStore> EventStore for Wrapped<S> {
    fn push(&self, commands: &[NewEvent]) -> Result<Vec<Event>, error::PushError> {
        self.inner.push(commands)
    }
    fn filter(&self, query: &Query) -> Result<Vec<Event>, StoreError> {
        self.inner.filter(query)
    }
    fn instance_ids(&self, query: &Query) -> Result<Vec<Arc<str>>, StoreError> {
        self.inner.instance_ids(query)
    }
    fn subscribe(&self, topics: Topics) -> Subscription {
        self.inner.subscribe(topics)
    }
}
impl<S: EngineStore> ProjectionStore for Wrapped<S> {
    fn setup(&self, projections: &[&Projection]) -> Result<(), SetupError> {
        self.inner.setup(projections)
    }
    fn verify(&self, projections: &[&Projection]) -> Result<(), SetupError> {
        self.inner.verify(projections)
    }
    fn states(&self, key: &ProjectionKey, instances: &[Arc<str>]) -> Result<Vec<State>, StoreError> {
        self.inner.states(key, instances)
    }
    fn states_after(&self, key: &ProjectionKey, after: Option<&str>, limit: usize) -> Result<Vec<State>, StoreError> {
        self.inner.states_after(key, after, limit)
    }
    fn holds(&self, source: uuid::Uuid) -> Result<bool, StoreError> {
        self.inner.holds(source)
    }
    fn transaction(
        &self,
        work: &mut dyn FnMut(&mut dyn ProjectionTransaction) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.inner.transaction(&mut |tx| work(&mut WrappedTransaction(tx, self.hook.as_ref())))
    }
    fn failed_events(&self, key: &ProjectionKey, query: &FailureQuery) -> Result<Vec<FailedEvent>, StoreError> {
        self.inner.failed_events(key, query)
    }
    fn failure_counts(&self, key: &ProjectionKey) -> Result<Vec<(FailureStatus, u64)>, StoreError> {
        self.inner.failure_counts(key)
    }
    fn interventions(&self, key: &ProjectionKey, limit: usize) -> Result<Vec<Intervention>, StoreError> {
        self.inner.interventions(key, limit)
    }
    fn switch(&self, projection: &Projection) -> Result<(), SetupError> {
        self.inner.switch(projection)
    }
    fn commands(&self) -> Option<&dyn CommandStore> {
        self.inner.commands()
    }
    fn builds(&self) -> Option<&dyn BuildStore> {
        Some(self)
    }
}
impl<S: EngineStore> LeaseStore for Wrapped<S> {
    fn hold_within(&self, lease: Duration) {
        self.inner.hold_within(lease);
    }
    fn acquire(
        &self,
        key: &ProjectionKey,
        instances: &[Arc<str>],
        owner: uuid::Uuid,
        lease: Duration,
    ) -> Result<Vec<Lease>, StoreError> {
        self.inner.acquire(key, instances, owner, lease)
    }
    fn renew(&self, owner: uuid::Uuid, lease: Duration) -> Result<Vec<Renewal>, StoreError> {
        self.inner.renew(owner, lease)
    }
    fn release(&self, key: &ProjectionKey, instances: &[Arc<str>], owner: uuid::Uuid) -> Result<(), StoreError> {
        self.inner.release(key, instances, owner)
    }
    fn lead(&self, key: &ProjectionKey, owner: uuid::Uuid, lease: Duration) -> Result<bool, StoreError> {
        self.inner.lead(key, owner, lease)
    }
    fn succeeded(&self, keys: &[ProjectionKey]) -> Result<Vec<bool>, StoreError> {
        self.inner.succeeded(keys)
    }
    fn succeed(&self, key: &ProjectionKey, owner: uuid::Uuid) -> Result<bool, StoreError> {
        self.inner.succeed(key, owner)
    }
    fn heartbeat(&self, member: &Member, ttl: Duration) -> Result<Vec<Member>, StoreError> {
        self.inner.heartbeat(member, ttl)
    }
    fn leave(&self, id: uuid::Uuid) -> Result<(), StoreError> {
        self.inner.leave(id)
    }
    fn lagging(&self, source: uuid::Uuid, request: &LagRequest) -> Result<Option<Vec<Lag>>, StoreError> {
        self.inner.lagging(source, request)
    }
    fn lagging_instances(&self, source: uuid::Uuid, request: &LagRequest) -> Result<Option<Vec<Arc<str>>>, StoreError> {
        self.inner.lagging_instances(source, request)
    }
    fn diverged(
        &self,
        source: uuid::Uuid,
        request: &LagRequest,
        thorough: bool,
    ) -> Result<Option<Vec<Lag>>, StoreError> {
        self.inner.diverged(source, request, thorough)
    }
    fn change_token(&self, source: uuid::Uuid) -> Result<Option<String>, StoreError> {
        self.inner.change_token(source)
    }
    fn pauses(&self) -> Result<Vec<Pause>, StoreError> {
        self.inner.pauses()
    }
}
impl<S: EngineStore> Notifier for Wrapped<S> {
    fn wire(&self) -> Box<dyn NotificationListener> {
        self.inner.wire()
    }
    fn announce(&self, news: &Notifications) -> Result<(), StoreError> {
        self.inner.announce(news)
    }
}
impl ProjectionTransaction for WrappedTransaction<'_, '_> {
    fn lock(&mut self, key: &ProjectionKey, instances: &[Arc<str>]) -> Result<Vec<State>, StoreError> {
        self.0.lock(key, instances)
    }
    fn event_batches(
        &mut self,
        source: uuid::Uuid,
        request: &ReadRequest,
    ) -> Result<Option<Vec<EventBatch>>, StoreError> {
        self.0.event_batches(source, request)
    }
    fn apply(&mut self, projection: &Projection, batches: &[(Arc<str>, Vec<&Statement>)]) -> Result<(), StoreError> {
        self.1.apply(projection)?;
        self.0.apply(projection, batches)
    }
    fn apply_one(&mut self, projection: &Projection, instance: &str, statement: &Statement) -> Result<(), StoreError> {
        self.0.apply_one(projection, instance, statement)
    }
    fn save(&mut self, key: &ProjectionKey, checkpoints: &[Checkpoint], log: Log) -> Result<(), StoreError> {
        self.0.save(key, checkpoints, log)
    }
    fn record(&mut self, key: &ProjectionKey, attempts: &[Attempt]) -> Result<(), StoreError> {
        self.0.record(key, attempts)
    }
    fn clear(&mut self, key: &ProjectionKey, instance: &str, up_to: i64) -> Result<(), StoreError> {
        self.0.clear(key, instance, up_to)
    }
    fn forget(&mut self, key: &ProjectionKey, instance: &str, positions: &[i64]) -> Result<(), StoreError> {
        self.0.forget(key, instance, positions)
    }
    fn failed_events(&mut self, key: &ProjectionKey, query: &FailureQuery) -> Result<Vec<FailedEvent>, StoreError> {
        self.0.failed_events(key, query)
    }
    fn parked(&mut self, key: &ProjectionKey, instance: &str, ids: &[Arc<str>]) -> Result<Aggregates, StoreError> {
        self.0.parked(key, instance, ids)
    }
    fn mark(&mut self, key: &ProjectionKey, instance: &str, event: Option<i64>) -> Result<(), StoreError> {
        self.0.mark(key, instance, event)
    }
    fn relax(&mut self, key: &ProjectionKey, instance: &str) -> Result<(), StoreError> {
        self.0.relax(key, instance)
    }
    fn note(
        &mut self,
        key: &ProjectionKey,
        instance: &str,
        position: i64,
        action: Action,
        by: &By,
    ) -> Result<(), StoreError> {
        self.0.note(key, instance, position, action, by)
    }
}

impl<S: EngineStore> Wrapped<S> {
    fn told<T>(&self, point: &str, call: impl FnOnce(&dyn BuildStore) -> T) -> T {
        self.hook.at(point);
        let outcome = call(self.inner.builds().unwrap());
        self.hook.at(&format!("{point}."));
        outcome
    }
}

impl<S: EngineStore> BuildStore for Wrapped<S> {
    fn builds(&self) -> Result<Vec<Build>, StoreError> {
        self.inner.builds().unwrap().builds()
    }
    fn begin(&self, build: &Projection, command: uuid::Uuid) -> Result<Vec<String>, SwitchError> {
        self.told("begin", |store| store.begin(build, command))
    }
    fn enter(
        &self,
        build: &ProjectionKey,
        from: &[Phase],
        to: Phase,
        trouble: Option<&str>,
    ) -> Result<bool, StoreError> {
        self.told("enter", |store| store.enter(build, from, to, trouble))
    }
    fn revive(&self, build: &ProjectionKey, command: uuid::Uuid) -> Result<(), SwitchError> {
        self.told("revive", |store| store.revive(build, command))
    }
    fn instances_of(
        &self,
        builds: &[ProjectionKey],
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Arc<str>>, StoreError> {
        self.inner.builds().unwrap().instances_of(builds, after, limit)
    }
    fn compare(
        &self,
        old: &ProjectionKey,
        new: &ProjectionKey,
        instances: &[Arc<str>],
        equal: &[LaggingInstance],
        into: &mut Comparison,
    ) -> Result<Vec<LaggingInstance>, StoreError> {
        self.told("compare", |store| store.compare(old, new, instances, equal, into))
    }
    fn go_live(
        &self,
        build: &ProjectionKey,
        patience: Duration,
        catch_up: Option<CatchUp<'_>>,
    ) -> Result<(), SwitchError> {
        self.told("go_live", |store| store.go_live(build, patience, catch_up))
    }
    fn exchange(&self, build: &Projection, instance: &Arc<str>, catch_up: CatchUp<'_>) -> Result<(), SwitchError> {
        self.told("exchange", |store| store.exchange(build, instance, catch_up))?;
        if self.hook.loses_commit() {
            return Err(StoreError::new("committing", StoreErrorKind::CommitUnknown, "cut off on purpose").into());
        }
        Ok(())
    }
    fn remove(&self, build: &ProjectionKey) -> Result<bool, SetupError> {
        self.told("remove", |store| store.remove(build))
    }
    fn empty(&self, projection: &Projection, instances: &[Arc<str>]) -> Result<u64, StoreError> {
        self.told("empty", |store| store.empty(projection, instances))
    }
    fn revoke(&self, projection: &ProjectionKey) -> Result<(), StoreError> {
        self.told("revoke", |store| store.revoke(projection))
    }
    fn instances(
        &self,
        projection: &Projection,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Arc<str>>, StoreError> {
        self.inner.builds().unwrap().instances(projection, after, limit)
    }
    fn find(
        &self,
        projection: &Projection,
        table: &Table,
        instance: &str,
        key: &[Value],
    ) -> Result<Option<Vec<(String, Value)>>, StoreError> {
        self.inner.builds().unwrap().find(projection, table, instance, key)
    }
    fn model(&self, projection: &Projection, instance: &str) -> Result<Model, StoreError> {
        self.inner.builds().unwrap().model(projection, instance)
    }
}
