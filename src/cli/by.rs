//! Who acts, and why.

use anyhow::ensure;

use super::options::{ByArgs, DryRunArgs, LookArgs};
use crate::failure::By;

/// For an action with a dry run. Only the real run needs a reason.
pub(super) fn of(args: &DryRunArgs) -> anyhow::Result<By> {
    checked(&args.who, args.why.as_deref().unwrap_or_default())
}

/// For an action.
pub(super) fn of_acts(args: &ByArgs) -> anyhow::Result<By> {
    checked(&args.who, &args.why)
}

/// For a command that only looks, which needs no reason.
pub(super) fn of_looks(args: &LookArgs) -> By {
    By::new(args.who.as_str(), args.why.as_str())
}

fn checked(who: &str, why: &str) -> anyhow::Result<By> {
    ensure!(!who.trim().is_empty(), "nobody is named who does this: give --who NAME, or set USER in the environment");
    ensure!(!why.trim().is_empty(), "--why is empty; it is kept on record, so say it");
    Ok(By::new(who, why))
}
