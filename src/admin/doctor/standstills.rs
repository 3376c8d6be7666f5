//! What stands still, and what to do about it.

use super::wording::{SHOWN, shown};
use crate::clock::spoken;
use crate::inspect::{Finding, ProjectionStatus, Status};
use crate::remedy::Piece::{Here, Run, Say};
use crate::remedy::{Act, Piece, Remedy};
use crate::standstill::{Standstill, StandstillKind};

/// The remedy for a history that diverged, worded to fit with the other findings.
pub(super) const DIVERGED: &[Piece] = &[
    Say(
        "where only a counter is behind its log, the finding `events` says so and what to set; else connect the right \
         store; or, if this one is right, build the read model from it: ",
    ),
    Run(Act::Reset),
    Here(&[Say(", in all instances "), Run(Act::ResetAll)], &[]),
];

/// Each standstill with its remedy, or one finding that there is none. A first run is no fault. Pauses, lag and engines
/// have their own findings.
pub(super) fn standstills(status: &Status) -> Vec<Finding> {
    use StandstillKind as K;
    let check = "standstills";
    let all: Vec<(&ProjectionStatus, &Standstill)> = status
        .projections
        .iter()
        .flat_map(|projection| projection.standstills.iter().map(move |one| (projection, one)))
        .filter(|(_, one)| !matches!(one.kind, K::Paused | K::NoEngine))
        .collect();
    if all.is_empty() {
        return vec![Finding::ok(check, "nothing stands still")];
    }
    let name = |process| status.members.iter().find(|member| Some(member.process) == process).map(|m| m.name.as_str());
    let finding = |(projection, one): &(&ProjectionStatus, &Standstill)| {
        let since = one.since.and_then(|since| status.at.duration_since(since).ok());
        let since = since.map_or(String::new(), |age| format!(", for {}", spoken(age)));
        let by = name(one.process).map_or(String::new(), |name| format!(", says {name}"));
        let found = format!("{}{since}{by}: {one}", shown(projection));
        let remedy = remedy(projection, one).to_string();
        match one.kind {
            K::FirstRun => Finding::ok(check, format!("{found}; {remedy}")),
            _ if !projection.is_live() => Finding::warn(check, found, remedy),
            // Alone it makes nothing stuck, for instance while an event of the instance is tried again.
            K::Unmoved if !projection.is_stuck() => Finding::warn(check, found, remedy),
            _ => Finding::fail(check, found, remedy),
        }
    };
    let mut findings: Vec<Finding> = all.iter().take(SHOWN).map(finding).collect();
    if all.len() > SHOWN {
        let more = format!("{} more", all.len() - SHOWN);
        findings.push(Finding::warn(check, more, "see all of them with `readside status --json`"));
    }
    findings
}

/// The remedy for a standstill.
fn remedy(projection: &ProjectionStatus, one: &Standstill) -> Remedy {
    if one.kind == StandstillKind::Diverged && projection.is_live() {
        return Remedy::of(DIVERGED, &projection.subject(one.instance.as_deref()));
    }
    projection.remedy(one)
}
