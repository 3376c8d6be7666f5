//! The law checker: given the events and the tables of a projection, is every effect there once, in order?
//!
//! It computes the rows again: it applies the events of each instance, one statement at a time, to empty tables, and
//! compares the result with the rows that it finds. The tables are in an SQLite database in memory. If the projection
//! has its own SQL for PostgreSQL, they are temporary tables in the read model's database. It checks checkpoints and
//! the log too.
//!
//! # Examples
//! ```
//! use std::sync::Arc;
//! use readside::prelude::*;
//! use readside::{EventStore, HandlerConfig, NewEvent, ProjectionHandler, SqliteStore};
//! use readside::testing::laws;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Counted { by: i64 }
//! impl Payload for Counted { const AGGREGATE: &str = "thing"; const TYPE: &str = "thing.counted"; }
//!
//! let counts = Projection::new("counts", 1)
//!     .table(Table::new("counts").column(text("thing")).column(integer("n")).primary_key(["thing"]))
//!     .on(|e, p: Counted| upsert(["thing"], [set("thing", e.aggregate_id()), increment("n", p.by)]));
//! let store = SqliteStore::in_memory()?;
//! let handler = ProjectionHandler::new(
//!     Arc::new(store.clone()), Arc::new(store.clone()), counts.clone(), HandlerConfig::default())?;
//! handler.setup()?;
//! store.push(&[NewEvent::new("main", "x", &Counted { by: 1 })])?;
//! handler.trigger(&["main"])?;
//!
//! let report = laws::check(&store, &store, &counts)?;       // the event store, then the store of the read model
//! assert!(report.is_lawful(), "{report}");
//! assert_eq!((report.events(), report.rows()), (1, 1));
//! # Ok::<(), readside::Error>(())
//! ```

mod instance;
mod report;
mod rows;
#[cfg(test)]
mod tests;

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

pub use crate::builds::Model;
pub use report::{Fault, LawLag, LawReport};
pub(crate) use rows::same;

use crate::db::{Backend, DbStore, Scratch, leaving_nothing};
use crate::engine::Reducing;
use crate::error::{Error, StoreError};
use crate::event::Event;
use crate::projection::Projection;
use crate::query::{HeadsRequest, Query, SubQuery};
use crate::sealed::Sealed;
use crate::sqlite::SqliteStore;
use crate::store::{BuildStore, Replaying};
use crate::store::{EventSource, EventStore, ProjectionStore};
use crate::value::Value;

/// How many instances are listed at once.
const PAGE: usize = 500;

/// A row: the names and values of its columns.
pub type Columns = Vec<(String, Value)>;

/// Where the checker reads a read model. The stores of this library implement it.
///
/// It is sealed: only this library implements it.
pub trait Models: Sealed + fmt::Debug {
    /// Instances that have a state or a row of the projection, in byte order, after `after`, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn instances(
        &self,
        projection: &Projection,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Arc<str>>, StoreError>;

    /// One instance, read from one snapshot, so that state and rows fit each other while an engine works.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn model(&self, projection: &Projection, instance: &str) -> Result<Model, StoreError>;

