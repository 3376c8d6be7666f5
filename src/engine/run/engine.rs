//! A running engine.

mod shutdown;
mod waiting;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::builds::torn_tables;
use crate::engine::config::HandlerConfig;
use crate::engine::handler::ProjectionHandler;
use crate::engine::observe::Hook;
use crate::engine::pass::reducing::Reducing;
use crate::engine::run::control::Control;
use crate::engine::run::health::{self, Health};
#[cfg(feature = "serve")]
use crate::engine::run::readings::Onlooker;
use crate::engine::run::runner::Runner;
use crate::engine::run::state::Shared;
use crate::engine::run::thread::{Pulse, Thread};
use crate::error::{FailureError, PushError, StoreError, TriggerError};
use crate::event::{Event, NewEvent};
use crate::failure::RetryOutcome;
#[cfg(feature = "serve")]
use crate::inspect::Survey;
use crate::lease::Pause;
use crate::projection::Projection;
#[cfg(feature = "serve")]
use crate::store::EventStore;
use crate::store::Notifier;
use crate::store::{EventSource, ProjectionStore};
use crate::subscription::Subscription;
use crate::sync::Mutex;

/// Keeps the read models of its projections current, in one process or together with others.
///
/// Its threads are a ticker, a subscription, a listener, a renewal of leases, and the workers of a pool. Their number
/// does not grow with projections or instances. Dropping the engine shuts it down.
///
/// # Examples
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use std::time::Duration;
/// use readside::prelude::*;
/// use readside::{Engine, NewEvent, SqliteStore};
///
/// let logins = Projection::new("logins", 1)
///     .table(Table::new("logins").column(text("user")).primary_key(["user"]))
///     .on_raw("user", "user.logged_in", |e| create([set("user", e.aggregate_id())]));
///
/// let store = SqliteStore::in_memory()?;
/// let engine = Engine::builder(store.clone()).projection(logins.clone()).start()?;
/// let pushed = engine.push(&[NewEvent::raw("main", "user", "ada", "user.logged_in")])?;
/// engine.await_pushed("logins", &pushed, Duration::from_secs(5))?;
/// assert_eq!(store.read_rows(&logins, "logins")?.len(), 1);
/// engine.shutdown(Duration::from_secs(5))?;
/// # }
/// # Ok::<(), readside::Error>(())
/// ```
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    pulses: Vec<(&'static str, Arc<Pulse>)>,
    threads: Mutex<Option<Threads>>,
    subscription: Arc<Subscription>,
    /// Threads that had not ended when a shutdown gave up. The call that shuts down holds the lock.
    left: parking_lot::Mutex<Vec<Thread>>,
    /// What the last call for metrics counted.
    #[cfg(feature = "serve")]
    survey: Mutex<Survey>,
}

