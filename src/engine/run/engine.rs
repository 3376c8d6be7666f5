//! A running engine.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::builds::torn_tables;
use crate::clock;
use crate::engine::config::HandlerConfig;
use crate::engine::handler::ProjectionHandler;
use crate::engine::pass::history::{self, Spot};
use crate::engine::pass::reducing::Reducing;
use crate::engine::run::health::{self, Health};
#[cfg(feature = "serve")]
use crate::engine::run::readings::Onlooker;
use crate::engine::run::runner::{LiveBuild, Runner};
use crate::engine::run::state::Shared;
use crate::engine::run::thread::{self, Pulse, Thread};
use crate::error::{AwaitError, FailureError, PushError, ShutdownError, StoreError, TriggerError, chain};
use crate::event::{Event, NewEvent};
use crate::failure::{FailureQuery, RetryOutcome};
use crate::lease::Pause;
use crate::projection::{Projection, is_reducing};
use crate::query::{Head, HeadsRequest};
use crate::state::{ProjectionKey, State};
use crate::stop_cause::{StopCause, Stopped};
#[cfg(feature = "serve")]
use crate::store::EventStore;
use crate::store::Notifier;
use crate::store::{EventSource, ProjectionStore};
use crate::subscription::Subscription;
use crate::sync::Mutex;

/// How long dropping an engine waits for its threads.
const DROP_TIMEOUT: Duration = Duration::from_secs(5);

/// For a thread that has nothing to do any more to end.
const LAST_MOMENT: Duration = Duration::from_millis(100);

/// How long one waits for the work of this process before one looks whether it is done.
const FIRST_LOOK: Duration = Duration::from_millis(5);

/// Between two looks at a state that another process may move: from the first to the longest.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

/// After this long a wait asks the log whether the checkpoint is still part of it, and again after each of the other.
const FIRST_DOUBT: Duration = Duration::from_millis(100);
const DOUBT_AGAIN: Duration = Duration::from_secs(1);

/// Keeps the read models of its projections current, by itself, in one process or together with others.
///
/// Its threads are a ticker, a subscription, a listener, a renewal of leases, and the workers of a pool; their number
/// does not grow with projections or instances. Dropping it shuts it down.
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
    /// Threads that had not ended when a shutdown gave up; held by the call that shuts down.
    left: parking_lot::Mutex<Vec<Thread>>,
}

/// What the log and the read model say of some events.
#[derive(Debug)]
enum LogView {
    Reached,
    NotYet,
    /// One of them is not in the log any more.
    Lost {
        position: i64,
    },
    /// The checkpoint is not part of the log.
    Diverged {
        found: String,
    },
}

