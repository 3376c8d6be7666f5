//! One projection and the passes that bring it up to date, on the caller's thread. Other threads read and reduce ahead.

pub(crate) mod aside;
pub(crate) mod failures;
pub(crate) mod single_flight;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::builds::LaggingInstance;
use crate::engine::config::HandlerConfig;
use crate::engine::handler::aside::Aside;
use crate::engine::handler::single_flight::{FlightOutcome, InFlight, Leader, SingleFlight};
use crate::engine::observe::Hook;
use crate::engine::pass::meter::Meter;
use crate::engine::pass::reducing::{Reducing, Watch};
use crate::engine::pass::work::{Origin, Processed, Work};
use crate::engine::pass::{Pass, cancelled};
use crate::engine::read::fetch::Fetched;
use crate::engine::read::read_ahead::ReadAhead;
use crate::engine::stop::Stop;
use crate::engine::watch::hub::Hub;
use crate::error::{Error, SetupError, StoreError, TriggerError, net};
use crate::event::Event;
use crate::projection::{Projection, is_reducing};
use crate::query::HeadsRequest;
use crate::state::Log;
use crate::stop_cause::{StopCause, Stopped};
use crate::store::{EventSource, ProjectionStore, ProjectionTransaction};

/// Instances that a trigger opens at once.
const OPENED: usize = 10_000;

/// For how long a caller waits for another one's run that a reducer holds up in another instance.
const HELD_UP: Duration = Duration::from_secs(5);

/// Brings one projection up to date. Each event has its effect exactly once, even while other processes do the same.
///
/// # Examples
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use std::sync::Arc;
/// use readside::prelude::*;
/// use readside::{EventStore, HandlerConfig, NewEvent, ProjectionHandler, SqliteStore};
///
/// let logins = Projection::new("logins", 1)
///     .table(Table::new("logins").column(integer("position")).column(text("user")).primary_key(["position"]))
///     .on_raw("user", "user.logged_in", |e| create([set("position", e.position()), set("user", e.aggregate_id())]));
///
/// let store = Arc::new(SqliteStore::in_memory()?);
/// let handler = ProjectionHandler::new(store.clone(), store.clone(), logins.clone(), HandlerConfig::default())?;
/// handler.setup()?;
/// store.push(&[NewEvent::raw("main", "user", "u1", "user.logged_in")])?;
/// handler.trigger(&["main"])?;
/// assert_eq!(store.read_rows(&logins, "logins")?.len(), 1);
/// # }
/// # Ok::<(), readside::Error>(())
/// ```
#[derive(Debug)]
pub struct ProjectionHandler {
    pub(crate) inner: Pass,
    flights: SingleFlight,
    aside: Aside,
}

impl ProjectionHandler {
    /// A handler that reads from `source` and keeps its tables and checkpoints in `models`, which may be one store or
    /// two.
    ///
    /// # Errors
    /// When the projection or the configuration does not hold together.
    pub fn new(
        source: Arc<dyn EventSource>,
        models: Arc<dyn ProjectionStore>,
        projection: Projection,
        config: HandlerConfig,
    ) -> Result<Self, Error> {
        projection.check()?;
        config.check()?;
        let (key, cancel) = (projection.key(), Arc::default());
        let (single_steps, missed) = (AtomicU64::new(0), AtomicU64::new(0));
        let (log, is_hidden) = (OnceLock::new(), AtomicBool::new(false));
        let (reducing, meter, hub) = (Arc::default(), Meter::default(), Arc::default());
        let inner = Pass {
            source,
            models,
            projection,
            key,
            config,
            cancel,
            log,
            reducing,
            is_hidden,
            single_steps,
            missed,
            meter,
            #[cfg(feature = "serve")]
            sightings: crate::engine::pass::sightings::Sightings::default(),
            hub,
            hook: Hook::default(),
        };
        Ok(Self { inner, flights: SingleFlight::default(), aside: Aside::default() })
    }

