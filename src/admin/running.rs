//! Which living processes run a version of a projection.

use super::context::Context;
use crate::error::OperateError;
use crate::lease::Member;

pub(super) fn running(site: &Context<'_>) -> Result<Vec<Member>, OperateError> {
    Ok(site.models.commands().members()?)
}

/// True when a living engine runs this version.
pub(super) fn is_run(site: &Context<'_>, version: u32) -> Result<bool, OperateError> {
    Ok(running(site)?.iter().any(|member| runs(member, site.name(), version)))
}

pub(super) fn runs(member: &Member, projection: &str, version: u32) -> bool {
    member.projections.iter().any(|(name, other)| name == projection && *other == version)
}
