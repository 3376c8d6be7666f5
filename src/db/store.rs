//! The store of a backend: event store and projection store in one database.

use std::sync::Arc;
use std::time::Duration;

use crate::sealed::Sealed;
use crate::sync::Mutex;
use uuid::Uuid;

use super::announce::Announcer;
#[cfg(feature = "cli")]
use super::bench_cleanup;
use super::push::{self, Push, Pushes};
use super::transaction::Transaction;
use super::{Backend, Conn, failure, filter, lag, lease, pause, retention, setup, standstill, state, whole};
use crate::error::{PushError, SetupError, StoreError, chain};
use crate::event::{Event, NewEvent};
use crate::failure::{FailedEvent, FailureQuery, FailureStatus, Intervention};
use crate::inspect::Inspect;
use crate::lease::{Lag, LagRequest, Lease, Member, Pause, Renewal};
use crate::projection::Projection;
use crate::query::{EventBatch, Flaw, Head, HeadsRequest, Query, ReadRequest, Span};
use crate::standing::Standing;
use crate::standstill::{Note, StandstillSubject};
use crate::state::{ProjectionKey, State};
use crate::store::BuildStore;
use crate::store::CommandStore;
use crate::store::LeaseStore;
use crate::store::StandstillStore;
use crate::store::{EventSource, EventStore, ProjectionStore, ProjectionTransaction};
use crate::subscription::{Bus, DirtyToken, Subscription, Topics};
use crate::value::Value;

/// Event store and projection store in one database. Cloning is cheap; clones share connections and subscribers.
///
/// [`SqliteStore::open`](crate::SqliteStore) makes one, or, with the feature `postgres`, `PostgresStore::connect`.
#[derive(Debug)]
pub struct DbStore<B: Backend> {
    inner: Arc<Inner<B>>,
}

#[derive(Debug)]
struct Inner<B: Backend> {
    backend: Arc<B>,
    announcer: Option<Announcer<B>>,
    bus: Arc<Bus>,
    pushes: Pushes,
    /// The id as it was last read, together with the latest events.
    store_id: Mutex<Option<Uuid>>,
    /// The last command for which a log line said that this code cannot read it.
    strange: Mutex<Uuid>,
}

impl<B: Backend> Clone for DbStore<B> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<B: Backend> DbStore<B> {
    pub(crate) fn from_backend(backend: B) -> Self {
        let backend = Arc::new(backend);
        let announcer = Announcer::of(&backend);
        let bus = Arc::new(Bus::telling(announcer.as_ref().map(Announcer::untold)));
        let (pushes, store_id, strange) = (Pushes::default(), Mutex::new(None), Mutex::new(Uuid::nil()));
        Self { inner: Arc::new(Inner { backend, announcer, bus, pushes, store_id, strange }) }
    }

    pub(crate) fn backend(&self) -> &B {
        &self.inner.backend
    }

    /// Logs once that this process leaves a command alone because its code cannot read it. Later commands have greater
    /// ids.
    pub(super) fn tell_strange(&self, command: Uuid, error: &StoreError) {
        let mut told = self.inner.strange.lock();
        if command > *told {
            *told = command;
            log::warn!("this engine leaves command {command} to one of another version: {}", chain(error));
        }
    }

    /// Creates or migrates the engine's own tables. It is safe to repeat, and to run in many processes at once.
    ///
    /// # Errors
    /// [`SetupError::NewerSchema`] if a newer version of this library set the database up.
    pub fn setup(&self) -> Result<(), SetupError> {
        ProjectionStore::setup(self, &[])
    }

    /// The SQL that [`setup`](ProjectionStore::setup) would run on an empty database, for an owner of the database to
    /// run where the service's role must not create tables.
    ///
    /// # Errors
    /// When a definition contradicts itself, or asks for what this database does not have.
    pub fn setup_sql(&self, projections: &[&Projection]) -> Result<String, SetupError> {
        setup::script(self.backend(), projections)
    }

