//! How an engine is doing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use crate::builds::Phase;
use crate::engine::observe::Losses;
use crate::engine::run::runner::Runner;
use crate::engine::run::standstill::unseen;
use crate::engine::run::state::Shared;
use crate::engine::run::thread::Pulse;
use crate::error::{StoreError, net};
use crate::failure::FailureStatus;
use crate::lease::{Lag, Lagging};
use crate::query::{Cursor, ReadRequest};
use crate::standing::{Figures, Judged, Standing, Verdict, judge};
use crate::standstill::Standstill;
use crate::state::ProjectionKey;

/// The most lagging instances whose age is looked up.
const AGED: usize = 50;

/// How an engine is doing.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Health {
    /// Its loops.
    pub loops: Vec<LoopHealth>,
    /// Its projections.
    pub projections: Vec<ProjectionHealth>,
    /// The number of processes that share the work, including this one.
    pub members: usize,
    /// Batches of this process that ended in a panic outside of reducers, for instance in a custom source. The log of
    /// this process says where. Their instances go on, each alone.
    pub worker_panics: u64,
    /// What the observer of this process did not hear, because too much waited for it
    /// ([`EngineBuilder::observer`](crate::EngineBuilder::observer)); 0 without one.
    pub observer_dropped: u64,
    /// Calls of the observer that ended by a panic.
    pub observer_panics: u64,
    /// Why this process does not hear of pushes of other processes at once; its ticks find them instead. `None` while
    /// it hears.
    pub deaf: Option<String>,
    /// The present time between two looks for work: [`requeue_every`](crate::EngineConfig::requeue_every), or at most a
    /// second while notifications of other processes do not arrive, as behind a pooler in transaction mode.
    pub looks_every: Duration,
}

/// How a loop is doing.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoopHealth {
    /// Name of its thread.
    pub name: &'static str,
    /// False once it has ended.
    pub alive: bool,
    /// How long ago its last round began.
    pub last_tick: Option<Duration>,
    /// How often it was started again after a panic.
    pub restarts: u64,
}

/// How a projection is doing, in all processes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ProjectionHealth {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// How it gets on. See [`Verdict`] for what each word means.
    pub verdict: Verdict,
    /// The reason, in a few words. `None` when there is nothing to say.
    pub reason: Option<String>,
    /// Since when, by the database's clock. `None` when that is not known.
    pub since: Option<SystemTime>,
    /// When one of its checkpoints moved last. `None` when that is not on record.
    pub moved_at: Option<SystemTime>,
    /// All that keeps it, or instances of it, from moving, the gravest first. It includes what other processes know.
    pub standstills: Vec<Standstill>,
    /// The number of instances that lag. All projections together count up to 10,000, taking turns.
    pub lagging_instances: usize,
    /// The sum of the lag of these instances, in positions.
    pub lag_events: i64,
    /// The age of the oldest event that is not handled yet, among the first 50 of these instances. `None` without lag.
    pub lag_age: Option<Duration>,
    /// Events that fail and will be tried again.
    pub failing: u64,
    /// Events that stopped their instances.
    pub stopped: u64,
    /// Events that failed for good and hold back their aggregates.
    pub parked: u64,
    /// Events that wait for parked events of the same aggregate.
    pub behind: u64,
    /// Events that were left out.
    pub skipped: u64,
    /// Instances that this process works on now.
    pub leases_here: usize,
    /// How often the database refused a batch of this process, which then applied the events one by one to find the
    /// failing one. Shadow builds do not count. Single steps are many times slower: report it when this grows and
    /// failures do not.
    pub single_steps: u64,
    /// Updates and deletes of this process that met no row. Shadow builds do not count. When it grows, a reducer may
    /// rely on rows that do not exist; [`ExpectRows`](crate::statement::ExpectRows) makes that a failure. The process
    /// counts only what the database reports without an extra query, so the true number may be higher: deletes that are
    /// written together, and several updates of one row that are written as one, report nothing.
    pub missed: u64,
    /// True once all instances have been up to date.
    pub succeeded: bool,
    /// Says that readers see a version which no living engine runs, and what to do about it. `None` when all is well.
    pub unfed: Option<String>,
}

