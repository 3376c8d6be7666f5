//! Whether engines run, hear of pushes and hold the leases.

use super::wording::{SHOWN, list, shown};
use crate::clock::spoken;
use crate::inspect::{Finding, MemberStatus, ProjectionStatus, Status};
use crate::remedy::{Act, Remedy};
use crate::standstill::StandstillKind;

/// Checks whether each projection has an engine that runs it.
pub(super) fn engines(status: &Status) -> Finding {
    let check = "engines";
    let alive = status.members.iter().filter(|member| member.alive).count();
    let silent = status.members.len() - alive;
    let alone = |projection: &&ProjectionStatus| projection.is_live() && projection.members == 0;
    let alone: Vec<_> = status.projections.iter().filter(alone).collect();
    let projections = match status.projections.iter().filter(|projection| projection.is_live()).count() {
        1 => "1 projection".to_owned(),
        many => format!("{many} projections"),
    };
    let silent = if silent > 0 { format!(", {silent} silent") } else { String::new() };
    let text = format!("{alive} alive{silent}; {projections}");
    if alone.is_empty() {
        return Finding::ok(check, text);
    }
    let names = list(&alone, shown);
    let other = |live: &&ProjectionStatus| {
        let is_other = |other: &&ProjectionStatus| other.name == live.name && other.members > 0 && !other.is_live();
        status.projections.iter().find(is_other)
    };
    let remedy = match alone.iter().find_map(other) {
        // An engine that cannot write cannot report itself either.
        None if !silent.is_empty() => format!(
            "{}; where a silent one runs, it cannot write to this database: make room on the disk, or see its log",
            no_engine(&alone)
        ),
        None => no_engine(&alone),
        Some(ProjectionStatus { name, version, trouble: Some(trouble), .. }) => format!(
            "start the service that keeps it up to date; or have readers see version {version} of {name:?}, which engines \
             run and which waits for a person: {trouble}"
        ),
        Some(other @ ProjectionStatus { name, version, .. }) => {
            let [back, switch] = [Act::Back, Act::Switch].map(|act| act.on(&other.subject(None)));
            format!(
                "start the service that keeps it up to date, or have readers see version {version} of {name:?}, which \
                 engines run: `{back}`, or `{switch}` where that is the newer one"
            )
        }
    };
    let last = status.members.iter().filter(|_| alive == 0).max_by_key(|member| member.alive_until);
    let last = last.map_or(String::new(), |member| {
        let age = spoken(status.at.duration_since(member.alive_until).unwrap_or_default());
        format!("; {:?} did until {age} ago: it died, cannot write here, or now works on another database", member.name)
    });
    let found = format!("{text}; no engine runs {names}{last}");
    // What waits for an engine is stuck, as the status says.
    if alone.iter().any(|projection| projection.is_stuck()) {
        Finding::fail(check, found, remedy)
    } else {
        Finding::warn(check, found, remedy)
    }
}

/// What to do about the first of these projections.
fn no_engine(alone: &[&ProjectionStatus]) -> String {
    let remedy = |first: &&ProjectionStatus| Remedy::of(StandstillKind::NoEngine.pieces(), &first.subject(None));
    alone.first().map_or(String::new(), |first| remedy(first).to_string())
}

/// Engines that do not hear of pushes of other processes. They find these pushes later.
pub(super) fn hearing(status: &Status) -> Option<Finding> {
    let is_deaf = |member: &MemberStatus| Some(format!("{:?}: {}", member.name, member.deaf.as_deref()?));
    let mut deaf: Vec<String> = status.members.iter().filter(|member| member.alive).filter_map(is_deaf).collect();
    if deaf.is_empty() {
        return None;
    }
    if deaf.len() > SHOWN {
        let more = deaf.len() - SHOWN;
        deaf.truncate(SHOWN);
        deaf.push(format!("and {more} more"));
    }
    let remedy = "until they hear again, these engines find such pushes by looking; remove what the reason names";
    Some(Finding::warn("hearing", deaf.join("; "), remedy))
}

/// Leases of dead processes expire, but a living process has to take them over.
pub(super) fn leases(status: &Status) -> Finding {
    let held: u64 = status.projections.iter().map(|projection| projection.leases).sum();
    let of_living: u64 = status.members.iter().filter(|member| member.alive).map(|member| member.leases).sum();
    let left = held.saturating_sub(of_living);
    if left == 0 {
        let text = match held {
            0 => "none is held".to_owned(),
            held => format!("{held} held, all by living processes"),
        };
        return Finding::ok("leases", text);
    }
    Finding::warn(
        "leases",
        format!("{left} of {held} {} left by processes that are dead", if left == 1 { "was" } else { "were" }),
        "an engine that runs the projection takes them over within a lease and a tick; start one if none runs",
    )
}
