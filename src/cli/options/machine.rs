//! Arguments of commands for the database and the shell.

use clap::Args;

use crate::cli::format;

#[derive(Debug, Args)]
pub(in crate::cli) struct SetupArgs {
    /// Print the SQL that an empty database needs, and run nothing.
    #[arg(long, conflicts_with = "check")]
    pub(in crate::cli) sql: bool,
    /// Only check whether all is set up.
    #[arg(long)]
    pub(in crate::cli) check: bool,
    /// Print the GRANT statements too that this role needs to run engines; without `--sql` only these. Runs nothing.
    ///
    /// They are for the projections of the service's own command, or else for all that are registered in the database.
    /// Set-up and rebuilds need the owner of the tables, whatever is granted.
    #[arg(long, value_name = "ROLE", conflicts_with = "check")]
    pub(in crate::cli) grant_to: Option<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct BackupArgs {
    /// The file to make; it must not be there yet.
    #[arg(value_name = "FILE")]
    pub(in crate::cli) to: std::path::PathBuf,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct BenchArgs {
    /// Events in all.
    #[arg(long, default_value_t = 20_000, value_name = "COUNT", value_parser = format::parse_events)]
    pub(in crate::cli) events: usize,
    /// Instances that they are spread over.
    #[arg(long, default_value_t = 20, value_name = "COUNT", value_parser = format::parse_batch)]
    pub(in crate::cli) instances: usize,
    /// Events in one push.
    #[arg(long, default_value_t = 100, value_name = "COUNT", value_parser = format::parse_batch)]
    pub(in crate::cli) batch: usize,
    /// Only remove what runs that were killed left behind.
    #[arg(long)]
    pub(in crate::cli) clean: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct CompletionsArgs {
    /// The shell.
    pub(in crate::cli) shell: clap_complete::Shell,
}
