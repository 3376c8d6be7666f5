//! `readside` keeps the read models of event-sourced, multi-tenant services up to date, exactly once, on plain threads.
//!
//! It takes events from an event store (an embedded SQLite file, or PostgreSQL), reduces them to statements, and writes
//! read tables and checkpoint in one transaction. Nothing is async; every call blocks until it is done or its time is
//! over.
//!
//! # One event, from push to row
//!
//! 1. A service makes a [`NewEvent`] from a [`Payload`] and pushes it ([`EventStore::push`]). The push locks the counter
//!    row of its instance (a tenant), so that positions of an instance are dense and appear in order, and returns the
//!    stored [`Event`].
//! 2. [`ProjectionHandler::trigger`] reads the checkpoint of the projection in that instance and fetches what lies above
//!    it ([`EventSource::read`]).
//! 3. The [`Projection`]'s reducer turns the event into a [`Statement`], which is data: [`create`], [`upsert`],
//!    [`update`], [`delete()`], [`copy`], [`multi`], [`noop`] or [`exec`].
//! 4. One transaction ([`ProjectionStore::transaction`]) locks the state row, compares the checkpoint, applies the
//!    statements and moves the checkpoint. Whoever else does the same finds the checkpoint moved, and nothing to do.
//! 5. Readers see the row in the view with the table's plain name; [`Engine::await_pushed`] tells when.
//!
//! An [`Engine`] does steps 2 to 4 by itself, on threads of its own, alone or together with other processes; a
//! [`ProjectionHandler`] does them on the caller's thread, as here:
//!
//! ```
//! # #[cfg(feature = "sqlite")] {
//! use std::sync::Arc;
//! use readside::{NewEvent, EventStore, HandlerConfig, Payload, Projection, ProjectionHandler, SqliteStore, Table};
//! use readside::{create, eq, set, text, update};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Added { name: String }
//! impl Payload for Added { const AGGREGATE: &str = "user"; const TYPE: &str = "user.added"; }
//!
//! #[derive(Serialize, Deserialize)]
//! struct Renamed { name: String }
//! impl Payload for Renamed { const AGGREGATE: &str = "user"; const TYPE: &str = "user.renamed"; }
//!
//! let users = Projection::new("users", 1)
//!     .table(Table::new("users").column(text("id")).column(text("name")).primary_key(["id"]))
//!     .on(|e, p: Added| create([set("id", e.aggregate_id()), set("name", p.name)]))
//!     .on(|e, p: Renamed| update([set("name", p.name)], [eq("id", e.aggregate_id())]));
//!
//! let store = Arc::new(SqliteStore::in_memory()?);
//! let handler = ProjectionHandler::new(store.clone(), store.clone(), users.clone(), HandlerConfig::default())?;
//! handler.setup()?;
//! store.push(&[NewEvent::new("main", "u1", &Added { name: "Ada".into() })])?;
//! store.push(&[NewEvent::new("main", "u1", &Renamed { name: "Lady Ada".into() })])?;
//! handler.trigger(&["main"])?;
//! let rows = store.read_rows(&users, "users")?;
//! assert_eq!(rows[0][2], ("name".to_owned(), "Lady Ada".into()));
//! # }
//! # Ok::<(), readside::Error>(())
//! ```
//!
//! # Where to look
//!
//! - Events and what is pushed: [`NewEvent`], [`Expected`], [`Unique`], [`Query`], [`Subscription`].
//! - Projections: [`Projection`], [`Table`], the builders; [`testing`] tests them without a service.
//! - Stores: [`SqliteStore`], `PostgresStore` (feature `postgres`), or one's own behind [`EventSource`] and
//!   [`ProjectionStore`].
//! - Running: [`Engine`], [`EngineConfig`], [`Health`]; [`LeaseStore`] and [`Notifier`] are what it asks of a store beyond
//!   events and read models.
//! - Looking into a store without the code of its projections: [`Inspect`], [`admin::Doctor`].
//! - What fails, and what then: [`HandlerConfig`], [`Policy`], [`StopCause`], [`mod@error`].
//!
//! # Features
//!
//! `sqlite` (the default), `postgres`, `serve` for the status page and its metrics (the module `serve`), and `cli` for the
//! command `readside` and the module `cli`. Each only adds.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod error;

mod clock;
mod command;
#[cfg_attr(
    not(feature = "postgres"),
    allow(dead_code, unused_imports, reason = "without PostgreSQL connection strings are only told from paths")
)]
mod conninfo;
mod event;
mod failure;
mod plain;
mod query;
mod retention;
mod sealed;
mod standstill;
mod state;
mod statement;
mod stop_cause;
mod sync;
mod table;
mod value;

mod builds;
mod inspect;
mod lease;
mod projection;
mod standing;
mod store;
mod subscription;

