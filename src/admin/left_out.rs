//! Which events of the log a read model lacks, and why; and the wait until it lacks no others.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::context::{Context, PAGE, answer};
use super::pace::Pace;
use super::tries::insist;
use crate::builds::{BuildProgress, LeftOut, Step};
use crate::engine::Control;
use crate::error::{OperateError, StoreError};
use crate::failure::{Attempt, FailureQuery, FailureStatus};
use crate::lease::Pause;
use crate::plain::plain;
use crate::query::{Head, HeadsRequest};
use crate::state::{ProjectionKey, State};
use crate::stop_cause::StopCause;

/// The most instances that are named.
const NAMED: usize = 10;

/// The first wait between two looks, and the longest one.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// After the first time without progress, engines are notified once more. After the second, the wait ends.
const STILL: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(1));

/// Why an instance does not move, if there is a reason.
fn reason(site: &Context<'_>, pauses: &HashSet<Pause>, head: &Head, state: &State) -> Option<String> {
    let name = || site.name().to_owned();
    let whole = pauses.contains(&(name(), None));
    if whole || pauses.contains(&(name(), Some(Arc::clone(&head.instance)))) {
        return Some("it is paused".to_owned());
    }
    let blocked = state.blocked.as_ref().filter(|blocked| blocked.position > state.position)?;
    let cause = if blocked.stopped { StopCause::Stopped } else { StopCause::Failing }(blocked.clone());
    Some(cause.to_string())
}

fn add(found: &mut LeftOut, head: &Head, state: &State, why: &str) {
    found.standing += 1;
    found.waiting += u64::try_from(head.relevant - state.position).unwrap_or(0);
    if found.reasons.len() < NAMED {
        found.reasons.push(format!("instance {:?} stands at position {}: {why}", head.instance, state.position));
    }
}

impl Context<'_> {
    /// Reads the next page of the heads that count, after `after`; only the head of one instance, if one is given.
    fn heads_page(
        &self,
        instance: Option<&str>,
        after: &mut Option<Arc<str>>,
    ) -> Result<Option<Vec<Head>>, OperateError> {
        let instances = instance.map(Into::into).into_iter().collect();
        let aggregate_types = self.projection.wanted().aggregate_types;
        let request = HeadsRequest { instances, aggregate_types, after: after.clone(), limit: PAGE };
        let mut heads = self.source.heads(&request)?;
        let Some(last) = heads.last() else { return Ok(None) };
        *after = Some(Arc::clone(&last.instance));
        heads.retain(|head| head.relevant > 0 && (self.system || instance.is_some() || !head.instance.is_empty()));
        Ok(Some(heads))
    }

    fn count_failed(&self, key: &ProjectionKey, instance: Option<&str>, found: &mut LeftOut) -> Result<(), StoreError> {
        let counted = [
            (FailureStatus::Parked, &mut found.parked),
            (FailureStatus::Behind, &mut found.behind),
            (FailureStatus::Skipped, &mut found.skipped),
            (FailureStatus::Discarded, &mut found.discarded),
        ];
        let all = if instance.is_none() { self.models.failure_counts(key)? } else { Vec::new() };
        for (state, count) in counted {
            *count = match instance {
                Some(instance) => {
                    self.models.failure_count(key, &FailureQuery::all().instance(instance).states([state]))?
                }
                None => all.iter().filter(|(other, _)| *other == state).map(|(_, count)| count).sum(),
            };
        }
        if found.discarded > 0 {
            let mut query = FailureQuery::all().states([FailureStatus::Discarded]).limit(NAMED);
            if let Some(instance) = instance {
                query = query.instance(instance);
            }
            found.reasons.extend(self.models.failed_events(key, &query)?.iter().map(|one| {
                let Attempt { instance, position, class, error, .. } = &one.attempt;
                format!("event {position} of instance {instance:?} was given up ({class}: {})", plain(error))
            }));
        }
        Ok(())
    }
}

