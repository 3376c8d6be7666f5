//! Arguments of commands that act on projections.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::common::{ByArgs, WaitArgs};
use crate::cli::format;
use crate::command::Switch;
use crate::failure::FailureStatus;

#[derive(Debug, Args)]
pub(in crate::cli) struct FailedArgs {
    #[command(subcommand)]
    pub(in crate::cli) command: FailedCommand,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum FailedCommand {
    /// List failed events, by projection, instance and position.
    #[command(after_long_help = "\
States:
  failing    the engine tries it again
  stopped    it stops its instance until a person acts
  parked     it and the later events of its aggregate are put aside
  behind     it waits for a parked event of its aggregate
  skipped    it was left out
  discarded  a person gave it up; listed only with --state discarded

Example:
  readside failed list users --state parked")]
    List(FailedListArgs),
    /// Show a failed event, and what people did about it.
    #[command(after_long_help = "\
Example:
  readside failed show users acme 17 --payload")]
    Show(FailedShowArgs),
    /// Try a failed event again, with all that waits behind it.
    ///
    /// Any failed event of the aggregate will do. The engine begins with the first one, also if an earlier retry was
    /// cut off.
    #[command(after_long_help = "\
Example:
  readside failed retry users acme 17 --why 'the reducer is repaired'")]
    Retry(RetryArgs),
    /// Give up a failed event: the read model goes on without it.
    ///
    /// The events that were parked behind it are applied, in order. A reset, a rebuild and a raised version leave it
    /// out, too. `reset` and `rebuild` apply it again with --retry-discarded.
    #[command(after_long_help = "\
Example:
  readside failed discard users acme 17 --why 'a test that went astray'")]
    Discard(DiscardArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct FailedListArgs {
    /// Only this projection.
    pub(in crate::cli) projection: Option<String>,
    /// Use this version of the projection. Default: the live one.
    #[arg(long, requires = "projection", value_name = "NUMBER")]
    pub(in crate::cli) projection_version: Option<u32>,
    /// Only this instance.
    #[arg(long)]
    pub(in crate::cli) instance: Option<String>,
    /// Only events in this state. Can be repeated.
    #[arg(long)]
    pub(in crate::cli) state: Vec<StateArg>,
    /// Print at most this many in all; 0 prints all.
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    pub(in crate::cli) limit: usize,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(in crate::cli) enum StateArg {
    Failing,
    Stopped,
    Parked,
    Behind,
    Skipped,
    Discarded,
}

impl From<StateArg> for FailureStatus {
    fn from(state: StateArg) -> Self {
        match state {
            StateArg::Failing => Self::Failing,
            StateArg::Stopped => Self::Stopped,
            StateArg::Parked => Self::Parked,
            StateArg::Behind => Self::Behind,
            StateArg::Skipped => Self::Skipped,
            StateArg::Discarded => Self::Discarded,
        }
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct FailedShowArgs {
    /// The projection.
    pub(in crate::cli) projection: String,
    /// The instance.
    pub(in crate::cli) instance: String,
    /// The position of the event.
    pub(in crate::cli) position: i64,
    /// Use this version of the projection. Default: the live one.
    #[arg(long, value_name = "NUMBER")]
    pub(in crate::cli) projection_version: Option<u32>,
    /// Print the payload of the event, too.
    #[arg(long)]
    pub(in crate::cli) payload: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RebuildArgs {
    /// The projection.
    pub(in crate::cli) projection: String,
    /// Only this instance. Its rows are exchanged in place.
    #[arg(long)]
    pub(in crate::cli) instance: Option<String>,
    /// When readers see the new build.
    #[arg(long, value_enum, default_value_t = SwitchArg::CaughtUp, value_name = "WHEN")]
    pub(in crate::cli) switch: SwitchArg,
    /// Do not compare the new rows with the old ones.
    #[arg(long)]
    pub(in crate::cli) no_compare: bool,
    /// Switch even if the new tables lack something that the old ones have, such as policies, labels, rules or foreign
    /// keys.
    ///
    /// Without this option the command refuses, and names what they lack.
    #[arg(long, conflicts_with = "instance")]
    pub(in crate::cli) accept_loss: bool,
    /// Apply discarded events again. Default: leave them out.
    #[arg(long)]
    pub(in crate::cli) retry_discarded: bool,
    /// Give up the switch if others lock the tables for longer than this. Default: 10min.
    #[arg(long, value_name = "TIME", value_parser = format::parse_duration)]
    pub(in crate::cli) switch_within: Option<Duration>,
    #[command(flatten)]
    pub(in crate::cli) by: ByArgs,
    #[command(flatten)]
    pub(in crate::cli) wait: WaitArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(in crate::cli) enum SwitchArg {
    /// As soon as it has caught up and the comparison is done, whatever that shows.
    CaughtUp,
    /// As soon as it has caught up, if the comparison shows no difference.
    Same,
    /// When you run `readside builds switch`.
    Asked,
}

impl From<SwitchArg> for Switch {
    fn from(switch: SwitchArg) -> Self {
        match switch {
            SwitchArg::CaughtUp => Self::CaughtUp,
            SwitchArg::Same => Self::Same,
            SwitchArg::Asked => Self::Asked,
        }
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct BuildsArgs {
    #[command(subcommand)]
    pub(in crate::cli) command: BuildsCommand,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum BuildsCommand {
    /// List all builds of all projections.
    List,
    /// Let readers see the build that waits for its switch.
    Switch(BuildSwitchArgs),
    /// Let readers see the build again that was live before the last switch.
    Back(BackArgs),
    /// Remove the builds that readers saw before.
    DropOld(BuildChangeArgs),
    /// Give up the build under construction, and remove it.
    Abandon(BuildChangeArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct BuildChangeArgs {
    /// The projection.
    pub(in crate::cli) projection: String,
    #[command(flatten)]
    pub(in crate::cli) by: ByArgs,
    #[command(flatten)]
    pub(in crate::cli) wait: WaitArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct BuildSwitchArgs {
    #[command(flatten)]
    pub(in crate::cli) change: BuildChangeArgs,
    /// Give up the switch if others lock the tables for longer than this. Default: 10min.
    #[arg(long = "switch-within", value_name = "TIME", value_parser = format::parse_duration)]
    pub(in crate::cli) within: Option<Duration>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct BackArgs {
    #[command(flatten)]
    pub(in crate::cli) switch: BuildSwitchArgs,
    /// Go back even to an older version that no engine keeps current. Readers then see it as of its checkpoints.
    #[arg(long)]
    pub(in crate::cli) stale: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ResetArgs {
    /// The projection.
    pub(in crate::cli) projection: String,
    /// Only this instance.
    #[arg(long)]
    pub(in crate::cli) instance: Option<String>,
    /// Apply discarded events again. Default: leave them out.
    #[arg(long)]
    pub(in crate::cli) retry_discarded: bool,
    #[command(flatten)]
    pub(in crate::cli) by: ByArgs,
    #[command(flatten)]
    pub(in crate::cli) wait: WaitArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RetryArgs {
    /// The projection.
    pub(in crate::cli) projection: String,
    /// The instance.
    #[arg(required_unless_present = "all", requires = "position")]
    pub(in crate::cli) instance: Option<String>,
    /// The position of the event.
    pub(in crate::cli) position: Option<i64>,
    /// Use this version of the projection. Default: the live one.
    ///
    /// A version that is being built waits until its failed events are retried or discarded.
    #[arg(long, value_name = "NUMBER")]
    pub(in crate::cli) projection_version: Option<u32>,
    /// All events that failed for good, in all instances. Skipped events are not among them.
    #[arg(long, conflicts_with_all = ["instance", "position"])]
    pub(in crate::cli) all: bool,
    #[command(flatten)]
    pub(in crate::cli) by: ByArgs,
    #[command(flatten)]
    pub(in crate::cli) wait: WaitArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct DiscardArgs {
    /// The projection.
    pub(in crate::cli) projection: String,
    /// The instance.
    pub(in crate::cli) instance: String,
    /// The position of the event.
    pub(in crate::cli) position: i64,
    /// Use this version of the projection. Default: the live one.
    ///
    /// A version that is being built waits until its failed events are retried or discarded.
    #[arg(long, value_name = "NUMBER")]
    pub(in crate::cli) projection_version: Option<u32>,
    #[command(flatten)]
    pub(in crate::cli) by: ByArgs,
    #[command(flatten)]
    pub(in crate::cli) wait: WaitArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct PauseArgs {
    /// The projection.
    pub(in crate::cli) projection: String,
    /// Only this instance.
    #[arg(long)]
    pub(in crate::cli) instance: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) by: ByArgs,
}