pub(crate) fn loops(pulses: &[(&'static str, Arc<Pulse>)]) -> Vec<LoopHealth> {
    let health = |(name, pulse): &(&'static str, Arc<Pulse>)| LoopHealth {
        name,
        alive: pulse.is_alive(),
        last_tick: pulse.age(),
        restarts: pulse.restarts(),
    };
    pulses.iter().map(health).collect()
}

/// The standing for a store that does not tell.
fn unknown(runner: &Runner) -> Standing {
    Standing {
        projection: runner.key().clone(),
        at: SystemTime::now(),
        // The time is not known. The projection must not count as stuck for that.
        moved_at: Some(SystemTime::now()),
        phase: if runner.state().is_background { Phase::Building } else { Phase::Live },
        succeeded: runner.state().has_succeeded,
        members: 1,
        running_since: None,
        last_member: None,
        paused_instances: 0,
        standstills: Vec::new(),
    }
}

impl Shared {
    pub(crate) fn health(&self, loops: Vec<LoopHealth>) -> Result<Health, StoreError> {
        let mut by_projection: BTreeMap<usize, Vec<Lag>> = BTreeMap::new();
        let mut lags = self.lags(Lagging::All, |runner| !runner.is_shadow())?;
        // The store returns them in any order. Sorting makes each call ask for the age of the same ones.
        lags.sort_unstable_by(|a, b| a.instance.cmp(&b.instance));
        for lag in lags {
            by_projection.entry(lag.projection).or_default().push(lag);
        }
        let runs: Vec<(usize, &Runner)> =
            self.runners.iter().enumerate().filter(|(_, runner)| !runner.is_shadow()).collect();
        let seen = runs.iter().map(|(_, runner)| runner.seen().key.clone());
        let mut keys: Vec<ProjectionKey> = runs.iter().map(|(_, runner)| runner.key().clone()).chain(seen).collect();
        keys.sort_unstable();
        keys.dedup();
        let standings = self.stores.models.standstills().standings(&keys, None)?;
        let projections = runs
            .into_iter()
            .map(|(at, runner)| {
                let of = |key: &ProjectionKey| standings.iter().find(|standing| standing.projection == *key);
                let mut standing = of(runner.key()).cloned().unwrap_or_else(|| unknown(runner));
                standing.standstills.extend(of(&runner.seen().key).and_then(|seen| unseen(runner, seen)));
                standing.standstills.extend(self.standstills.unwritten(at));
                self.projection_health(runner, &by_projection.remove(&at).unwrap_or_default(), &standing)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let (worker_panics, deaf) = (self.workers.panics.load(Ordering::Relaxed), self.fleet.deaf.lock().clone());
        let members = self.fleet.members.lock().len().max(1);
        let Losses { dropped: observer_dropped, panics: observer_panics } = self.hook.losses().unwrap_or_default();
        let looks_every = self.look_every();
        Ok(Health { loops, projections, members, worker_panics, observer_dropped, observer_panics, deaf, looks_every })
    }

    fn projection_health(
        &self,
        runner: &Runner,
        lags: &[Lag],
        standing: &Standing,
    ) -> Result<ProjectionHealth, StoreError> {
        let key = &runner.handler.inner.key;
        let held = self.stores.models.failure_counts(key)?;
        let count = |state| held.iter().find(|(other, _)| *other == state).map_or(0, |(_, count)| *count);
        let lag_age = self.age(runner, lags)?;
        let figures = Figures {
            lagging: lags.len() as u64,
            lag_age,
            failing: count(FailureStatus::Failing),
            stopped: count(FailureStatus::Stopped),
            parked: count(FailureStatus::Parked),
        };
        let moved_at = standing.moved_at;
        let Judged { motion, reason, since, standstills } = judge(standing, figures);
        Ok(ProjectionHealth {
            name: key.name.to_string(),
            version: key.version,
            verdict: motion,
            reason,
            since,
            moved_at,
            standstills,
            lagging_instances: lags.len(),
            lag_events: lags.iter().map(|lag| lag.relevant - lag.checkpoint).sum(),
            lag_age,
            failing: figures.failing,
            stopped: figures.stopped,
            parked: figures.parked,
            behind: count(FailureStatus::Behind),
            skipped: count(FailureStatus::Skipped),
            leases_here: self.lease_registry.count(key),
            single_steps: runner.handler.inner.single_steps.load(Ordering::Relaxed),
            missed: runner.handler.inner.missed.load(Ordering::Relaxed),
            succeeded: self.stores.leases.succeeded(std::slice::from_ref(key))?.first().copied().unwrap_or(false),
            unfed: self.unfed(runner.name()),
        })
    }

    fn age(&self, runner: &Runner, lags: &[Lag]) -> Result<Option<Duration>, StoreError> {
        let cursors = lags.iter().take(AGED);
        let cursors: Vec<Cursor> =
            cursors.map(|lag| Cursor { instance: Arc::clone(&lag.instance), after: lag.checkpoint }).collect();
        if cursors.is_empty() {
            return Ok(None);
        }
        let request = ReadRequest { cursors, wanted: runner.wanted.clone(), limit: 1, max_bytes: 1 };
        // A panic of a custom source must not hide the count of panics.
        let Ok(slices) = net::caught(|| self.stores.source.read(&request)) else { return Ok(None) };
        let slices = slices?;
        let oldest = slices.iter().filter_map(|slice| slice.events.first()).map(|event| event.created_at).min();
        Ok(oldest.map(|at| SystemTime::now().duration_since(at).unwrap_or(Duration::ZERO)))
    }
}
