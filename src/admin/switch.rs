//! Commands about existing builds: switch, go back, remove, start over. Also retries and discards of failed events.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::context::{Context, answer};
use super::left_out;
use super::pace::{Pace, Standing};
use super::tries::{Tries, insist, may_succeed_later};
use super::{rebuild, running};
use crate::builds::{Build, BuildProgress, LeftOut, Phase, Step};
use crate::command::CommandRecord;
use crate::engine::{Control, NEXT, ProjectionHandler, in_all};
use crate::error::{FailureError, OperateError, SwitchError};
use crate::failure::{By, FailureQuery, RetryOutcome};
use crate::plain::several;

/// How many instances one transaction empties.
const FEW: usize = 20;

/// How often a switch is tried to a build that other processes keep current.
const TRIES: u32 = 200;

/// The time between two reports of progress.
const TELL: Duration = Duration::from_secs(1);

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Change {
    /// The projection.
    pub projection: String,
    /// What was done, in words.
    pub done: String,
    /// How many instances the command changed.
    pub instances: u64,
    /// How many rows it removed.
    pub rows: u64,
    /// The outcome of trying failed events again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mended: Option<Box<RetryOutcome>>,
    /// Which events of the log are missing in the read model that readers see, and why.
    #[serde(default)]
    pub left_out: Box<LeftOut>,
}

fn changed(site: &Context<'_>, done: impl Into<String>) -> Change {
    Change { projection: site.name().to_owned(), done: done.into(), ..Change::default() }
}

/// Switches readers to the build that is ready.
pub(super) fn switch(
    site: &Context<'_>,
    within: Option<Duration>,
    control: &dyn Control,
) -> Result<Change, OperateError> {
    let target = site.target()?;
    let key = target.projection.key();
    match site.known()?.into_iter().find(|build| build.key == key).map(|build| build.phase) {
        Some(Phase::Ready) => {
            // The reason of an earlier refusal may be gone, so it is cleared.
            insist(control, || Ok(site.builds().enter(&key, &[Phase::Ready], Phase::Ready, None)?))?;
        }
        // A raised version from which readers went back to the earlier one, or whose rebuild was refused or halted. No
        // other rebuild runs at the same time.
        Some(Phase::Kept | Phase::Building | Phase::Halted) if !target.projection.is_shadow() => {
            rebuild::begin(site, &target, Uuid::nil(), control)?;
        }
        Some(Phase::Building) => return Err(site.refused("its new build has not caught up yet; the rebuild goes on")),
        _ if let Some(why) = newer(site)? => return Err(site.refused(why)),
        _ if site.known()?.iter().any(|build| build.phase == Phase::Kept) => {
            return Err(site
                .refused("no build waits for a switch; `readside builds back` lets readers see the one that is kept"));
        }
        _ => return Err(site.refused("there is no build that waits for a switch; ask for a rebuild first")),
    }
    control.announce();
    rebuild::fill(site, &target, control)?;
    rebuild::switch(site, &target, None, within, control)?;
    let left_out = Box::new(left_out::look(site, &site.projection.key(), None, control)?);
    Ok(Change { left_out, ..changed(site, format!("readers see the new build of version {}", key.version)) })
}

/// What is missing to show a build of a newer version than this code.
fn newer(site: &Context<'_>) -> Result<Option<String>, OperateError> {
    let own = site.projection.version();
    let waits = |build: &Build| build.key.version > own && build.phase != Phase::Live;
    let Some(build) = site.known()?.into_iter().filter(waits).max_by_key(|build| build.key.version) else {
        return Ok(None);
    };
    let version = build.key.version;
    let members = running::running(site)?;
    let missing = match members.iter().find(|member| running::runs(member, site.name(), version)) {
        Some(member) => format!(
            "process {} ({}) runs it and did not take the command: ask all engines, as `readside builds switch` does, or see \
             its log",
            member.name, member.process
        ),
        None => "no engine runs it, so start one".to_owned(),
    };
    Ok(Some(format!(
        "no build of version {own} waits for a switch; version {version} is {}, and it takes the code of version {version} to \
         show it; {missing}",
        build.phase
    )))
}

