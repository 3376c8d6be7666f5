//! `failed`: shows failed events, and acts on them.

use std::time::SystemTime;

use anyhow::{Context, bail};
use serde::Serialize;

use super::format::{clean, exact_moment, moment};
use super::options::{FailedArgs, FailedCommand, FailedListArgs, FailedShowArgs};
use super::output::{number, text};
use super::projections::shown_build;
use super::{Ended, Outcome, Session, events, rebuild};
use crate::builds::Build;
use crate::failure::{Action, Attempt, FailedEvent, FailureQuery, FailureStatus, Intervention};
use crate::inspect::ActivityKind;
use crate::query::{Query, SubQuery};

/// The largest number of records in memory.
const PAGE: usize = 500;

/// How many interventions are searched for those of one event.
const INTERVENTIONS: usize = 10_000;

#[derive(Serialize)]
struct FailedLine<'h> {
    projection: &'h str,
    version: u32,
    build: Option<&'h str>,
    instance: &'h str,
    position: i64,
    aggregate_type: &'h str,
    aggregate_id: &'h str,
    #[serde(rename = "type")]
    event_type: &'h str,
    state: &'static str,
    attempts: u32,
    class: String,
    error: &'h str,
    first_at: String,
    last_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    interventions: Option<Vec<MendLine<'h>>>,
}

#[derive(Serialize)]
struct MendLine<'h> {
    action: &'static str,
    who: &'h str,
    why: &'h str,
    at: String,
}

pub(super) fn run(session: &mut Session<'_>, args: &FailedArgs) -> Outcome {
    match &args.command {
        FailedCommand::List(args) => list(session, args),
        FailedCommand::Show(args) => show(session, args),
        FailedCommand::Retry(args) => rebuild::retry(session, args),
        FailedCommand::Discard(args) => rebuild::discard(session, args),
    }
}

fn list(session: &mut Session<'_>, args: &FailedListArgs) -> Outcome {
    let projections = match &args.projection {
        Some(name) => vec![session.build(name, args.projection_version)?],
        None => session.builds()?,
    };
    let mut rows = Vec::new();
    // One more is read, and not shown, to find out whether there are more.
    let mut left = if args.limit == 0 { usize::MAX } else { args.limit.saturating_add(1) };
    for projection in &projections {
        let mut query = FailureQuery::all().states(args.state.iter().map(|state| FailureStatus::from(*state)));
        if let Some(instance) = &args.instance {
            query = query.instance(instance);
        }
        while left > 0 {
            let size = left.min(PAGE);
            let page = session.store.failed_events(&projection.key, &query.clone().limit(size))?;
            left -= page.len();
            let shown = page.len() - usize::from(left == 0);
            for held in page.iter().take(shown) {
                if session.out.is_json() {
                    session.out.object(&line(projection, held, None))?;
                } else {
                    rows.push(row(projection, held));
                }
            }
            match page.last() {
                Some(last) if page.len() == size => query = query.after(last),
                _ => break,
            }
        }
    }
    if !session.out.is_json() {
        print(session, rows, left == 0)?;
    }
    Ok(Ended::Fine)
}

fn print(session: &mut Session<'_>, rows: Vec<(Vec<String>, String)>, has_more: bool) -> anyhow::Result<()> {
    if rows.is_empty() {
        return session.out.remark("no event is on record as failed");
    }
    let columns = [
        text("PROJECTION"),
        text("INSTANCE"),
        number("POSITION"),
        text("AGGREGATE"),
        text("EVENT"),
        text("STATE"),
        number("ATTEMPTS"),
        text("LAST"),
    ];
    session.out.told_table(&columns, rows)?;
    if has_more { session.out.remark("there are more: --limit 0 for all") } else { Ok(()) }
}

/// The cells of a failed event, and the reason of its failure.
fn row(projection: &Build, held: &FailedEvent) -> (Vec<String>, String) {
    let attempt = &held.attempt;
    let cells = vec![
        shown_build(projection),
        clean(&attempt.instance),
        attempt.position.to_string(),
        format!("{} {}", clean(&attempt.aggregate_type), clean(&attempt.aggregate_id)),
        clean(&attempt.event_type),
        attempt.state.to_string(),
        attempt.attempts.to_string(),
        moment(held.last_at),
    ];
    (cells, format!("{}: {}", attempt.class, clean(&attempt.error)))
}

fn line<'h>(projection: &'h Build, held: &'h FailedEvent, interventions: Option<Vec<MendLine<'h>>>) -> FailedLine<'h> {
    let attempt = &held.attempt;
    FailedLine {
        projection: projection.key.projection(),
        version: projection.key.version,
        build: projection.key.mark(),
        instance: &attempt.instance,
        position: attempt.position,
        aggregate_type: &attempt.aggregate_type,
        aggregate_id: &attempt.aggregate_id,
        event_type: &attempt.event_type,
        state: attempt.state.as_str(),
        attempts: attempt.attempts,
        class: attempt.class.to_string(),
        error: &attempt.error,
        first_at: exact_moment(held.first_at),
        last_at: exact_moment(held.last_at),
        interventions,
    }
}

