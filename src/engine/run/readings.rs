//! What a process measures of its own work, for whoever shows it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use crate::engine::pass::meter::Measured;
use crate::engine::pass::sightings::Seen;
use crate::engine::run::health::{self, LoopHealth};
use crate::engine::run::state::Shared;
use crate::engine::run::thread::Pulse;
use crate::state::ProjectionKey;

/// What was measured of one build.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) key: ProjectionKey,
    pub(crate) measured: Measured,
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

    /// What came and what it touched, by build; none once the engine is dropped.
    pub(crate) fn seen(&self) -> Option<Vec<(ProjectionKey, Seen)>> {
        let of = |pass: &crate::engine::pass::Pass| (pass.key.clone(), pass.sightings.seen());
        Some(self.shared.upgrade()?.runners.iter().map(|runner| of(&runner.handler.inner)).collect())
    }

    /// None once the engine is dropped.
    pub(crate) fn readings(&self) -> Option<Readings> {
        let shared = self.shared.upgrade()?;
        let reading =
            |pass: &crate::engine::pass::Pass| Reading { key: pass.key.clone(), measured: pass.meter.measured() };
        Some(Readings {
            builds: shared.runners.iter().map(|runner| reading(&runner.handler.inner)).collect(),
            loops: health::loops(&self.pulses),
            worker_panics: shared.worker_panics.load(Ordering::Relaxed),
            deaf: shared.deaf.lock().clone(),
        })
    }
}
