//! Putting an engine together.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use uuid::Uuid;

use crate::engine::config::{EngineConfig, HandlerConfig};
use crate::engine::handler::ProjectionHandler;
use crate::engine::observe::observation::Observation;
use crate::engine::observe::{self, Hook, Observer};
use crate::engine::pass::lease::LeaseRegistry;
use crate::engine::read::shared_pages::SharedPages;
use crate::engine::run::builds::NEXT;
use crate::engine::run::engine::Engine;
use crate::engine::run::launch::launch;
use crate::engine::run::log_memory::LogMemory;
use crate::engine::run::operator::{CommandHandler, Operator};
use crate::engine::run::pauses::Pauses;
use crate::engine::run::progress::Progress;
use crate::engine::run::renewal;
use crate::engine::run::runner::Runner;
use crate::engine::run::schedule::Schedule;
use crate::engine::run::standstills::Standstills;
use crate::engine::run::state::{Fleet, RunningCommands, Shared, Stores, Workers};
use crate::engine::stop::Stop;
use crate::engine::watch::hub::Hub;
use crate::error::{ConfigError, Error, SetupError, StoreError};
use crate::projection::Projection;
use crate::sealed::Sealed;
use crate::store::{EventSource, EventStore, ProjectionStore};
use crate::store::{LeaseStore, NotificationListener, Notifications, Notifier};
use crate::sync::Mutex;

/// Connections that the loops need in addition to those of the workers.
const FOR_LOOPS: usize = 3;

/// A store that holds all that an engine needs: events, read models, leases, and notifications of other processes.
///
/// It is sealed: only this library implements it.
pub trait EngineStore: EventStore + ProjectionStore + LeaseStore + Notifier + 'static {}

impl<S: EventStore + ProjectionStore + LeaseStore + Notifier + 'static> EngineStore for S {}

/// A notifier that never has news.
#[derive(Debug)]
struct NoNotifier;

impl Sealed for NoNotifier {}

impl Notifier for NoNotifier {
    fn listener(&self) -> Box<dyn NotificationListener> {
        Box::new(NoNotifier)
    }

    fn announce(&self, _news: &Notifications) -> Result<(), StoreError> {
        Ok(())
    }
}

impl NotificationListener for NoNotifier {
    fn listen(&mut self, wait: Duration) -> Result<Notifications, StoreError> {
        std::thread::park_timeout(wait);
        Ok(Notifications::default())
    }

    fn deaf(&self) -> Option<String> {
        None
    }
}

/// The same error, but with a note that it concerns the database of the events.
fn of_the_events(error: SetupError) -> SetupError {
    match error {
        SetupError::Missing { what } => SetupError::Missing { what: format!("in the database of the events, {what}") },
        SetupError::Store(error) => SetupError::Store(error.doing("setting up the database of the events")),
        other => other,
    }
}

impl Engine {
    /// Begins an engine on a store that holds events and read models.
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use std::time::Duration;
    /// use readside::{Engine, SqliteStore};
    /// # use readside::prelude::*;
    /// # let logins = Projection::new("logins", 1)
    /// #     .table(Table::new("logins").column(text("user")).primary_key(["user"]))
    /// #     .on_raw("user", "user.logged_in", |e| create([set("user", e.aggregate_id())]));
    /// let store = SqliteStore::in_memory()?;
    /// let engine = Engine::builder(store.clone()).projection(logins).start()?;
    /// engine.shutdown(Duration::from_secs(10))?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder<S: EngineStore>(store: S) -> EngineBuilder {
        EngineBuilder::new(store)
    }
}

/// The parts of an engine.
#[derive(Debug)]
#[must_use = "an engine runs once it is started"]
pub struct EngineBuilder {
    /// `None` when events can only be read.
    events: Option<Arc<dyn EventStore>>,
    source: Arc<dyn EventSource>,
    /// The store that sets up the database of the events, when that is not the database of the read models.
    log: Option<Arc<dyn ProjectionStore>>,
    models: Arc<dyn ProjectionStore>,
    leases: Arc<dyn LeaseStore>,
    notifier: Arc<dyn Notifier>,
    projections: Vec<(Projection, Option<HandlerConfig>)>,
    config: EngineConfig,
    initialized: Option<Receiver<()>>,
    observer: Option<Observer>,
    /// Events and read models are in one database, so its notifications announce commands too.
    together: bool,
}

