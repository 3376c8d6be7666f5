//! What a process measures of its own work, for the page, the metrics and observers.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use crate::engine::config::HandlerConfig;
use crate::engine::observe::Losses;
use crate::engine::pass::meter::Measured;
use crate::engine::pass::reducing::Reducing;
use crate::engine::pass::sightings::Seen;
use crate::engine::run::health::{self, LoopHealth};
use crate::engine::run::state::Shared;
use crate::engine::run::thread::Pulse;
use crate::engine::stop::Stop;
use crate::engine::watch::changes::{Changes, WatchMark};
use crate::error::WatchError;
use crate::projection::Projection;
use crate::state::ProjectionKey;
use crate::store::{EventSource, ProjectionStore};

/// What was measured of one build.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) key: ProjectionKey,
    pub(crate) measured: Measured,
    /// Updates and deletes that met no row.
    pub(crate) missed: u64,
}

/// All that was measured since the engine started.
#[derive(Debug, Clone)]
pub(crate) struct Readings {
    pub(crate) builds: Vec<Reading>,
    pub(crate) loops: Vec<LoopHealth>,
    pub(crate) worker_panics: u64,
    /// None without an observer.
    pub(crate) observer: Option<Losses>,
    /// Why this process does not hear of other processes' pushes at once.
    pub(crate) deaf: Option<String>,
}

/// What it takes to answer questions about the rows of a projection: its code, and its databases.
#[derive(Debug)]
#[allow(dead_code, reason = "rows are explained by a database that a build may leave out")]
pub(crate) struct Desk {
    pub(crate) source: Arc<dyn EventSource>,
    pub(crate) models: Arc<dyn ProjectionStore>,
    pub(crate) projection: Projection,
    pub(crate) config: HandlerConfig,
    /// True when the system instance counts too.
    pub(crate) system: bool,
    pub(crate) reducing: Arc<Reducing>,
    /// Set once the engine ends.
    pub(crate) stop: Arc<Stop>,
}

/// Looks at an engine without keeping it alive.
#[derive(Debug, Clone)]
pub(crate) struct Onlooker {
    shared: Weak<Shared>,
    pulses: Vec<(&'static str, Arc<Pulse>)>,
}

impl Onlooker {
    pub(crate) fn new(shared: &Arc<Shared>, pulses: &[(&'static str, Arc<Pulse>)]) -> Self {
        Self { shared: Arc::downgrade(shared), pulses: pulses.to_vec() }
    }

    /// What it takes to explain rows of this projection. `None` when this engine does not run it, or once the engine is
    /// dropped.
    #[allow(dead_code, reason = "rows are explained by a database that a build may leave out")]
    pub(crate) fn desk(&self, projection: &str) -> Option<Desk> {
        let shared = self.shared.upgrade()?;
        let (projection, config) = shared.projection(projection)?;
        let reducing = shared.reducing(projection.name());
        Some(Desk {
            source: Arc::clone(&shared.stores.source),
            models: Arc::clone(&shared.stores.models),
            projection,
            config,
            system: shared.config.system_instance,
            reducing,
            stop: Arc::clone(&shared.stop),
        })
    }

    /// What arrived and what it touched, by build. `None` once the engine is dropped.
    pub(crate) fn seen(&self) -> Option<Vec<(ProjectionKey, Seen)>> {
        let of = |pass: &crate::engine::pass::Pass| (pass.key.clone(), pass.sightings.seen());
        Some(self.shared.upgrade()?.runners.iter().map(|runner| of(&runner.handler.inner)).collect())
    }

    /// As [`Engine::watch_from`](crate::Engine::watch_from).
    pub(crate) fn watch(
        &self,
        projection: &str,
        instance: &str,
        mark: Option<&WatchMark>,
    ) -> Result<Changes, WatchError> {
        self.shared.upgrade().ok_or(WatchError::ShutDown)?.watch(projection, instance, mark)
    }

    /// What was measured. `None` once the engine is dropped.
    pub(crate) fn readings(&self) -> Option<Readings> {
        let shared = self.shared.upgrade()?;
        let reading = |pass: &crate::engine::pass::Pass| Reading {
            key: pass.key.clone(),
            measured: pass.meter.measured(),
            missed: pass.missed.load(Ordering::Relaxed),
        };
        Some(Readings {
            builds: shared.runners.iter().map(|runner| reading(&runner.handler.inner)).collect(),
            loops: health::loops(&self.pulses),
            worker_panics: shared.workers.panics.load(Ordering::Relaxed),
            observer: shared.hook.losses(),
            deaf: shared.fleet.deaf.lock().clone(),
        })
    }
}
