//! The engine of this process as what an operation works on.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::context::{Context, Control};
use crate::engine::Engine;
use crate::error::{OperateError, StoreError};
use crate::lease::Pause;

pub(super) fn unknown(engine: &Engine, projection: &str) -> OperateError {
    OperateError::UnknownProjection { projection: projection.to_owned(), known: engine.projection_names() }
}

pub(super) fn site<'e>(engine: &'e Engine, projection: &str) -> Result<Context<'e>, OperateError> {
    let Some((own, config)) = engine.projection(projection) else { return Err(unknown(engine, projection)) };
    let (source, models) = (engine.source(), engine.models());
    let (system, cancel, reducing) = (engine.with_system(), Arc::default(), engine.reducing(projection));
    Ok(Context { source, models, projection: own, config, system, cancel, reducing, hook: engine.hook() })
}

impl Control for Engine {
    fn report(&self, _progress: &serde_json::Value) {}

    fn may_go_on(&self) -> bool {
        Engine::wait(self, Duration::ZERO)
    }

    fn wait(&self, time: Duration) -> bool {
        Engine::wait(self, time)
    }

    fn announce(&self) {
        Engine::announce(self);
    }

    fn switched(&self, projection: &str, version: u32) {
        Engine::switched(self, projection, version);
    }

    fn pauses(&self) -> Result<HashSet<Pause>, StoreError> {
        Engine::pauses(self)
    }
}