/// The threads of an engine.
#[derive(Debug)]
pub(crate) struct Threads {
    pub(crate) loops: Vec<Thread>,
    pub(crate) workers: Vec<Thread>,
    /// It calls the observer of the service, where there is one.
    pub(crate) observer: Option<Thread>,
    pub(crate) pulses: Vec<(&'static str, Arc<Pulse>)>,
    pub(crate) subscription: Arc<Subscription>,
}

impl Engine {
    pub(crate) fn new(shared: Arc<Shared>, threads: Threads) -> Self {
        let (pulses, subscription) = (threads.pulses.clone(), Arc::clone(&threads.subscription));
        Self {
            shared,
            pulses,
            threads: Mutex::new(Some(threads)),
            subscription,
            left: parking_lot::Mutex::default(),
            #[cfg(feature = "serve")]
            survey: Mutex::new(Survey::default()),
        }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn source(&self) -> &Arc<dyn EventSource> {
        &self.shared.stores.source
    }

    pub(crate) fn notifier(&self) -> &Arc<dyn Notifier> {
        &self.shared.stores.notifier
    }

    pub(crate) fn models(&self) -> &Arc<dyn ProjectionStore> {
        &self.shared.stores.models
    }

    /// Where events are pushed, unless they come from a custom source.
    #[cfg(feature = "serve")]
    pub(crate) fn event_store(&self) -> Option<&Arc<dyn EventStore>> {
        self.shared.stores.events.as_ref()
    }

    /// What the last call for metrics counted.
    #[cfg(feature = "serve")]
    pub(crate) fn survey(&self) -> &Mutex<Survey> {
        &self.survey
    }

    #[cfg(feature = "serve")]
    pub(crate) fn onlooker(&self) -> Onlooker {
        Onlooker::new(&self.shared, &self.pulses)
    }

    /// A projection that the engine runs, with its configuration.
    pub(crate) fn projection(&self, name: &str) -> Option<(Projection, HandlerConfig)> {
        self.shared.projection(name)
    }

    /// The record in which commands on a projection note the events that they are reducing.
    pub(crate) fn reducing(&self, name: &str) -> Arc<Reducing> {
        self.shared.reducing(name)
    }

    /// The names of the projections that the engine runs.
    pub(crate) fn projection_names(&self) -> Vec<String> {
        self.shared.projections().into_iter().map(|(name, _)| name).collect()
    }

    pub(crate) fn with_system(&self) -> bool {
        self.shared.config.system_instance
    }

    /// Reads which builds there are. This process knows them from then on.
    pub(crate) fn look_at_builds(&self) -> Result<(), StoreError> {
        self.shared.look_at_builds().map(|_| ())
    }

    /// Who hears what it does.
    pub(crate) fn hook(&self) -> Hook {
        self.shared.hook.clone()
    }

    /// Pushes events, as [`EventStore::push`](crate::EventStore::push) does.
    ///
    /// # Errors
    /// See [`PushError`].
    pub fn push(&self, commands: &[NewEvent]) -> Result<Vec<Event>, PushError> {
        let reason = "this engine reads from a source of its service's own; push where that source stores its events";
        let events = self.shared.stores.events.as_ref().ok_or(PushError::Transaction { reason })?;
        events.push(commands)
    }

    /// Brings instances up to date on the caller's thread. See
    /// [`ProjectionHandler::trigger`](crate::ProjectionHandler::trigger).
    ///
    /// # Errors
    /// See [`TriggerError`]; after a shutdown the instances stop with
    /// [`StopCause::Cancelled`](crate::health::StopCause::Cancelled).
    pub fn trigger(&self, projection: &str, instances: &[&str]) -> Result<(), TriggerError> {
        let unknown = || TriggerError::UnknownProjection { projection: projection.to_owned() };
        let (_, runner) = self.find(projection).ok_or_else(unknown)?;
        let outcome = runner.handler.trigger(instances);
        self.shared.progress.all_moved();
        // A pass without work refuses nothing, but the rows may still be wrong.
        let torn = runner.torn.lock().clone();
        torn.map_or(Ok(()), |found| Err(torn_tables("bringing them up to date", &found)))?;
        outcome
    }

    fn find(&self, projection: &str) -> Option<(usize, &Runner)> {
        self.shared.runners.iter().enumerate().find(|(_, runner)| *runner.key().name == *projection)
    }

    /// Notes a pause, or its end, before the next tick reads it.
    pub(crate) fn note_pause(&self, projection: &str, instance: Option<&str>, on: bool) {
        self.shared.pauses.note(projection, instance, on);
    }

    fn handler(&self, projection: &str) -> Result<&ProjectionHandler, FailureError> {
        let unknown = || FailureError::UnknownProjection { projection: projection.to_owned() };
        Ok(&self.find(projection).ok_or_else(unknown)?.1.handler)
    }

    /// The build under the plain name of the version, and its shadow if there is one.
    pub(crate) fn all_builds(&self, projection: &str) -> Result<Vec<&ProjectionHandler>, FailureError> {
        let own = self.handler(projection)?;
        let known = self.shared.stores.models.builds().builds()?;
        let is_made = |runner: &&Runner| known.iter().any(|build| build.key == *runner.key() && build.is_made());
        let beside = self.shared.runners.iter().filter(|runner| runner.is_shadow() && runner.name() == projection);
        Ok(std::iter::once(own).chain(beside.filter(is_made).map(|runner| &runner.handler)).collect())
    }

    /// Wakes the work that waited for the event.
    pub(crate) fn mended(&self, outcome: Result<RetryOutcome, FailureError>) -> Result<RetryOutcome, FailureError> {
        self.shared.progress.all_moved();
        self.shared.request_tick();
        outcome
    }

    /// How the engine is doing in this process. Lag, failures and standstills cover all processes.
    ///
    /// # Errors
    /// When the store cannot be read, since every statement about lag would be a guess. The error says why this process
    /// stands still, and since when.
    pub fn health(&self) -> Result<Health, StoreError> {
        let health = self.shared.health(health::loops(&self.pulses));
        health.map_err(|error| self.shared.with_standstill(error))
    }
}

impl Control for Engine {
    /// Whoever asked waits on the thread that works, and needs no record.
    fn report(&self, _progress: &serde_json::Value) {}

    fn may_go_on(&self) -> bool {
        !self.shared.stop.is_set()
    }

    fn wait(&self, time: Duration) -> bool {
        self.shared.stop.wait(time)
    }

    fn announce(&self) {
        self.shared.tell_all();
    }

    fn switched(&self, projection: &str, version: u32) {
        self.shared.switched(projection, version);
    }

    fn pauses(&self) -> Result<HashSet<Pause>, StoreError> {
        self.shared.pauses_on_record()
    }
}
