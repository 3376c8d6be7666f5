//! Arguments of commands that act on the data.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, Subcommand};

use super::common::{ByArgs, DryRunArgs, LookArgs};
use crate::cli::format;

#[derive(Debug, Args)]
pub(in crate::cli) struct PushArgs {
    /// File with JSON lines; standard input without it, or for `-`.
    pub(in crate::cli) file: Option<PathBuf>,
    /// The instance of lines that name none.
    #[arg(long)]
    pub(in crate::cli) instance: Option<String>,
    /// The aggregate type of CloudEvents that name none.
    #[arg(long, value_name = "TYPE")]
    pub(in crate::cli) aggregate_type: Option<String>,
    /// Lines that are stored together, all or nothing; fewer when they are large, or come slowly.
    #[arg(long, default_value_t = 1000, value_name = "LINES", value_parser = format::parse_batch)]
    pub(in crate::cli) batch: usize,
    /// Gives each event the push key `PREFIX:LINE`, so that a push of the same file can be repeated: what is stored already is
    /// not stored again.
    #[arg(long, value_name = "PREFIX")]
    pub(in crate::cli) key_prefix: Option<String>,
    /// Keep the times of the lines (`created_at`, which each needs then), their ids and their versions. A line is refused when
    /// it was created before the last event of its instance, when its id exists there, or when it would get another version.
    #[arg(long)]
    pub(in crate::cli) keep_times: bool,
    /// Reads over the lines before this one.
    #[arg(long, default_value_t = 1, value_name = "LINE")]
    pub(in crate::cli) from_line: u64,
    /// Check all lines and store nothing.
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ExportArgs {
    /// The instance.
    #[arg(long)]
    pub(in crate::cli) instance: String,
    /// The file to make.
    #[arg(long)]
    pub(in crate::cli) file: PathBuf,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ImportArgs {
    /// A file that `readside export` made.
    pub(in crate::cli) file: PathBuf,
    /// The name of the instance, if not the one in the file.
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
    /// The event at this position.
    #[arg(long)]
    pub(in crate::cli) position: Option<i64>,
    /// All events of the aggregate of this type …
    #[arg(long, value_name = "TYPE", requires = "aggregate_id")]
    pub(in crate::cli) aggregate_type: Option<String>,
    /// … and with this id.
    #[arg(long, value_name = "ID", requires = "aggregate_type")]
    pub(in crate::cli) aggregate_id: Option<String>,
    /// Make creator and owner empty too.
    #[arg(long)]
    pub(in crate::cli) creator_and_owner: bool,
    /// Give this unique value back; may be given several times.
    #[arg(long, value_name = "CONSTRAINT=VALUE", value_parser = format::parse_pair)]
    pub(in crate::cli) unique: Vec<(String, String)>,
    /// Rebuild this instance in the read models that may still show what is erased, too. Without it the commands for that are
    /// printed.
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
    /// Remove a projection that no service keeps any more: its views, and the tables, states and failures of all its builds.
    ///
    /// It is refused while an engine runs the projection, and where something of the service's own (a view, a foreign key) stands
    /// on its tables.
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
    /// Events stored before: `2026-01-31T12:00:00Z`, `2026-01-31` (UTC), or so long ago: `365d`.
    #[arg(long, value_name = "WHEN", value_parser = format::parse_time)]
    pub(in crate::cli) before: SystemTime,
    /// Only of this instance.
    #[arg(long)]
    pub(in crate::cli) instance: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) by: DryRunArgs,
}