#[cfg_attr(
    not(any(feature = "sqlite", feature = "postgres")),
    allow(dead_code, unused_imports, reason = "without a database nothing uses what databases share")
)]
mod db;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg_attr(
    not(any(feature = "sqlite", feature = "postgres")),
    allow(dead_code, unused_imports, reason = "without a database nothing uses what databases share")
)]
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;

pub mod admin;
#[cfg(feature = "cli")]
#[cfg_attr(
    not(any(feature = "sqlite", feature = "postgres")),
    allow(dead_code, reason = "without a database there is nothing to look into")
)]
pub mod cli;
pub mod engine;
#[cfg(feature = "serve")]
pub mod serve;
pub mod testing;

pub use crate::builds::{
    Build, BuildProgress, Comparison, JsonRow, LaggingInstance, LeftOut, Model, Phase, RowDifference, Step,
    TableComparison,
};
pub use crate::clock::{Clock, ManualClock, SystemClock};
pub use crate::command::{
    AdminCommand, CommandRecord, CommandState, ExplainRequest, NewCommand, RebuildOptions, Switch,
};
pub use crate::db::{DbStore, EventStream};
pub use crate::engine::{
    Engine, EngineBuilder, EngineConfig, EngineStore, Fetched, HandlerConfig, Health, LoopHealth, Policy, Processed,
    ProjectionHandler, ProjectionHealth,
};
pub use crate::error::{Error, ReduceError};
pub use crate::event::{Event, Expected, NewEvent, Payload, Unique};
pub use crate::failure::{
    Action, Aggregates, Attempt, Blocked, By, FailedEvent, FailureClass, FailureQuery, FailureStatus, Intervention,
    Refused, RetryOutcome,
};
pub use crate::inspect::{
    ActiveLease, Finding, Hanging, Inspect, LeaseQuery, MemberStatus, Mismatch, Paused, ProjectionStatus,
    SchemaVersion, Severity, Status,
};
pub use crate::inspect::{
    Activity, ActivityKind, FailureGroup, FailureGroups, InstanceCheckpoint, InstanceHead, InstanceLag, Lineage,
    LineageTable,
};
pub use crate::lease::{Lag, LagRequest, Lagging, Lease, Member, Pause, Renewal};
#[cfg(feature = "postgres")]
pub use crate::postgres::{PostgresOptions, PostgresStore};
pub use crate::projection::{Projection, ReduceFailure};
pub use crate::query::{Cursor, EventBatch, EventFilter, Flaw, Head, HeadsRequest, Query, ReadRequest, Span, SubQuery};
pub use crate::retention::{
    AffectedProjection, Archival, Archived, Operation, OperationKind, Redacted, Redaction, Removed, Subject, TableRows,
};
#[cfg(fuzzing)]
#[doc(hidden)]
pub use crate::sql::render_for_fuzzing;
#[cfg(feature = "sqlite")]
pub use crate::sqlite::{SqliteOptions, SqliteStore};
pub use crate::standing::{Standing, Verdict};
pub use crate::standstill::{Note, Standstill, StandstillKind, StandstillSubject};
pub use crate::state::{Checkpoint, Log, Mark, ProjectionKey, State};
pub use crate::statement::*;
pub use crate::stop_cause::{StopCause, Stopped};
pub use crate::store::CommandStore;
pub use crate::store::StandstillStore;
pub use crate::store::{BuildStore, CatchUp, Replay, Replaying};
pub use crate::store::{EventSource, EventStore, ProjectionStore, ProjectionTransaction};
pub use crate::store::{LeaseStore, NotificationListener, Notifications, Notifier};
pub use crate::subscription::{DirtyToken, PushedIn, Received, Subscription, Topics};
pub use crate::table::{
    Column, Table, boolean, bytes, float, integer, json, text, text_array, timestamp, uuid as uuid_column,
};
pub use crate::value::{ColumnType, Value};

#[cfg(feature = "postgres")]
pub use ::postgres as postgres_driver;
#[cfg(feature = "sqlite")]
pub use ::rusqlite;

/// The code of each page is run as a test of the documentation.
#[cfg(all(doctest, feature = "sqlite"))]
macro_rules! pages {
    ($($name:ident $page:literal),* $(,)?) => { $(#[doc = include_str!($page)] struct $name;)* };
}
#[cfg(all(doctest, feature = "sqlite"))]
pages! {
    Readme "../README.md",
    GettingStarted "../docs/getting-started.md",
    Projections "../docs/projections.md",
    Running "../docs/running.md",
    Failures "../docs/failures.md",
    Rebuilding "../docs/rebuilding.md",
    Retention "../docs/retention.md",
    Operating "../docs/operating.md",
    Seeing "../docs/seeing.md",
    PostgresPage "../docs/postgres.md",
    SqlitePage "../docs/sqlite.md",
    CustomSource "../docs/custom-source.md",
}