/// What a build lacks for a reason, in one instance or in all. Leaves out events that engines are about to apply.
pub(super) fn look(
    site: &Context<'_>,
    key: &ProjectionKey,
    instance: Option<&str>,
    control: &dyn Control,
) -> Result<LeftOut, OperateError> {
    let pauses = insist(control, || Ok(control.pauses()?))?;
    let (mut found, mut after) = (LeftOut::default(), None);
    insist(control, || Ok(site.count_failed(key, instance, &mut found)?))?;
    while let Some(heads) = insist(control, || site.heads_page(instance, &mut after))? {
        let instances: Vec<Arc<str>> = heads.iter().map(|head| Arc::clone(&head.instance)).collect();
        let states = insist(control, || Ok(site.models.states(key, &instances)?))?;
        for (head, state) in heads.iter().zip(&states).filter(|(head, state)| state.position < head.relevant) {
            if let Some(why) = reason(site, &pauses, head, state) {
                add(&mut found, head, state, &why);
            }
        }
    }
    // Instances that were removed in part have no heads any more.
    for removed in insist(control, || Ok(site.builds().half_removed()?))? {
        if instance.is_none_or(|instance| *removed == *instance) {
            found.standing += 1;
            if found.reasons.len() < NAMED {
                found.reasons.push(format!(
                    "instance {removed:?} was removed in part, and what is left of its events is passed over: remove it again"
                ));
            }
        }
    }
    Ok(found)
}

/// Waits until each instance of a build has reached the head that it had at the first look, or has a reason not to.
/// Once a second, `tell` gets the progress. Returns the instances that did not move for a minute without a reason.
pub(super) fn settle(
    site: &Context<'_>,
    (key, live): (&ProjectionKey, &ProjectionKey),
    instance: Option<&str>,
    control: &dyn Control,
    tell: &dyn Fn(&BuildProgress) -> Result<(), OperateError>,
) -> Result<LeftOut, OperateError> {
    let (mut pace, mut after, mut unmoved) = (Pace::new(), None, LeftOut::default());
    let mut last: Option<Instant> = None;
    // Heads only grow: each instance has to reach the head that it had when its page was read, so that this ends under any load.
    while let Some(mut left) = insist(control, || site.heads_page(instance, &mut after))? {
        let (mut pause, mut before, mut moved) = (LOOK_AGAIN.0, None, (Instant::now(), Instant::now()));
        loop {
            let pauses = insist(control, || Ok(control.pauses()?))?;
            let instances: Vec<Arc<str>> = left.iter().map(|head| Arc::clone(&head.instance)).collect();
            let states = if left.is_empty() {
                Vec::new()
            } else {
                insist(control, || Ok(site.models.states(key, &instances)?))?
            };
            let mut open: Vec<(Head, State)> = left.into_iter().zip(states).collect();
            open.retain(|(head, state)| state.position < head.relevant && reason(site, &pauses, head, state).is_none());
            if last.is_none_or(|at| at.elapsed() >= LOOK_AGAIN.1) {
                let standing = insist(control, || Ok(site.standing(key, live)?))?;
                tell(&pace.progress(Step::Filling, &standing))?;
                last = Some(Instant::now());
            }
            if open.is_empty() {
                break;
            }
            let now: Vec<i64> = open.iter().map(|(_, state)| state.position).collect();
            if before.as_ref() != Some(&now) {
                (before, moved) = (Some(now), (Instant::now(), Instant::now()));
            } else if moved.0.elapsed() >= STILL.1 {
                let why = "no engine moved it for a minute; `readside status` tells what stands in the way";
                for (head, state) in &open {
                    add(&mut unmoved, head, state, why);
                }
                break;
            } else if moved.1.elapsed() >= STILL.0 {
                control.announce();
                moved.1 = Instant::now();
            }
            left = open.into_iter().map(|(head, _)| head).collect();
            if !control.wait(pause) {
                return Err(OperateError::ShutDown);
            }
            pause = (pause * 2).min(LOOK_AGAIN.1);
        }
    }
    Ok(unmoved)
}

/// What a build lacks, including the instances that did not move while it settled.
pub(super) fn look_after(
    site: &Context<'_>,
    key: &ProjectionKey,
    instance: Option<&str>,
    unmoved: LeftOut,
    control: &dyn Control,
) -> Result<LeftOut, OperateError> {
    let mut found = look(site, key, instance, control)?;
    found.standing += unmoved.standing;
    found.waiting += unmoved.waiting;
    found.reasons.extend(unmoved.reasons);
    found.reasons.truncate(NAMED);
    Ok(found)
}

/// Waits until a read model that was emptied is filled again from the log. Returns what it then lacks.
pub(super) fn refill(
    site: &Context<'_>,
    instance: Option<&str>,
    control: &dyn Control,
    told: &dyn Fn(serde_json::Value) -> serde_json::Value,
) -> Result<LeftOut, OperateError> {
    let key = site.projection.key();
    let tell = |progress: &BuildProgress| {
        control.report(&told(answer(progress)?));
        Ok(())
    };
    let unmoved = settle(site, (&key, &key), instance, control, &tell)?;
    look_after(site, &key, instance, unmoved, control)
}