fn show(session: &mut Session<'_>, args: &FailedShowArgs) -> Outcome {
    let projection = session.build(&args.projection, args.projection_version)?;
    let held = session.held_or_given_up(&projection, &args.instance, args.position)?;
    let mut done = session.done_about(&projection, &args.instance, args.position)?;
    if done.is_empty() && held.attempt.state == FailureStatus::Discarded {
        done.extend(session.discarded_elsewhere(&projection, &args.instance, args.position)?);
    }
    done.reverse();
    if session.out.is_json() {
        let done = done.iter().map(intervention).collect();
        session.out.object(&line(&projection, &held, Some(done)))?;
    } else {
        describe(session, &projection, &held, &done)?;
    }
    if args.payload {
        let position = args.position;
        let sub = SubQuery::new().instance(&args.instance).after(position - 1).before(position.saturating_add(1));
        let found = session.events.filter(&Query::new().or(sub))?;
        let event = found.first().with_context(|| format!("event {position} is not in this store"))?;
        events::print(&mut session.out, event)?;
    }
    Ok(Ended::Fine)
}

fn intervention(done: &Intervention) -> MendLine<'_> {
    MendLine { action: done.action.as_str(), who: &done.by.who, why: &done.by.why, at: exact_moment(done.at) }
}

fn describe(
    session: &mut Session<'_>,
    projection: &Build,
    held: &FailedEvent,
    done: &[Intervention],
) -> anyhow::Result<()> {
    let attempt = &held.attempt;
    let times = |at: SystemTime| moment(at);
    let lines = [
        ("projection", shown_build(projection)),
        ("instance", clean(&attempt.instance)),
        ("position", attempt.position.to_string()),
        ("aggregate", format!("{} {}", clean(&attempt.aggregate_type), clean(&attempt.aggregate_id))),
        ("event type", clean(&attempt.event_type)),
        ("state", format!("{}: {}", attempt.state, meaning(attempt.state))),
        ("attempts", format!("{}, first {}, last {}", attempt.attempts, times(held.first_at), times(held.last_at))),
        ("why", format!("{}: {}", attempt.class, clean(&attempt.error))),
    ];
    for (name, value) in lines {
        session.out.line(&format!("{name:<11} {value}"))?;
    }
    for Intervention { action, by, at, .. } in done {
        let words = format!("{action} by {} at {}: {}", clean(&by.who), times(*at), clean(&by.why));
        session.out.line(&format!("{:<11} {words}", "done"))?;
    }
    Ok(())
}

fn meaning(state: FailureStatus) -> &'static str {
    match state {
        FailureStatus::Failing => "it is tried again, its instance waits",
        FailureStatus::Stopped => "its instance waits for a person",
        FailureStatus::Parked => "later events of its aggregate wait behind it",
        FailureStatus::Behind => "it waits behind a parked event of its aggregate",
        FailureStatus::Skipped => "the projection went on without it",
        FailureStatus::Discarded => "a person gave it up, and no rebuild applies it",
    }
}

