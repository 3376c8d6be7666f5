//! Turns the history of a git checkout into events and three read models, and prints them.
//!
//! The repository is the instance, and authors and files are the aggregates. Every commit becomes one event of its
//! author and one event of each file, in the order of the history. A second run continues where the first one
//! stopped.

pub(crate) mod events;
pub(crate) mod input;
pub(crate) mod parse;
pub(crate) mod projections;
pub(crate) mod push;
pub(crate) mod report;
pub(crate) mod store;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

use input::Input;
use parse::ParseError;

/// The history of a git checkout as read models: contributors, files, activity per month.
#[derive(Debug, Default, Parser)]
#[command(name = "git_history")]
pub(crate) struct Options {
    /// Folder of a git checkout [default: the current folder]
    #[arg(value_name = "CHECKOUT", conflicts_with = "log")]
    pub(crate) checkout: Option<PathBuf>,
    /// Reads the history from a file (plain or gzip) instead, or from standard input
    #[arg(long, value_name = "FILE|-")]
    pub(crate) log: Option<PathBuf>,
    /// Name of the instance [default: name of the folder or file]
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: Option<String>,
    /// SQLite file, or URL of a PostgreSQL [default: `git_history.db`, in the folder `target` if there is one]
    #[arg(long, value_name = "PATH|URL")]
    pub(crate) database: Option<String>,
    /// Shows no progress
    #[arg(long)]
    pub(crate) quiet: bool,
}

/// What a run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    /// The number of commits that the store holds now.
    pub(crate) commits: u64,
    /// The number of new commits among them.
    pub(crate) new_commits: u64,
    /// The number of pushed events.
    pub(crate) pushed: u64,
    /// The number of events that all projections reduced together.
    pub(crate) projected: u64,
}

/// Why a run ended early. Everything pushed and projected before that is kept, and the next run continues there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("git cannot be run; install it, or give a history with --log FILE")]
    NoGit(#[source] io::Error),
    #[error(
        "{path:?} is no git checkout; name the folder of one, or give a history with --log FILE (git says: {said})"
    )]
    NoCheckout { path: PathBuf, said: String },
    #[error("the git checkout {path:?} has no history yet; make a first commit (git says: {said})")]
    NoHistory { path: PathBuf, said: String },
    #[error("{path:?} cannot be read; check the path given to --log")]
    NoFile { path: PathBuf, source: io::Error },
    #[error("the history has no name of its own; give it one with --instance NAME")]
    NoName,
    #[cfg(not(all(feature = "sqlite", feature = "postgres")))]
    #[error("the database {database} needs the feature {feature}; build with --features {feature}")]
    NoDriver { database: String, feature: &'static str },
    #[error(
        "commit {number} of {instance:?} is {found}, but {stored} is stored: the history was rewritten or put in another \
         order; read it into another --instance or --database"
    )]
    Rewritten { instance: String, number: u64, stored: String, found: String },
    #[error(
        "the history ends after {found} commits, but {stored} of {instance:?} are stored: it was rewritten or is another \
         one; read it into another --instance or --database"
    )]
    Shorter { instance: String, stored: u64, found: u64 },
    #[error(transparent)]
    Parse(#[from] ParseError),
    #[error("the report cannot be written")]
    Output(#[source] io::Error),
    #[error(transparent)]
    Readside(#[from] readside::Error),
}

impl Failure {
    /// True if the reader of the report went away, as `head` does.
    fn is_reader_gone(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    match run(&Options::parse(), &mut io::stdout().lock()) {
        Ok(_) => ExitCode::SUCCESS,
        Err(failure) if failure.is_reader_gone() => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("git_history: {}", readside::error::chain(&failure));
            ExitCode::FAILURE
        }
    }
}

/// Pushes what is new, projects it, and prints the read models.
pub(crate) fn run(options: &Options, out: &mut dyn Write) -> Result<Summary, Failure> {
    let Input { name, commits, reader } = match &options.log {
        Some(path) => input::log(path)?,
        None => input::checkout(options.checkout.as_deref().unwrap_or(".".as_ref()))?,
    };
    let instance = options.instance.clone().or(name).ok_or(Failure::NoName)?;
    let database = options.database.clone().unwrap_or_else(store::default_database);
    let store = store::open(&database)?;
    projections::setup(store.as_ref())?;

    let bar = progress(options, commits);
    let pushed = push::push(store.as_ref(), &instance, parse::Commits::new(reader), &bar)?;
    bar.finish_and_clear();
    let bar = progress(options, None);
    let projected = projections::project(&store, &instance, &bar)?;
    bar.finish_and_clear();

    let work = report::Work { database: &database, instance: &instance, pushed: &pushed, projected: &projected };
    report::print(out, store.as_ref(), &work)?;
    Ok(Summary {
        commits: pushed.total,
        new_commits: pushed.commits,
        pushed: pushed.events,
        projected: projected.iter().map(|projected| projected.events).sum(),
    })
}

/// A bar if the length is known, otherwise a spinner. It shows only on a terminal, on standard error.
fn progress(options: &Options, length: Option<u64>) -> ProgressBar {
    if options.quiet {
        return ProgressBar::hidden();
    }
    let (bar, template) = match length {
        Some(length) => (ProgressBar::new(length), "{msg:24} {wide_bar} {human_pos}/{human_len} {per_sec}"),
        None => (ProgressBar::new_spinner(), "{msg:24} {spinner} {human_pos} {per_sec}"),
    };
    bar.enable_steady_tick(Duration::from_millis(100));
    // The template is constant. If it were ever wrong, the default one is good enough.
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
