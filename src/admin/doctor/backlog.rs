//! What waits to be projected, and what failed.

use std::time::Duration;

use super::wording::{list, shown};
use crate::clock::spoken;
use crate::inspect::{Finding, ProjectionStatus, Status};
use crate::plain::several;
use crate::remedy::Act;

/// Checks whether an event waits for longer than this.
pub(super) fn lag(status: &Status, longest: Duration) -> Finding {
    let check = "lag";
    let late =
        |projection: &&ProjectionStatus| projection.is_live() && projection.lag_age.is_some_and(|age| age > longest);
    let (paused, late): (Vec<_>, Vec<_>) =
        status.projections.iter().filter(late).partition(|projection| projection.paused);
    let elsewhere: Vec<_> = status.projections.iter().filter(|p| p.is_live() && p.events_elsewhere).collect();
    if !elsewhere.is_empty() {
        return Finding::warn(
            check,
            format!("not known of {}: the events are elsewhere", list(&elsewhere, shown)),
            "if that is a database of readside too, name it with --events-url; else look at the health that engines tell",
        );
    }
    let describe = |projection: &ProjectionStatus| {
        let age = spoken(projection.lag_age.unwrap_or_default());
        let lag = several(u64::try_from(projection.lag_events).unwrap_or(0), "event");
        format!("{} is {lag} behind, the oldest waits for {age}", shown(projection))
    };
    if !late.is_empty() {
        let remedy = "see `readside status --watch` for whether it comes nearer, and `readside failed list` for what holds it up";
        return Finding::warn(check, list(&late, describe), remedy);
    }
    if !paused.is_empty() {
        return Finding::warn(
            check,
            format!(
                "paused: {}",
                list(&paused, |projection| format!("{}{}", describe(projection), paused_by(projection)))
            ),
            format!("let it go on with {}", first(&paused, Act::Resume)),
        );
    }
    Finding::ok(check, format!("no event waits for more than {}", spoken(longest)))
}

/// The command for the first of these projections.
fn first(projections: &[&ProjectionStatus], act: Act) -> String {
    projections.first().map_or(String::new(), |first| format!("`{}`", act.on(&first.subject(None))))
}

/// Who paused the whole projection, and why.
fn paused_by(projection: &ProjectionStatus) -> String {
    let whole = projection.pauses.iter().find(|paused| paused.instance.is_none());
    let by = whole.and_then(|paused| paused.by.as_ref());
    by.map_or(String::new(), |by| format!(", paused by {:?}: {:?}", by.who, by.why))
}

pub(super) fn failures(status: &Status) -> Finding {
    let check = "failures";
    let stopped: Vec<_> = status.projections.iter().filter(|projection| projection.stopped > 0).collect();
    let failed: Vec<_> = status.projections.iter().filter(|projection| projection.failed() > 0).collect();
    let retry = first(&failed, Act::RetryAll);
    let remedy = format!("see `readside failed list`; remove the cause, then {retry}, or discard single events");
    if !stopped.is_empty() {
        let describe = |projection: &ProjectionStatus| {
            format!("{} in {}", shown(projection), several(projection.stopped, "instance"))
        };
        return Finding::warn(check, format!("stopped: {}", list(&stopped, describe)), remedy);
    }
    if !failed.is_empty() {
        let describe = |projection: &ProjectionStatus| {
            let ProjectionStatus { failing, parked, behind, skipped, .. } = projection;
            let all = [(failing, "failing"), (parked, "parked"), (behind, "behind these"), (skipped, "skipped")];
            let some = all.iter().filter(|(number, _)| **number > 0);
            let some: Vec<String> = some.map(|(number, word)| format!("{number} {word}")).collect();
            format!("{}: {}", shown(projection), some.join(", "))
        };
        return Finding::warn(check, list(&failed, describe), remedy);
    }
    Finding::ok(check, "no event is on record as failed")
}
