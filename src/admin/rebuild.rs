//! A rebuild: a build beside the live one is filled by the engines, compared, and takes the live one's place.
//!
//! Everything that has to outlast this process is in the database: the build's phase, its states, the command. If the
//! process dies, another engine takes the command over, begins here again, and continues the build.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::compare::compare;
use super::context::{Context, PAGE, answer};
use super::pace::{Pace, Standing};
use super::target::{Target, check};
use super::tries::{LOOK_AGAIN, Tries, insist, may_succeed_later};
use super::{left_out, lost};
use crate::builds::{Build, BuildProgress, Comparison, LaggingInstance, LeftOut, Phase, SWITCH_REFUSED, Step};
use crate::command::{CommandRecord, RebuildOptions, Switch};
use crate::engine::{Control, ITSELF, astray};
use crate::error::{OperateError, StoreError, StoreErrorKind, SwitchError, chain};
use crate::plain::plain;
use crate::state::ProjectionKey;
use crate::store::ProjectionTransaction;

/// How many positions behind a build may be when the switch begins; the switch handles these itself.
const CLOSE: i64 = 1000;

/// How many instances the switch itself brings up to date at most.
const FEW: usize = 500;

/// The outcome of a rebuild.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RebuildReport {
    /// The projection.
    pub projection: String,
    /// The version that was built.
    pub version: u32,
    /// The instance, if only one was rebuilt.
    pub instance: Option<String>,
    /// True when readers see the new build.
    pub switched: bool,
    /// If they do not: why, and what to do.
    pub waits_for: Option<String>,
    /// How it differs from the old one, if they were compared.
    pub comparison: Option<Comparison>,
    /// What people added to the old tables and the new tables lack, with the reasons.
    #[serde(default)]
    pub left_behind: Vec<String>,
    /// What it lacks of the log, and why.
    #[serde(default)]
    pub left_out: Box<LeftOut>,
}

/// Carries out a rebuild of the whole projection.
pub(super) fn rebuild(
    site: &Context<'_>,
    asked: &CommandRecord,
    options: &RebuildOptions,
    control: &dyn Control,
) -> Result<RebuildReport, OperateError> {
    let before: Option<BuildProgress> =
        asked.progress.clone().and_then(|progress| serde_json::from_value(progress).ok());
    let mut report = RebuildReport {
        projection: site.name().to_owned(),
        version: site.projection.version(),
        comparison: before.and_then(|before| before.comparison),
        ..RebuildReport::default()
    };
    if site.is_done(asked.id)? {
        report.switched = true;
        *report.left_out = left_out::look(site, &site.projection.key(), None, control)?;
        return Ok(report);
    }
    let target = Target { by_itself: asked.who == ITSELF, ..site.target()? };
    if options.unless_live && target.projection.is_shadow() {
        report.switched = true;
        return Ok(report);
    }
    report.left_behind = begin(site, &target, asked.id, control)?;
    for left in &report.left_behind {
        log::warn!("projection {:?}: its new tables lack {left}", site.name());
    }
    if !target.by_itself {
        empty_astray(site, &target, control)?;
    }
    control.announce();
    fill(site, &target, control)?;
    let unmoved = settle(site, &target, control)?;
    if options.compare && report.comparison.is_none() {
        let compared = compare(site, &target, control);
        // If the build was given up meanwhile, that is the error to report, not the failed comparison.
        report.comparison = Some(compared.or_else(|error| check(site, &target).and(Err(error)))?);
    }
    enter(site, &target, Phase::Ready)?;
    let differs = !report.comparison.as_ref().is_some_and(Comparison::is_same);
    report.waits_for = match options.switch {
        Switch::CaughtUp => None,
        Switch::Same if !differs => None,
        Switch::Same => Some(
            "old and new rows differ, or some were not compared; look, then run `readside builds switch`".to_owned(),
        ),
        Switch::Asked => Some("run `readside builds switch`".to_owned()),
    };
    if report.waits_for.is_none() {
        if let Err(error) = site.check_older(&target.live) {
            // The build stays as it was: the engines that run it keep it current.
            let key = target.projection.key();
            insist(control, || Ok(site.builds().enter(&key, &[Phase::Building, Phase::Ready], Phase::Kept, None)?))?;
            return Err(error);
        }
        let within = if asked.who == ITSELF { Some(Duration::MAX) } else { options.switch_within };
        switch(site, &target, report.comparison.as_ref(), within, control)?;
        report.switched = true;
    }
    let key = if report.switched { site.projection.key() } else { target.projection.key() };
    *report.left_out = left_out::look_after(site, &key, None, unmoved, control)?;
    if !report.left_out.is_empty() {
        log::warn!(
            "projection {:?}: the build of version {} lacks events: {}; see `readside failed list`",
            site.name(),
            key.version,
            report.left_out
        );
    }
    Ok(report)
}

