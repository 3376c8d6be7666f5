//! How an engine is doing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::shared::{Runner, Shared};
use super::thread::Pulse;
use crate::error::StoreError;
use crate::held::HeldState;
use crate::lease::{Lag, Lagging};
use crate::query::{Cursor, ReadRequest};

/// Lagging instances of which the age is looked up, at most.
const AGED: usize = 50;

/// How an engine is doing.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Health {
    /// Its loops.
    pub loops: Vec<LoopHealth>,
    /// Its projections.
    pub projections: Vec<ProjectionHealth>,
    /// Processes that share the work, with this one.
    pub members: usize,
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
    /// Instances that are behind; counted up to 10,000 for all projections together, which take turns
    /// in that.
    pub lagging_instances: usize,
    /// Positions that these are behind, in all.
    pub lag_events: i64,
    /// Age of the oldest event that is not handled yet, among the first 50 of these instances; none without lag.
    pub lag_age: Option<Duration>,
    /// Events that fail and are tried again.
    pub failing: u64,
    /// Events that stopped their instances.
    pub stopped: u64,
    /// Events that failed for good and hold back their aggregates.
    pub parked: u64,
    /// Events that wait behind these.
    pub behind: u64,
    /// Events that were left out.
    pub skipped: u64,
    /// Instances that this process works on now.
    pub leases_here: usize,
    /// True once all instances have been up to date.
    pub succeeded: bool,
    /// That readers see a version which no living engine runs, and what to do about it; none when all is well.
    pub unfed: Option<String>,
}

pub(super) fn loops(pulses: &[(&'static str, Arc<Pulse>)]) -> Vec<LoopHealth> {
    let health = |(name, pulse): &(&'static str, Arc<Pulse>)| LoopHealth {
        name,
        alive: pulse.is_alive(),
        last_tick: pulse.age(),
        restarts: pulse.restarts(),
    };
    pulses.iter().map(health).collect()
}

impl Shared {
    pub(super) fn health(&self, loops: Vec<LoopHealth>) -> Result<Health, StoreError> {
        let mut by_projection: BTreeMap<usize, Vec<Lag>> = BTreeMap::new();
        let mut lags = self.lags(Lagging::All, |runner| !runner.is_beside())?;
        // They come in any order; the same ones shall be asked for their age each time.
        lags.sort_unstable_by(|a, b| a.instance.cmp(&b.instance));
        for lag in lags {
            by_projection.entry(lag.projection).or_default().push(lag);
        }
        let projections = self
            .runners
            .iter()
            .enumerate()
            .filter(|(_, runner)| !runner.is_beside())
            .map(|(at, runner)| self.projection_health(runner, &by_projection.remove(&at).unwrap_or_default()))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Health { loops, projections, members: self.members.lock().len().max(1) })
    }

    fn projection_health(&self, runner: &Runner, lags: &[Lag]) -> Result<ProjectionHealth, StoreError> {
        let key = &runner.handler.inner.key;
        let held = self.models.held_counts(key)?;
        let count = |state| held.iter().find(|(other, _)| *other == state).map_or(0, |(_, count)| *count);
        Ok(ProjectionHealth {
            name: key.name.to_string(),
            version: key.version,
            lagging_instances: lags.len(),
            lag_events: lags.iter().map(|lag| lag.relevant - lag.checkpoint).sum(),
            lag_age: self.age(runner, lags)?,
            failing: count(HeldState::Failing),
            stopped: count(HeldState::Stopped),
            parked: count(HeldState::Parked),
            behind: count(HeldState::Behind),
            skipped: count(HeldState::Skipped),
            leases_here: self.holdings.count(key),
            succeeded: self.leases.succeeded(std::slice::from_ref(key))?.first().copied().unwrap_or(false),
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
        let slices = self.source.read(&request)?;
        let oldest = slices.iter().filter_map(|slice| slice.events.first()).map(|event| event.created_at).min();
        Ok(oldest.map(|at| SystemTime::now().duration_since(at).unwrap_or(Duration::ZERO)))
    }
}