    /// The SQL by which an owner gives a role what it needs to run these projections on tables that are set up, and
    /// nothing more. Without projections, it covers all that are registered in the database. Set-up, rebuilds and
    /// switches need the owner of the tables, and so do `redact`, `remove_instance` and `archive`. When a new version
    /// or a rebuild makes more tables, grant these again.
    ///
    /// # Errors
    /// When a definition contradicts itself, or when the database cannot be read or, as SQLite, has no roles.
    pub fn grant_sql(&self, role: &str, projections: &[&Projection]) -> Result<String, SetupError> {
        Projection::check_all(projections)?;
        self.inner.backend.grants(role, projections)
    }

    /// The rows of a projection's table in this version, by instance and primary key. A row has the name and the value
    /// of each column, and the first one is `instance_id`. The view may show readers another version. Meant for tests
    /// and reports: it reads the whole table.
    ///
    /// # Errors
    /// When the projection has no such table or the store cannot be read.
    pub fn read_rows(&self, projection: &Projection, table: &str) -> Result<Vec<Vec<(String, Value)>>, StoreError> {
        let doing = format!("reading table {table:?} of projection {:?}", projection.name());
        self.inner.backend.read(&doing, |conn| setup::read_rows(conn, projection, table))
    }

    /// Removes the instances, tables and records of a measurement.
    #[cfg(feature = "cli")]
    pub(crate) fn erase_scratch(&self, tag: &str, projection: &Projection) -> Result<(), StoreError> {
        bench_cleanup::erase(self.backend(), tag, projection)
    }

    /// Pushes. Returns true if the events were already stored under their push keys.
    #[cfg(feature = "cli")]
    pub(crate) fn push_or_repeat(&self, events: &[NewEvent]) -> Result<bool, PushError> {
        self.push_told(Push::of(events)?).map(|accepted| accepted.repeated)
    }

    /// As [`push_or_repeat`](Self::push_or_repeat), for [`push_imported`](Self::push_imported).
    #[cfg(feature = "cli")]
    pub(crate) fn import_or_repeat(&self, events: &[NewEvent]) -> Result<bool, PushError> {
        self.push_told(Push::imported(events)?).map(|accepted| accepted.repeated)
    }

    /// As [`push`](EventStore::push), and keeps the ids and the times that events bring from elsewhere
    /// ([`NewEvent::id`], [`NewEvent::created_at`]); the store gives those that an event does not bring.
    ///
    /// The times of an instance never decrease with the position (A1). So an event that was created before the last one of
    /// its instance is refused, and so is one that is more than five minutes ahead of the database's clock.
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use std::time::{Duration, SystemTime};
    /// use readside::{NewEvent, SqliteStore};
    /// use readside::error::PushError;
    /// let store = SqliteStore::in_memory()?;
    /// store.setup()?;
    /// let signed_up = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    /// let user = |at| NewEvent::raw("acme", "user", "u1", "user.added").created_at(at);
    /// let stored = store.push_imported(&[user(signed_up)])?;
    /// assert_eq!(stored[0].created_at(), signed_up);
    /// let earlier = store.push_imported(&[user(signed_up - Duration::from_secs(1))]);
    /// assert!(matches!(earlier, Err(PushError::TimeGoesBack { index: 0, .. })));
    /// # }
    /// # Ok::<(), readside::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`push`](EventStore::push); [`PushError::TimeGoesBack`], [`PushError::TimeAhead`], and [`PushError::IdExists`] for an
    /// id that an event of the same instance has.
    pub fn push_imported(&self, events: &[NewEvent]) -> Result<Vec<Event>, PushError> {
        self.push_told(Push::imported(events)?).map(|accepted| accepted.events)
    }

    /// Pushes the next part of a copy of an instance.
    #[cfg(feature = "cli")]
    pub(super) fn push_copied(&self, events: &[NewEvent], head: Option<Uuid>) -> Result<Vec<Event>, PushError> {
        self.push_told(Push::copied(events, push::Continued { head })?).map(|accepted| accepted.events)
    }