/// The threads of an engine.
#[derive(Debug)]
pub(crate) struct Threads {
    pub(crate) loops: Vec<Thread>,
    pub(crate) workers: Vec<Thread>,
    pub(crate) pulses: Vec<(&'static str, Arc<Pulse>)>,
    pub(crate) subscription: Arc<Subscription>,
}

impl Engine {
    pub(crate) fn new(shared: Arc<Shared>, threads: Threads) -> Self {
        let (pulses, subscription) = (threads.pulses.clone(), Arc::clone(&threads.subscription));
        Self { shared, pulses, threads: Mutex::new(Some(threads)), subscription, left: parking_lot::Mutex::default() }
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

    #[cfg(feature = "serve")]
    pub(crate) fn onlooker(&self) -> Onlooker {
        Onlooker::new(&self.shared, &self.pulses)
    }

    /// A projection that it runs, with its configuration.
    pub(crate) fn projection(&self, name: &str) -> Option<(Projection, HandlerConfig)> {
        self.shared.projection(name)
    }

    /// Where commands on a projection tell which events they reduce.
    pub(crate) fn reducing(&self, name: &str) -> Arc<Reducing> {
        self.shared.reducing(name)
    }

    /// Names of the projections that it runs.
    pub(crate) fn projection_names(&self) -> Vec<String> {
        self.shared.projections().into_iter().map(|(name, _)| name).collect()
    }

    pub(crate) fn with_system(&self) -> bool {
        self.shared.config.system_instance
    }

    /// Takes in which builds there are: what was told of them is known here from now on.
    pub(crate) fn look_at_builds(&self) -> Result<(), StoreError> {
        self.shared.look_at_builds().map(|_| ())
    }

    /// Has this engine and all others look for work and commands at once.
    pub(crate) fn announce(&self) {
        self.shared.tell_all();
    }

    /// Waits for anything to move, this long at most; false once it is shut down.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        self.shared.stop.wait(time)
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

    /// Brings instances up to date on the caller's thread, see
    /// [`ProjectionHandler::trigger`](crate::ProjectionHandler::trigger).
    ///
    /// # Errors
    /// See [`TriggerError`]; after a shutdown the instances stop with [`StopCause::Cancelled`].
    pub fn trigger(&self, projection: &str, instances: &[&str]) -> Result<(), TriggerError> {
        let unknown = || TriggerError::UnknownProjection { projection: projection.to_owned() };
        let (_, runner) = self.find(projection).ok_or_else(unknown)?;
        let outcome = runner.handler.trigger(instances);
        self.shared.progress.all_moved();
        // Where nothing was left to do nothing was refused, and the rows need not show it all the same.
        let torn = runner.torn.lock().clone();
        torn.map_or(Ok(()), |found| Err(torn_tables("bringing them up to date", &found)))?;
        outcome
    }

    fn find(&self, projection: &str) -> Option<(usize, &Runner)> {
        self.shared.runners.iter().enumerate().find(|(_, runner)| *runner.key().name == *projection)
    }

    /// Waits until the projection has handled this position of the instance, whichever process does the work. What
    /// readers see counts: while a new version is being built, that is the old one.
    ///
    /// # Errors
    /// See [`AwaitError`]: `EventFailed` when the event at this position was left out; `Stopped` as soon as it is known that the
    /// instance waits for a person, because of an event, because its history diverged, or because rows stand without a
    /// checkpoint; `TimedOut` in all other cases, with
    /// what keeps the instance from moving, also where people or another process do: a pause, missing rights, a lock, a
    /// lease, a first run, a version that nobody runs.
    pub fn await_position(
        &self,
        projection: &str,
        instance: &str,
        position: i64,
        timeout: Duration,
    ) -> Result<(), AwaitError> {
        check_outside(projection)?;
        let start = (Instant::now(), self.shared.progress.now());
        self.await_events(projection, instance, &[(position, None)], start, timeout)
    }

    /// Waits until the projection has handled these events: reads one's own writes.
    ///
    /// # Errors
    /// As [`await_position`](Self::await_position).
    pub fn await_pushed(&self, projection: &str, pushed: &[Event], timeout: Duration) -> Result<(), AwaitError> {
        check_outside(projection)?;
        let (start, since) = (Instant::now(), self.shared.progress.now());
        let mut by_instance: BTreeMap<&str, Vec<Spot>> = BTreeMap::new();
        for event in pushed {
            by_instance.entry(event.instance()).or_default().push((event.position(), Some(event.id())));
        }
        by_instance.into_iter().try_for_each(|(instance, events)| {
            self.await_work(projection, instance, &events, since, clock::after(start, timeout.min(FIRST_LOOK)));
            self.await_events(projection, instance, &events, (start, since), timeout)
        })
    }

    /// Where this process is at work, its end tells more cheaply than the database.
    fn await_work(&self, projection: &str, instance: &str, events: &[Spot], since: u64, deadline: Instant) {
        let Some((at, runner)) = self.find(projection).filter(|_| self.shared.stores.events.is_some()) else { return };
        let last = events.iter().map(|(position, _)| *position).max().unwrap_or(0);
        let progress = &self.shared.progress;
        if runner.state().is_contested
            || !self.shared.is_ours(at, &instance.into())
            || progress.has_passed(at, instance, last)
        {
            return;
        }
        while Instant::now() < deadline && !self.shared.stop.is_set() {
            let seen = progress.now();
            if self.is_applied(at, instance, events, since) {
                return;
            }
            progress.wait_for(seen, at, instance, deadline);
        }
    }

    /// True when this process has applied each of these events since then.
    fn is_applied(&self, projection: usize, instance: &str, events: &[Spot], since: u64) -> bool {
        // What is applied to a build that readers do not see is nothing to them.
        let is_seen = |runner: &Runner| !runner.state().is_contested && runner.seen().key == *runner.key();
        // A connection that was lost meanwhile may have led to another log than the next one does.
        self.shared.mind_generation();
        self.shared.runners.get(projection).is_some_and(is_seen)
            && self.shared.progress.is_applied(since, projection, instance, events)
    }

    fn await_events(
        &self,
        projection: &str,
        instance: &str,
        events: &[Spot],
        (start, begin): (Instant, u64),
        timeout: Duration,
    ) -> Result<(), AwaitError> {
        let unknown = || AwaitError::UnknownProjection { projection: projection.to_owned() };
        let (at, runner) = self.find(projection).ok_or_else(unknown)?;
        let instance: Arc<str> = instance.into();
        let last = events.iter().copied().max_by_key(|(position, _)| *position).unwrap_or_default();
        let (deadline, mut pause, mut doubt) =
            (clock::after(start, timeout), LOOK_AGAIN.0, Instant::now() + FIRST_DOUBT);
        loop {
            let since = self.shared.progress.now();
            let live = runner.seen();
            let torn = runner.torn.lock().clone().filter(|_| live.key == *runner.key());
            if torn.is_none() && self.is_applied(at, &instance, events, begin) {
                return Ok(());
            }
            let state = self.state(&live.key, &instance)?;
            if let Some(found) = torn {
                // Whatever the checkpoint says, the rows need not show it.
                let cause = StopCause::Store(torn_tables("waiting for events in them", &found));
                let stopped = Stopped { instance, position: state.position, cause };
                return Err(AwaitError::Stopped { projection: projection.to_owned(), stopped: Box::new(stopped) });
            }
            let is_over = Instant::now() >= deadline;
            let doubts = is_over || Instant::now() >= doubt;
            if doubts {
                doubt = Instant::now() + DOUBT_AGAIN;
            }
            match self.look(&live, &state, events, doubts)? {
                LogView::Reached if self.is_still_seen(runner, &live)? => {
                    return self.check_failures(&live.key, &instance, events);
                }
                LogView::Lost { position } => {
                    let (projection, instance) = (projection.to_owned(), instance.to_string());
                    return Err(AwaitError::EventLost { projection, instance, position });
                }
                LogView::Diverged { found } if self.is_still(&live, &state)? => {
                    let (instance, position) = (Arc::clone(&instance), state.position);
                    let stopped = Stopped { instance, position, cause: StopCause::HistoryDiverged { found } };
                    return Err(AwaitError::Stopped { projection: projection.to_owned(), stopped: Box::new(stopped) });
                }
                // Another version is live now.
                LogView::Reached => continue,
                // What was found of a checkpoint that moved meanwhile tells nothing.
                LogView::NotYet | LogView::Diverged { .. } => {}
            }
            if let Some(error) = stopped(projection, &state, last.0) {
                return Err(error);
            }
            if live.key == *runner.key() && self.shared.standstills.is_orphaned(at, &state) {
                let cause = StopCause::RowsWithoutCheckpoint;
                let stopped = Stopped { instance: Arc::clone(&instance), position: state.position, cause };
                return Err(AwaitError::Stopped { projection: projection.to_owned(), stopped: Box::new(stopped) });
            }
            if self.shared.stop.is_set() {
                return Err(AwaitError::ShutDown);
            }
            if is_over {
                let unfed = self.shared.unfed(projection).map(|why| Box::new(StopCause::Unfed { why }));
                let why = unfed.or_else(|| self.shared.why(at, runner, &live.key, &state));
                return Err(timed_out(projection, &state, last.0, start.elapsed(), why));
            }
            self.shared.progress.wait_for(since, at, &instance, deadline.min(Instant::now() + pause));
            pause = (pause * 2).min(LOOK_AGAIN.1);
        }
    }

    /// While another version may take the place of the live one, the database says whether it has.
    fn is_still_seen(&self, runner: &Runner, live: &LiveBuild) -> Result<bool, StoreError> {
        if !runner.state().is_contested || runner.is_shadow() {
            return Ok(true);
        }
        self.shared.look_at_builds()?;
        Ok(runner.seen().key == live.key)
    }

    fn state(&self, key: &ProjectionKey, instance: &Arc<str>) -> Result<State, StoreError> {
        let states = self.shared.stores.models.states(key, std::slice::from_ref(instance))?;
        Ok(states.into_iter().next().unwrap_or_default())
    }

    /// True when the state was not moved since it was read: what was found of it then holds.
    fn is_still(&self, live: &LiveBuild, state: &State) -> Result<bool, StoreError> {
        let now = self.state(&live.key, &state.instance)?;
        Ok((now.position, now.event) == (state.position, state.event))
    }

    /// The checkpoint is there, or the events are and none of them concerns the projection any more. The log has to say so
    /// too: a checkpoint that is not part of it shows nothing, and an event that it lost is not handled. It is asked when
    /// the wait would end, and in between where it `doubts`.
    fn look(&self, live: &LiveBuild, state: &State, events: &[Spot], doubts: bool) -> Result<LogView, StoreError> {
        let (instance, source) = (&state.instance, self.shared.stores.source.as_ref());
        let last = events.iter().map(|(position, _)| *position).max().unwrap_or_default();
        let head = if state.position >= last { None } else { Some(self.head(live, instance)?) };
        let is_reached = head.as_ref().is_none_or(|head| head.head >= last && state.position >= head.relevant);
        let is_ahead = head.as_ref().is_some_and(|head| state.position > head.head);
        if !is_reached && !is_ahead && !doubts {
            return Ok(LogView::NotYet);
        }
        if let Some(found) = history::contradiction(source, state)? {
            return Ok(LogView::Diverged { found });
        }
        for (position, id) in ends(events).into_iter().filter(|(_, id)| state.event != Some(*id)) {
            let stands = history::standing(source, instance, position)?;
            if stands.at != Some(id) && stands.head >= position && source.removed(instance)? < position {
                return Ok(LogView::Lost { position });
            }
        }
        Ok(if is_reached { LogView::Reached } else { LogView::NotYet })
    }

    fn head(&self, live: &LiveBuild, instance: &Arc<str>) -> Result<Head, StoreError> {
        let request = HeadsRequest {
            instances: vec![Arc::clone(instance)],
            aggregate_types: live.aggregate_types.clone(),
            after: None,
            limit: 1,
        };
        let none = || Head { instance: Arc::clone(instance), head: 0, relevant: 0 };
        Ok(self.shared.stores.source.heads(&request)?.into_iter().next().unwrap_or_else(none))
    }

    fn check_failures(&self, key: &ProjectionKey, instance: &Arc<str>, events: &[Spot]) -> Result<(), AwaitError> {
        let positions: Vec<i64> = events.iter().map(|(position, _)| *position).collect();
        let (Some(first), Some(last)) = (positions.iter().min(), positions.iter().max()) else { return Ok(()) };
        let query = FailureQuery::all().instance(instance).positions(*first, *last);
        let held = self.shared.stores.models.failed_events(key, &query)?;
        match held.iter().map(|held| &held.attempt).find(|attempt| positions.contains(&attempt.position)) {
            None => Ok(()),
            Some(attempt) => Err(AwaitError::EventFailed {
                projection: key.projection().to_owned(),
                instance: instance.to_string(),
                position: attempt.position,
            }),
        }
    }

    /// What is paused.
    #[allow(dead_code, reason = "for commands, which need a database that a build may leave out")]
    pub(crate) fn pauses(&self) -> Result<HashSet<Pause>, StoreError> {
        Ok(self.shared.stores.leases.pauses()?.into_iter().collect())
    }

    /// Takes in what was paused, or goes on, before the next tick reads it.
    pub(crate) fn note_pause(&self, projection: &str, instance: Option<&str>, on: bool) {
        self.shared.pauses.note(projection, instance, on);
    }

    fn handler(&self, projection: &str) -> Result<&ProjectionHandler, FailureError> {
        let unknown = || FailureError::UnknownProjection { projection: projection.to_owned() };
        Ok(&self.find(projection).ok_or_else(unknown)?.1.handler)
    }

    /// The build of the version under its own name, and one that is filled beside it.
    pub(crate) fn all_builds(&self, projection: &str) -> Result<Vec<&ProjectionHandler>, FailureError> {
        let own = self.handler(projection)?;
        let known = self.shared.stores.models.builds().builds()?;
        let is_made = |runner: &&Runner| known.iter().any(|build| build.key == *runner.key() && build.is_made());
        let beside = self.shared.runners.iter().filter(|runner| runner.is_shadow() && runner.name() == projection);
        Ok(std::iter::once(own).chain(beside.filter(is_made).map(|runner| &runner.handler)).collect())
    }

    /// What waited for the event may go on.
    pub(crate) fn mended(&self, outcome: Result<RetryOutcome, FailureError>) -> Result<RetryOutcome, FailureError> {
        self.shared.progress.all_moved();
        self.shared.request_tick();
        outcome
    }

    /// How the engine is doing, in this process and, for lag, failures and standstills, in all.
    ///
    /// # Errors
    /// When the store cannot be read: nothing that is told of lag would be true then. The error says since when this
    /// process stands still, and why.
    pub fn health(&self) -> Result<Health, StoreError> {
        let health = self.shared.health(health::loops(&self.pulses));
        health.map_err(|error| self.shared.with_standstill(error))
    }

    /// Stops taking work, lets transactions that run end, gives leases back and joins every thread. With [`Duration::MAX`] it
    /// takes as long as they do. Repeating it waits for those threads that had not ended; a second caller waits for the
    /// first.
    ///
    /// # Errors
    /// [`ShutdownError`] names the threads that did not end in time. Inside a reducer that is the thread of the call: the
    /// engine stops, and another call has to wait for it.
    pub fn shutdown(&self, timeout: Duration) -> Result<(), ShutdownError> {
        let deadline = clock::deadline(timeout);
        if is_reducing() {
            self.say_stop();
            let own = std::thread::current().name().unwrap_or("the thread of this call").to_owned();
            return Err(ShutdownError { threads: vec![own] });
        }
        let Some(mut left) = self.left.try_lock_until(deadline) else {
            return Err(ShutdownError { threads: vec!["another call that shuts down".to_owned()] });
        };
        let threads = self.threads.lock().take();
        if let Some(threads) = threads {
            self.say_stop();
            self.wait_for_jobs(deadline);
            left.extend(threads.loops);
            left.extend(self.shared.commands.threads.lock().drain(..).map(|(thread, _)| thread));
            join_all(&mut left, deadline);
            left.extend(self.leave(deadline).err().flatten());
            drop(self.shared.workers.pool.lock().take());
            left.extend(threads.workers);
        }
        // Who has nothing to do any more ends at once, though not at this very moment.
        join_all(&mut left, deadline.max(Instant::now() + LAST_MOMENT));
        let names: Vec<String> = left.iter().map(|thread| thread.name().to_owned()).collect();
        if names.is_empty() { Ok(()) } else { Err(ShutdownError { threads: names }) }
    }

    fn say_stop(&self) {
        self.shared.stop.set();
        self.subscription.close();
        self.shared.hub.close();
        self.shared.request_tick();
        self.shared.request_operation();
        for runner in &self.shared.runners {
            runner.handler.cancel();
        }
        for (_, cancel) in self.shared.commands.threads.lock().iter() {
            cancel.set();
        }
        self.shared.progress.all_moved();
    }

    /// On its own thread: a connection may be frozen.
    fn leave(&self, deadline: Instant) -> Result<(), Option<Thread>> {
        let shared = Arc::clone(&self.shared);
        let leave = move || {
            if let Err(error) = shared.stores.models.commands().give_back(shared.id) {
                log::warn!("{}; other processes take the commands over in time", chain(&error));
            }
            if let Err(error) = shared.stores.leases.leave(shared.id) {
                log::warn!("{}; the leases of this process end by themselves", chain(&error));
            }
        };
        let name = "readside-leave";
        thread::spawn(name, leave)
            .map_err(|error| log::warn!("{name}: {error}"))
            .map_err(|()| None)?
            .join(deadline)
            .map_err(Some)
    }

    fn wait_for_jobs(&self, deadline: Instant) {
        loop {
            let since = self.shared.progress.now();
            if self.shared.schedule.close() || Instant::now() >= deadline {
                return;
            }
            self.shared.progress.wait(since, deadline);
        }
    }
}

/// Joins those that end by then; the others stay.
fn join_all(threads: &mut Vec<Thread>, deadline: Instant) {
    let late = threads.drain(..).filter_map(|thread| thread.join(deadline).err()).collect();
    *threads = late;
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Err(error) = self.shutdown(DROP_TIMEOUT) {
            log::error!("dropping an engine: {error}");
        }
    }
}

/// A reducer that waits for its own projection would wait for itself.
fn check_outside(projection: &str) -> Result<(), AwaitError> {
    if is_reducing() { Err(AwaitError::InsideReducer { projection: projection.to_owned() }) } else { Ok(()) }
}

/// The events that prove the others: of those that one transaction stored, whose ids count on, the last.
fn ends(events: &[Spot]) -> Vec<(i64, Uuid)> {
    let mut known: Vec<(i64, Uuid)> = events.iter().filter_map(|(position, id)| Some((*position, (*id)?))).collect();
    known.sort_unstable();
    let next = |at: usize| known.get(at + 1).map(|(_, id)| id.as_u128());
    let is_end = |(at, (_, id)): &(usize, &(i64, Uuid))| next(*at) != id.as_u128().checked_add(1);
    known.iter().enumerate().filter(is_end).map(|(_, event)| *event).collect()
}

/// An instance that waits for a person at or before the position.
fn stopped(projection: &str, state: &State, position: i64) -> Option<AwaitError> {
    let blocked = state.blocked.as_ref().filter(|blocked| blocked.stopped && blocked.position <= position)?;
    let cause = StopCause::Stopped(blocked.clone());
    let stopped = Stopped { instance: Arc::clone(&state.instance), position: blocked.position, cause };
    Some(AwaitError::Stopped { projection: projection.to_owned(), stopped: Box::new(stopped) })
}

fn timed_out(
    projection: &str,
    state: &State,
    position: i64,
    waited: Duration,
    why: Option<Box<StopCause>>,
) -> AwaitError {
    AwaitError::TimedOut {
        projection: projection.to_owned(),
        instance: state.instance.to_string(),
        position,
        checkpoint: state.position,
        waited,
        why,
    }
}
