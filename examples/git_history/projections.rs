//! The three read models, and the pass that brings them up to date.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use indicatif::ProgressBar;
use jiff::Timestamp;
use readside::error::StoreError;
use readside::prelude::*;
use readside::query::{EventBatch, Flaw, Head, HeadsRequest, ReadRequest, Span};
use readside::store::EventSource;
use readside::{Error, HandlerConfig, Policy, ProjectionHandler};
use uuid::Uuid;

use super::Failure;
use super::events::{CommitAuthored, FileChanged, FileRenamed};
use super::store::Store;

/// What a projection did in a run.
#[derive(Debug, Clone)]
pub(crate) struct Projected {
    pub(crate) name: String,
    pub(crate) events: u64,
    pub(crate) took: Duration,
}

/// One row for each author. The first and the last commit are by author time, which is not the order of the history.
pub(crate) fn contributors() -> Projection {
    Projection::new("contributors", 1)
        .table(
            Table::new("contributors")
                .column(text("author"))
                .column(integer("commits"))
                .column(integer("lines_added"))
                .column(integer("lines_removed"))
                .column(timestamp("first_commit_at"))
                .column(timestamp("last_commit_at"))
                .primary_key(["author"]),
        )
        .on(|e, p: CommitAuthored| {
            let at = moment(p.at);
            upsert(
                ["author"],
                [
                    set("author", e.aggregate_id()),
                    increment("commits", 1),
                    increment("lines_added", p.added),
                    increment("lines_removed", p.removed),
                    set_if("first_commit_at", at, gt("first_commit_at", at)),
                    set_if("last_commit_at", at, lt("last_commit_at", at)),
                ],
            )
        })
}

/// One row for each file under its last path. A rename moves the row, or adds its counts to the row of the new path.
pub(crate) fn files() -> Projection {
    Projection::new("files", 1)
        .table(
            Table::new("files")
                .column(text("path"))
                .column(integer("changes"))
                .column(integer("lines_added"))
                .column(integer("lines_removed"))
                .column(text("last_author"))
                .column(timestamp("last_changed_at"))
                .primary_key(["path"]),
        )
        .on(|e, p: FileChanged| change(e.aggregate_id(), &p))
        .on(|e, p: FileRenamed| {
            let changed = FileChanged { author: p.author, at: p.at, added: p.added, removed: p.removed };
            if p.from == e.aggregate_id() {
                return change(e.aggregate_id(), &changed);
            }
            multi([moved(&p.from, e.aggregate_id()), delete([eq("path", p.from)]), change(e.aggregate_id(), &changed)])
        })
}

/// One row for each month with commits.
pub(crate) fn activity() -> Projection {
    Projection::new("activity", 1)
        .table(Table::new("activity").column(text("month")).column(integer("commits")).primary_key(["month"]))
        .on(|_, p: CommitAuthored| upsert(["month"], [set("month", month(p.at)), increment("commits", 1)]))
}

pub(crate) fn all() -> [Projection; 3] {
    [contributors(), files(), activity()]
}

fn change(path: &str, p: &FileChanged) -> Reduced {
    upsert(
        ["path"],
        [
            set("path", path),
            increment("changes", 1),
            increment("lines_added", p.added),
            increment("lines_removed", p.removed),
            set("last_author", p.author.as_str()),
            set("last_changed_at", moment(p.at)),
        ],
    )
}

fn moved(from: &str, to: &str) -> Reduced {
    copy(
        ["path"],
        ["path", "changes", "lines_added", "lines_removed", "last_author", "last_changed_at"],
        [
            source_value(to),
            source_column("changes").added(),
            source_column("lines_added").added(),
            source_column("lines_removed").added(),
            source_column("last_author"),
            source_column("last_changed_at"),
        ],
        [eq("path", from)],
    )
}

/// The author time. Only a broken clock writes a time before 1970 or after 9999, and this moves it to the nearest
/// valid time.
fn instant(at: i64) -> Timestamp {
    Timestamp::from_second(at.max(0)).unwrap_or(Timestamp::MAX)
}

fn moment(at: i64) -> SystemTime {
    instant(at).into()
}

/// The month of an author time in UTC, as `2026-01`.
fn month(at: i64) -> Value {
    instant(at).strftime("%Y-%m").to_string().into()
}

/// Creates the tables of all three projections.
pub(crate) fn setup(store: &dyn Store) -> Result<(), Failure> {
    let all = all();
    Ok(store.setup(&all.each_ref()).map_err(Error::from)?)
}

/// Brings all three projections up to date.
pub(crate) fn project(store: &Arc<dyn Store>, instance: &str, bar: &ProgressBar) -> Result<Vec<Projected>, Failure> {
    all().into_iter().map(|projection| project_one(store, instance, projection, bar)).collect()
}

fn project_one(
    store: &Arc<dyn Store>,
    instance: &str,
    projection: Projection,
    bar: &ProgressBar,
) -> Result<Projected, Failure> {
    let name = projection.name().to_owned();
    bar.set_message(format!("projecting {name}"));
    bar.reset();
    let source = Arc::new(Counted { store: Arc::clone(store), events: AtomicU64::new(0), bar: bar.clone() });
    // An event that fails ends the example.
    let config = HandlerConfig::default().policy(Policy::Stop);
    let models = Arc::clone(store);
    let handler = ProjectionHandler::new(Arc::<Counted>::clone(&source), models, projection, config)?;
    let since = Instant::now();
    handler.trigger(&[instance]).map_err(Error::from)?;
    Ok(Projected { name, events: source.events.load(Ordering::Relaxed), took: since.elapsed() })
}

/// Counts the events that are read from a store, for the progress bar and the report.
#[derive(Debug)]
struct Counted {
    store: Arc<dyn Store>,
    events: AtomicU64,
    bar: ProgressBar,
}

impl EventSource for Counted {
    fn store_id(&self) -> Result<Uuid, StoreError> {
        self.store.store_id()
    }

    fn heads(&self, request: &HeadsRequest) -> Result<Vec<Head>, StoreError> {
        self.store.heads(request)
    }

    fn read(&self, request: &ReadRequest) -> Result<Vec<EventBatch>, StoreError> {
        let slices = self.store.read(request)?;
        let count = slices.iter().map(|slice| slice.events.len() as u64).sum();
        self.events.fetch_add(count, Ordering::Relaxed);
        self.bar.inc(count);
        Ok(slices)
    }

    fn removed(&self, instance: &str) -> Result<i64, StoreError> {
        self.store.removed(instance)
    }

    fn flaws(&self, spans: &[Span]) -> Result<Vec<Flaw>, StoreError> {
        self.store.flaws(spans)
    }

    fn generation(&self) -> u64 {
        self.store.generation()
    }

    fn forget(&self) {
        self.store.forget();
    }
}
