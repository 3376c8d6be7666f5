//! Arguments of commands that only look.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;

use super::common::{LookArgs, WaitArgs};
use crate::cli::format;
use crate::serve::ServeAddress;

#[derive(Debug, Args)]
pub(in crate::cli) struct StatusArgs {
    /// Only this projection.
    pub(in crate::cli) projection: Option<String>,
    /// Look again and again, until a signal ends the command.
    #[arg(long, short)]
    pub(in crate::cli) watch: bool,
    /// Time between two looks at the database.
    #[arg(long, value_name = "TIME", value_parser = format::parse_duration, default_value = "2s", requires = "watch")]
    pub(in crate::cli) every: Duration,
    /// Exit with 3 if an event has waited for longer than this, for example `30s` or `5min`. Default: no limit.
    #[arg(long, value_name = "TIME", value_parser = format::parse_duration)]
    pub(in crate::cli) max_lag: Option<Duration>,
    /// Exit with 3 if the lag of a projection is more positions than this. Default: no limit.
    #[arg(long, value_name = "EVENTS")]
    pub(in crate::cli) max_lag_events: Option<i64>,
    /// Exit with 3 if a projection has more failed events on record than this. Default: no limit.
    #[arg(long, value_name = "EVENTS")]
    pub(in crate::cli) max_failed: Option<u64>,
    /// Print one line, for probes: `ok`, or `stuck` and why. The exit codes are the same.
    #[arg(long, conflicts_with_all = ["watch", "projection"])]
    pub(in crate::cli) probe: bool,
    /// Count the system instance, too.
    #[arg(long)]
    pub(in crate::cli) system: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ServeArgs {
    /// Address to listen on, or `unix:PATH` for a socket that only this user can use. Port 0 takes a free port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7878")]
    pub(in crate::cli) listen: ServeAddress,
    /// Answer requests for this host name, too. Can be repeated. Requests for any other name are refused.
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) host: Vec<String>,
    /// The user name that goes with the password.
    #[arg(long, value_name = "NAME", default_value = "readside")]
    pub(in crate::cli) user: String,
    /// File whose first line is the password. Default: the variable READSIDE_SERVE_PASSWORD.
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) password_file: Option<PathBuf>,
    /// Let other machines look without a password.
    #[arg(long)]
    pub(in crate::cli) without_password: bool,
    /// Time between two looks at the database. It is longer if a look takes long.
    #[arg(long, value_name = "TIME", value_parser = format::parse_duration, default_value = "2s")]
    pub(in crate::cli) every: Duration,
    /// Show the payloads of events. Default: hide them.
    #[arg(long)]
    pub(in crate::cli) show_payloads: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct InstancesArgs {
    /// Only these instances.
    pub(in crate::cli) instances: Vec<String>,
    /// Show the checkpoint and the lag of this projection, too.
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) projection: Option<String>,
    /// Use this version of the projection. Default: the live one.
    #[arg(long, requires = "projection", value_name = "NUMBER")]
    pub(in crate::cli) projection_version: Option<u32>,
    /// Only instances in which the projection is behind.
    #[arg(long, requires = "projection")]
    pub(in crate::cli) behind: bool,
    /// Only instances that sort after this one. For the next page, give the last one of the page before.
    #[arg(long, value_name = "INSTANCE")]
    pub(in crate::cli) after: Option<String>,
    /// Print at most this many; 0 prints all.
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    pub(in crate::cli) limit: usize,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct EventsArgs {
    /// Only this instance. Can be repeated, as all conditions but times and positions can.
    #[arg(long, value_name = "INSTANCE")]
    pub(in crate::cli) instance: Vec<String>,
    /// Not this instance.
    #[arg(long, value_name = "INSTANCE")]
    pub(in crate::cli) not_instance: Vec<String>,
    /// Only aggregates of this type.
    #[arg(long, value_name = "TYPE")]
    pub(in crate::cli) aggregate_type: Vec<String>,
    /// No aggregates of this type.
    #[arg(long, value_name = "TYPE")]
    pub(in crate::cli) not_aggregate_type: Vec<String>,
    /// Only the aggregate with this id.
    #[arg(long, value_name = "ID")]
    pub(in crate::cli) aggregate_id: Vec<String>,
    /// Only events of this type.
    #[arg(long = "type", value_name = "TYPE")]
    pub(in crate::cli) event_type: Vec<String>,
    /// No events of this type.
    #[arg(long, value_name = "TYPE")]
    pub(in crate::cli) not_type: Vec<String>,
    /// Only events that this creator caused.
    #[arg(long)]
    pub(in crate::cli) creator: Vec<String>,
    /// Only events that belong to this owner.
    #[arg(long)]
    pub(in crate::cli) owner: Vec<String>,
    /// Only positions above this one.
    #[arg(long, value_name = "POSITION")]
    pub(in crate::cli) after: Option<i64>,
    /// Only positions below this one.
    #[arg(long, value_name = "POSITION")]
    pub(in crate::cli) before: Option<i64>,
    /// Only events stored after this time: `2026-01-31T12:00:00Z`, `2026-01-31` (UTC), or `2h` for two hours ago.
    #[arg(long, value_name = "WHEN", value_parser = format::parse_time)]
    pub(in crate::cli) created_after: Option<SystemTime>,
    /// Only events stored before this time, written as for --created-after.
    #[arg(long, value_name = "WHEN", value_parser = format::parse_time)]
    pub(in crate::cli) created_before: Option<SystemTime>,
    /// Reverse the order: the last instance and the last position come first.
    #[arg(long, conflicts_with = "follow")]
    pub(in crate::cli) desc: bool,
    /// Print at most this many; 0 prints all. Default: 100, or all with --follow.
    #[arg(long, value_name = "COUNT")]
    pub(in crate::cli) limit: Option<usize>,
    /// Print the events that are pushed from now on, until a signal ends the command. With --after, the events above
    /// that position come first.
    #[arg(long, short)]
    pub(in crate::cli) follow: bool,
    /// URL that reaches the same PostgreSQL database without the pooler. Notifications of pushes come this way.
    ///
    /// A pooler in transaction mode swallows notifications. This option is for --follow.
    #[arg(long, env = "READSIDE_LISTEN_URL", hide_env_values = true, value_name = "URL")]
    pub(in crate::cli) listen_url: Option<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct VerifyArgs {
    /// The projection.
    pub(in crate::cli) projection: String,
    /// Only this instance.
    #[arg(long)]
    pub(in crate::cli) instance: Option<String>,
    /// Rebuild the instances whose rows differ.
    #[arg(long)]
    pub(in crate::cli) repair: bool,
    #[command(flatten)]
    pub(in crate::cli) by: LookArgs,
    #[command(flatten)]
    pub(in crate::cli) wait: WaitArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ExplainArgs {
    /// The projection.
    pub(in crate::cli) projection: String,
    /// The instance.
    pub(in crate::cli) instance: String,
    /// Values of the row's primary key, in the order of its columns, without the instance.
    #[arg(required = true)]
    pub(in crate::cli) key: Vec<String>,
    /// The table, by name or suffix. Default: the primary table.
    #[arg(long)]
    pub(in crate::cli) table: Option<String>,
    /// Show the row as of this position. Default: the checkpoint.
    #[arg(long, value_name = "POSITION")]
    pub(in crate::cli) at: Option<i64>,
    #[command(flatten)]
    pub(in crate::cli) by: LookArgs,
    #[command(flatten)]
    pub(in crate::cli) wait: WaitArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct CommandsArgs {
    /// Only this projection.
    pub(in crate::cli) projection: Option<String>,
    /// Only the command with this id, and its answer.
    #[arg(long, value_name = "ID")]
    pub(in crate::cli) id: Option<uuid::Uuid>,
    #[command(flatten)]
    pub(in crate::cli) wait: WaitForArgs,
    /// Print at most this many; 0 prints all.
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    pub(in crate::cli) limit: usize,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct WaitForArgs {
    /// Wait for the answer of the command with this id, and print only that.
    #[arg(long, requires = "id")]
    pub(in crate::cli) wait: bool,
    /// Stop waiting for the answer after this time, for example `30s`. Default: no limit, but 10 minutes for an engine
    /// to begin. The command itself goes on.
    #[arg(long, value_name = "TIME", value_parser = format::parse_duration, requires = "wait")]
    pub(in crate::cli) timeout: Option<Duration>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct OperationsArgs {
    /// Print at most this many; 0 prints all.
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    pub(in crate::cli) limit: usize,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct LeasesArgs {
    /// Only this projection.
    pub(in crate::cli) projection: Option<String>,
    /// Print at most this many; 0 prints all.
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    pub(in crate::cli) limit: usize,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct DoctorArgs {
    /// How long to wait for an answer from the database.
    #[arg(long, value_name = "TIME", value_parser = format::parse_duration, default_value = "2s")]
    pub(in crate::cli) patience: Duration,
    /// Warn if an event has waited for longer than this.
    #[arg(long, value_name = "TIME", value_parser = format::parse_duration, default_value = "1min")]
    pub(in crate::cli) max_lag: Duration,
    /// Exit with 3 on a warning, too.
    #[arg(long)]
    pub(in crate::cli) strict: bool,
    /// URL that reaches the same PostgreSQL database without the pooler. Notifications of pushes come this way.
    ///
    /// A pooler in transaction mode swallows notifications. Give the URL that the engines have.
    #[arg(long, env = "READSIDE_LISTEN_URL", hide_env_values = true, value_name = "URL")]
    pub(in crate::cli) listen_url: Option<String>,
}