    fn push_told(&self, push: Push) -> Result<push::Accepted, PushError> {
        self.tell_of_pushes();
        self.inner.pushes.push(self.backend(), &self.inner.bus, push)
    }

    /// Starts the thread that tells other processes of pushes.
    fn tell_of_pushes(&self) {
        if let Some(announcer) = &self.inner.announcer {
            announcer.start();
        }
    }

    /// Stores the events inside the caller's transaction.
    #[cfg_attr(not(any(feature = "sqlite", feature = "postgres")), expect(dead_code, reason = "for backends"))]
    pub(crate) fn push_on(&self, conn: &mut dyn Conn, events: &[NewEvent]) -> Result<Vec<Event>, PushError> {
        self.tell_of_pushes();
        self.inner.pushes.push_in(conn, events)
    }

    /// The error for a caller of `push_in` that has waited for a lock since `since`.
    #[cfg(feature = "sqlite")]
    pub(crate) fn busy(&self, events: &[NewEvent], since: std::time::Instant) -> PushError {
        let instances = push::instances(events);
        let names: Vec<String> = instances.iter().map(ToString::to_string).collect();
        push::busy(&instances, since, self.inner.backend.holder(&names))
    }

    /// The error of a `push_in` that was rolled back, with the reason if the counter is the cause.
    #[cfg_attr(not(any(feature = "sqlite", feature = "postgres")), expect(dead_code, reason = "for backends"))]
    pub(crate) fn explained(&self, events: &[NewEvent], error: PushError) -> PushError {
        push::explained(self.backend(), &push::instances(events), error)
    }

    /// The token that the caller of `push_in` fires after the commit.
    #[cfg_attr(not(any(feature = "sqlite", feature = "postgres")), expect(dead_code, reason = "for backends"))]
    pub(crate) fn dirty_token(&self, events: &[NewEvent]) -> DirtyToken {
        let concerned = events.iter().map(|new| (Arc::clone(&new.instance), Arc::clone(&new.aggregate_type))).collect();
        DirtyToken::new(Arc::clone(&self.inner.bus), concerned)
    }
}

impl<B: Backend> EventSource for DbStore<B> {
    fn store_id(&self) -> Result<Uuid, StoreError> {
        if let Some(id) = *self.inner.store_id.lock() {
            return Ok(id);
        }
        let id = self.inner.backend.read("reading the id of the event store", setup::store_id)?;
        *self.inner.store_id.lock() = Some(id);
        Ok(id)
    }

    fn heads(&self, request: &HeadsRequest) -> Result<Vec<Head>, StoreError> {
        self.inner.backend.read("reading heads", |conn| filter::heads(conn, request))
    }

    fn read(&self, request: &ReadRequest) -> Result<Vec<EventBatch>, StoreError> {
        if request.cursors.is_empty() {
            return Ok(Vec::new());
        }
        let read = self.inner.backend.read("reading events", |conn| conn.event_batches(request))?;
        if read.store.is_some() {
            *self.inner.store_id.lock() = read.store;
        }
        Ok(read.slices)
    }

    fn removed(&self, instance: &str) -> Result<i64, StoreError> {
        self.inner.backend.read("reading what was removed", |conn| retention::removed(conn, instance))
    }

    fn flaws(&self, spans: &[Span]) -> Result<Vec<Flaw>, StoreError> {
        if spans.is_empty() {
            return Ok(Vec::new());
        }
        self.inner.backend.read("looking whether logs are whole", |conn| whole::flaws(conn, spans))
    }

    fn generation(&self) -> u64 {
        self.inner.backend.generation()
    }

    fn forget(&self) {
        *self.inner.store_id.lock() = None;
    }
}

impl<B: Backend> Sealed for DbStore<B> {}

impl<B: Backend> EventStore for DbStore<B> {
    fn push(&self, events: &[NewEvent]) -> Result<Vec<Event>, PushError> {
        self.push_told(Push::of(events)?).map(|accepted| accepted.events)
    }