impl Session<'_> {
    /// Checks that there is something to retry: the event, or other events of its aggregate if the event is done
    /// already.
    pub(super) fn check_retry(
        &self,
        projection: (&str, Option<u32>),
        instance: &str,
        position: i64,
    ) -> anyhow::Result<()> {
        let build = self.build(projection.0, projection.1)?;
        let Err(error) = self.held_in_some(projection, instance, position) else { return Ok(()) };
        let sub =
            SubQuery::new().instance(instance).after(position.saturating_sub(1)).before(position.saturating_add(1));
        let found = self.events.filter(&Query::new().or(sub))?;
        let Some(event) = found.first() else { return Err(error) };
        let query =
            FailureQuery::all().instance(instance).aggregate(event.aggregate_type(), event.aggregate_id()).limit(1);
        let states = [FailureStatus::Parked, FailureStatus::Behind];
        if self.store.failed_events(&build.key, &query.states(states))?.is_empty() { Err(error) } else { Ok(()) }
    }

    /// Checks that there is something to give up: the event, or what a discard of it left that was cut off.
    pub(super) fn check_discard(
        &self,
        (projection, version): (&str, Option<u32>),
        instance: &str,
        position: i64,
    ) -> anyhow::Result<()> {
        let Err(error) = self.held_in_some((projection, version), instance, position) else { return Ok(()) };
        let number = self.build(projection, version)?.key.version;
        let is_one = |build: &&Build| build.key.projection() == projection && build.key.version == number;
        for build in self.builds()?.iter().filter(is_one) {
            let Some(given_up) = self.given_up(build, instance, position)? else { continue };
            let Attempt { aggregate_type, aggregate_id, .. } = &given_up.attempt;
            let behind = FailureQuery::all().instance(instance).aggregate(aggregate_type, aggregate_id);
            let behind = behind.positions(position.saturating_add(1), i64::MAX).limit(1);
            // Nobody has tried what a discard left that was cut off.
            let first = self.store.failed_events(&build.key, &behind)?.into_iter().next();
            if first.is_some_and(|first| first.attempt.attempts == 0) {
                return Ok(());
            }
        }
        Err(error)
    }

    /// Checks that an event is recorded as failed in the build that readers see, or in a shadow of the same version.
    /// If it failed only in another version, the error names that version.
    pub(super) fn held_in_some(
        &self,
        (projection, version): (&str, Option<u32>),
        instance: &str,
        position: i64,
    ) -> anyhow::Result<()> {
        let build = self.build(projection, version)?;
        let Err(error) = self.held(&build, instance, position) else { return Ok(()) };
        let query = FailureQuery::all().instance(instance).positions(position, position);
        for other in self.builds()?.iter().filter(|other| other.key.projection() == projection) {
            if self.store.failed_events(&other.key, &query)?.is_empty() {
                continue;
            }
            let number = other.key.version;
            if number == build.key.version {
                return Ok(());
            }
            if version.is_none() {
                bail!(
                    "event {position} of instance {instance:?} is on record as failed in version {number} of projection {:?}, which \
                     is {}: add --projection-version {number}",
                    clean(projection),
                    other.phase
                );
            }
        }
        Err(error)
    }

    /// The record of a failed event.
    pub(super) fn held(&self, projection: &Build, instance: &str, position: i64) -> anyhow::Result<FailedEvent> {
        let query = FailureQuery::all().instance(instance).positions(position, position);
        if let Some(held) = self.store.failed_events(&projection.key, &query)?.into_iter().next() {
            return Ok(held);
        }
        self.check_instance(instance)?;
        let name = projection.key.projection();
        let what =
            format!("event {position} of instance {instance:?} is not on record as failed in projection {name:?}");
        // The latest comes first, and says what became of the event.
        let own = self.done_about(projection, instance, position)?.into_iter().next();
        let is_of_this = own.is_some() || self.given_up(projection, instance, position)?.is_some();
        let done = own.map_or_else(|| self.discarded_elsewhere(projection, instance, position), |own| Ok(Some(own)))?;
        let became = done.map_or(String::new(), |done| {
            let action = match done.action {
                Action::Retry => "retried",
                Action::Discard => "discarded",
            };
            let before = if is_of_this { " any more:" } else { " here; in another version it was" };
            format!("{before} {action} by {:?} at {}: {:?}", done.by.who, moment(done.at), done.by.why)
        });
        bail!("{what}{became}; see `readside failed list {}`", clean(name))
    }

    /// As [`held`](Self::held), and also the record of an event that a person gave up.
    fn held_or_given_up(&self, projection: &Build, instance: &str, position: i64) -> anyhow::Result<FailedEvent> {
        let not_held = match self.held(projection, instance, position) {
            Err(error) => error,
            held => return held,
        };
        self.given_up(projection, instance, position)?.ok_or(not_held)
    }

    /// The record of an event that a person gave up.
    fn given_up(&self, projection: &Build, instance: &str, position: i64) -> anyhow::Result<Option<FailedEvent>> {
        let query = FailureQuery::all().instance(instance).positions(position, position);
        let given_up = self.store.failed_events(&projection.key, &query.states([FailureStatus::Discarded]))?;
        Ok(given_up.into_iter().next())
    }

    /// What people did about an event, the latest first.
    fn done_about(&self, projection: &Build, instance: &str, position: i64) -> anyhow::Result<Vec<Intervention>> {
        let mut done = self.store.interventions(&projection.key, INTERVENTIONS)?;
        done.retain(|done| *done.instance == *instance && done.position == position);
        Ok(done)
    }

    /// Who gave an event up in another version, whose builds may be gone. A version takes over what was given up in the
    /// one before.
    fn discarded_elsewhere(
        &self,
        projection: &Build,
        instance: &str,
        position: i64,
    ) -> anyhow::Result<Option<Intervention>> {
        let acts = self.store.activity(None, INTERVENTIONS)?;
        let found = acts.into_iter().find(|act| {
            act.kind == ActivityKind::Intervention
                && act.what == Action::Discard.as_str()
                && act.projection.as_deref() == Some(projection.key.projection())
                && act.instance.as_deref() == Some(instance)
                && act.position == Some(position)
        });
        Ok(found.map(|act| Intervention {
            instance: instance.into(),
            position,
            action: Action::Discard,
            by: act.by,
            at: act.at,
        }))
    }
}
