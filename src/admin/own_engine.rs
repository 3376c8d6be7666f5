//! The engine of this process as what an operation works on.

use std::sync::Arc;

use super::context::Context;
use crate::engine::Engine;
use crate::error::OperateError;

pub(super) fn unknown(engine: &Engine, projection: &str) -> OperateError {
    OperateError::UnknownProjection { projection: projection.to_owned(), known: engine.projection_names() }
}

pub(super) fn site<'e>(engine: &'e Engine, projection: &str) -> Result<Context<'e>, OperateError> {
    let Some((own, config)) = engine.projection(projection) else { return Err(unknown(engine, projection)) };
    let (source, models) = (engine.source(), engine.models());
    let (system, cancel, reducing) = (engine.with_system(), Arc::default(), engine.reducing(projection));
    Ok(Context { source, models, projection: own, config, system, cancel, reducing, hook: engine.hook() })
}