    fn filter(&self, query: &Query) -> Result<Vec<Event>, StoreError> {
        self.inner.backend.read("filtering events", |conn| filter::filter(conn, query))
    }

    fn instance_ids(&self, query: &Query) -> Result<Vec<Arc<str>>, StoreError> {
        self.inner.backend.read("reading instance ids", |conn| filter::instance_ids(conn, query))
    }

    fn location(&self) -> Result<String, StoreError> {
        self.inner.backend.location()
    }

    fn subscribe(&self, topics: Topics) -> Subscription {
        self.inner.bus.subscribe(topics)
    }
}

impl<B: Backend> ProjectionStore for DbStore<B> {
    fn setup(&self, projections: &[&Projection]) -> Result<(), SetupError> {
        setup::setup(self.backend(), projections)
    }

    fn verify(&self, projections: &[&Projection]) -> Result<(), SetupError> {
        setup::verify(self.backend(), projections)
    }

    fn states(&self, projection: &ProjectionKey, instances: &[Arc<str>]) -> Result<Vec<State>, StoreError> {
        let doing = format!("reading states of projection {:?}", projection.name);
        self.inner.backend.read(&doing, |conn| state::states(conn, projection, instances))
    }

    fn states_after(
        &self,
        projection: &ProjectionKey,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<State>, StoreError> {
        let doing = format!("reading states of projection {:?}", projection.name);
        self.inner.backend.read(&doing, |conn| state::states_after(conn, projection, after, limit))
    }

    fn transaction(
        &self,
        work: &mut dyn FnMut(&mut dyn ProjectionTransaction) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.inner.backend.write("updating read models", |conn| work(&mut Transaction::new(conn)))
    }

    fn failed_events(&self, projection: &ProjectionKey, query: &FailureQuery) -> Result<Vec<FailedEvent>, StoreError> {
        self.inner.backend.read("reading held events", |conn| failure::list(conn, projection, query))
    }

    fn failure_count(&self, projection: &ProjectionKey, query: &FailureQuery) -> Result<u64, StoreError> {
        self.inner.backend.read("counting failed events", |conn| failure::count(conn, projection, query))
    }

    fn failure_counts(&self, projection: &ProjectionKey) -> Result<Vec<(FailureStatus, u64)>, StoreError> {
        self.inner.backend.read("counting held events", |conn| failure::counts(conn, projection))
    }

    fn interventions(&self, projection: &ProjectionKey, limit: usize) -> Result<Vec<Intervention>, StoreError> {
        self.inner.backend.read("reading interventions", |conn| failure::interventions(conn, projection, limit))
    }

    fn holds(&self, source: Uuid) -> Result<bool, StoreError> {
        Ok(self.store_id()? == source)
    }

    fn connections(&self) -> Option<usize> {
        self.inner.backend.connections()
    }

    fn commands(&self) -> &dyn CommandStore {
        self
    }

    fn builds(&self) -> &dyn BuildStore {
        self
    }

    fn standstills(&self) -> &dyn StandstillStore {
        self
    }

    fn inspect(&self) -> &dyn Inspect {
        self
    }
}

impl<B: Backend> StandstillStore for DbStore<B> {
    fn note(
        &self,
        process: Uuid,
        notes: &[Note],
        gone: &[(ProjectionKey, StandstillSubject)],
    ) -> Result<(), StoreError> {
        let doing = "writing down why projections stand still";
        self.inner.backend.write_reserved(doing, |conn| standstill::note(conn, process, notes, gone))
    }

    fn standings(&self, projections: &[ProjectionKey], instance: Option<&str>) -> Result<Vec<Standing>, StoreError> {
        let doing = "reading why projections stand still";
        self.inner.backend.read(doing, |conn| standstill::read(conn, projections, instance))
    }
}

impl<B: Backend> LeaseStore for DbStore<B> {
    fn hold_within(&self, lease: Duration) {
        self.inner.backend.hold_within(lease);
    }

    fn call_itself(&self, name: &str) {
        self.inner.backend.call_itself(name);
    }

