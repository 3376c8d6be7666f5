//! How findings name projections and tell errors, and how much of a list they show.

use crate::builds::Phase;
use crate::error::{StoreError, chain};
use crate::inspect::{Finding, ProjectionStatus};

/// How many things of a kind are listed one by one.
pub(super) const SHOWN: usize = 20;

/// The name, with the version if readers see another one.
pub(super) fn shown(projection: &ProjectionStatus) -> String {
    let ProjectionStatus { name, version, build, phase, .. } = projection;
    let mark = build.as_deref().map(|mark| if *phase == Phase::Kept { "kept" } else { mark });
    let mark = mark.map_or(String::new(), |mark| format!(", {mark}"));
    if projection.is_live() { format!("{name:?}") } else { format!("{name:?} (version {version}{mark})") }
}

/// A description of each projection.
pub(super) fn list(projections: &[&ProjectionStatus], describe: impl Fn(&ProjectionStatus) -> String) -> String {
    projections.iter().map(|projection| describe(projection)).collect::<Vec<_>>().join("; ")
}

/// What a check says when the database does not answer it.
pub(super) fn unreadable(check: &'static str, error: &StoreError) -> Finding {
    Finding::fail(check, chain(error), "remove the cause that the error names, then run doctor again")
}
