//! Whether logs are whole, and whether checkpoints and heads agree with them.

use super::standstills::DIVERGED;
use super::wording::{SHOWN, unreadable};
use crate::admin::two_databases::COMPARED;
use crate::builds::Phase;
use crate::error::StoreError;
use crate::inspect::{Finding, Mismatch, ProjectionStatus};
use crate::plain::count;
use crate::query::Flaw;
use crate::remedy::{Remedy, Subject};
use crate::standstill::{Standstill, StandstillKind};

/// The most events that are counted to see whether logs are whole.
pub(super) const COUNTED: usize = 100_000;

/// The remedy if somebody set a counter or a head back by hand, or restored it without the events. A reset would not
/// help.
const BEHIND: &str = "restore all of the engine's tables from one moment; or, where these events are right, stop all that pushes and \
     set `head` of each such type in the table `heads` to the position of its last event, and `head`, `head_event` and \
     `head_at` of the instance in the table `instances` to position, `event_id` and `created_at` of its last event";

/// Checks whether checkpoints belong to the log.
pub(super) fn history(found: Result<Vec<Mismatch>, StoreError>, builds: &[ProjectionStatus]) -> Finding {
    let check = "history";
    let found = match found {
        Ok(found) => found,
        Err(error) => return unreadable(check, &error),
    };
    let describe = |one: &Mismatch| {
        let mark = one.build.as_deref().map_or(String::new(), |mark| format!(", {mark}"));
        format!(
            "{:?} (version {}{mark}) stands at {} of instance {:?}",
            one.projection, one.version, one.position, one.instance
        )
    };
    if found.is_empty() {
        return Finding::ok(
            check,
            format!("each checkpoint names an event of the log (at most {} were compared)", count(COMPARED as u64)),
        );
    }
    let some: Vec<String> = found.iter().take(SHOWN).map(describe).collect();
    let more = if found.len() > SHOWN { format!("; and {} more", found.len() - SHOWN) } else { String::new() };
    let text = format!("where the log has another event, or none: {}{more}", some.join("; "));
    let build = |one: &Mismatch| {
        let is_it = |build: &&ProjectionStatus| {
            build.name == one.projection && build.version == one.version && build.build == one.build
        };
        builds.iter().find(is_it)
    };
    let phase = |one: &Mismatch| build(one).map_or(Phase::Live, |build| build.phase);
    // The gravest case decides.
    let rank = |one: &&Mismatch| match phase(one) {
        Phase::Live => 2,
        Phase::Kept => 0,
        _ => 1,
    };
    let gravest = found.iter().rev().max_by_key(rank);
    let instance = gravest.filter(|_| found.len() == 1).map(|one| one.instance.as_str());
    let remedy = gravest.map(|one| match build(one) {
        Some(build) if !build.is_live() => {
            let diverged = Standstill::new(StandstillKind::Diverged, "");
            build.remedy(&diverged)
        }
        _ => Remedy::of(DIVERGED, &Subject { projection: &one.projection, version: None, instance }),
    });
    let remedy = remedy.map_or(String::new(), |remedy| remedy.to_string());
    let is_live = gravest.is_some_and(|one| phase(one) == Phase::Live);
    if is_live { Finding::fail(check, text, remedy) } else { Finding::warn(check, text, remedy) }
}

/// Checks whether logs are whole, and whether counters and heads agree with them.
pub(super) fn whole(found: Result<Vec<Flaw>, StoreError>) -> Vec<Finding> {
    let check = "events";
    let found = match found {
        Ok(found) => found,
        Err(error) => return vec![unreadable(check, &error)],
    };
    let (behind, holes): (Vec<Flaw>, Vec<Flaw>) = found.into_iter().partition(|flaw| flaw.behind);
    let describe = |flaws: &[Flaw]| {
        let one = |flaw: &Flaw| format!("of instance {:?}: {}", flaw.instance, flaw.found);
        let some: Vec<String> = flaws.iter().take(SHOWN).map(one).collect();
        let more = if flaws.len() > SHOWN { format!("; and {} more", flaws.len() - SHOWN) } else { String::new() };
        format!("{}{more}", some.join("; "))
    };
    let mut findings = Vec::new();
    if !holes.is_empty() {
        let text = format!("logs that are not whole: {}", describe(&holes));
        findings.push(Finding::fail(check, text, StandstillKind::Incomplete.remedy()));
    }
    if !behind.is_empty() {
        findings.push(Finding::fail(
            check,
            format!("counters that say less than the log: {}", describe(&behind)),
            BEHIND,
        ));
    }
    if findings.is_empty() {
        findings
            .push(Finding::ok(check, format!("no event is missing (at most {} were counted)", count(COUNTED as u64))));
    }
    findings
}