/// Switches readers back to the build that was live before.
pub(super) fn back(
    site: &Context<'_>,
    command: Uuid,
    (stale, within): (bool, Option<Duration>),
    control: &dyn Control,
) -> Result<Change, OperateError> {
    let live = site.live()?;
    if live.command == Some(command) {
        return Ok(changed(site, "readers see the former build again"));
    }
    let kept: Vec<Build> = site
        .known()?
        .into_iter()
        .filter(|build| build.phase == Phase::Kept || build.command == Some(command))
        .collect();
    let beside = kept.iter().find(|build| build.key.version == live.key.version && build.key.mark() == Some(NEXT));
    let older = kept.iter().filter(|build| build.key.mark().is_none() && build.key != live.key);
    match (beside, older.max_by_key(|build| build.key.version)) {
        (Some(build), _) if live.key.version == site.projection.version() => {
            let target = site.target()?.or_else(Phase::Kept);
            insist(control, || Ok(site.builds().revive(&build.key, command)?))?;
            control.announce();
            rebuild::fill(site, &target, control)?;
            rebuild::switch(site, &target, None, within, control)?;
            let left_out = Box::new(left_out::look(site, &site.projection.key(), None, control)?);
            Ok(Change { left_out, ..changed(site, "readers see the former build again") })
        }
        (_, Some(build)) => older_version(site, build, (stale, within), control),
        _ => Err(site.refused("no former build is kept; it was removed, or there never was one")),
    }
}

/// Goes back to an older version. Its code may run in another process, or in none.
fn older_version(
    site: &Context<'_>,
    build: &Build,
    (stale, within): (bool, Option<Duration>),
    control: &dyn Control,
) -> Result<Change, OperateError> {
    let version = build.key.version;
    let runs = running::is_run(site, version)?;
    let (mut tries, mut waits) = (0, Tries::new(within));
    loop {
        // This holds also with `stale`: rows of another history were never right.
        insist(control, || site.of_log(&build.key))??;
        let mut error = match site.builds().go_live(&build.key, waits.patience(), Some(&mut |_, _| Ok(()))) {
            Ok(()) => break,
            Err(error) => error,
        };
        if !matches!(error, SwitchError::Held { .. }) {
            tries += 1;
        }
        let behind = matches!(error, SwitchError::NotCaughtUp { .. });
        if behind && stale && (!runs || tries >= TRIES) {
            match site.builds().go_live(&build.key, waits.patience(), None) {
                Ok(()) => break,
                Err(error) if !may_succeed_later(&error) => return Err(error.into()),
                Err(other) => error = other,
            }
        } else if behind && !runs {
            return Err(site.refused(format!(
                "version {version} stands still, because no engine runs its code ({error}); start one that does, or go back \
                 with `stale`: readers then see it as of where it stands"
            )));
        } else if !may_succeed_later(&error) || tries >= TRIES {
            return Err(error.into());
        }
        waits.again(error, control)?;
    }
    control.switched(site.name(), version);
    control.announce();
    Ok(changed(site, format!("readers see version {version} again")))
}

/// Removes builds that readers saw before.
pub(super) fn drop_old(site: &Context<'_>, control: &dyn Control) -> Result<Change, OperateError> {
    let members = running::running(site)?;
    let (mut removed, mut used) = (Vec::new(), Vec::new());
    for build in site.known()?.into_iter().filter(|build| build.phase == Phase::Kept) {
        let key = &build.key;
        let runner =
            members.iter().find(|member| key.mark().is_none() && running::runs(member, site.name(), key.version));
        if let Some(member) = runner {
            used.push(format!("version {} is run by process {} ({})", key.version, member.name, member.process));
            continue;
        }
        insist(control, || Ok(site.builds().remove(key)?))?;
        removed.push(if key.mark().is_some() {
            format!("the former build of version {}", key.version)
        } else {
            format!("version {}", key.version)
        });
    }
    if removed.is_empty() {
        let why = if used.is_empty() {
            "no former build is kept, so there is none to drop".to_owned()
        } else {
            format!("{}; try again once that has ended", used.join(", "))
        };
        return Err(site.refused(why));
    }
    control.announce();
    let left = if used.is_empty() { String::new() } else { format!("; {}, so that stays", used.join(", ")) };
    Ok(changed(site, format!("removed {}{left}", removed.join(", "))))
}

/// Gives up the build under construction.
pub(super) fn abandon(site: &Context<'_>, who: &str, why: &str, control: &dyn Control) -> Result<Change, OperateError> {
    let under_way = |build: &&Build| matches!(build.phase, Phase::Building | Phase::Ready | Phase::Halted);
    let known = site.known()?;
    let Some(build) = known.iter().find(under_way) else {
        return Err(site.refused("nothing is being built"));
    };
    let trouble = format!("given up by {who:?}: {why}");
    site.builds().enter(&build.key, &[Phase::Building, Phase::Ready], Phase::Halted, Some(&trouble))?;
    let is_halted = |found: &Build| found.key == build.key && found.phase == Phase::Halted;
    if !site.known()?.iter().any(is_halted) {
        return Err(site.refused("its build was switched to before it could be given up; go back instead"));
    }
    let done = if build.key.mark().is_some() {
        // Engines stop working on it before its tables are dropped.
        control.announce();
        insist(control, || Ok(site.builds().remove(&build.key)?))?;
        "the build under construction is removed".to_owned()
    } else {
        // A process runs its code, so the tables stay as they are.
        format!("version {} is left alone until its rebuild is asked for", build.key.version)
    };
    control.announce();
    Ok(changed(site, done))
}

