//! What an operation works on: a projection with its code, and the databases it lives in.

use std::sync::Arc;

use crate::builds::{Build, Phase};
use crate::engine::{Astray, HandlerConfig, Hook, NEXT, ProjectionHandler, Reducing, Stop, astray};
use crate::error::{Error, OperateError, StoreError, SwitchError};
use crate::projection::Projection;
use crate::query::{Head, HeadsRequest};
use crate::state::{ProjectionKey, State};
use crate::store::BuildStore;
use crate::store::{EventSource, ProjectionStore};

/// How many instances are read together.
pub(super) const PAGE: usize = 500;

#[derive(Debug)]
pub(super) struct Context<'s> {
    pub(super) source: &'s Arc<dyn EventSource>,
    pub(super) models: &'s Arc<dyn ProjectionStore>,
    pub(super) projection: Projection,
    pub(super) config: HandlerConfig,
    /// The system instance counts too.
    pub(super) system: bool,
    /// Ends the passes of its handlers.
    pub(super) cancel: Arc<Stop>,
    /// Where the operation notes which events are being reduced.
    pub(super) reducing: Arc<Reducing>,
    /// Who hears what becomes of events that are retried.
    pub(super) hook: Hook,
}

impl Context<'_> {
    pub(super) fn name(&self) -> &str {
        self.projection.name()
    }

    pub(super) fn builds(&self) -> &dyn BuildStore {
        self.models.builds()
    }

    /// All builds of this projection.
    pub(super) fn known(&self) -> Result<Vec<Build>, OperateError> {
        let mut builds = self.builds().builds()?;
        builds.retain(|build| build.key.projection() == self.name());
        Ok(builds)
    }

    pub(super) fn refused(&self, why: impl Into<String>) -> OperateError {
        OperateError::Refused { projection: self.name().to_owned(), why: why.into() }
    }

    /// The build that readers see.
    pub(super) fn live(&self) -> Result<Build, OperateError> {
        let live = self.known()?.into_iter().find(|build| build.phase == Phase::Live);
        live.ok_or_else(|| self.refused("it is not set up yet; start an engine that runs it"))
    }

    /// Fails unless readers see what this code makes.
    pub(super) fn check_live_is_ours(&self, what: &str) -> Result<(), OperateError> {
        let live = self.live()?.key.version;
        if live == self.projection.version() {
            return Ok(());
        }
        let own = self.projection.version();
        Err(self.refused(format!("readers see version {live}, this process has the code of version {own}; {what} needs an engine that runs version {live}")))
    }

    pub(super) fn handler(&self, projection: Projection) -> Result<ProjectionHandler, OperateError> {
        // An event that fails in a build beside the live one has failed before, or will fail for ever. So nothing waits
        // for a retry, and a person decides.
        let config = self.config.clone();
        let config = if projection.is_shadow() { config.at_once() } else { config };
        let handler = ProjectionHandler::new(Arc::clone(self.source), Arc::clone(self.models), projection, config);
        Ok(handler.map_err(lower)?.cancelled_by(Arc::clone(&self.cancel)).telling(Arc::clone(&self.reducing)))
    }

    /// The build of this version under its own name, and the one that is being filled beside it, if there is one.
    pub(super) fn all_builds(&self) -> Result<Vec<ProjectionHandler>, OperateError> {
        let handler = |projection| self.handler(projection).map(|handler| handler.observed_by(self.hook.clone()));
        let (mut all, beside) = (vec![handler(self.projection.clone())?], self.projection.shadow(NEXT));
        if self.known()?.iter().any(|build| build.key == beside.key() && build.is_made()) {
            all.push(handler(beside)?);
        }
        Ok(all)
    }

    pub(super) fn head(&self, instance: &str) -> Result<Option<Head>, StoreError> {
        let wanted = self.projection.wanted().aggregate_types;
        let request = HeadsRequest { instances: vec![instance.into()], aggregate_types: wanted, after: None, limit: 1 };
        Ok(self.source.heads(&request)?.into_iter().next())
    }

    pub(super) fn state(&self, key: &ProjectionKey, instance: &str) -> Result<State, StoreError> {
        Ok(self.models.states(key, &[instance.into()])?.into_iter().next().unwrap_or_default())
    }

    /// A page of the instances of a build, after `after`, and those of them whose checkpoints are not part of the log.
    pub(super) fn astray(
        &self,
        key: &ProjectionKey,
        after: Option<&str>,
    ) -> Result<(Vec<Arc<str>>, Vec<Astray>), StoreError> {
        let mut states = self.models.states_after(key, after, PAGE)?;
        let page = states.iter().map(|state| Arc::clone(&state.instance)).collect();
        states.retain(|state| self.system || !state.instance.is_empty());
        Ok((page, astray(self.source.as_ref(), &states)?))
    }

    /// The instances of a build, if all their checkpoints are part of the log.
    pub(super) fn of_log(&self, key: &ProjectionKey) -> Result<Result<Vec<Arc<str>>, SwitchError>, OperateError> {
        let (mut after, mut instances): (Option<Arc<str>>, Vec<Arc<str>>) = (None, Vec::new());
        loop {
            let (page, astray) = self.astray(key, after.as_deref())?;
            if let Some(first) = astray.into_iter().next() {
                let mark = key.mark().map_or(String::new(), |mark| format!(" ({mark})"));
                return Ok(Err(SwitchError::Diverged {
                    projection: self.name().to_owned(),
                    build: format!("the build of version {}{mark}", key.version),
                    instance: first.instance.to_string(),
                    found: first.found,
                }));
            }
            let Some(last) = page.last() else { return Ok(Ok(instances)) };
            after = Some(Arc::clone(last));
            instances.extend(page.into_iter().filter(|instance| self.system || !instance.is_empty()));
        }
    }

    /// Fails unless the instance has events or a state.
    pub(super) fn check_instance(&self, instance: &str) -> Result<(), OperateError> {
        let state = self.state(&self.projection.key(), instance)?;
        if state.position > 0 || self.head(instance)?.is_some() {
            return Ok(());
        }
        Err(OperateError::UnknownInstance { projection: self.name().to_owned(), instance: instance.to_owned() })
    }
}

/// An error of the library as one of operations.
pub(super) fn lower(error: Error) -> OperateError {
    match error {
        Error::Store(error) => error.into(),
        Error::Setup(error) => error.into(),
        Error::Projection(error) => error.into(),
        Error::Config(error) => error.into(),
        Error::Statement(error) => error.into(),
        Error::Failure(error) => error.into(),
        Error::Operate(error) => error,
        other => OperateError::Other(Box::new(other)),
    }
}

/// A report as JSON.
pub(super) fn answer(report: &impl serde::Serialize) -> Result<serde_json::Value, OperateError> {
    let failed = |error| StoreError::new("writing an answer", crate::error::StoreErrorKind::Data, error);
    Ok(serde_json::to_value(report).map_err(failed)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{PushError, StoreErrorKind, TriggerError, chain};

    // Contract: H1
    #[test]
    fn an_error_of_another_family_keeps_its_cause() {
        let failed = || StoreError::new("reading", StoreErrorKind::Conflict, "the cause");
        for error in [Error::Push(PushError::Store(failed())), Error::Trigger(TriggerError::Store(failed()))] {
            let error = lower(error);
            assert_eq!(chain(&error), "reading failed; try again: the cause");
            assert_eq!(std::error::Error::source(&error).map(ToString::to_string).as_deref(), Some("the cause"));
        }
    }
}
