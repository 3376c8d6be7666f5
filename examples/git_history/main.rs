//! The history of a git checkout as events, and three read models of it: contributors, files, activity per month.
//!
//! `parse.rs` reads the text of `git log`, `events.rs` turns commits into events, `store.rs` pushes and projects them,
//! `projections.rs` holds the read models and `report.rs` prints them. Run again, it continues where it stopped.

pub(crate) mod events;
pub(crate) mod input;
pub(crate) mod parse;
pub(crate) mod projections;
pub(crate) mod report;
pub(crate) mod store;

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// What went wrong, in words for the person at the terminal.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// Turn a git history into events, and the events into read models.
#[derive(Debug, Parser)]
#[command(name = "git_history", version, about)]
pub(crate) struct Options {
    /// The git checkout to read.
    #[arg(default_value = ".", value_name = "CHECKOUT")]
    pub(crate) checkout: PathBuf,
    /// Read the text of `git log` from a file (plain or .gz), or `-` for standard input, instead of a checkout.
    #[arg(long, value_name = "FILE|-", conflicts_with = "checkout")]
    pub(crate) log: Option<PathBuf>,
    /// Name of the instance (tenant) that holds this history. Default: the name of the folder or file.
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: Option<String>,
    /// An SQLite file, or the URL of a PostgreSQL database when built with --features postgres.
    /// Default: `git_history.db`, in the folder `target` if there is one.
    #[arg(long, value_name = "PATH|URL")]
    pub(crate) database: Option<String>,
    /// Print the tables only: no progress, no throughput.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

impl Options {
    fn database(&self) -> String {
        let default = if std::path::Path::new("target").is_dir() { "target/git_history.db" } else { "git_history.db" };
        self.database.clone().unwrap_or_else(|| default.to_owned())
    }
}

fn main() -> ExitCode {
    env_logger::init();
    match run(&Options::parse(), &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_pipe(error.as_ref()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("git_history: {}", readside::error::full(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn is_closed_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Everything: store what is new, project it, print the tables.
pub(crate) fn run(options: &Options, out: &mut dyn Write) -> Outcome<()> {
    let database = options.database();
    if database.starts_with("postgres://") || database.starts_with("postgresql://") {
        return postgres(options, &database, out);
    }
    sqlite(options, &database, out)
}

#[cfg(feature = "sqlite")]
fn sqlite(options: &Options, database: &str, out: &mut dyn Write) -> Outcome<()> {
    store::work(options, &readside::SqliteStore::open(database)?, database, out)
}

#[cfg(not(feature = "sqlite"))]
fn sqlite(_: &Options, _: &str, _: &mut dyn Write) -> Outcome<()> {
    Err("this example was built without SQLite; add --features sqlite, or name a postgres:// URL".into())
}

#[cfg(feature = "postgres")]
fn postgres(options: &Options, database: &str, out: &mut dyn Write) -> Outcome<()> {
    store::work(options, &readside::PostgresStore::connect(database)?, "PostgreSQL", out)
}

#[cfg(not(feature = "postgres"))]
fn postgres(_: &Options, _: &str, _: &mut dyn Write) -> Outcome<()> {
    Err("this example was built without PostgreSQL; add --features postgres".into())
}
