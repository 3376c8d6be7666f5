//! Storing the new commits and bringing the read models up to date.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use readside::error::StoreError;
use readside::{
    Command, EventStore, HandlerConfig, Projection, ProjectionHandler, ProjectionStore, Query, SubQuery, Value,
};

use super::events::{CommitAuthored, commands};
use super::input::Input;
use super::parse::Commits;
use super::{Options, Outcome, projections, report};

/// Events in one push, about.
const BATCH: usize = 500;

pub(crate) type Rows = Vec<Vec<(String, Value)>>;

/// A store whose tables can be read back.
pub(crate) trait Database: EventStore + ProjectionStore {
    fn table(&self, projection: &Projection, table: &str) -> Result<Rows, StoreError>;
}

#[cfg(feature = "sqlite")]
impl Database for readside::SqliteStore {
    fn table(&self, projection: &Projection, table: &str) -> Result<Rows, StoreError> {
        self.read_rows(projection, table)
    }
}

#[cfg(feature = "postgres")]
impl Database for readside::PostgresStore {
    fn table(&self, projection: &Projection, table: &str) -> Result<Rows, StoreError> {
        self.read_rows(projection, table)
    }
}

/// How much was done in what time.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) commits: u64,
    pub(crate) events: usize,
    pub(crate) time: Duration,
}

pub(crate) fn work<S>(options: &Options, store: &S, place: &str, out: &mut dyn Write) -> Outcome<()>
where
    S: Database + Clone + 'static,
{
    let all = projections::all();
    store.setup(&all.iter().collect::<Vec<_>>())?;
    let input = Input::open(options)?;
    let instance = options.instance.clone().unwrap_or_else(|| input.name.clone());
    let stored = push_all(store, &instance, input, options.quiet)?;
    let mut projected = Done::default();
    for projection in &all {
        let done = project(store, &instance, projection, options.quiet)?;
        projected.events += done.events;
        projected.time += done.time;
    }
    for projection in &all {
        report::table(out, projection.name(), store.table(projection, projection.name())?, &instance)?;
    }
    if !options.quiet {
        report::throughput(out, &instance, place, &stored, &projected)?;
    }
    Ok(())
}

fn bar(length: Option<u64>, quiet: bool, what: &str) -> Outcome<ProgressBar> {
    if quiet {
        return Ok(ProgressBar::hidden());
    }
    let (bar, template) = match length {
        Some(length) => (ProgressBar::new(length), "{msg:24} {wide_bar} {pos}/{len} {per_sec} {eta}"),
        None => (ProgressBar::new_spinner(), "{msg:24} {spinner} {pos} {per_sec}"),
    };
    bar.set_style(ProgressStyle::with_template(template)?);
    bar.set_message(what.to_owned());
    Ok(bar)
}

/// Number and hash of the last commit that is stored.
fn last_stored(store: &dyn EventStore, instance: &str) -> Outcome<Option<CommitAuthored>> {
    let query = Query::new().or(SubQuery::new().instance(instance).aggregate_type("author")).descending().limit(1);
    Ok(store.filter(&query)?.first().map(readside::Event::payload).transpose()?)
}

fn push_all(store: &dyn EventStore, instance: &str, mut input: Input, quiet: bool) -> Outcome<Done> {
    let start = Instant::now();
    let last = last_stored(store, instance)?;
    let known = last.as_ref().map_or(0, |last| last.ordinal);
    let progress = bar(input.commits, quiet, "storing commits")?;
    let (mut done, mut batch, mut ordinal) = (Done::default(), Vec::new(), 0);
    for commit in Commits::new(&mut input.reader) {
        let commit = commit?;
        ordinal += 1;
        progress.inc(1);
        if let Some(last) = last.as_ref().filter(|last| last.ordinal == ordinal)
            && last.hash != commit.hash
        {
            return Err(rewritten(instance, ordinal, &last.hash, &commit.hash));
        }
        if ordinal <= known {
            continue;
        }
        batch.extend(commands(instance, ordinal, &commit));
        done.commits += 1;
        if batch.len() >= BATCH {
            done.events += push(store, &mut batch)?;
        }
    }
    done.events += push(store, &mut batch)?;
    progress.finish_and_clear();
    input.close()?;
    if ordinal < known {
        let why = format!(
            "the log has {ordinal} commits, instance {instance:?} has {known} already; name another --instance or --database"
        );
        return Err(why.into());
    }
    done.time = start.elapsed();
    Ok(done)
}

fn rewritten(instance: &str, ordinal: u64, stored: &str, found: &str) -> Box<dyn std::error::Error> {
    let why = format!(
        "commit {ordinal} of instance {instance:?} is stored as {stored}, the log has {found}: it is another history, \
         or was rewritten; name another --instance or --database"
    );
    why.into()
}

fn push(store: &dyn EventStore, batch: &mut Vec<Command>) -> Outcome<usize> {
    let events = store.push(batch)?.len();
    batch.clear();
    Ok(events)
}

/// Brings one read model up to date, a batch at a time, so that there is progress to show.
fn project<S>(store: &S, instance: &str, projection: &Projection, quiet: bool) -> Outcome<Done>
where
    S: Database + Clone + 'static,
{
    let start = Instant::now();
    let shared = Arc::new(store.clone());
    let config = HandlerConfig { bulk_limit: 5000, ..HandlerConfig::default() };
    let handler = ProjectionHandler::new(shared.clone(), shared, projection.clone(), config)?;
    let progress = bar(None, quiet, &format!("projecting {}", projection.name()))?;
    let mut done = Done::default();
    loop {
        let fetched = handler.fetch_events(&[instance])?;
        let more = !fetched.more().is_empty();
        let processed = handler.process(fetched);
        done.events += processed.applied;
        progress.inc(processed.applied as u64);
        if let Some(stopped) = processed.stopped.first() {
            return Err(format!("projection {:?} stopped in {stopped}", projection.name()).into());
        }
        if !more {
            break;
        }
    }
    progress.finish_and_clear();
    done.time = start.elapsed();
    Ok(done)
}
