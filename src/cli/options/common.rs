//! Arguments that several commands share: who acts and why, and how long to wait for an answer.

use std::time::Duration;

use clap::Args;

use crate::cli::format;

/// Who acts, and why; kept on record.
#[derive(Debug, Args)]
pub(in crate::cli) struct ByArgs {
    /// Who asks for this; the database records it.
    #[arg(long, env = "USER", hide_env_values = true, default_value = "", hide_default_value = true)]
    pub(in crate::cli) who: String,
    /// Why; the database records it.
    #[arg(long)]
    pub(in crate::cli) why: String,
}

/// Who looks.
#[derive(Debug, Args)]
pub(in crate::cli) struct LookArgs {
    /// Who asks for this; the database records it.
    #[arg(long, env = "USER", hide_env_values = true, default_value = "", hide_default_value = true)]
    pub(in crate::cli) who: String,
    /// Why; the database records it.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(in crate::cli) why: String,
}

/// How long the answer of an engine is waited for.
#[derive(Debug, Args)]
pub(in crate::cli) struct WaitArgs {
    /// Stop waiting for the answer after this time, for example `30s`. Default: no limit, but 10 minutes for an engine
    /// to begin.
    ///
    /// If no engine has begun the request by then, it is withdrawn. An engine that has begun it goes on.
    #[arg(long, value_name = "TIME", value_parser = format::parse_duration)]
    pub(in crate::cli) timeout: Option<Duration>,
    /// Ask, and do not wait for the answer. `readside commands --id` shows it later.
    #[arg(long, conflicts_with = "timeout")]
    pub(in crate::cli) detach: bool,
}

/// Who acts, and why, unless it is tried dry.
#[derive(Debug, Args)]
pub(in crate::cli) struct DryRunArgs {
    /// Change nothing: only report what would change.
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,
    /// Who asks for this; the database records it.
    #[arg(long, env = "USER", hide_env_values = true, default_value = "", hide_default_value = true)]
    pub(in crate::cli) who: String,
    /// Why; the database records it. Not needed with --dry-run.
    #[arg(long, required_unless_present = "dry_run")]
    pub(in crate::cli) why: Option<String>,
}
