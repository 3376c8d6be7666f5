//! Rebuilds one instance beside the live build, then exchanges its rows in one transaction.

use std::sync::Arc;

use uuid::Uuid;

use super::context::{Context, answer, lower};
use super::rebuild::RebuildReport;
use super::tries::{insist, may_succeed_later};
use super::{left_out, lost};
use crate::builds::{BuildProgress, LaggingInstance, Phase, Step};
use crate::engine::{Control, ProjectionHandler};
use crate::error::{OperateError, SwitchError, TriggerError, chain};
use crate::plain::plain;
use crate::projection::Projection;
use crate::state::PART;
use crate::stop_cause::StopCause;

/// How often the exchange is tried while other transactions block it.
const TRIES: u32 = 100;

/// Rebuilds one instance on this thread, and exchanges it.
pub(super) fn rebuild(
    site: &Context<'_>,
    command: Uuid,
    instance: &str,
    control: &dyn Control,
) -> Result<RebuildReport, OperateError> {
    site.check_live_is_ours("a rebuild of one instance")?;
    site.check_instance(instance)?;
    let (part, instance): (Projection, Arc<str>) = (site.projection.shadow(PART), instance.into());
    let handler = site.handler(part.clone())?;
    let phase = phase(site, &part, command, control)?;
    if phase.is_none() {
        // A command that ended before its clean-up may have left a build behind.
        insist(control, || Ok(site.builds().remove(&part.key())?))?;
    }
    let outcome = if phase == Some(Phase::Kept) {
        Ok(())
    } else {
        insist(control, || Ok(site.builds().begin(&part, command)?))?;
        fill(site, &handler, &instance, control)?;
        exchange(site, &part, command, &handler, &instance, control)
    };
    if !matches!(outcome, Err(OperateError::ShutDown)) {
        insist(control, || Ok(site.builds().remove(&part.key())?))?;
    }
    outcome?;
    control.announce();
    let left_out = left_out::look(site, &site.projection.key(), Some(&*instance), control)?;
    Ok(RebuildReport {
        projection: site.name().to_owned(),
        version: part.version(),
        instance: Some(instance.to_string()),
        switched: true,
        left_out: Box::new(left_out),
        ..RebuildReport::default()
    })
}

/// The phase of this command's build. It is `Kept` once the rows were exchanged.
fn phase(
    site: &Context<'_>,
    part: &Projection,
    command: Uuid,
    control: &dyn Control,
) -> Result<Option<Phase>, OperateError> {
    let known = insist(control, || site.known())?;
    let own = known.into_iter().find(|build| build.key == part.key() && build.command == Some(command));
    Ok(own.map(|build| build.phase))
}

/// Fills the build pass by pass, so that a stop takes effect between two passes.
fn fill(
    site: &Context<'_>,
    handler: &ProjectionHandler,
    instance: &Arc<str>,
    control: &dyn Control,
) -> Result<(), OperateError> {
    loop {
        if !control.may_go_on() {
            return Err(OperateError::ShutDown);
        }
        let fetched = insist(control, || match handler.fetch_events(&[&**instance]) {
            Ok(fetched) => Ok(fetched),
            Err(TriggerError::Store(error)) => Err(error.into()),
            Err(other) => Err(lower(other.into())),
        })?;
        let more = !fetched.more().is_empty();
        let processed = handler.process(fetched);
        let state = site.state(&handler.projection().key(), instance)?;
        let head = site.head(instance)?.map_or(0, |head| head.relevant);
        control.report(&answer(&BuildProgress {
            step: Step::Filling,
            done: state.position.min(head),
            total: head,
            per_second: None,
            seconds_left: None,
            waits_for: None,
            comparison: None,
        })?);
        match processed.stopped.into_iter().next().map(|stopped| stopped.cause) {
            None if !more => return Ok(()),
            Some(StopCause::Stopped(blocked)) => {
                // If the live build waits before the same event, it has come as far as this one.
                if site.state(&site.projection.key(), instance)?.position < blocked.position {
                    return Ok(());
                }
                let (event, class, error) = (blocked.position, blocked.class, plain(&blocked.error));
                return Err(site.refused(format!(
                    "instance {instance:?} cannot be built: its event at position {event}, which the live build has handled, \
                     failed in the build ({class}: {error}); readers stay where they are; fix its reducer, then ask for the \
                     rebuild again"
                )));
            }
            None => {}
            Some(StopCause::Store(error)) if !error.is_transient() => return Err(error.into()),
            Some(StopCause::HistoryDiverged { found }) => return Err(site.refused(found)),
            Some(cause @ (StopCause::LogIncomplete { .. } | StopCause::RowsWithoutCheckpoint)) => {
                return Err(site.refused(format!("instance {instance:?}: {cause}")));
            }
            Some(cause) => {
                log::info!("projection {:?}, instance {instance:?}: {cause}", site.name());
                if !control.wait(std::time::Duration::from_millis(100)) {
                    return Err(OperateError::ShutDown);
                }
            }
        }
    }
}

fn exchange(
    site: &Context<'_>,
    part: &Projection,
    command: Uuid,
    handler: &ProjectionHandler,
    instance: &Arc<str>,
    control: &dyn Control,
) -> Result<(), OperateError> {
    let mut tries = 0;
    loop {
        insist(control, || Ok(handler.prepare_to_follow()?))?;
        let mut follow =
            |tx: &mut dyn crate::store::ProjectionTransaction, behind: &[LaggingInstance]| handler.follow(tx, behind);
        let error = match site.builds().exchange(part, instance, &mut follow) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        tries += 1;
        match phase(site, part, command, control)? {
            // The commit succeeded, but its answer got lost.
            Some(Phase::Kept) => return Ok(()),
            Some(Phase::Building) if may_succeed_later(&error) && tries < TRIES => {}
            _ => return Err(error.into()),
        }
        log::info!("projection {:?}, instance {instance:?}: the exchange waits: {}", site.name(), chain(&error));
        if !control.wait(std::time::Duration::from_millis(50)) {
            return Err(OperateError::ShutDown);
        }
        if matches!(error, SwitchError::NotCaughtUp { .. }) {
            insist(control, || lost::give_way(site, &site.projection.key(), &part.key(), Some(instance)))?;
        }
        // Before the next try, this catches up with what the exchange could not.
        fill(site, handler, instance, control)?;
    }
}