/// Registers the build and makes its tables. Returns what people put on the old tables and the new ones will lack.
pub(super) fn begin(
    site: &Context<'_>,
    target: &Target,
    command: Uuid,
    control: &dyn Control,
) -> Result<Vec<String>, OperateError> {
    insist(control, || Ok(site.builds().begin(&target.projection, command)?))
        .or_else(|error| keep_reason(site, target, error, control))
}

/// Records with the build why readers were not switched to it, so that everybody sees the reason. A build that readers
/// saw before stays as it was.
fn keep_reason<T>(
    site: &Context<'_>,
    target: &Target,
    error: OperateError,
    control: &dyn Control,
) -> Result<T, OperateError> {
    if matches!(error, OperateError::ShutDown) {
        return Err(error);
    }
    let (key, reason) = (target.projection.key(), format!("{SWITCH_REFUSED}{}", chain(&error)));
    insist(control, || {
        let builds = site.builds();
        if target.otherwise == Phase::Kept {
            builds.enter(&key, &[Phase::Building, Phase::Ready], Phase::Kept, None)?;
            return Ok(());
        }
        for phase in [Phase::Building, Phase::Ready] {
            builds.enter(&key, &[phase], phase, Some(&reason))?;
        }
        Ok(())
    })?;
    control.announce();
    Err(error)
}

/// Sets the phase of the build, unless it was halted or given up meanwhile.
fn enter(site: &Context<'_>, target: &Target, phase: Phase) -> Result<(), OperateError> {
    let (builds, key) = (site.builds(), target.projection.key());
    if builds.enter(&key, &[Phase::Building, Phase::Ready], phase, None)? { Ok(()) } else { check(site, target) }
}

/// A person asked for this build from this log, so this empties its instances that belong to another history, and
/// engines fill them again. Readers do not see them meanwhile. An engine never does this unasked: it may be connected
/// to the wrong store.
fn empty_astray(site: &Context<'_>, target: &Target, control: &dyn Control) -> Result<(), OperateError> {
    let key = target.projection.key();
    let is_hidden = |build: &Build| build.key == key && matches!(build.phase, Phase::Building | Phase::Ready);
    if !insist(control, || site.known())?.iter().any(is_hidden) {
        return check(site, target);
    }
    let mut after: Option<Arc<str>> = None;
    loop {
        let (page, astray) = insist(control, || Ok(site.astray(&key, after.as_deref())?))?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(Arc::clone(last));
        let instances: Vec<Arc<str>> = astray.into_iter().map(|one| one.instance).collect();
        if !instances.is_empty() {
            insist(control, || Ok(site.builds().empty(&target.projection, &instances)?))?;
        }
        if !control.may_go_on() {
            return Err(OperateError::ShutDown);
        }
    }
}

/// Readers must not see rows of another history. Positions do not show that, so this compares every checkpoint with the
/// log. Returns the instances of the build.
fn check_history(site: &Context<'_>, target: &Target, control: &dyn Control) -> Result<Vec<Arc<str>>, OperateError> {
    match insist(control, || site.of_log(&target.projection.key()))? {
        Ok(instances) => Ok(instances),
        Err(error) => {
            let trouble = match &error {
                SwitchError::Diverged { instance, found, .. } => format!("instance {instance:?}: {found}"),
                other => chain(other),
            };
            lay_aside(site, target, &trouble, control)?;
            Err(error.into())
        }
    }
}

/// The same check inside the transaction of the switch. If it finds something, the next try reports it.
fn confirm(
    site: &Context<'_>,
    key: &ProjectionKey,
    instances: &[Arc<str>],
    tx: &mut dyn ProjectionTransaction,
) -> Result<(), StoreError> {
    for page in instances.chunks(PAGE) {
        let states = tx.lock(key, page)?;
        if let Some(first) = astray(site.source.as_ref(), &states)?.into_iter().next() {
            let found = format!("instance {:?}: {}", first.instance, first.found);
            return Err(StoreError::new("comparing checkpoints with the log", StoreErrorKind::Diverged, found));
        }
    }
    Ok(())
}

