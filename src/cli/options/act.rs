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
    ///
    /// Their states: `failing` is tried again, `stopped` holds its instance up until a person acts, `parked` holds its aggregate
    /// back, `behind` waits for a parked one, `skipped` was left out. `discarded` was given up by a person, and is listed only
    /// where it is asked for.
    #[command(after_long_help = "\
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
    /// Any event of the aggregate will do: it goes on with the first that is held, also after a retry that was cut off.
    #[command(after_long_help = "\
Example:
  readside failed retry users acme 17 --why 'the reducer is mended'")]
    Retry(RetryArgs),
    /// Give a failed event up: the read model goes on without it.
    ///
    /// What was parked behind it is applied, in order. A reset, a rebuild and a raised version pass it over too; the first two
    /// apply it again with --retry-discarded.
    #[command(after_long_help = "\
Example:
  readside failed discard users acme 17 --why 'a test that went astray'")]
    Discard(DiscardArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct FailedListArgs {
    /// Only of this projection.
    pub(in crate::cli) projection: Option<String>,
    /// That version of the projection instead of the live one.
    #[arg(long, requires = "projection", value_name = "NUMBER")]
    pub(in crate::cli) projection_version: Option<u32>,
    /// Only in this instance.
    #[arg(long)]
    pub(in crate::cli) instance: Option<String>,
    /// Only in this state; may be given several times.
    #[arg(long)]
    pub(in crate::cli) state: Vec<StateArg>,
    /// At most this many in all; 0 for all.
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
    /// That version of the projection instead of the live one.
    #[arg(long, value_name = "NUMBER")]
    pub(in crate::cli) projection_version: Option<u32>,
    /// Print the event's payload too.
    #[arg(long)]
    pub(in crate::cli) payload: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RebuildArgs {
    /// The projection.
    pub(in crate::cli) projection: String,
    /// Only this instance; its rows are exchanged in place.
    #[arg(long)]
    pub(in crate::cli) instance: Option<String>,
    /// When readers get to see the new build.
    #[arg(long, value_enum, default_value_t = SwitchArg::CaughtUp, value_name = "WHEN")]
    pub(in crate::cli) switch: SwitchArg,
    /// Do not compare old and new.
    #[arg(long)]
    pub(in crate::cli) no_compare: bool,
    /// Have readers see it although the new tables are without something that guards the old ones or stands on them, such
    /// as policies, labels, rules and foreign keys; the refusal without this says which.
    #[arg(long, conflicts_with = "instance")]
    pub(in crate::cli) accept_loss: bool,
    /// Apply again what was discarded, which is passed over otherwise.
    #[arg(long)]
    pub(in crate::cli) retry_discarded: bool,
    /// Give the switch up when others hold the tables for this long. Default: 10min.
    #[arg(long, value_name = "TIME", value_parser = format::parse_duration)]
    pub(in crate::cli) switch_within: Option<Duration>,
    #[command(flatten)]
    pub(in crate::cli) by: ByArgs,
    #[command(flatten)]
    pub(in crate::cli) wait: WaitArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(in crate::cli) enum SwitchArg {
    /// As soon as it has caught up and was compared, whatever that showed.
    CaughtUp,
    /// As soon as it has caught up, if the comparison showed no difference.
    Same,
    /// When `builds switch` asks for it.
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
    /// Have readers see the build that waits for its switch.
    Switch(BuildSwitchArgs),
    /// Have readers see the build again that was live before the last switch.
    Back(BackArgs),
    /// Remove the builds that readers saw before.
    DropOld(BuildChangeArgs),
    /// Give the build under construction up, and remove it.
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
    /// Give the switch up when others hold the tables for this long. Default: 10min.
    #[arg(long = "switch-within", value_name = "TIME", value_parser = format::parse_duration)]
    pub(in crate::cli) within: Option<Duration>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct BackArgs {
    #[command(flatten)]
    pub(in crate::cli) switch: BuildSwitchArgs,
    /// Go back to an older version too that nobody keeps current: readers see it as of where it stands.
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
    /// Apply again what was discarded, which is passed over otherwise.
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
    /// In that version of the projection instead of the live one: one that is being built waits for events that fail.
    #[arg(long, value_name = "NUMBER")]
    pub(in crate::cli) projection_version: Option<u32>,
    /// All events that failed for good and were not skipped, in all instances.
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
    /// In that version of the projection instead of the live one: one that is being built waits for events that fail.
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
    /// Only in this instance.
    #[arg(long)]
    pub(in crate::cli) instance: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) by: ByArgs,
}
