//! Arguments that several commands share: who acts and why, and how long to wait for an answer.

use std::time::Duration;

use clap::Args;

use crate::cli::format;

/// Who acts, and why; kept on record.
#[derive(Debug, Args)]
pub(in crate::cli) struct ByArgs {
    /// Who does this.
    #[arg(long, env = "USER", hide_env_values = true, default_value = "", hide_default_value = true)]
    pub(in crate::cli) who: String,
    /// Why; kept on record.
    #[arg(long)]
    pub(in crate::cli) why: String,
}

/// Who looks.
#[derive(Debug, Args)]
pub(in crate::cli) struct LookArgs {
    /// Who asks; kept on record.
    #[arg(long, env = "USER", hide_env_values = true, default_value = "", hide_default_value = true)]
    pub(in crate::cli) who: String,
    /// Why; kept on record.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(in crate::cli) why: String,
}

/// How long the answer of an engine is waited for.
#[derive(Debug, Args)]
pub(in crate::cli) struct WaitArgs {
    /// Wait no longer than this for the answer. An engine that has begun goes on; what none has begun is withdrawn. Default:
    /// until the answer is there, and 10 minutes for an engine to begin.
    #[arg(long, value_name = "TIME", value_parser = format::parse_duration)]
    pub(in crate::cli) timeout: Option<Duration>,
    /// Only ask, and do not wait.
    #[arg(long, conflicts_with = "timeout")]
    pub(in crate::cli) detach: bool,
}

/// Who acts, and why, unless it is tried dry.
#[derive(Debug, Args)]
pub(in crate::cli) struct DryRunArgs {
    /// Only tell what would be touched.
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,
    /// Who does this.
    #[arg(long, env = "USER", hide_env_values = true, default_value = "", hide_default_value = true)]
    pub(in crate::cli) who: String,
    /// Why; kept on record.
    #[arg(long, required_unless_present = "dry_run")]
    pub(in crate::cli) why: Option<String>,
}