/// Sets the build aside: engines leave it alone, and the reason is on record.
fn lay_aside(site: &Context<'_>, target: &Target, trouble: &str, control: &dyn Control) -> Result<(), OperateError> {
    let (key, from) = (target.projection.key(), [Phase::Building, Phase::Ready]);
    insist(control, || Ok(site.builds().enter(&key, &from, target.otherwise, Some(trouble))?))?;
    control.announce();
    Ok(())
}

/// Fails if the build will not move again. A build beside the live one does not wait for a person: it is set aside.
fn check_movable(
    site: &Context<'_>,
    target: &Target,
    standing: &Standing,
    control: &dyn Control,
) -> Result<(), OperateError> {
    check_history(site, target, control)?;
    let Some(stopped) = standing.stopped.as_ref().filter(|_| target.projection.is_shadow()) else { return Ok(()) };
    lay_aside(site, target, stopped, control)?;
    Err(site.refused(format!(
        "its build cannot be brought up to date: {stopped}; readers stay where they are; retry or discard the event by `readside \
         failed`, then ask for the rebuild again, which goes on; or remove the build with `readside builds abandon` or \
         `readside builds drop-old`"
    )))
}

/// Why the engines cannot continue the build for now.
fn trouble(site: &Context<'_>, key: &ProjectionKey) -> Result<Option<String>, OperateError> {
    let build = site.known()?.into_iter().find(|build| build.key == *key && !build.is_refused());
    Ok(build.and_then(|build| build.trouble).map(|trouble| format!("{trouble}; it is tried again")))
}

/// Whether anything of the projection is paused.
fn is_paused(site: &Context<'_>, control: &dyn Control) -> Result<bool, OperateError> {
    Ok(insist(control, || Ok(control.pauses()?))?.iter().any(|(projection, _)| projection == site.name()))
}

/// Waits until the engines have brought it close to the live build.
pub(super) fn fill(site: &Context<'_>, target: &Target, control: &dyn Control) -> Result<(), OperateError> {
    let (key, mut pace, mut pause) = (target.projection.key(), Pace::new(), LOOK_AGAIN.0);
    let (mut told, mut done) = (None, None);
    loop {
        let looked = Instant::now();
        insist(control, || check(site, target))?;
        let standing = insist(control, || Ok(site.standing(&key, &target.live.key)?))?;
        let trouble = insist(control, || trouble(site, &key))?;
        let mut progress = pace.progress(Step::Filling, &standing);
        progress.waits_for = trouble.clone().or(progress.waits_for);
        if progress.waits_for.is_none() && standing.behind > 0 && is_paused(site, control)? {
            progress.waits_for = Some("the end of a pause: what is paused is not built either".to_owned());
        }
        if told.as_ref().is_none_or(|(at, last): &(Instant, BuildProgress)| {
            at.elapsed() >= LOOK_AGAIN.1 || (last.done, &last.waits_for) != (progress.done, &progress.waits_for)
        }) {
            control.report(&answer(&progress)?);
            told = Some((Instant::now(), progress));
        }
        let is_close = standing.behind <= CLOSE && standing.stuck.is_none() && trouble.is_none();
        let left = standing.total - standing.done;
        let arrived = standing.behind == 0 || (is_close && left <= CLOSE);
        // While the build moves, this check can wait.
        if done.replace(standing.done) == Some(standing.done) || arrived {
            check_movable(site, target, &standing, control)?;
        }
        if arrived {
            return Ok(());
        }
        // With many instances a look takes long. So the pauses grow with it, and looking does not become most of the
        // work.
        if !control.wait(pause.max(looked.elapsed() * 5)) {
            return Err(OperateError::ShutDown);
        }
        pause = (pause * 2).min(LOOK_AGAIN.1);
    }
}

/// Waits until the build holds everything in the log, except what it cannot apply. It does not wait only for the level
/// of the live build, which may be stopped or far behind. A build at that level would take its place nearly empty, and
/// would not yet have met the event at which the live one fails.
fn settle(site: &Context<'_>, target: &Target, control: &dyn Control) -> Result<LeftOut, OperateError> {
    let key = target.projection.key();
    let tell = |progress: &BuildProgress| {
        insist(control, || check(site, target))?;
        control.report(&answer(progress)?);
        Ok(())
    };
    left_out::settle(site, (&key, &target.live.key), None, control, &tell)
}

