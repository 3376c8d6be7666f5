//! The `readside` command: looks into a database from a shell.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use readside::{Event, EventStore, HeadsRequest, Query, SubQuery};

/// Look into a readside database.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Options {
    /// A path of an SQLite file, or the URL of a PostgreSQL database: `postgres://USER@HOST/NAME`.
    #[arg(long, short, env = "READSIDE_DATABASE_URL", hide_env_values = true, value_name = "PATH|URL")]
    database: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create the engine's tables, or bring them to the newest schema.
    Setup,
    /// List instances with their heads.
    Instances,
    /// Print events as JSON lines, in order of instance and position.
    Events {
        /// Only this instance.
        #[arg(long)]
        instance: Option<String>,
        /// Only this event type.
        #[arg(long = "type", value_name = "TYPE")]
        event_type: Option<String>,
        /// Only positions above this one.
        #[arg(long, value_name = "POSITION")]
        after: Option<i64>,
        /// At most so many events; 0 for all.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
}

fn main() -> ExitCode {
    env_logger::init();
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("readside: {}", readside::error::full(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn run(options: &Options) -> anyhow::Result<()> {
    if options.database.starts_with("postgres://") || options.database.starts_with("postgresql://") {
        return postgres(options);
    }
    sqlite(options)
}

#[cfg(feature = "postgres")]
fn postgres(options: &Options) -> anyhow::Result<()> {
    let store = readside::PostgresStore::connect(&options.database)?;
    carry_out(&store, || store.setup(), &options.command)
}

#[cfg(not(feature = "postgres"))]
fn postgres(_: &Options) -> anyhow::Result<()> {
    anyhow::bail!("this readside was built without PostgreSQL; build it with --features cli,postgres")
}

#[cfg(feature = "sqlite")]
fn sqlite(options: &Options) -> anyhow::Result<()> {
    let path = std::path::Path::new(&options.database);
    let creates = matches!(options.command, Command::Setup);
    anyhow::ensure!(creates || path.exists(), "there is no file \"{}\"; 'readside setup' makes one", path.display());
    let store = readside::SqliteStore::open(path)?;
    carry_out(&store, || store.setup(), &options.command)
}

#[cfg(not(feature = "sqlite"))]
fn sqlite(_: &Options) -> anyhow::Result<()> {
    anyhow::bail!(
        "this readside was built without SQLite; build it with --features cli,sqlite, or name a postgres:// URL"
    )
}

fn carry_out(
    store: &dyn EventStore,
    setup: impl FnOnce() -> Result<(), readside::error::SetupError>,
    command: &Command,
) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match command {
        Command::Setup => {
            setup()?;
            writeln!(out, "the engine's tables are up to date")?;
        }
        Command::Instances => instances(store, &mut out)?,
        Command::Events { instance, event_type, after, limit } => {
            let mut sub = SubQuery::new();
            if let Some(instance) = instance {
                sub = sub.instance(instance);
            }
            if let Some(event_type) = event_type {
                sub = sub.event_type(event_type);
            }
            if let Some(after) = after {
                sub = sub.after(*after);
            }
            events(store, Query::new().or(sub), *limit, &mut out)?;
        }
    }
    out.flush()?;
    Ok(())
}

const PAGE: usize = 1000;

fn instances(store: &dyn EventStore, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut request = HeadsRequest { limit: PAGE, ..HeadsRequest::default() };
    loop {
        let heads = store.heads(&request)?;
        for head in &heads {
            writeln!(out, "{}\t{}", head.head, head.instance)?;
        }
        match heads.last() {
            Some(last) if heads.len() == PAGE => request.after = Some(last.instance.clone()),
            _ => return Ok(()),
        }
    }
}

fn events(store: &dyn EventStore, query: Query, limit: usize, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut left = if limit == 0 { usize::MAX } else { limit };
    let mut query = query;
    while left > 0 {
        let size = left.min(PAGE);
        let page = store.filter(&query.clone().limit(size))?;
        for event in &page {
            writeln!(out, "{}", json(event)?)?;
        }
        left -= page.len();
        match page.last() {
            Some(last) if page.len() == size => query = query.resume(last.instance(), last.position()),
            _ => break,
        }
    }
    Ok(())
}

fn json(event: &Event) -> anyhow::Result<serde_json::Value> {
    let at = jiff::Timestamp::try_from(event.created_at()).context("reading the time of an event")?;
    Ok(serde_json::json!({
        "instance": event.instance(),
        "position": event.position(),
        "aggregate_type": event.aggregate_type(),
        "aggregate_id": event.aggregate_id(),
        "version": event.version(),
        "type": event.event_type(),
        "revision": event.revision(),
        "created_at": at.to_string(),
        "creator": event.creator(),
        "owner": event.owner(),
        "payload": event.payload::<serde_json::Value>()?,
        "metadata": serde_json::from_str::<serde_json::Value>(event.metadata_json())?,
    }))
}