    /// The same handler, which tells what its reducers are at, so that a look finds one that hangs.
    pub(crate) fn telling(mut self, reducing: Arc<Reducing>) -> Self {
        self.inner.reducing = reducing;
        self
    }

    /// The same handler, which tells those who watch.
    pub(crate) fn watched_by(mut self, hub: Arc<Hub>) -> Self {
        self.inner.hub = hub;
        self
    }

    /// The same handler, which tells an observer what it does.
    pub(crate) fn observed_by(mut self, hook: Hook) -> Self {
        self.inner.hook = hook;
        self
    }

    /// The same handler, cancelled with others.
    pub(crate) fn cancelled_by(mut self, cancel: Arc<Stop>) -> Self {
        self.inner.cancel = cancel;
        self
    }

    /// The projection.
    pub fn projection(&self) -> &Projection {
        &self.inner.projection
    }

    /// Creates or migrates the tables. Safe to repeat, and when many processes do it together.
    ///
    /// # Errors
    /// See [`SetupError`].
    pub fn setup(&self) -> Result<(), SetupError> {
        self.inner.models.setup(&[&self.inner.projection])
    }

    /// Brings these instances up to date: to their heads as they are now, at least.
    ///
    /// Pages of events behind the first are read, and reduced, ahead of the work on them by threads that end with the call.
    /// Callers for the same instance at the same time share one pass. An instance that stops does not keep the others
    /// from going on.
    ///
    /// # Errors
    /// [`TriggerError::NoInstances`] when none is named; [`TriggerError::Stopped`] with each instance that did not get to
    /// its head; [`TriggerError::Store`] when the event store or the states could not be read;
    /// [`TriggerError::InsideReducer`] when a reducer calls it, since the pass could wait for that reducer.
    pub fn trigger(&self, instances: &[&str]) -> Result<(), TriggerError> {
        if is_reducing() {
            return Err(TriggerError::InsideReducer { projection: self.name() });
        }
        // A custom source or store may panic; the callers that wait for this pass see it end.
        net::caught(|| self.trigger_all(instances))
            .unwrap_or_else(|panic| Err(TriggerError::Panicked { projection: self.name(), panic }))
    }

    fn trigger_all(&self, instances: &[&str]) -> Result<(), TriggerError> {
        let mut todo: Vec<Arc<str>> = instances.iter().map(|&instance| Arc::from(instance)).collect();
        todo.sort_unstable();
        todo.dedup();
        if todo.is_empty() {
            return Err(TriggerError::NoInstances { projection: self.name() });
        }
        let mut stopped = BTreeMap::new();
        for batch in todo.chunks(OPENED) {
            self.trigger_batch(batch, &mut stopped)?;
        }
        if stopped.is_empty() {
            return Ok(());
        }
        Err(TriggerError::Stopped { projection: self.name(), stopped: stopped.into_values().collect() })
    }

    /// Reads the events above the checkpoints of these instances, up to `bulk_limit` for each.
    ///
    /// # Errors
    /// [`TriggerError::NoInstances`] when none is named; [`TriggerError::Store`] when they could not be read.
    pub fn fetch_events(&self, instances: &[&str]) -> Result<Fetched, TriggerError> {
        if instances.is_empty() {
            return Err(TriggerError::NoInstances { projection: self.name() });
        }
        let mut ids: Vec<Arc<str>> = instances.iter().map(|&instance| Arc::from(instance)).collect();
        ids.sort_unstable();
        ids.dedup();
        Ok(self.inner.fetch(&ids)?)
    }

    /// Applies what was fetched. Instances that could not even be fetched are among the stopped ones.
    pub fn process(&self, mut fetched: Fetched) -> Processed {
        self.process_fetched(&mut fetched)
    }

    fn process_fetched(&self, fetched: &mut Fetched) -> Processed {
        let mut processed = self.inner.process(&mut fetched.works);
        processed.stopped.append(&mut fetched.stopped);
        processed.stopped.sort_by(|a, b| a.instance.cmp(&b.instance));
        processed
    }