/// Switches readers to the build. If that fails, the reason is recorded with the build.
pub(super) fn switch(
    site: &Context<'_>,
    target: &Target,
    comparison: Option<&Comparison>,
    within: Option<Duration>,
    control: &dyn Control,
) -> Result<(), OperateError> {
    try_switch(site, target, comparison, within, control).or_else(|error| keep_reason(site, target, error, control))
}

/// Tries until the live build and this one can be locked at the same position.
fn try_switch(
    site: &Context<'_>,
    target: &Target,
    comparison: Option<&Comparison>,
    within: Option<Duration>,
    control: &dyn Control,
) -> Result<(), OperateError> {
    let key = target.projection.key();
    let (mut told, mut tries) = (String::new(), Tries::new(within));
    loop {
        insist(control, || Ok(target.handler.prepare_to_follow()?))?;
        let (instances, has_two_databases) =
            (check_history(site, target, control)?, target.handler.has_two_databases()?);
        let mut follow = |tx: &mut dyn ProjectionTransaction, behind: &[LaggingInstance]| {
            if behind.len() > FEW {
                return Ok(());
            }
            target.handler.follow(tx, behind)?;
            // While reducers ran, a log in another database may have been set back.
            if has_two_databases { confirm(site, &key, &instances, tx) } else { Ok(()) }
        };
        let error = match site.builds().go_live(&key, tries.patience(), Some(&mut follow)) {
            Ok(()) => break,
            Err(error) if may_succeed_later(&error) => error,
            Err(error) => return Err(error.into()),
        };
        if insist(control, || is_live(site, target))? {
            break;
        }
        if matches!(error, SwitchError::NotCaughtUp { .. }) && displace(site, target, control)? {
            continue;
        }
        insist(control, || check(site, target))?;
        let mut why = waits_for(&error);
        if matches!(error, SwitchError::NotCaughtUp { .. }) {
            // The switch may wait for something that never happens.
            let standing = insist(control, || Ok(site.standing(&key, &target.live.key)?))?;
            check_movable(site, target, &standing, control)?;
            why = standing.stuck.unwrap_or(why);
        }
        if why != told {
            let words = if matches!(error, SwitchError::Held { .. }) { chain(&error) } else { why.clone() };
            log::info!("projection {:?}: the switch waits: {words}", site.name());
            let standing = insist(control, || Ok(site.standing(&key, &target.live.key)?))?;
            let progress = Pace::new().progress(Step::Switching, &standing);
            let progress = BuildProgress { waits_for: Some(words), comparison: comparison.cloned(), ..progress };
            control.report(&answer(&progress)?);
            told = why;
        }
        tries.again(error, control)?;
    }
    log::info!(
        event = "switch",
        projection:display = plain(site.name()),
        version = key.version;
        "projection {:?}: readers see the new build of version {}",
        site.name(),
        key.version
    );
    control.switched(site.name(), key.version);
    control.announce();
    Ok(())
}

/// If readers see a lost history, no build ever catches up with it. If a person asked for the new build, the lost
/// history gives way, and this returns true. An engine does not do that unasked: it may be connected to the wrong
/// store.
fn displace(site: &Context<'_>, target: &Target, control: &dyn Control) -> Result<bool, OperateError> {
    let (live, key) = (&target.live.key, target.projection.key());
    if !target.by_itself {
        return insist(control, || Ok(lost::give_way(site, live, &key, None)? > 0));
    }
    let Some(found) = insist(control, || lost::first(site, live, &key))? else { return Ok(false) };
    let remedy = "connect the right event store; or, if this one is right, ask for it with `readside rebuild`";
    lay_aside(site, target, &format!("{found}; {remedy}"), control)?;
    Err(site.refused(format!("{found}, so that its build never gets as far; readers stay where they are; {remedy}")))
}

/// What a switch waits for, without the duration, so that a long wait is logged once.
fn waits_for(error: &SwitchError) -> String {
    match error {
        SwitchError::Held { holders, .. } => {
            format!("{:?}", holders.iter().map(|holder| holder.pid).collect::<Vec<_>>())
        }
        other => chain(other),
    }
}

/// Whether the build is live. Needed after a commit whose outcome is unknown.
fn is_live(site: &Context<'_>, target: &Target) -> Result<bool, OperateError> {
    let key = target.projection.key();
    // Within a version a switch exchanges the names: the build that has this name now was live before.
    let wanted = if target.projection.is_shadow() { Phase::Kept } else { Phase::Live };
    Ok(site.known()?.iter().any(|build| build.key == key && build.phase == wanted))
}