impl EngineBuilder {
    pub(crate) fn new<S: EngineStore>(store: S) -> Self {
        let store = Arc::new(store);
        Self {
            events: Some(store.clone()),
            source: store.clone(),
            log: Some(store.clone()),
            models: store.clone(),
            leases: store.clone(),
            notifier: store,
            projections: Vec::new(),
            config: EngineConfig::default(),
            initialized: None,
            observer: None,
            together: true,
        }
    }

    /// Reads events from a custom source. The engine then pushes nothing; its ticks find new events.
    /// [`Engine::trigger`] and a shorter `requeue_every` make it find them sooner.
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use std::time::Duration;
    /// use readside::{Engine, SqliteStore};
    /// use readside::testing::MemorySource;
    /// # use readside::prelude::*;
    /// # let logins = Projection::new("logins", 1)
    /// #     .table(Table::new("logins").column(text("user")).primary_key(["user"]))
    /// #     .on_raw("user", "user.logged_in", |e| create([set("user", e.aggregate_id())]));
    /// let source = MemorySource::default(); // or a custom source
    /// let models = SqliteStore::in_memory()?;
    /// let engine = Engine::builder(models).source(source).projection(logins).start()?;
    /// engine.shutdown(Duration::from_secs(10))?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn source<S: EventSource + 'static>(mut self, source: S) -> Self {
        self.source = Arc::new(source);
        self.events = None;
        self.log = None;
        self.notifier = Arc::new(NoNotifier);
        self.together = false;
        self
    }

    /// Makes [`start`](Self::start) wait, once the tables are set up, until the signal is sent or its sender is
    /// dropped. Use it when a service has to finish something before any thread runs.
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use std::time::Duration;
    /// use crossbeam_channel::bounded;
    /// use readside::{Engine, SqliteStore};
    /// # use readside::prelude::*;
    /// # let logins = Projection::new("logins", 1)
    /// #     .table(Table::new("logins").column(text("user")).primary_key(["user"]))
    /// #     .on_raw("user", "user.logged_in", |e| create([set("user", e.aggregate_id())]));
    /// let (ready, signal) = bounded(1);
    /// let builder = Engine::builder(SqliteStore::in_memory()?).projection(logins).initialized(signal);
    /// let starting = std::thread::spawn(move || builder.start());
    /// ready.send(())?; // once the service has done what has to come first
    /// let engine = starting.join().expect("start does not panic")?;
    /// engine.shutdown(Duration::from_secs(10))?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn initialized(mut self, signal: Receiver<()>) -> Self {
        self.initialized = Some(signal);
        self
    }

    /// Keeps read models, states and leases in another database than the events. [`start`](Self::start) sets up both, or
    /// checks both where `setup` is off.
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use std::time::Duration;
    /// use readside::{Engine, SqliteStore};
    /// # use readside::prelude::*;
    /// # let logins = Projection::new("logins", 1)
    /// #     .table(Table::new("logins").column(text("user")).primary_key(["user"]))
    /// #     .on_raw("user", "user.logged_in", |e| create([set("user", e.aggregate_id())]));
    /// let (events, models) = (SqliteStore::in_memory()?, SqliteStore::in_memory()?);
    /// let engine = Engine::builder(events).models(models).projection(logins).start()?;
    /// engine.shutdown(Duration::from_secs(10))?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn models<S: ProjectionStore + LeaseStore + 'static>(mut self, store: S) -> Self {
        let store = Arc::new(store);
        self.models = store.clone();
        self.leases = store;
        self.together = false;
        self
    }

    /// Adds a projection.
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use std::time::Duration;
    /// use readside::{Engine, SqliteStore};
    /// # use readside::prelude::*;
    /// # let logins = Projection::new("logins", 1)
    /// #     .table(Table::new("logins").column(text("user")).primary_key(["user"]))
    /// #     .on_raw("user", "user.logged_in", |e| create([set("user", e.aggregate_id())]));
    /// let engine = Engine::builder(SqliteStore::in_memory()?).projection(logins).start()?;
    /// engine.shutdown(Duration::from_secs(10))?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn projection(mut self, projection: Projection) -> Self {
        self.projections.push((projection, None));
        self
    }

    /// Adds a projection with its own configuration.
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use std::time::Duration;
    /// use readside::{Engine, HandlerConfig, Policy, SqliteStore};
    /// # use readside::prelude::*;
    /// # let logins = Projection::new("logins", 1)
    /// #     .table(Table::new("logins").column(text("user")).primary_key(["user"]))
    /// #     .on_raw("user", "user.logged_in", |e| create([set("user", e.aggregate_id())]));
    /// let config = HandlerConfig::default().policy(Policy::Stop);
    /// let engine = Engine::builder(SqliteStore::in_memory()?).projection_with(logins, config).start()?;
    /// engine.shutdown(Duration::from_secs(10))?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn projection_with(mut self, projection: Projection, config: HandlerConfig) -> Self {
        self.projections.push((projection, Some(config)));
        self
    }

    /// Sets how the engine runs.
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use std::time::Duration;
    /// use readside::{Engine, EngineConfig, SqliteStore};
    /// # use readside::prelude::*;
    /// # let logins = Projection::new("logins", 1)
    /// #     .table(Table::new("logins").column(text("user")).primary_key(["user"]))
    /// #     .on_raw("user", "user.logged_in", |e| create([set("user", e.aggregate_id())]));
    /// let config = EngineConfig::default().name("web-1");
    /// let engine = Engine::builder(SqliteStore::in_memory()?).projection(logins).config(config).start()?;
    /// engine.shutdown(Duration::from_secs(10))?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn config(mut self, config: EngineConfig) -> Self {
        self.config = config;
        self
    }

    /// Has this function hear what the engine does and finds: batches, failed events, what stands still and goes on,
    /// commands, switches. It gets the facts of the log lines and metrics, no payloads.
    ///
    /// The thread `readside-observer` calls it, one call after the other, in the order in which things happened. It may
    /// wait, push, and ask the engine anything, but not shut it down. 1,024 observations wait for it at most; more are
    /// dropped and counted ([`Health::observer_dropped`](crate::health::Health::observer_dropped)), so a slow observer
    /// holds up no work. A panic costs that one call. [`Engine::shutdown`] lets it hear what waits, within its
    /// time-out.
    ///
    /// A second call replaces the first observer.
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicUsize, Ordering};
    /// use std::time::Duration;
    /// use readside::observe::Observation;
    /// use readside::{Engine, NewEvent, SqliteStore};
    /// # use readside::prelude::*;
    /// # let logins = Projection::new("logins", 1)
    /// #     .table(Table::new("logins").column(text("user")).primary_key(["user"]))
    /// #     .on_raw("user", "user.logged_in", |e| create([set("user", e.aggregate_id())]));
    /// let applied = Arc::new(AtomicUsize::new(0));
    /// let count = Arc::clone(&applied);
    /// let engine = Engine::builder(SqliteStore::in_memory()?)
    ///     .projection(logins)
    ///     .observer(move |seen| {
    ///         if let Observation::Applied(batch) = seen {
    ///             count.fetch_add(batch.events, Ordering::Relaxed);
    ///         }
    ///     })
    ///     .start()?;
    /// let pushed = engine.push(&[NewEvent::raw("main", "user", "ada", "user.logged_in")])?;
    /// engine.await_pushed("logins", &pushed, Duration::from_secs(5))?;
    /// engine.shutdown(Duration::from_secs(10))?;
    /// assert_eq!(applied.load(Ordering::Relaxed), 1);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn observer(mut self, observer: impl FnMut(&Observation) + Send + 'static) -> Self {
        self.observer = Some(Observer(Box::new(observer)));
        self
    }

    /// As `start`, with the handler that carries out commands.
    pub(crate) fn start_with(mut self, operate: Arc<dyn CommandHandler>) -> Result<Engine, Error> {
        self.config.check()?;
        let workers = self.workers()?;
        self.leases.hold_within(self.config.lease);
        self.leases.call_itself(&self.config.name);
        let projections: Vec<&Projection> = self.projections.iter().map(|(projection, _)| projection).collect();
        let prepare = |store: &dyn ProjectionStore, projections: &[&Projection]| {
            if self.config.setup { store.setup(projections) } else { store.verify(projections) }
        };
        if let Some(log) = self.log.as_deref().filter(|_| !self.together) {
            prepare(log, &[]).map_err(of_the_events)?;
        }
        prepare(self.models.as_ref(), &projections)?;
        if let Some(signal) = &self.initialized {
            // A sent signal and a dropped sender both end the wait.
            while signal.recv_timeout(Duration::from_secs(10)) == Err(RecvTimeoutError::Timeout) {
                log::info!("the engine waits for its service to say that it is initialized");
            }
        }
        let ((tick_now, tick), (operate_now, now)) = (bounded(1), bounded(1));
        let observing =
            self.observer.take().map(|observer| (observer, Hook::new(observe::WAITING, self.config.observed_traces)));
        let (hook, observing) = match observing {
            Some((observer, (hook, told))) => (hook, Some((observer, told))),
            None => (Hook::default(), None),
        };
        let shared = self.share(workers, (tick_now, operate_now), hook)?;
        // Pushed events may arrive before the first look of the ticker.
        shared.pauses.look(&*shared.stores.leases)?;
        renewal::renew(&shared)?;
        shared.look_at_builds()?;
        shared.tell_diverged()?;
        let operator = Operator::new(Arc::clone(&shared), now, operate);
        launch(&shared, tick, operator, observing)
    }

    fn workers(&self) -> Result<usize, ConfigError> {
        let room = self.models.connections().map_or(usize::MAX, |connections| connections.saturating_sub(FOR_LOOPS));
        let fault = |fault: String| Err(ConfigError { faults: vec![fault] });
        if room == 0 {
            return fault(format!("the store has to allow {} connections or more", FOR_LOOPS + 1));
        }
        if self.config.workers > room {
            return fault(format!("workers has to be {room} or less: {FOR_LOOPS} connections are for the loops"));
        }
        if self.config.workers > 0 {
            return Ok(self.config.workers);
        }
        let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Ok((2 * processors).clamp(2, 16).min(room))
    }

    fn share(
        self,
        workers: usize,
        (tick_now, operate_now): (Sender<()>, Sender<()>),
        hook: Hook,
    ) -> Result<Arc<Shared>, Error> {
        let (mut runners, mut shadows) = (Vec::new(), Vec::new());
        let (pages, hub) = (SharedPages::new(Arc::clone(&self.source)), Arc::<Hub>::default());
        for (projection, config) in self.projections {
            let config = config.unwrap_or_else(|| self.config.handler.clone());
            let handler = |source, projection, config| {
                let handler = ProjectionHandler::new(source, Arc::clone(&self.models), projection, config);
                handler.map(|handler| handler.watched_by(Arc::clone(&hub)).observed_by(hook.clone()))
            };
            // An event that fails in a build has failed before, or always fails. A person decides; no caller waits for
            // it.
            let at_once = config.clone().at_once();
            shadows.push(Runner::new(handler(Arc::clone(&self.source), projection.shadow(NEXT), at_once)?));
            let source = pages.reader(projection.wanted());
            runners.push(Runner::new(handler(source, projection, config)?));
        }
        runners.extend(shadows);
        let builds = runners.iter().map(|runner| runner.key().clone()).collect();
        let (id, generation) = (Uuid::now_v7(), self.source.generation());
        let batch = self.config.handler.concurrent_instances;
        Ok(Arc::new(Shared {
            id,
            schedule: Schedule::new(runners.len(), workers, batch),
            lease_registry: LeaseRegistry::new(id, self.config.lease),
            config: self.config,
            stores: Stores {
                events: self.events,
                source: self.source,
                models: self.models,
                leases: self.leases,
                notifier: self.notifier,
                is_one_store: self.together,
            },
            runners,
            workers: Workers::default(),
            stop: Arc::new(Stop::default()),
            fleet: Fleet::default(),
            pauses: Pauses::default(),
            progress: Progress::default(),
            log_memory: LogMemory::new(generation),
            standstills: Standstills::new(hook.clone(), builds),
            hub,
            hook,
            commands: RunningCommands { threads: Mutex::default(), over: Mutex::default(), now: operate_now },
            tick_now,
            looking: Mutex::default(),
        }))
    }
}