/// Empties all instances, or one, lets engines fill them again in place, and returns when they are full.
pub(super) fn reset(
    site: &Context<'_>,
    asked: &CommandRecord,
    (instance, retry_discarded): (Option<&str>, bool),
    control: &dyn Control,
) -> Result<Change, OperateError> {
    site.check_live_is_ours("a reset")?;
    // If another engine takes the command over, it does not empty what is already being filled again.
    let before: Option<Emptied> = asked.progress.clone().and_then(|told| serde_json::from_value(told).ok());
    let mut change = if let Some(Emptied { instances, rows, progress: _ }) = before {
        Change { instances, rows, ..changed(site, "") }
    } else {
        check_referring(site, control)?;
        if retry_discarded {
            insist(control, || Ok(site.builds().forget_discarded(&site.projection.key(), instance)?))?;
        }
        empty(site, instance, control)?
    };
    let told = |progress: serde_json::Value| serde_json::json!({ "instances": change.instances, "rows": change.rows, "progress": progress });
    *change.left_out = left_out::refill(site, instance, control, &told)?;
    let part = if change.left_out.is_empty() { "" } else { " in part" };
    let what = instance.map_or(String::new(), |name| format!("instance {name:?} is "));
    change.done = format!("{what}emptied and filled again{part}");
    log::info!("projection {:?}: {} ({})", site.name(), change.done, several(change.instances, "instance"));
    Ok(change)
}

/// Rows to which other rows refer cannot be removed, not even for a while: the delete would fail, or cascade.
fn check_referring(site: &Context<'_>, control: &dyn Control) -> Result<(), OperateError> {
    let referring = insist(control, || Ok(site.builds().referring(&site.projection)?))?;
    if referring.is_empty() {
        return Ok(());
    }
    Err(site.refused(format!(
        "a reset empties tables to which others refer ({}), which would refuse it or lose their rows; use `readside rebuild`, \
         with --instance for one alone, which keeps the rows that stay",
        referring.join(", ")
    )))
}

/// The report of a reset that has emptied all instances that it had to.
#[derive(Deserialize)]
struct Emptied {
    instances: u64,
    rows: u64,
    #[expect(dead_code, reason = "its presence says that nothing is left to empty")]
    progress: BuildProgress,
}

fn empty(site: &Context<'_>, instance: Option<&str>, control: &dyn Control) -> Result<Change, OperateError> {
    let (key, mut change) = (site.projection.key(), changed(site, ""));
    if let Some(instance) = instance {
        site.check_instance(instance)?;
        let one: [Arc<str>; 1] = [instance.into()];
        change.rows = insist(control, || Ok(site.builds().empty(&site.projection, &one)?))?;
        change.instances = 1;
        control.announce();
        return Ok(change);
    }
    let mut after: Option<Arc<str>> = None;
    loop {
        let page =
            insist(control, || Ok(site.builds().instances_of(std::slice::from_ref(&key), after.as_deref(), FEW)?))?;
        let Some(last) = page.last() else { break };
        after = Some(Arc::clone(last));
        change.rows += insist(control, || Ok(site.builds().empty(&site.projection, &page)?))?;
        change.instances += page.len() as u64;
        control.report(&serde_json::json!({ "instances": change.instances, "rows": change.rows }));
        if !control.may_go_on() {
            return Err(OperateError::ShutDown);
        }
    }
    // Not earlier: an engine may have filled some instances while others are still to be emptied.
    insist(control, || Ok(site.builds().revoke(&key)?))?;
    control.announce();
    Ok(change)
}

