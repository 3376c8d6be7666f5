//! How an engine carries out a command that it has taken.

use std::sync::Arc;

use super::context::{Context, answer};
use super::{rebuild, rebuild_instance, switch};
use crate::command::AdminCommand;
use crate::engine::{CommandHandler, Task};
use crate::error::OperateError;
use crate::failure::By;

/// Carries out commands in an engine.
#[derive(Debug)]
pub(super) struct AdminHandler;

impl CommandHandler for AdminHandler {
    fn carry_out(&self, task: &Task) -> Result<serde_json::Value, OperateError> {
        let asked = task.asked();
        let unknown = || OperateError::UnknownProjection { projection: asked.projection.clone(), known: Vec::new() };
        let (projection, config) = task.projection().ok_or_else(unknown)?;
        let (source, models) = (task.source(), task.models());
        let (system, cancel, reducing) = (task.with_system(), Arc::clone(task.cancel()), task.reducing());
        let site = Context { source, models, projection, config, system, cancel, reducing, hook: task.hook() };
        let by = By::new(asked.who.as_str(), asked.why.as_str());
        match &asked.command {
            AdminCommand::Rebuild(options) => match &options.instance {
                Some(instance) => answer(&rebuild_instance::rebuild(&site, asked.id, instance, task)?),
                None => answer(&rebuild::rebuild(&site, asked, options, task)?),
            },
            AdminCommand::Switch { within } => answer(&switch::switch(&site, *within, task)?),
            AdminCommand::Back { stale, within } => answer(&switch::back(&site, asked.id, (*stale, *within), task)?),
            AdminCommand::DropOld => answer(&switch::drop_old(&site, task)?),
            AdminCommand::Abandon => answer(&switch::abandon(&site, &asked.who, &asked.why, task)?),
            AdminCommand::Reset { instance, retry_discarded } => {
                answer(&switch::reset(&site, asked, (instance.as_deref(), *retry_discarded), task)?)
            }
            AdminCommand::Verify { instance, repair } => verify(&site, task, instance.as_deref(), *repair),
            AdminCommand::Explain(question) => explain(&site, task, question),
            // A store must carry this out itself. One that leaves it to engines breaks its contract.
            at_once @ (AdminCommand::Pause { .. } | AdminCommand::Resume { .. }) => Err(OperateError::Unsupported {
                what: format!("the store of the read models does not carry out {:?} itself", at_once.kind()),
            }),
            AdminCommand::Retry { instance, position } => {
                answer(&switch::retry(&site, asked, Some((instance, *position)), task)?)
            }
            AdminCommand::RetryAll => answer(&switch::retry(&site, asked, None, task)?),
            AdminCommand::Discard { instance, position } => answer(&switch::discard(&site, instance, *position, &by)?),
        }
    }
}

/// Verifies. If asked to, it also rebuilds the instances that differ.
#[cfg(feature = "sqlite")]
fn verify(
    site: &Context<'_>,
    task: &Task,
    instance: Option<&str>,
    repair: bool,
) -> Result<serde_json::Value, OperateError> {
    let mut found = super::verify::verify(site, instance, task)?;
    if repair {
        for differing in &found.differing {
            rebuild_instance::rebuild(site, task.asked().id, &differing.instance, task)?;
            found.repaired.push(differing.instance.clone());
        }
    }
    answer(&found)
}

#[cfg(feature = "sqlite")]
fn explain(
    site: &Context<'_>,
    task: &Task,
    question: &crate::command::ExplainRequest,
) -> Result<serde_json::Value, OperateError> {
    answer(&super::explain::explain(site, question, task)?)
}

#[cfg(not(feature = "sqlite"))]
fn verify(_: &Context<'_>, _: &Task, _: Option<&str>, _: bool) -> Result<serde_json::Value, OperateError> {
    Err(without_scratch())
}

#[cfg(not(feature = "sqlite"))]
fn explain(_: &Context<'_>, _: &Task, _: &crate::command::ExplainRequest) -> Result<serde_json::Value, OperateError> {
    Err(without_scratch())
}

#[cfg(not(feature = "sqlite"))]
fn without_scratch() -> OperateError {
    let what = "events are applied again in SQLite, which this build of readside does not have; \
                build the service with the feature sqlite";
    OperateError::Unsupported { what: what.to_owned() }
}
