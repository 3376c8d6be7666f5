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
    /// Look again and again, until a signal ends it.
    #[arg(long, short)]
    pub(in crate::cli) watch: bool,
    /// Time between two looks.
    #[arg(long, value_name = "TIME", value_parser = format::parse_duration, default_value = "2s", requires = "watch")]
    pub(in crate::cli) every: Duration,
    /// Exit with 3 when an event waits for longer, for instance `30s` or `5min`.
    #[arg(long, value_name = "TIME", value_parser = format::parse_duration)]
    pub(in crate::cli) max_lag: Option<Duration>,
    /// Exit with 3 when a projection is further behind.
    #[arg(long, value_name = "EVENTS")]
    pub(in crate::cli) max_lag_events: Option<i64>,
    /// Exit with 3 when more events of a projection are on record as failed.
    #[arg(long, value_name = "EVENTS")]
    pub(in crate::cli) max_failed: Option<u64>,
    /// Print one line only, for probes: `ok`, or `stuck` and why. Exits as without it.
    #[arg(long, conflicts_with_all = ["watch", "projection"])]
    pub(in crate::cli) probe: bool,
    /// Count the system instance too.
    #[arg(long)]
    pub(in crate::cli) system: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ServeArgs {
    /// Address to listen on, or `unix:PATH` for a socket that only this user may use. Port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7878")]
    pub(in crate::cli) listen: ServeAddress,
    /// Answer to this host name, too; may be given several times. Requests that name another one are refused.
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) host: Vec<String>,
    /// The name that goes with the password.
    #[arg(long, value_name = "NAME", default_value = "readside")]
    pub(in crate::cli) user: String,
    /// File whose first line is the password.
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) password_file: Option<PathBuf>,
    /// Let other machines look without a password.
    #[arg(long)]
    pub(in crate::cli) without_password: bool,
    /// Look at the database so often; less often where a look takes long.
    #[arg(long, value_name = "TIME", value_parser = format::parse_duration, default_value = "2s")]
    pub(in crate::cli) every: Duration,
    /// Show payloads of events.
    #[arg(long)]
    pub(in crate::cli) show_payloads: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct InstancesArgs {
    /// Only these.
    pub(in crate::cli) instances: Vec<String>,
    /// Show the checkpoint and the lag of this projection too.
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) projection: Option<String>,
    /// That version of the projection instead of the live one.
    #[arg(long, requires = "projection", value_name = "NUMBER")]
    pub(in crate::cli) projection_version: Option<u32>,
    /// Only those in which the projection is behind.
    #[arg(long, requires = "projection")]
    pub(in crate::cli) behind: bool,
    /// Only those that sort after this one: the last of the page before.
    #[arg(long, value_name = "INSTANCE")]
    pub(in crate::cli) after: Option<String>,
    /// At most this many; 0 for all.
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    pub(in crate::cli) limit: usize,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct EventsArgs {
    /// Only this instance; may be given several times, as all of these.
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
    /// Only events stored later: `2026-01-31T12:00:00Z`, `2026-01-31` (UTC), or so long ago: `2h`.
    #[arg(long, value_name = "WHEN", value_parser = format::parse_time)]
    pub(in crate::cli) created_after: Option<SystemTime>,
    /// Only events stored earlier.
    #[arg(long, value_name = "WHEN", value_parser = format::parse_time)]
    pub(in crate::cli) created_before: Option<SystemTime>,
    /// Last instance and position first.
    #[arg(long, conflicts_with = "follow")]
    pub(in crate::cli) desc: bool,
    /// At most this many events; 0 for all. Default: 100, with --follow all.
    #[arg(long, value_name = "COUNT")]
    pub(in crate::cli) limit: Option<usize>,
    /// Print no events that are there already, but those that are pushed from now on, until a signal ends it. With
    /// --after, those above that position come first.
    #[arg(long, short)]
    pub(in crate::cli) follow: bool,
    /// URL of the same PostgreSQL database by a way past the pooler, for hearing of pushes with --follow.
    ///
    /// A pooler in transaction mode swallows notifications.
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
    /// Rebuild the instances that differ.
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
    /// The values of the row's primary key, in its order, without the instance.
    #[arg(required = true)]
    pub(in crate::cli) key: Vec<String>,
    /// The table, by its name or suffix. Default: the primary one.
    #[arg(long)]
    pub(in crate::cli) table: Option<String>,
    /// As of this position. Default: as of the checkpoint.
    #[arg(long, value_name = "POSITION")]
    pub(in crate::cli) at: Option<i64>,
    #[command(flatten)]
    pub(in crate::cli) by: LookArgs,
    #[command(flatten)]
    pub(in crate::cli) wait: WaitArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct CommandsArgs {
    /// Only of this projection.
    pub(in crate::cli) projection: Option<String>,
    /// Only this one, with its answer.
    #[arg(long, value_name = "ID")]
    pub(in crate::cli) id: Option<uuid::Uuid>,
    #[command(flatten)]
    pub(in crate::cli) wait: WaitForArgs,
    /// At most this many; 0 for all.
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    pub(in crate::cli) limit: usize,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct WaitForArgs {
    /// Wait for its answer, and print only that.
    #[arg(long, requires = "id")]
    pub(in crate::cli) wait: bool,
    /// Wait no longer than this.
    #[arg(long, value_name = "TIME", value_parser = format::parse_duration, requires = "wait")]
    pub(in crate::cli) timeout: Option<Duration>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct OperationsArgs {
    /// At most this many; 0 for all.
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    pub(in crate::cli) limit: usize,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct LeasesArgs {
    /// Only of this projection.
    pub(in crate::cli) projection: Option<String>,
    /// At most this many; 0 for all.
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    pub(in crate::cli) limit: usize,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct DoctorArgs {
    /// How long an answer of the database is waited for.
    #[arg(long, value_name = "TIME", value_parser = format::parse_duration, default_value = "2s")]
    pub(in crate::cli) patience: Duration,
    /// An event that waits for longer is worth a warning.
    #[arg(long, value_name = "TIME", value_parser = format::parse_duration, default_value = "1min")]
    pub(in crate::cli) max_lag: Duration,
    /// Exit with 3 on warnings too.
    #[arg(long)]
    pub(in crate::cli) strict: bool,
    /// URL of the same PostgreSQL database by a way past the pooler, for hearing of pushes, as engines have it.
    ///
    /// A pooler in transaction mode swallows notifications.
    #[arg(long, env = "READSIDE_LISTEN_URL", hide_env_values = true, value_name = "URL")]
    pub(in crate::cli) listen_url: Option<String>,
}