    /// See [`BuildStore::replay`].
    ///
    /// # Errors
    /// Those of the work, and when the store fails.
    fn replay(&self, projection: &Projection, work: Replaying<'_>) -> Result<bool, Error>;
}

impl<B: Backend> Models for DbStore<B> {
    fn instances(
        &self,
        projection: &Projection,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Arc<str>>, StoreError> {
        BuildStore::instances(self, projection, after, limit)
    }

    fn model(&self, projection: &Projection, instance: &str) -> Result<Model, StoreError> {
        BuildStore::model(self, projection, instance)
    }

    fn replay(&self, projection: &Projection, work: Replaying<'_>) -> Result<bool, Error> {
        BuildStore::replay(self, projection, work)
    }
}

/// Checks every instance of a projection. Engines may go on meanwhile.
///
/// It holds one page of events, and the rows of one instance, in memory. An event that is on record as failed counts
/// as not applied.
///
/// # Errors
/// When a store cannot be read. A broken law is no error: it is in the report.
pub fn check(source: &dyn EventStore, models: &dyn Models, projection: &Projection) -> Result<LawReport, Error> {
    let page = |instance: &Arc<str>, after: i64, head: i64| {
        let query = Query::new().or(SubQuery::new().instance(instance).after(after).before(head + 1));
        source.filter(&query.limit(EVENTS).max_bytes(instance::BYTES))
    };
    let check = Check::new(source, Some(&page), models, projection)?;
    let mut report = LawReport::new(projection.name());
    check.each(&mut |instance| check.instance(instance, &mut report).map(|_| ()))?;
    Ok(report)
}

/// How many events are read at once.
const EVENTS: usize = 100;

/// Reads a page of all events of an instance, above one position and up to another one.
type Page<'c> = &'c dyn Fn(&Arc<str>, i64, i64) -> Result<Vec<Event>, StoreError>;

type Visit<'v> = &'v mut dyn FnMut(&Arc<str>) -> Result<(), Error>;

/// Empty tables in an SQLite database in memory, made on first use.
#[derive(Default)]
pub(crate) struct Memory {
    store: OnceCell<SqliteStore>,
}

impl Memory {
    /// Runs the work on these tables, and leaves nothing behind.
    pub(crate) fn replay(&self, projection: &Projection, work: Replaying<'_>) -> Result<(), Error> {
        let store = if let Some(store) = self.store.get() {
            store
        } else {
            let store = SqliteStore::in_memory()?;
            ProjectionStore::setup(&store, &[projection])?;
            self.store.get_or_init(|| store)
        };
        let doing = "applying events again";
        leaving_nothing(store.backend(), doing, |conn| work(&mut Scratch { conn, projection }))
    }
}

pub(crate) struct Check<'c> {
    source: &'c dyn EventSource,
    /// Reads the whole log, which is then checked too. If absent, only the events are read that the projection wants.
    whole: Option<Page<'c>>,
    store: uuid::Uuid,
    models: &'c dyn Models,
    projection: &'c Projection,
    /// Where events are applied again.
    memory: Memory,
    /// Asked before each page of events. `false` ends the work, even inside an instance.
    may_go_on: Option<&'c dyn Fn() -> bool>,
    /// Where the checker notes which events are being reduced.
    reducing: Option<&'c Reducing>,
}

impl<'c> Check<'c> {
    pub(crate) fn new(
        source: &'c dyn EventSource,
        whole: Option<Page<'c>>,
        models: &'c dyn Models,
        projection: &'c Projection,
    ) -> Result<Self, Error> {
        let (store, memory) = (source.store_id()?, Memory::default());
        Ok(Self { source, whole, store, models, projection, memory, may_go_on: None, reducing: None })
    }

    pub(crate) fn while_wanted(self, may_go_on: &'c dyn Fn() -> bool) -> Self {
        Self { may_go_on: Some(may_go_on), ..self }
    }

    pub(crate) fn telling(self, reducing: &'c Reducing) -> Self {
        Self { reducing: Some(reducing), ..self }
    }
}

impl Check<'_> {
    /// Visits every instance that has events, a state or rows.
    pub(crate) fn each(&self, visit: Visit<'_>) -> Result<(), Error> {
        self.instances_with_events(visit)?;
        self.instances_without_events(visit)
    }

    fn instances_with_events(&self, visit: Visit<'_>) -> Result<(), Error> {
        let mut request = HeadsRequest { limit: PAGE, ..HeadsRequest::default() };
        loop {
            let heads = self.source.heads(&request)?;
            for head in &heads {
                visit(&head.instance)?;
            }
            match heads.last() {
                Some(last) => request.after = Some(Arc::clone(&last.instance)),
                None => return Ok(()),
            }
        }
    }

    /// Visits the instances that have states or rows, and that the event store does not know.
    fn instances_without_events(&self, visit: Visit<'_>) -> Result<(), Error> {
        let mut after: Option<Arc<str>> = None;
        loop {
            let instances = self.models.instances(self.projection, after.as_deref(), PAGE)?;
            let Some(last) = instances.last() else { return Ok(()) };
            after = Some(Arc::clone(last));
            let request = HeadsRequest { instances: instances.clone(), limit: PAGE, ..HeadsRequest::default() };
            let known: BTreeSet<Arc<str>> =
                self.source.heads(&request)?.into_iter().map(|head| head.instance).collect();
            for instance in instances.iter().filter(|instance| !known.contains(*instance)) {
                visit(instance)?;
            }
        }
    }
}
