//! Arguments of commands for the database and the shell.

use clap::Args;

use crate::cli::format;

#[derive(Debug, Args)]
pub(in crate::cli) struct SetupArgs {
    /// Print the SQL that an empty database needs. Run nothing.
    #[arg(long, conflicts_with = "check")]
    pub(in crate::cli) sql: bool,
    /// Only check whether everything is set up.
    #[arg(long)]
    pub(in crate::cli) check: bool,
    /// Print the GRANT statements that this role needs to run engines. Run nothing.
    ///
    /// With --sql, they follow that SQL. They cover the projections of the service's own command, or else all
    /// projections that the database has on record. Set-up and rebuilds need the owner of the tables: grants are not
    /// enough for them.
    #[arg(long, value_name = "ROLE", conflicts_with = "check")]
    pub(in crate::cli) grant_to: Option<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct BackupArgs {
    /// The file to make. It must not exist.
    #[arg(value_name = "FILE")]
    pub(in crate::cli) to: std::path::PathBuf,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct BenchArgs {
    /// About how many events in all. Each instance gets a multiple of ten.
    #[arg(long, default_value_t = 20_000, value_name = "COUNT", value_parser = format::parse_events)]
    pub(in crate::cli) events: usize,
    /// Number of instances that the events are spread over.
    #[arg(long, default_value_t = 20, value_name = "COUNT", value_parser = format::parse_batch)]
    pub(in crate::cli) instances: usize,
    /// Number of events in one push.
    #[arg(long, default_value_t = 100, value_name = "COUNT", value_parser = format::parse_batch)]
    pub(in crate::cli) batch: usize,
    /// Only remove what killed runs left behind.
    #[arg(long)]
    pub(in crate::cli) clean: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct CompletionsArgs {
    /// The shell.
    pub(in crate::cli) shell: clap_complete::Shell,
}
