//! Arguments of commands that act on the data.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, Subcommand};

use super::common::{ByArgs, DryRunArgs, LookArgs};
use crate::cli::format;

#[derive(Debug, Args)]
pub(in crate::cli) struct PushArgs {
    /// File with JSON lines. Default, and for `-`: standard input.
    pub(in crate::cli) file: Option<PathBuf>,
    /// Instance of the lines that name none.
    #[arg(long)]
    pub(in crate::cli) instance: Option<String>,
    /// Aggregate type of the CloudEvents that name none.
    #[arg(long, value_name = "TYPE")]
    pub(in crate::cli) aggregate_type: Option<String>,
    /// Store this many lines together, all or none. A batch is smaller if lines are large or come slowly.
    #[arg(long, default_value_t = 1000, value_name = "LINES", value_parser = format::parse_batch)]
    pub(in crate::cli) batch: usize,
    /// Give each event the push key `PREFIX:LINE`. The same file can then be pushed again, and nothing is stored twice.
    #[arg(long, value_name = "PREFIX")]
    pub(in crate::cli) key_prefix: Option<String>,
    /// Keep the times, ids and versions of the lines. Each line then needs `created_at`.
    ///
    /// A line is refused if it is older than the last event of its instance, if its id exists there, or if it would get
    /// another version.
    #[arg(long)]
    pub(in crate::cli) keep_times: bool,
    /// Begin with this line, and skip those before it.
    #[arg(long, default_value_t = 1, value_name = "LINE")]
    pub(in crate::cli) from_line: u64,
    /// Store nothing: only check all lines.
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ExportArgs {
    /// The instance.
    #[arg(long)]
    pub(in crate::cli) instance: String,
    /// The file to make. It must not exist.
    #[arg(long)]
    pub(in crate::cli) file: PathBuf,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ImportArgs {
    /// A file that `readside export` made.
    pub(in crate::cli) file: PathBuf,
    /// Name of the new instance. Default: the name in the file.
    #[arg(long)]
    pub(in crate::cli) instance: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) by: LookArgs,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("subject").required(true).multiple(false).args(["position", "aggregate_type"])))]
pub(in crate::cli) struct RedactArgs {
    /// The instance.
    #[arg(long)]
    pub(in crate::cli) instance: String,
    /// Erase the event at this position.
    #[arg(long)]
    pub(in crate::cli) position: Option<i64>,
    /// Erase all events of one aggregate: its type.
    #[arg(long, value_name = "TYPE", requires = "aggregate_id")]
    pub(in crate::cli) aggregate_type: Option<String>,
    /// Erase all events of one aggregate: its id.
    #[arg(long, value_name = "ID", requires = "aggregate_type")]
    pub(in crate::cli) aggregate_id: Option<String>,
    /// Erase creator and owner, too.
    #[arg(long)]
    pub(in crate::cli) creator_and_owner: bool,
    /// Release this unique value. Can be repeated.
    #[arg(long, value_name = "CONSTRAINT=VALUE", value_parser = format::parse_pair)]
    pub(in crate::cli) unique: Vec<(String, String)>,
    /// Rebuild this instance, too, in the read models that may still show what is erased.
    ///
    /// Without this option, the command prints the commands for that.
    #[arg(long, conflicts_with = "dry_run")]
    pub(in crate::cli) rebuild: bool,
    #[command(flatten)]
    pub(in crate::cli) by: DryRunArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RemoveArgs {
    /// The instance.
    pub(in crate::cli) instance: String,
    #[command(flatten)]
    pub(in crate::cli) by: DryRunArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ProjectionsArgs {
    #[command(subcommand)]
    pub(in crate::cli) command: ProjectionsCommand,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ProjectionsCommand {
    /// Remove a projection that no service runs any more: its views, and the tables, states and failures of all its
    /// builds.
    ///
    /// The command refuses while an engine runs the projection. It also refuses if something of the service's own, such
    /// as a view or a foreign key, depends on its tables.
    #[command(after_long_help = "\
Example:
  readside projections remove users --dry-run
  readside projections remove users --why 'nobody reads it'")]
    Remove(RemoveProjectionArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RemoveProjectionArgs {
    /// The projection.
    pub(in crate::cli) projection: String,
    #[command(flatten)]
    pub(in crate::cli) by: DryRunArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ReopenArgs {
    /// The instance.
    pub(in crate::cli) instance: String,
    #[command(flatten)]
    pub(in crate::cli) by: ByArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ArchiveArgs {
    /// Events stored before this time: `2026-01-31T12:00:00Z`, `2026-01-31` (UTC), or `365d` for 365 days ago.
    #[arg(long, value_name = "WHEN", value_parser = format::parse_time)]
    pub(in crate::cli) before: SystemTime,
    /// Only this instance.
    #[arg(long)]
    pub(in crate::cli) instance: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) by: DryRunArgs,
}