    /// Applies events at hand, for instance those of a subscription. In each instance they have to continue at the
    /// checkpoint without a hole, whatever their types; an instance with a hole stops there with
    /// [`StopCause::Gap`]. Those that are applied already are dropped.
    pub fn process_events(&self, events: &[Event]) -> Processed {
        let mut by_instance: BTreeMap<Arc<str>, Vec<Event>> = BTreeMap::new();
        for event in events {
            by_instance.entry(Arc::clone(&event.instance)).or_default().push(event.clone());
        }
        let work = |(instance, mut events): (Arc<str>, Vec<Event>)| {
            events.sort_by_key(Event::position);
            events.dedup_by_key(|event| event.position);
            Work::new(instance, Origin::Given, events)
        };
        let mut works: Vec<Work> = by_instance.into_iter().map(work).collect();
        self.inner.process(&mut works)
    }

    /// Reads what [`follow`](Self::follow) must not read while it holds locks, and waits for the reducer that it gave up on.
    pub(crate) fn prepare_to_follow(&self) -> Result<(), StoreError> {
        self.aside.end();
        self.inner.origin().map(|_| ())
    }

    /// True when events and read models are in two databases.
    pub(crate) fn has_two_databases(&self) -> Result<bool, StoreError> {
        Ok(self.inner.origin()?.log == Log::Elsewhere)
    }

    /// Brings instances up to date inside a transaction of the caller's, which has to end where a reducer hangs.
    pub(crate) fn follow(
        &self,
        tx: &mut dyn ProjectionTransaction,
        behind: &[LaggingInstance],
    ) -> Result<(), StoreError> {
        self.inner.follow(tx, behind, &|works| self.aside.reduce(&self.inner, works))
    }

    /// Ends passes that run, at their next step, and refuses new ones: their instances stop with
    /// [`StopCause::Cancelled`]. What is committed stays.
    pub fn cancel(&self) {
        self.inner.cancel.set();
    }

    fn name(&self) -> String {
        self.inner.projection.name().to_owned()
    }

    /// Runs the flights that nobody else runs, then waits for the others.
    fn trigger_batch(&self, batch: &[Arc<str>], stopped: &mut BTreeMap<Arc<str>, Stopped>) -> Result<(), TriggerError> {
        let mut todo = batch.to_vec();
        while !todo.is_empty() {
            let (mut leaders, mut others) = (Vec::new(), Vec::new());
            for instance in &todo {
                match self.flights.start(instance) {
                    Ok(leader) => leaders.push(leader),
                    Err(flight) => others.push((Arc::clone(instance), flight)),
                }
            }
            let targets = self.heads(&others)?;
            others.retain(|(instance, flight)| flight.raise(targets.get(instance).copied().unwrap_or(0)));
            let flown: HashSet<Arc<str>> = leaders.iter().map(|leader| Arc::clone(&leader.instance)).collect();
            let mut left: BTreeSet<Arc<str>> = todo.into_iter().filter(|instance| !flown.contains(instance)).collect();
            self.fly(leaders, stopped)?;
            for (instance, flight) in others {
                if let Some(outcome) = self.outcome(&instance, &flight) {
                    left.remove(&instance);
                    if let FlightOutcome::Stopped(cause) = outcome {
                        stopped.insert(instance, cause);
                    }
                }
            }
            todo = left.into_iter().collect();
        }
        Ok(())
    }

    /// The relevant heads, at the start of the call, of instances that other callers bring up to date.
    fn heads(&self, others: &[(Arc<str>, Arc<InFlight>)]) -> Result<BTreeMap<Arc<str>, i64>, StoreError> {
        if others.is_empty() {
            return Ok(BTreeMap::new());
        }
        let request = HeadsRequest {
            instances: others.iter().map(|(instance, _)| Arc::clone(instance)).collect(),
            aggregate_types: self.inner.projection.wanted().aggregate_types,
            after: None,
            limit: others.len(),
        };
        Ok(self.inner.source.heads(&request)?.into_iter().map(|head| (head.instance, head.relevant)).collect())
    }

