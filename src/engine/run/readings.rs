//! What a process measures of its own work, for the page, the metrics and observers.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use crate::engine::pass::meter::Measured;
use crate::engine::run::health::{self, LoopHealth};
use crate::engine::run::state::Shared;
use crate::engine::run::thread::Pulse;
use crate::engine::watch::changes::{Changes, Mark};
use crate::error::WatchError;
use crate::state::ProjectionKey;

/// What was measured of one build.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) key: ProjectionKey,
    pub(crate) measured: Measured,
    /// Updates and deletes that met no row.
    pub(crate) missed: u64,
}

/// All that was measured since the engine was started.
#[derive(Debug, Clone)]
pub(crate) struct Readings {
    pub(crate) builds: Vec<Reading>,
    pub(crate) loops: Vec<LoopHealth>,
    pub(crate) worker_panics: u64,
    /// Why pushes of other processes are not heard of at once.
    pub(crate) deaf: Option<String>,
}

/// Looks at an engine without keeping it.
#[derive(Debug, Clone)]
pub(crate) struct Onlooker {
    shared: Weak<Shared>,
    pulses: Vec<(&'static str, Arc<Pulse>)>,
}

impl Onlooker {
    pub(crate) fn new(shared: &Arc<Shared>, pulses: &[(&'static str, Arc<Pulse>)]) -> Self {
        Self { shared: Arc::downgrade(shared), pulses: pulses.to_vec() }
    }

    /// As [`Engine::watch_from`](crate::Engine::watch_from).
    pub(crate) fn watch(&self, projection: &str, instance: &str, mark: Option<&Mark>) -> Result<Changes, WatchError> {
        self.shared.upgrade().ok_or(WatchError::ShutDown)?.watch(projection, instance, mark)
    }

    /// None once the engine is dropped.
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
            deaf: shared.fleet.deaf.lock().clone(),
        })
    }
}