    fn acquire(
        &self,
        projection: &ProjectionKey,
        instances: &[Arc<str>],
        owner: Uuid,
        duration: Duration,
    ) -> Result<Vec<Lease>, StoreError> {
        let doing = format!("taking leases of projection {:?}", projection.name);
        self.inner.backend.write(&doing, |conn| lease::acquire(conn, projection, instances, owner, duration))
    }

    fn renew(&self, owner: Uuid, duration: Duration) -> Result<Vec<Renewal>, StoreError> {
        self.inner.backend.write_reserved("renewing leases", |conn| lease::renew(conn, owner, duration))
    }

    fn release(&self, projection: &ProjectionKey, instances: &[Arc<str>], owner: Uuid) -> Result<(), StoreError> {
        let doing = format!("giving back leases of projection {:?}", projection.name);
        self.inner.backend.write(&doing, |conn| lease::release(conn, projection, instances, owner))
    }

    fn lead(&self, projection: &ProjectionKey, owner: Uuid, duration: Duration) -> Result<bool, StoreError> {
        let doing = format!("taking the lead of the first run of projection {:?}", projection.name);
        self.inner.backend.write_reserved(&doing, |conn| lease::lead(conn, projection, owner, duration))
    }

    fn succeeded(&self, projections: &[ProjectionKey]) -> Result<Vec<bool>, StoreError> {
        self.inner.backend.read("reading which projections succeeded", |conn| lease::succeeded(conn, projections))
    }

    fn succeed(&self, projection: &ProjectionKey, owner: Uuid) -> Result<bool, StoreError> {
        let doing = format!("recording the first success of projection {:?}", projection.name);
        self.inner.backend.write(&doing, |conn| lease::succeed(conn, projection, owner))
    }

    fn heartbeat(&self, member: &Member, time_to_live: Duration) -> Result<Vec<Member>, StoreError> {
        self.inner
            .backend
            .write_reserved("announcing this process", |conn| lease::heartbeat(conn, member, time_to_live))
    }

    fn tell(&self, process: Uuid, missed: &[(ProjectionKey, u64)], deaf: Option<&str>) -> Result<(), StoreError> {
        let doing = "telling how many updates met no row, and whether this process hears of pushes";
        self.inner.backend.write_reserved(doing, |conn| lease::tell(conn, process, missed, deaf))
    }

    fn leave(&self, process: Uuid) -> Result<(), StoreError> {
        self.inner.backend.write("taking this process off the list", |conn| lease::leave(conn, process))
    }

    fn is_at(&self, location: &str) -> Result<bool, StoreError> {
        Ok(self.inner.backend.location()? == location)
    }

    fn lagging(&self, source: Uuid, request: &LagRequest) -> Result<Option<Vec<Lag>>, StoreError> {
        if self.store_id()? != source {
            return Ok(None);
        }
        self.inner.backend.read("looking for lag", |conn| lag::lagging(conn, request)).map(Some)
    }

    fn lagging_instances(&self, source: Uuid, request: &LagRequest) -> Result<Option<Vec<Arc<str>>>, StoreError> {
        if self.store_id()? != source {
            return Ok(None);
        }
        self.inner
            .backend
            .read("looking for instances that are behind", |conn| lag::lagging_instances(conn, request))
            .map(Some)
    }

    fn diverged(&self, source: Uuid, request: &LagRequest, thorough: bool) -> Result<Option<Vec<Lag>>, StoreError> {
        if self.store_id()? != source {
            return Ok(None);
        }
        let doing = "looking for checkpoints that are not part of the log";
        self.inner.backend.read(doing, |conn| lag::diverged(conn, request, thorough)).map(Some)
    }

    fn change_token(&self, source: Uuid) -> Result<Option<String>, StoreError> {
        if self.store_id()? != source {
            return Ok(None);
        }
        self.inner.backend.read("looking for signs of lag", lag::change_token).map(Some)
    }

    fn pauses(&self) -> Result<Vec<Pause>, StoreError> {
        self.inner.backend.read("reading what is paused", pause::pauses)
    }
}