    /// Waits for the flight of another caller. Returns `None` when it was abandoned, or waits for a reducer in another
    /// instance.
    fn outcome(&self, instance: &Arc<str>, flight: &Arc<InFlight>) -> Option<FlightOutcome> {
        let mut watch = Watch::default();
        loop {
            if self.inner.cancel.is_set() {
                return Some(FlightOutcome::Stopped(cancelled(Arc::clone(instance))));
            }
            match flight.wait() {
                Some(FlightOutcome::Abandoned) => return None,
                None if watch.is_held_up(&self.inner.reducing, instance, HELD_UP) => {
                    self.flights.abandon(instance, flight);
                    return None;
                }
                None => {}
                landed => return landed,
            }
        }
    }

    /// Runs passes until each instance has reached its target. It gives up on a source that shows less than it
    /// promised.
    fn fly(&self, leaders: Vec<Leader<'_>>, stopped: &mut BTreeMap<Arc<str>, Stopped>) -> Result<(), TriggerError> {
        let mut leaders: BTreeMap<Arc<str>, Leader<'_>> =
            leaders.into_iter().map(|leader| (Arc::clone(&leader.instance), leader)).collect();
        let (mut before, mut rereads) = (BTreeMap::new(), self.inner.config.retries.max(1));
        while !leaders.is_empty() {
            let instances: Vec<Arc<str>> = leaders.keys().cloned().collect();
            if self.inner.cancel.is_set() {
                end(&mut leaders, instances.into_iter().map(cancelled), stopped);
                break;
            }
            let opened = self.inner.open(&instances)?.without_lease();
            end(&mut leaders, opened.stopped, stopped);
            let mut feed = ReadAhead::new(opened.places, usize::MAX);
            // Reduced may be here whatever is read: without a lease nobody looks for what kills the process.
            let prepare = |fetched: &mut Fetched| {
                let Pass { projection, reducing, cancel, .. } = &self.inner;
                fetched.works.iter_mut().for_each(|work| work.reduce_ahead(projection, reducing, || cancel.is_set()));
            };
            self.inner.feed(&mut feed, &prepare, |fetched| {
                let (seen, more) = (fetched.seen.clone(), fetched.more.clone());
                let processed = self.process_fetched(fetched).stopped;
                // Events of another history were read. The next round reads again for the instances that have not
                // ended.
                let is_changed = |stopped: &Stopped| matches!(stopped.cause, StopCause::HistoryChanged { .. });
                let (changed, ends): (Vec<Stopped>, Vec<Stopped>) =
                    processed.into_iter().partition(|stopped| rereads > 0 && is_changed(stopped));
                rereads = rereads.saturating_sub(u32::from(!changed.is_empty()));
                let mut ended = end(&mut leaders, ends, stopped);
                ended.extend(changed.into_iter().map(|stopped| stopped.instance));
                for (instance, at) in seen.into_iter().filter(|(name, _)| !more.contains(name) && !ended.contains(name))
                {
                    let stands = before.insert(Arc::clone(&instance), at) == Some(at);
                    if leaders.get(&instance).is_some_and(|leader| leader.land_at(at, stands)) {
                        leaders.remove(&instance);
                    }
                }
                ended
            })?;
        }
        Ok(())
    }
}

/// Ends the flights of what stopped, and returns those instances.
fn end(
    leaders: &mut BTreeMap<Arc<str>, Leader<'_>>,
    ends: impl IntoIterator<Item = Stopped>,
    stopped: &mut BTreeMap<Arc<str>, Stopped>,
) -> Vec<Arc<str>> {
    let mut ended = Vec::new();
    for end in ends {
        if let Some(leader) = leaders.remove(&end.instance) {
            leader.stop(end.clone());
        }
        ended.push(Arc::clone(&end.instance));
        stopped.insert(Arc::clone(&end.instance), end);
    }
    ended
}