/// Tries one failed event again, or all. A process that takes it over from a dead one continues the count.
pub(super) fn retry(
    site: &Context<'_>,
    asked: &CommandRecord,
    event: Option<(&str, i64)>,
    control: &dyn Control,
) -> Result<Change, OperateError> {
    let (builds, by) = (site.all_builds()?, &By::new(asked.who.as_str(), asked.why.as_str()));
    let earlier = Earlier::of(asked);
    let (mut pace, mut last) = (Pace::new(), None::<Instant>);
    // `through` counts what the finished builds did; `seen` includes the present build.
    let (through, seen) = (Cell::new((0, 0)), Cell::new(0));
    let mut told = |applied: u64, of: u64| {
        let (done, before) = through.get();
        seen.set(before + of);
        if last.is_some_and(|at| at.elapsed() < TELL) {
            return;
        }
        last = Some(Instant::now());
        let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let (done, total) = (earlier.applied(before + of) + done + applied, earlier.before(before + of));
        let standing = Standing { done: count(done), total: count(total.max(done)), ..Standing::default() };
        if let Ok(progress) = answer(&pace.progress(Step::Retrying, &standing)) {
            control.report(&progress);
        }
    };
    let outcome = in_all(&builds, |build| {
        let done = match event {
            Some((instance, position)) => build.retry_telling(instance, position, by, &mut told),
            None => build.retry_all_telling(by, &mut told),
        };
        let (applied, before) = match &done {
            Ok(done) => (done.applied, done.before),
            Err(FailureError::SomeStillFail { mended, .. }) => (mended.applied, mended.before),
            Err(_) => (0, 0),
        };
        through.set((through.get().0 + applied, through.get().1 + before));
        done
    });
    let before = seen.get();
    let mut mended = match outcome {
        Err(FailureError::SomeStillFail { mended, .. }) => *mended,
        // The process that died had already finished.
        Err(FailureError::NotOnRecord { .. }) if earlier.all > 0 => RetryOutcome::default(),
        Err(FailureError::StillFails { projection, instance, position, applied, class, error }) => {
            let applied = applied + earlier.applied(before);
            return Err(FailureError::StillFails { projection, instance, position, applied, class, error }.into());
        }
        other => other?,
    };
    if earlier.applied(before) > 0 {
        // It continues a retry that was interrupted.
        mended.went_on = None;
    }
    mended.applied += earlier.applied(before);
    mended.before = mended.before.max(earlier.before(before));
    Ok(self::mended(site, mended, event.map(|(_, position)| position)))
}

/// The progress of a retry that was reported before this process took it over.
struct Earlier {
    applied: u64,
    /// How many events were held when it began.
    all: u64,
}

impl Earlier {
    fn of(asked: &CommandRecord) -> Self {
        let told: Option<BuildProgress> =
            asked.progress.clone().and_then(|progress| serde_json::from_value(progress).ok());
        let positive = |count: i64| u64::try_from(count).unwrap_or(0);
        told.map_or(Self { applied: 0, all: 0 }, |told| Self {
            applied: positive(told.done),
            all: positive(told.total),
        })
    }

    /// How many events were applied, if this many remain. Those applied after the last report show only in that number.
    fn applied(&self, left: u64) -> u64 {
        self.applied.max(self.all.saturating_sub(left))
    }

    /// How many events were held at first.
    fn before(&self, left: u64) -> u64 {
        self.applied(left) + left
    }
}

/// Gives up one failed event.
pub(super) fn discard(site: &Context<'_>, instance: &str, position: i64, by: &By) -> Result<Change, OperateError> {
    let builds = site.all_builds()?;
    let held = FailureQuery::all().instance(instance).positions(position, position);
    let is_held = |build: &ProjectionHandler| build.failed_events(&held).map(|found| !found.is_empty());
    let was = if builds.iter().map(is_held).collect::<Result<Vec<_>, _>>()?.contains(&true) {
        "was given up"
    } else {
        "had been given up before"
    };
    let mended = in_all(&builds, |build| build.discard(instance, position, by))?;
    let behind = match mended.applied {
        0 => "nothing waited behind it".to_owned(),
        1 => "1 event that waited behind it was applied".to_owned(),
        more => format!("{more} events that waited behind it were applied"),
    };
    let done = format!("event {position} {was}, and {behind}");
    Ok(Change { mended: Some(Box::new(mended)), ..changed(site, done) })
}

/// The outcome of a retry or a discard.
fn mended(site: &Context<'_>, mended: RetryOutcome, event: Option<i64>) -> Change {
    let applied = match mended.applied {
        0 => "no event was applied".to_owned(),
        1 => "1 event was applied".to_owned(),
        more => format!("{more} events were applied"),
    };
    let done = match (event, mended.went_on) {
        (Some(event), Some(first)) => {
            format!("{applied}, from event {first}, the first that was held of the aggregate of event {event}")
        }
        (Some(_), None) => applied,
        (None, _) if mended.before == 0 => "no event was on record as failed".to_owned(),
        (None, _) => {
            let (before, after) = (mended.before, mended.after);
            let were = if before == 1 { "was" } else { "were" };
            let now = match after {
                0 => "none is now".to_owned(),
                1 => "1 is now".to_owned(),
                more => format!("{more} are now"),
            };
            format!("{applied}; {before} {were} on record as failed before, and {now}")
        }
    };
    Change { mended: Some(Box::new(mended)), ..changed(site, done) }
}
